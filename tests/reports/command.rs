//! `rollbook report`.

use super::{Row, a_site, catch_up, differences, insert};
use crate::harness::Site;

async fn a_reported_site() -> Site {
    let (site, reports) = a_site().await;
    let rows = [
        Row::ready(10_000),
        Row::watched(&[(0, 10_000), (4_000, 5_000)]),
        Row::watched(&[(0, 3_000)]).by("w"),
        Row { correct: Some(true), ..Row::answered(r#"{"choice": "yes"}"#) },
        Row::watched(&[(0, 1_000)]).of("evil\u{1b}[31m,\"x\""),
    ];
    site.execute(&insert(&rows)).await;
    catch_up(&reports, &site.loader().await).await;
    site
}

#[tokio::test]
async fn it_shows_contents_and_of_one_its_curve_and_items_for_people_and_machines() {
    let site = a_reported_site().await;
    let items = site.run("report acme --json").await.done().items();
    assert_eq!((items.len(), &items[0]["content_id"], &items[0]["viewers"]), (2, &"c".into(), &2.into()));
    assert_eq!((&items[0]["completed_viewers"], &items[0]["unique_ms"]), (&1.into(), &13_000.into()));
    assert_eq!(items[0]["first_at"], "2026-11-22T12:00:00.000Z");

    let sheet = site.run("report acme c --json").await.done().json();
    let second = serde_json::json!({"second": 4, "viewers": 1, "times": 2});
    assert_eq!(
        (&sheet["retention"][4], &sheet["content"], &sheet["retention"][10]),
        (&second, &items[0], &serde_json::Value::Null)
    );
    assert_eq!(sheet["items"][0]["first_accuracy"], 1.0);
    assert_eq!(sheet["items"][0]["options"][0]["choice"], "yes");

    let text = site.run("report acme c").await.done().stdout;
    for said in [
        "2 viewers",
        "65 % average completion",
        "2 │",
        "greatest drop        0:03 (1 viewer within",
        "most watched again   0:04 (1 time)",
        "yes ████",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "it fits 80 columns: {text}");
    let csv = site.run("report acme c --csv").await.done().stdout;
    assert!(csv.starts_with("content_id,second,viewers,times\nc,0,2,2\n"), "{csv}");
    let csv = site.run("report acme --csv").await.done().stdout;
    assert!(csv.contains("\n\"evil\u{1b}[31m,\"\"x\"\"\",,1,"), "a file has it as it is: {csv}");
}

#[tokio::test]
async fn no_control_character_of_an_event_reaches_a_persons_table() {
    let site = a_reported_site().await;
    let table = site.run("report acme").await.done().stdout;
    assert!(table.contains("evil\\u{1b}[31m"), "{table}");
    let sheet = site.rollbook("report acme").arg("evil\u{1b}[31m,\"x\"").run().await.done().stdout;
    assert!(sheet.starts_with("evil\\u{1b}[31m"), "{sheet}");
    let picture = tempfile::NamedTempFile::new().expect("a file");
    let path = picture.path().to_str().expect("a path").to_owned();
    let id = "evil\u{1b}[31m,\"x\"";
    site.rollbook("report acme").arg(id).arg("--svg").arg(&path).run().await.done();
    let svg = std::fs::read_to_string(&path).expect("a picture");
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains('\u{1b}'), "{svg}");
    assert!(svg.contains("prefers-color-scheme: dark") && svg.contains("&quot;x&quot;"), "{svg}");
}

#[tokio::test]
async fn a_content_or_an_organization_that_is_not_there_is_said() {
    let site = a_reported_site().await;
    assert_eq!(site.run("report acme nothing --json").await.exits(1).error_code(), "content_not_found");
    assert_eq!(site.run("report birch --json").await.exits(1).error_code(), "organization_not_found");
    site.run("report").await.exits(2);
    let bad = site.rollbook("report").arg("Not a slug").arg("c").run().await.exits(2).stderr;
    assert!(bad.contains("'Not a slug' for '<SLUG>'"), "{bad}");
    let nothing = site.organization("cedar").await.slug;
    let said = site.run(&format!("report {nothing}")).await.done().stdout;
    assert_eq!(said, "the reports of `cedar` are of no event yet\n");
    site.run("report acme --svg x").await.exits(2);
}

#[tokio::test]
async fn a_person_makes_the_reports_anew_and_it_is_in_the_trail() {
    let site = a_reported_site().await;
    site.execute("DELETE FROM org_acme.event WHERE viewer_id = 'w'").await;
    let answer = site.run("report rebuild acme --json").await.done().json();
    assert_eq!(answer["organization"], "acme");
    assert_eq!(differences(&site.superuser().await, "0.9").await, Vec::<String>::new());
    assert_eq!(site.number("SELECT count(*) FROM org_acme.report_build").await, 1);
    assert_eq!(
        site.number("SELECT count(*) FROM rollbook.admin_event WHERE action = 'report.rebuild'").await,
        1
    );
    assert_eq!(site.run("report rebuild birch --json").await.exits(1).error_code(), "organization_not_found");
}
