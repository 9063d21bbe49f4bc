//! Real viewing, whole, through the program's own load generator and the front door.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Service, Site, id_of};

/// The week of two courses where it is at hand, else the sample that comes with the code.
fn corpus() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let whole = root.join("../shared/data/mooc-watch-events.ndjson.gz");
    if whole.exists() { whole } else { root.join("tests/data/mooc-sample.ndjson") }
}

/// The file's ids by organization, sorted.
fn ids_by_organization(path: &PathBuf) -> BTreeMap<String, Vec<String>> {
    let file = std::fs::File::open(path).expect("the corpus");
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> =
        if packed { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in BufReader::new(reader).lines() {
        let event: Value = serde_json::from_str(&line.expect("a line")).expect("an event");
        let organization = event["organization"].as_str().expect("a slug").to_owned();
        ids.entry(organization).or_default().push(id_of(&event));
    }
    ids.values_mut().for_each(|ids| ids.sort_unstable());
    ids
}

#[tokio::test]
async fn a_week_of_real_viewing_is_stored_id_by_id() {
    let path = corpus();
    let in_file = ids_by_organization(&path);
    let site = Site::set_up().await;
    let service = Service::ready(site.serve("")).await;
    let mut load =
        site.rollbook("load --json --shift-to-now --batch 200 --from").arg(path.to_str().expect("UTF-8"));
    for slug in in_file.keys() {
        let organization = site.organization(slug).await;
        load = load.arg("--key").arg(&format!("{slug}={}", organization.key));
    }
    let url = service.intake().url();
    let report = load.arg("--url").arg(&url).run().await.done().json();

    let events: usize = in_file.values().map(Vec::len).sum();
    for (verdict, count) in
        [("sent", events), ("accepted", events), ("rejected", 0), ("duplicate", 0), ("retry", 0)]
    {
        assert_eq!(report[verdict], count, "{verdict}: {report}");
    }
    for (slug, ids) in in_file {
        let count = i64::try_from(ids.len()).expect("few");
        assert_eq!(site.loaded(&slug, count).await, (count, 0));
        assert!(site.stored_ids(&slug).await == ids, "the ids of {slug} are not those of the file");
    }
}
