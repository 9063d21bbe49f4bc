//! `rollbook dead-letters`: events that Postgres refused, looked at, replayed, discarded.

use serde_json::{Value, json};

use crate::harness::{Form, Organization, Service, Site, eventually, id_of, played};

/// Refuses events of this sequence number, as an organization's own constraint might.
const REFUSE: &str =
    "ALTER TABLE org_acme.event ADD CONSTRAINT no_second CHECK (seq IS DISTINCT FROM 1) NOT VALID";
const ALLOW: &str = "ALTER TABLE org_acme.event DROP CONSTRAINT no_second";

/// An organization that sent ten events, of which the second is dead.
async fn site_with_a_dead_letter() -> (Site, Service, Organization, Vec<Value>) {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    site.execute(REFUSE).await;
    let service = Service::ready(site.serve("")).await;
    let mut events = played(10);
    events[1]["watched"] = json!([[0, 1500], [1000, 2000]]);
    events[1]["type"] = json!("video.paused");
    events[1]["rate"] = json!(1.25);
    events[1]["ext"] = json!({"exact": u64::MAX});
    service.post(&acme, Form::Json, &events).await.accepts(10);
    totals_become(&site, (9, 0, 1)).await;
    (site, service, acme, events)
}

async fn totals(site: &Site) -> (i64, i64, i64) {
    let sum = async |column: &str| {
        site.number(&format!("SELECT coalesce(sum({column}), 0)::bigint FROM org_acme.ingest_watermark"))
            .await
    };
    (sum("stored").await, sum("duplicate").await, sum("dead").await)
}

async fn totals_become(site: &Site, expected: (i64, i64, i64)) {
    eventually(&format!("the totals {expected:?}"), async || totals(site).await == expected).await;
}

#[tokio::test]
async fn a_dead_letter_is_listed_and_shown_with_its_event() {
    let (site, service, _, events) = site_with_a_dead_letter().await;
    let items = site.run("dead-letters list acme --json").await.done().items();
    let names: Vec<&String> = items[0].as_object().expect("an object").keys().collect();
    let contract = ["at", "discarded_at", "event_id", "id", "offset", "partition", "reason", "sqlstate"];
    assert_eq!(names, contract);
    assert_eq!((items.len(), &items[0]["event_id"]), (1, &events[1]["id"]));
    assert_eq!((&items[0]["sqlstate"], &items[0]["discarded_at"]), (&json!("23514"), &Value::Null));
    let shown = site.run("dead-letters show acme 1 --json").await.done();
    assert_eq!(shown.items()[0]["event"]["watched"], json!(["[0,1500)", "[1000,2000)"]));
    assert!(shown.stdout.contains("18446744073709551615"), "numbers stay as they are: {}", shown.stdout);
    let text = site.run("dead-letters show acme").await.done().stdout;
    assert!(text.contains("no_second") && text.contains(&id_of(&events[1])), "{text}");
    let unknown = site.run("dead-letters show acme 99 --json").await.exits(1);
    assert_eq!(unknown.error_code(), "dead_letter_not_found");
    service.stop().await;
}

#[tokio::test]
async fn a_replay_after_the_cause_is_gone_stores_the_event_as_it_was_sent() {
    let (site, service, acme, events) = site_with_a_dead_letter().await;
    site.execute(ALLOW).await;
    let items = site.run("dead-letters replay acme --json").await.done().items();
    assert_eq!(items, [json!({"id": 1, "outcome": "stored", "sqlstate": null, "reason": null})]);
    assert_eq!(totals(&site).await, (10, 0, 0));
    assert_eq!(site.number("SELECT count(*) FROM org_acme.dead_letter").await, 0);

    // Column for column the row that the loader writes.
    let birch = site.organization("birch").await;
    let mut again = events[1].clone();
    again["seq"] = json!(2);
    // The service learns of a new organization within two seconds.
    eventually("birch's key is known", async || {
        service.post(&birch, Form::Json, std::slice::from_ref(&again)).await.status == 200
    })
    .await;
    site.loaded("birch", 1).await;
    let row = |schema: &str| {
        format!(
            "SELECT (to_jsonb(e) - 'received_at' - 'seq' - 'stored_in')::text FROM {schema}.event e WHERE event_id = '{}'",
            id_of(&events[1])
        )
    };
    assert_eq!(site.texts(&row("org_acme")).await, site.texts(&row("org_birch")).await);

    let audit = site.run("audit --json").await.done().json();
    assert_eq!((&audit["ok"], &audit["counts"]), (&json!(true), &json!("checked")));
    let trail = "SELECT what->>'event_id' FROM rollbook.admin_event WHERE action = 'letter.replay'";
    assert_eq!(site.texts(trail).await, [id_of(&events[1])]);
    assert_eq!(site.run("dead-letters replay acme --json").await.done().items(), Vec::<Value>::new());
    assert_eq!(site.run("dead-letters replay acme 1 --json").await.exits(1).error_code(), "not_replayed");
    drop(acme);
    service.stop().await;
}

#[tokio::test]
async fn what_is_still_refused_stays_and_is_reported() {
    let (site, service, _, _) = site_with_a_dead_letter().await;
    let ran = site.run("dead-letters replay acme --json").await.exits(1);
    assert_eq!(
        (&ran.items()[0]["outcome"], &ran.items()[0]["sqlstate"]),
        (&json!("refused"), &json!("23514"))
    );
    assert_eq!(ran.error_code(), "not_replayed");
    assert_eq!(totals(&site).await, (9, 0, 1));
    let audit = site.run("audit --json").await.done().json();
    assert_eq!(audit["items"][0]["dead"], json!(1));
    service.stop().await;
}

#[tokio::test]
async fn what_a_trigger_swallows_is_no_duplicate_and_stays() {
    let (site, service, _, _) = site_with_a_dead_letter().await;
    site.execute(ALLOW).await;
    site.execute(
        "CREATE FUNCTION org_acme.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TRIGGER swallow BEFORE INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.swallow()",
    )
    .await;
    let ran = site.run("dead-letters replay acme --json").await.exits(1);
    assert_eq!(
        (&ran.items()[0]["outcome"], &ran.items()[0]["sqlstate"]),
        (&json!("refused"), &json!("02000"))
    );
    assert_eq!(totals(&site).await, (9, 0, 1));
    assert_eq!(site.number("SELECT count(*) FROM org_acme.dead_letter").await, 1);
    service.stop().await;
}

#[tokio::test]
async fn a_replay_of_what_a_retry_stored_meanwhile_is_a_duplicate() {
    let (site, service, acme, events) = site_with_a_dead_letter().await;
    site.execute(ALLOW).await;
    service.post(&acme, Form::Json, &events[1..2]).await.accepts(1);
    totals_become(&site, (10, 0, 1)).await;
    let items = site.run("dead-letters replay acme 1 --json").await.done().items();
    assert_eq!(items[0]["outcome"], "duplicate");
    assert_eq!(totals(&site).await, (10, 1, 0));
    site.run("audit").await.done();
    service.stop().await;
}

#[tokio::test]
async fn replays_at_once_store_once() {
    let (site, service, _, _) = site_with_a_dead_letter().await;
    site.execute(ALLOW).await;
    let replay =
        || async { site.run("dead-letters replay acme 1 --json").await.items()[0]["outcome"].clone() };
    let (one, other, third) = tokio::join!(replay(), replay(), replay());
    let mut outcomes = [one, other, third].map(|outcome| outcome.as_str().unwrap_or_default().to_owned());
    outcomes.sort();
    assert_eq!(outcomes, ["not_found", "not_found", "stored"]);
    assert_eq!(totals(&site).await, (10, 0, 0));
    service.stop().await;
}

#[tokio::test]
async fn a_letter_that_is_kept_as_a_record_is_replayed_from_it() {
    let (site, service, _, _) = site_with_a_dead_letter().await;
    site.execute("UPDATE org_acme.dead_letter SET event = NULL, record = '\\x00'").await;
    site.execute(ALLOW).await;
    let ran = site.run("dead-letters replay acme --json").await.exits(1);
    assert_eq!(ran.items()[0]["reason"], "its record cannot be decoded");

    // `Record` by hand: who, which record, which request, when, and one `RecordEvent`.
    let event_id = site.texts("SELECT event_id::text FROM org_acme.dead_letter").await.remove(0);
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("a short field");
        [&[number << 3 | 2, length], bytes].concat()
    };
    let id = uuid::Uuid::parse_str(&event_id).expect("an id");
    let texts = [(2, "video.played"), (3, "s"), (4, "v"), (5, "c")];
    let texts: Vec<u8> = texts.iter().flat_map(|(number, text)| field(*number, text.as_bytes())).collect();
    let event = [field(1, id.as_bytes()), texts].concat();
    let ids: Vec<u8> = (1..=3).flat_map(|number| field(number, id.as_bytes())).collect();
    let record = [ids, vec![4 << 3, 1], field(5, &event)].concat();
    let update = "UPDATE org_acme.dead_letter SET record = $1";
    site.superuser().await.execute(update, &[&record]).await.expect("a letter");
    assert_eq!(site.run("dead-letters replay acme --json").await.done().items()[0]["outcome"], "stored");
    let stored =
        "SELECT content_id FROM org_acme.event WHERE received_at = timestamptz 'epoch' + interval '1 ms'";
    assert_eq!(site.texts(stored).await, ["c"]);
    service.stop().await;
}

#[tokio::test]
async fn discarding_marks_once_and_never_deletes() {
    let (site, service, _, _) = site_with_a_dead_letter().await;
    let first = site.run("dead-letters discard acme 1 --json").await.done().items();
    assert!(first[0]["discarded_at"].is_string(), "{first:?}");
    assert_eq!(site.run("dead-letters discard acme 1 --json").await.done().items(), first);
    assert_eq!(site.run("dead-letters discard acme --json").await.done().items(), Vec::<Value>::new());
    let trail = "SELECT count(*) FROM rollbook.admin_event WHERE action = 'letter.discard'";
    assert_eq!(site.number(trail).await, 1);
    let unknown = site.run("dead-letters discard acme 1 99 --json").await.exits(1);
    assert_eq!(unknown.error_code(), "dead_letter_not_found");

    // It is not replayed any more, and still accounted for.
    site.execute(ALLOW).await;
    assert_eq!(site.run("dead-letters replay acme --json").await.done().items(), Vec::<Value>::new());
    let ran = site.run("dead-letters replay acme 1 --json").await.exits(1);
    assert_eq!(ran.items()[0]["outcome"], "discarded");
    let audit = site.run("audit --json").await.done().json();
    assert_eq!((&audit["items"][0]["dead"], &audit["items"][0]["discarded"]), (&json!(0), &json!(1)));
    service.stop().await;
}
