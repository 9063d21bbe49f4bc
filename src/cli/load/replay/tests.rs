use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::*;
use crate::event::{Clock, Envelope, Verdict, check_batch};

const NOW: UnixMillis = UnixMillis(1_795_384_100_123);
const AS_IT_IS: Changes = Changes { shift_ms: 0, ids: Ids::Kept };

fn slugs(names: &[&str]) -> Vec<Slug> {
    names.iter().map(|name| name.parse().expect("a slug")).collect()
}

fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    file
}

fn replayed(
    path: &Path,
    organizations: &[Slug],
    changes: Changes,
) -> Result<Vec<(usize, String)>, ReplayError> {
    let mut replay = Replay::open(path, organizations, changes)?;
    let mut events = Vec::new();
    while let Some((organization, json)) = replay.next_event()? {
        events.push((organization, json.to_owned()));
    }
    Ok(events)
}

fn one(line: &str, changes: Changes) -> String {
    let file = file(line.as_bytes());
    let mut events = replayed(file.path(), &slugs(&["acme"]), changes).expect("in order");
    assert_eq!(events.len(), 1);
    events.remove(0).1
}

fn complaint(bytes: &[u8]) -> String {
    let file = file(bytes);
    let error = Survey::of(file.path(), &slugs(&["acme"]), u64::MAX).expect_err("not in order");
    error.to_string().replace(&file.path().display().to_string(), "FILE")
}

#[test]
fn the_organization_is_taken_out_and_everything_else_stays_as_it_was_written() {
    let line = r#" {"id":"x","organization":"acme","n":1.50,"n":2,"ext":{"a":[1, 2]},"t\u00e9":"\ud83d"} "#;
    assert_eq!(one(line, AS_IT_IS), r#"{"id":"x","n":1.50,"n":2,"ext":{"a":[1, 2]},"té":"\ud83d"}"#);
    assert_eq!(one(r#"{"organization":"acme"}"#, AS_IT_IS), "{}");
}

#[test]
fn each_event_goes_to_the_organization_of_its_line_compressed_or_not() {
    let text = b"{\"organization\":\"birch\",\"n\":1}\n\n{\"organization\":\"acme\",\"n\":2}\r\n";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text).expect("compressed");
    for bytes in [text.to_vec(), gzip.finish().expect("compressed")] {
        let file = file(&bytes);
        let events = replayed(file.path(), &slugs(&["acme", "birch"]), AS_IT_IS).expect("in order");
        assert_eq!(events, [(1, r#"{"n":1}"#.to_owned()), (0, r#"{"n":2}"#.to_owned())]);
    }
}

#[test]
fn a_shift_moves_times_of_both_forms_and_leaves_what_is_none() {
    let changes = Changes { shift_ms: 86_400_001, ids: Ids::Kept };
    for (before, after) in [
        (r#""2021-11-24T10:56:03.383499+00:00""#, r#""2021-11-25T10:56:03.384Z""#),
        (r#""2021-12-31T23:30:00-01:00""#, r#""2022-01-02T00:30:00.001Z""#),
        ("1637751363383", "1637837763384"),
        (r#""yesterday""#, r#""yesterday""#),
        ("1.5", "1.5"),
        ("null", "null"),
    ] {
        let line = format!(r#"{{"organization":"acme","occurred_at":{before}}}"#);
        assert_eq!(one(&line, changes), format!(r#"{{"occurred_at":{after}}}"#));
    }
}

#[test]
fn the_survey_counts_and_finds_the_last_time_wherever_it_stands() {
    let line = |at: Value| json!({ "organization": "acme", "occurred_at": at }).to_string();
    let text =
        [line(json!(5_000)), line(json!("1970-01-01T00:00:09Z")), line(json!(7_000)), line(json!("?"))];
    let file = file(text.join("\n").as_bytes());
    let survey = |limit| Survey::of(file.path(), &slugs(&["acme"]), limit).expect("in order");
    assert_eq!(survey(u64::MAX), Survey { events: 4, last: Some(UnixMillis(9_000)) });
    assert_eq!(survey(1), Survey { events: 1, last: Some(UnixMillis(5_000)) });
    assert_eq!(shift_to(UnixMillis(10_000), UnixMillis(9_000)), 1_000);
}

#[test]
fn fresh_ids_are_new_ones_of_version_7_also_where_there_was_none() {
    let changes = Changes { shift_ms: 0, ids: Ids::Fresh };
    for line in [r#"{"organization":"acme","id":"old"}"#, r#"{"organization":"acme"}"#] {
        let event: Value = serde_json::from_str(&one(line, changes)).expect("JSON");
        let id: uuid::Uuid = event["id"].as_str().expect("id").parse().expect("a UUID");
        assert_eq!(id.get_version_num(), 7);
    }
}

#[test]
fn a_line_that_cannot_be_sent_is_named() {
    let good = r#"{"organization":"acme"}"#;
    let line_2 = |line: &str| complaint(format!("{good}\n{line}\n").as_bytes());
    assert_eq!(line_2(r#"{"organization":"birch"}"#), r#"FILE, line 2: organization "birch" has no --key"#);
    assert_eq!(line_2("{}"), "FILE, line 2: has no `organization` that says whose event it is");
    assert!(line_2("[]").starts_with("FILE, line 2: is not a JSON object"));
    assert!(line_2("{").starts_with("FILE, line 2: is not a JSON object"));
    assert_eq!(complaint(&[0xff, b'\n']), "FILE, line 1: is not UTF-8");
    assert_eq!(complaint(&vec![b' '; 3 << 20]), "FILE, line 1: is longer than 1 MiB");
}

#[test]
fn a_damaged_file_is_unreadable() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(r#"{"organization":"acme"}"#.as_bytes()).expect("compressed");
    let bytes = gzip.finish().expect("compressed");
    assert_eq!(complaint(&bytes[..bytes.len() - 4]), "FILE cannot be read");
}

#[test]
fn intake_accepts_every_line_of_the_sample() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mooc-sample.ndjson"));
    let organizations = slugs(&["mooc_00001", "mooc_00002"]);
    let survey = Survey::of(path, &organizations, u64::MAX).expect("in order");
    let shift_ms = shift_to(NOW, survey.last.expect("times"));
    let events = replayed(path, &organizations, Changes { shift_ms, ids: Ids::Kept }).expect("in order");
    assert_eq!(events.len(), 600);
    for (_, json) in &events {
        let body = format!(r#"{{"events":[{json}]}}"#);
        let envelope = Envelope::from_json(body.as_bytes()).expect("the envelope is in order");
        let verdicts = check_batch(&envelope, Clock { received_at: NOW, sent_at: Some(NOW) });
        assert!(matches!(verdicts.as_slice(), [Verdict::Accepted(_)]), "{verdicts:?} of {json}");
    }
    assert!(events.iter().any(|(organization, _)| *organization == 0));
    assert!(events.iter().any(|(organization, _)| *organization == 1));
}
