//! Write keys: shown once, several at a time, revoked for good.

use serde_json::Value;

use crate::harness::Site;

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap_or_else(|| panic!("{name} is a string in {answer}"))
}

#[tokio::test]
async fn an_organization_has_several_live_keys_so_that_clients_can_change_over() {
    let site = Site::set_up().await;
    let first = site.add("acme").await;
    let second = site.run("key add acme --label web --json").await.done().json();
    let names: Vec<&String> = second.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["key", "key_id", "organization"]);

    let items = site.run("key list acme --json").await.done().items();
    let ids: Vec<&str> = items.iter().map(|item| text(item, "key_id")).collect();
    assert_eq!(ids, [text(&first, "key_id"), text(&second, "key_id")]);
    assert_eq!(items[1]["label"], "web");
    let names: Vec<&String> = items[1].as_object().expect("an object").keys().collect();
    assert_eq!(names, ["created_at", "key_id", "label", "revoked_at"]);
    assert!(items.iter().all(|item| item["revoked_at"].is_null()), "{items:?}");
}

#[tokio::test]
async fn a_key_is_stored_as_its_digest_and_nowhere_else() {
    let site = Site::set_up().await;
    let added = site.add("acme").await;
    let key = rollbook::tenant::WriteKey::parse(text(&added, "key")).expect("a key");
    let row =
        site.superuser().await.query_one("SELECT digest FROM rollbook.write_key", &[]).await.expect("one");
    assert_eq!(row.get::<_, Vec<u8>>(0), key.digest().as_bytes());
    for table in ["write_key", "organization", "admin_event", "installation"] {
        for line in site.texts(&format!("SELECT t::text FROM rollbook.{table} t")).await {
            assert!(!line.contains(key.reveal()), "{table}: {line}");
        }
    }
}

#[tokio::test]
async fn revoking_can_be_repeated_and_keeps_the_first_time() {
    let site = Site::set_up().await;
    let id = text(&site.add("acme").await, "key_id").to_owned();
    let first = site.run(&format!("key revoke {id} --json")).await.done().json();
    let again = site.run(&format!("key revoke {id} --json")).await.done().json();
    assert_eq!(first, again);
    assert_eq!(text(&first, "organization"), "acme");
    let items = site.run("key list acme --json").await.done().items();
    assert_eq!(items[0]["revoked_at"], first["revoked_at"]);
    let trail = "SELECT count(*) FROM rollbook.admin_event WHERE action = 'key.revoke'";
    assert_eq!(site.number(trail).await, 1);
}

#[tokio::test]
async fn an_unknown_key_is_not_found() {
    let site = Site::set_up().await;
    let ran = site.run("key revoke 01a206ba-a5f8-7554-af42-9b2489b7132e --json").await.exits(1);
    assert_eq!(ran.error_code(), "key_not_found");
}

#[tokio::test]
async fn a_suspended_organization_can_be_given_a_key() {
    let site = Site::with(&["acme"]).await;
    site.run("org suspend acme").await.done();
    site.run("key add acme").await.done();
}
