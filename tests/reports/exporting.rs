//! `rollbook export`.

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::{Value, json};

use super::{Row, insert};
use crate::harness::Site;

const HEADER: &str = "event_id,type,session_id,viewer_id,content_id,item_id,occurred_at,client_occurred_at,received_at,seq,\
                      position_ms,rate,watched,played_ms,answer,correct,score,attempt,elapsed_ms,details";

/// Five events, received a second after each other, in another order than they are stored in.
async fn a_site() -> Site {
    let site = Site::with(&["acme"]).await;
    let rows: Vec<Row> = [
        Row::ready(1000),
        Row::watched(&[]),
        Row::watched(&[(0, 500), (200, 900)]).by("a,\"b\""),
        Row {
            correct: Some(true),
            score: Some(0.5),
            elapsed_ms: Some(7),
            seq: Some(4_294_967_295),
            ..Row::answered(r#"{"number": 12.50}"#)
        },
        Row::new("video.played"),
    ]
    .into_iter()
    .zip(1..)
    .map(|(row, id)| Row { id, ..row })
    .collect();
    site.execute(&insert(&rows)).await;
    site.execute(
        "UPDATE org_acme.event SET received_at = timestamptz 'epoch' + (6 - right(event_id::text, 1)::int) * interval '1 s'",
    )
    .await;
    site
}

#[tokio::test]
async fn csv_has_the_contracts_columns_in_the_order_of_receipt_and_is_half_open() {
    let site = a_site().await;
    let csv = site.run("export acme").await.done().stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines.len(), lines[0]), (6, HEADER));
    let id = |line: &str| line.split(',').next().expect("an id").chars().last();
    assert_eq!(
        lines[1..].iter().map(|line| id(line)).collect::<Vec<_>>(),
        ['5', '4', '3', '2', '1'].map(Some)
    );
    assert!(lines[2].ends_with(",,,,\"{\"\"number\"\": 12.50}\",true,0.5,,7,"), "{}", lines[2]);
    assert!(
        lines[2].contains(",2026-11-22T12:00:00.000Z,1970-01-01T00:00:02.000Z,4294967295,"),
        "{}",
        lines[2]
    );
    assert!(
        lines[3].contains(",\"a,\"\"b\"\"\",")
            && lines[3].contains(",\"{\"\"[0,500)\"\",\"\"[200,900)\"\"}\","),
        "{}",
        lines[3]
    );
    assert!(lines[4].contains(",{},") && lines[5].ends_with("\"{\"\"duration_ms\"\": 1000}\""), "{csv}");

    let some =
        site.run("export acme --since 2000 --until 1970-01-01T00:00:04Z --format csv").await.done().stdout;
    assert_eq!(some.lines().skip(1).map(id).collect::<Vec<_>>(), ['4', '3'].map(Some));
    site.run("export acme --since yesterday").await.exits(2);
    let swapped = site.run("export acme --since 4000 --until 2000").await.exits(2).stderr;
    assert_eq!(swapped, "error: --since is later than --until: no event was received between them\n");
    assert_eq!(site.run("export acme --since 2000 --until 2000").await.done().stdout.lines().count(), 1);
    assert_eq!(site.run("export birch --json").await.exits(1).error_code(), "organization_not_found");
}

#[tokio::test]
async fn parquet_has_typed_columns_with_statistics_and_a_file_is_there_when_it_is_whole() {
    let site = a_site().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.parquet");
    let export = |schema: &str| {
        site.rollbook(&format!("export {schema} --format parquet --out")).arg(path.to_str().expect("a path"))
    };
    export("acme").run().await.done();
    let reader = SerializedFileReader::new(std::fs::File::open(&path).expect("a file")).expect("Parquet");
    let names: Vec<String> =
        reader.metadata().file_metadata().schema().get_fields().iter().map(|f| f.name().to_owned()).collect();
    assert_eq!(names.join(","), HEADER);
    let statistics = reader.metadata().row_group(0).column(8).statistics().expect("statistics");
    assert_eq!(statistics.min_bytes_opt(), Some(&1_000_000_i64.to_le_bytes()[..]));
    let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 5);
    let types: Vec<&String> = rows.iter().map(|row| row.get_string(1).expect("a type")).collect();
    assert_eq!(types, ["video.played", "item.answered", "video.heartbeat", "video.heartbeat", "video.ready"]);
    assert_eq!(
        (rows[1].get_long(9).ok(), rows[1].get_bool(15).ok(), rows[1].get_float(16).ok()),
        (Some(4_294_967_295), Some(true), Some(0.5))
    );
    let lists: Vec<String> = rows
        .iter()
        .map(|row| row.get_list(12).map_or("none".to_owned(), |list| list.len().to_string()))
        .collect();
    assert_eq!(lists, ["none", "none", "2", "0", "none"]);
    let second = rows[2].get_list(12).expect("a list").elements()[1].to_string();
    assert_eq!(second.replace(' ', ""), "{start_ms:200,end_ms:900}");

    // What breaks off leaves what was there.
    site.execute("ALTER TABLE org_acme.event DROP COLUMN details CASCADE").await;
    export("acme").run().await.exits(1);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    assert!(SerializedFileReader::new(std::fs::File::open(&path).expect("a file")).is_ok());
}

#[tokio::test]
async fn what_an_export_is_sent_into_stays_what_it_is() {
    let site = a_site().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let export = |name: &str| {
        let out = path(name);
        site.rollbook("export acme --out").arg(out.to_str().expect("a path")).run()
    };
    let lines = |name: &str| std::fs::read_to_string(path(name)).expect("a file").lines().count();

    let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().expect("mkfifo");
    assert!(made.success());
    let pipe = path("pipe");
    let reading = tokio::task::spawn_blocking(move || std::fs::read_to_string(pipe));
    export("pipe").await.done();
    assert_eq!(reading.await.expect("a reader").expect("text").lines().count(), 6);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "the pipe alone");

    std::fs::write(path("file"), "old").expect("a file");
    std::os::unix::fs::symlink(path("file"), path("link")).expect("a link");
    std::fs::write(path("link.part"), "another's").expect("a file");
    export("link").await.done();
    assert!(path("link").is_symlink());
    assert_eq!((lines("file"), lines("link.part")), (6, 1));
}

#[tokio::test]
async fn what_was_written_is_told_beside_the_events_and_never_among_them() {
    let site = a_site().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events");
    let name = path.to_str().expect("a path");
    let bytes = || std::fs::metadata(&path).expect("a file").len();
    let export = |words: &str| site.rollbook(&format!("export acme {words} --out")).arg(name).run();
    let told = export("--json").await.done().json();
    assert_eq!(
        told,
        json!({"organization": "acme", "format": "csv", "file": name, "rows": 5, "bytes": bytes(), "since": null, "until": null})
    );
    let told = export("--json --format parquet --since 2000 --until 4000").await.done().json();
    let range = ["1970-01-01T00:00:02.000Z", "1970-01-01T00:00:04.000Z"];
    assert_eq!((&told["rows"], &told["bytes"]), (&json!(2), &json!(bytes())));
    assert_eq!([&told["since"], &told["until"]], range);
    assert!(export("").await.done().stdout.starts_with("acme: 5 events, "));

    // Standard output is the events', however it is named.
    for words in ["export acme --json", "export acme --json --out /dev/stdout"] {
        let ran = site.run(words).await.done();
        assert_eq!(ran.stdout.lines().count(), 6, "{}", ran.stdout);
        let told: Value = serde_json::from_str(&ran.stderr).expect("JSON");
        assert_eq!((&told["rows"], &told["bytes"]), (&json!(5), &json!(ran.stdout.len())));
    }
    assert_eq!(site.run("export acme").await.done().stderr, "");
}
