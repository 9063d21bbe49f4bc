//! Held, healed, drained: in order, once, and with the watermark.

use prost::Message as _;

use super::super::holding::{DrainError, HoldOutcome, Opening, ToHold, drain_some, hold, open};
use super::super::lane::BatchLimits;
use super::super::position::Watermark;
use super::super::writer::{Fates, Refusal, WriteError};
use super::events::{bad_event, event, events, log_record, record, record_bytes, source};
use super::site::{POSITION, Site, record_id};
use crate::event::{Event, proto};
use crate::log::record::RecordView;
use crate::tenant::OrganizationId;

/// Everything that is held fits.
const ALL: usize = 1 << 30;

/// Holds a record of acme's, as a lane does; gives its id.
async fn hold_one(site: &Site, offset: i64, events: &[Event<'_>]) -> uuid::Uuid {
    let bytes = record_bytes(site.id("acme"), events);
    let to_hold = [ToHold { offset, bytes: &bytes, events: i32::try_from(events.len()).expect("few") }];
    let outcome = hold(&site.loader().await, site.id("acme"), POSITION, &to_hold, "a test").await;
    assert_eq!(outcome.expect("held"), HoldOutcome::Held);
    RecordView::parse(&bytes).expect("a record of ours").record_id
}

async fn drain(site: &Site, bytes: usize) -> Result<Option<Fates>, DrainError> {
    drain_up_to(site, BatchLimits { rows: usize::MAX, bytes }).await
}

async fn drain_up_to(site: &Site, limits: BatchLimits) -> Result<Option<Fates>, DrainError> {
    let mut loader = site.loader().await;
    let drained =
        drain_some(&mut loader, &site.statements("acme"), site.id("acme"), POSITION, limits).await?;
    Ok(drained.map(|drained| drained.fates))
}

async fn opening(site: &Site) -> Opening {
    let opened = open(&mut site.loader().await, &site.statements("acme"), site.id("acme"), POSITION).await;
    opened.expect("it opens")
}

fn stored(stored: u64) -> Option<Fates> {
    Some(Fates { stored, ..Fates::default() })
}

#[tokio::test]
async fn a_broken_schema_is_held_and_drained_in_order_once_it_is_healed() {
    let site = Site::with(&["acme", "birch"]).await;
    let acme = site.id("acme");
    let writer = format!("{}org_acme", site.prefix.as_str());
    let ways = [
        (
            "ALTER TABLE org_acme.event RENAME seq TO gone".to_owned(),
            "ALTER TABLE org_acme.event RENAME gone TO seq".to_owned(),
        ),
        (
            format!("REVOKE INSERT ON org_acme.event FROM {writer}"),
            format!("GRANT INSERT ON org_acme.event TO {writer}"),
        ),
        (
            "ALTER TABLE org_acme.event RENAME TO gone".to_owned(),
            "ALTER TABLE org_acme.gone RENAME TO event".to_owned(),
        ),
        (
            "ALTER SCHEMA org_acme RENAME TO gone".to_owned(),
            "ALTER SCHEMA gone RENAME TO org_acme".to_owned(),
        ),
        (
            format!("REVOKE {writer} FROM {}", site.loader_login()),
            format!("GRANT {writer} TO {}", site.loader_login()),
        ),
    ];
    let shared = site.shared(site.organizations());
    let mut offset = 0_i64;
    for (round, (breaks, heals)) in (1_i64..).zip(ways) {
        site.execute(&breaks).await;
        let ids = offset.unsigned_abs() as u128 * 10;
        let first = record(acme, offset, &events(ids..ids + 3));
        // The second has an event of the first once more, with other words: order decides which one is stored.
        let again = Event { session_id: "later".into(), ..event(ids) };
        let second = record(acme, offset + 1, &[again, event(ids + 5)]);
        assert_eq!(site.through_a_lane(&shared, vec![first, second]).await, offset + 2, "{breaks}");
        assert_eq!(site.held().await.len(), 2, "{breaks}");

        // Others are not delayed.
        let birch = site.id("birch");
        let well = site.through_a_lane(&shared, vec![record(birch, offset, &[event(ids)])]).await;
        assert_eq!(well, offset + 1);

        assert!(drain(&site, ALL).await.is_err(), "{breaks}");
        assert_eq!(site.held().await.len(), 2, "{breaks}");
        site.execute(&heals).await;
        // One at a time: a byte is too little for two, and enough for one.
        assert_eq!(drain(&site, 1).await.expect("drained"), stored(3), "{heals}");
        assert_eq!(site.held().await.len(), 1);
        assert!(opening(&site).await.any_held);
        let fates = Fates { stored: 1, duplicate: 1, dead: 0 };
        assert_eq!(drain(&site, 1).await.expect("drained"), Some(fates), "{heals}");
        assert_eq!(drain(&site, 1).await.expect("nothing left"), None);
        assert_eq!(site.totals("acme").await, [format!("3|{}|{}|{round}|0", offset + 2, 4 * round)]);
        offset += 2;
    }
    assert_eq!(site.number("SELECT count(*) FROM org_acme.event WHERE session_id = 'later'").await, 0);
    assert_eq!(site.number("SELECT count(*) FROM org_birch.event").await, 5);
}

#[tokio::test]
async fn a_lane_goes_on_by_itself_once_its_schema_is_healed() {
    let site = Site::with(&["acme"]).await;
    let acme = site.id("acme");
    hold_one(&site, 4, &events(0..3)).await;
    let shared = site.shared(site.organizations());
    // What is held comes first: the lane opens held, though the schema is well, and the new record queues behind.
    let safe = site.through_a_lane(&shared, vec![record(acme, 6, &events(10..12))]).await;
    assert_eq!((safe, site.held().await.len()), (7, 2));
    assert_eq!(site.contents("acme").await, [0, 0, 0]);
    assert_eq!(drain(&site, ALL).await.expect("drained"), stored(5));
    assert_eq!(site.totals("acme").await, ["3|7|5|0|0"]);
}

#[tokio::test]
async fn a_record_is_held_once_and_never_touches_the_watermark() {
    let site = Site::with(&["acme"]).await;
    let id = hold_one(&site, 4, &events(0..3)).await;
    let bytes = record_bytes(site.id("acme"), &events(0..3));
    // Another owner, after a rebalance: what stands there stays.
    let again =
        [ToHold { offset: 4, bytes: &bytes, events: 3 }, ToHold { offset: 5, bytes: &bytes, events: 3 }];
    let outcome = hold(&site.loader().await, site.id("acme"), POSITION, &again, "another reason").await;
    assert_eq!(outcome.expect("held"), HoldOutcome::Held);
    assert_eq!(site.held().await, ["4|3|a test", "5|3|another reason"]);
    assert_eq!(opening(&site).await, Opening { watermark: None, any_held: true });

    assert_eq!(drain(&site, 1).await.expect("drained"), stored(3));
    assert_eq!(opening(&site).await, Opening { watermark: Some(Watermark::after(4, id)), any_held: true });
}

#[tokio::test]
async fn records_below_the_watermark_are_deleted_unwritten() {
    let site = Site::with(&["acme"]).await;
    let acme = site.id("acme");
    for offset in [1_i64, 2, 8, 9] {
        let ids = 100 * offset.unsigned_abs() as u128;
        hold_one(&site, offset, &events(ids..ids + 2)).await;
    }
    // Another owner stored what lies up to 8.
    let stored_before = site.flush("acme", None, source(acme, 8, events(0..1))).await;
    assert!(matches!(stored_before, Ok(Some(_))));
    assert_eq!(drain(&site, ALL).await.expect("drained"), stored(2));
    assert_eq!((site.held().await.len(), site.totals("acme").await), (0, vec!["3|10|3|0|0".to_owned()]));
    let ids = site.texts("SELECT event_id::text FROM org_acme.event ORDER BY event_id").await;
    assert_eq!(ids, [0_u128, 900, 901].map(|id| uuid::Uuid::from_u128(id).to_string()));

    // Nothing but what is below: the watermark stays, with the id that it had.
    let before =
        site.texts("SELECT last_record_id || ' ' || updated_at FROM org_acme.ingest_watermark").await;
    hold_one(&site, 3, &events(300..302)).await;
    assert_eq!(drain(&site, ALL).await.expect("drained"), Some(Fates::default()));
    let after = site.texts("SELECT last_record_id || ' ' || updated_at FROM org_acme.ingest_watermark").await;
    assert_eq!((site.held().await.len(), after), (0, before));
}

#[tokio::test]
async fn other_partitions_generations_and_organizations_are_not_drained_along() {
    let site = Site::with(&["acme", "birch"]).await;
    site.execute("INSERT INTO rollbook.log (generation, kind, name) VALUES (2, 'kafka', 'another')").await;
    hold_one(&site, 4, &events(0..3)).await;
    let rest = "INSERT INTO rollbook.held_record (generation, partition, log_offset, organization_id, record, events, reason) \
                SELECT g, p, o, id, record, events, 'other' FROM rollbook.held_record, \
                    (VALUES (2, 3, 4, 'acme'), (1, 2, 4, 'acme'), (1, 3, 3, 'birch')) AS other (g, p, o, slug) \
                    JOIN rollbook.organization USING (slug)";
    site.execute(rest).await;
    assert_eq!(drain(&site, ALL).await.expect("drained"), stored(3));
    assert_eq!(site.held().await, ["3|3|other", "4|3|other", "4|3|other"]);
    assert_eq!(site.contents("birch").await, [0, 0, 0]);
}

#[tokio::test]
async fn two_drains_at_once_are_one() {
    let site = Site::with(&["acme"]).await;
    hold_one(&site, 4, &events(0..3)).await;
    let lock = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('rollbook drain ' || '{}', 0))",
        site.id("acme")
    );
    let other = site.loader().await;
    other.batch_execute(&lock).await.expect("a lock");
    assert!(matches!(drain(&site, ALL).await, Err(DrainError::Busy)));
    other.batch_execute("ROLLBACK").await.expect("no lock");

    // Where setup ran without a superuser any login may take such a lock; that of one who may drain counts.
    site.execute("GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO PUBLIC").await;
    let administrator = site.superuser().await;
    administrator.batch_execute(&lock).await.expect("a lock");
    assert!(matches!(drain(&site, ALL).await, Err(DrainError::Busy)));
    administrator.batch_execute("ROLLBACK").await.expect("no lock");
    let stranger = site.stranger().await;
    stranger.batch_execute(&lock).await.expect("a lock");
    assert_eq!(drain(&site, ALL).await.expect("drained"), stored(3));
    stranger.batch_execute("ROLLBACK").await.expect("no lock");
    hold_one(&site, 5, &events(3..6)).await;

    let (one, two) = tokio::join!(drain(&site, ALL), drain(&site, ALL));
    let drained = [one, two].into_iter().filter(|outcome| matches!(outcome, Ok(Some(_)))).count();
    assert_eq!((drained, site.totals("acme").await), (1, vec!["3|6|6|0|0".to_owned()]));
}

#[tokio::test]
async fn bad_rows_among_held_ones_are_dead_lettered_and_too_many_stay_held() {
    let site = Site::with(&["acme"]).await;
    let mut some_bad = events(0..10);
    some_bad.extend((100..103).map(bad_event));
    hold_one(&site, 4, &some_bad).await;
    let many_bad: Vec<_> = (200..217).map(bad_event).collect();
    hold_one(&site, 5, &many_bad).await;
    assert_eq!(drain(&site, 1).await.expect("drained"), Some(Fates { stored: 10, duplicate: 0, dead: 3 }));
    match drain(&site, 1).await {
        Err(DrainError::Write(error @ WriteError::TooManyDead { .. })) => {
            assert!(matches!(Refusal::from(error), Refusal::Schema(_)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(site.held().await, ["5|17|a test"]);
    assert_eq!(
        (site.contents("acme").await, site.totals("acme").await),
        ([10, 3, 1], vec!["3|5|10|0|3".to_owned()])
    );
}

#[tokio::test]
async fn seventeen_bad_rows_over_many_held_records_are_dead_letters_and_stand_in_nobodys_way() {
    let site = Site::with(&["acme"]).await;
    for offset in 0..17_i64 {
        let ids = 100 * u128::from(offset.unsigned_abs());
        hold_one(&site, offset, &[event(ids), bad_event(ids + 1)]).await;
    }
    let mut drained = Fates::default();
    while let Some(fates) = drain(&site, ALL).await.expect("few in each record") {
        drained.stored += fates.stored;
        drained.dead += fates.dead;
    }
    assert_eq!(drained, Fates { stored: 17, duplicate: 0, dead: 17 });
    assert_eq!((site.held().await.len(), site.totals("acme").await), (0, vec!["3|17|17|0|17".to_owned()]));
}

#[tokio::test]
async fn an_undecodable_record_among_held_ones_is_written_down_and_not_stored() {
    let site = Site::with(&["acme"]).await;
    hold_one(&site, 4, &events(0..3)).await;
    site.execute("UPDATE rollbook.held_record SET record = 'nonsense'").await;
    hold_one(&site, 5, &events(10..12)).await;
    assert_eq!(drain(&site, ALL).await.expect("drained"), stored(2));
    assert_eq!(site.totals("acme").await, ["3|6|2|0|0"]);
    let sql =
        "SELECT concat_ws('|', log_offset, convert_from(record, 'UTF8')) FROM rollbook.unreadable_record";
    assert_eq!(site.texts(sql).await, ["4|nonsense"]);
}

#[tokio::test]
async fn nothing_is_held_for_a_removed_organization() {
    let site = Site::with(&["acme"]).await;
    hold_one(&site, 4, &events(0..3)).await;
    site.remove("acme").await;
    assert_eq!(site.held().await.len(), 0);
    let bytes = record_bytes(site.id("acme"), &events(0..3));
    let to_hold = [ToHold { offset: 5, bytes: &bytes, events: 3 }];
    let outcome = hold(&site.loader().await, site.id("acme"), POSITION, &to_hold, "a test").await;
    assert_eq!((outcome.expect("an answer"), site.held().await.len()), (HoldOutcome::OrganizationRemoved, 0));
    // Nor does what its role could do come back.
    let drained = drain(&site, ALL).await.expect("nothing is held");
    assert_eq!(drained, None);
}

#[tokio::test]
async fn holding_waits_for_a_removal_that_is_under_way_and_then_holds_nothing() {
    let site = Site::with(&["acme"]).await;
    let remover = site.superuser().await;
    let begun =
        format!("BEGIN; UPDATE rollbook.organization SET state = 'removed' WHERE id = '{}'", site.id("acme"));
    remover.batch_execute(&begun).await.expect("a removal that is under way");
    let bytes = record_bytes(site.id("acme"), &events(0..3));
    let to_hold = [ToHold { offset: 5, bytes: &bytes, events: 3 }];
    let loader = site.loader().await;
    let held = hold(&loader, site.id("acme"), POSITION, &to_hold, "a test");
    let ended = async {
        site.until_the_loader_waits_for_a_lock().await;
        remover.batch_execute("COMMIT").await.expect("removed");
    };
    let (outcome, ()) = tokio::join!(held, ended);
    assert_eq!((outcome.expect("an answer"), site.held().await.len()), (HoldOutcome::OrganizationRemoved, 0));
}

#[tokio::test]
async fn a_schema_of_an_unknown_version_is_left_alone_and_its_records_are_held() {
    let site = Site::with(&["acme"]).await;
    let acme = site.id("acme");
    for (offset, version) in [(1_i64, 0), (2, 1_000)] {
        let mut organization = site.organization("acme").clone();
        organization.schema_version = version;
        let shared = site.shared(vec![organization]);
        let safe = site.through_a_lane(&shared, vec![record(acme, offset, &[event(1)])]).await;
        assert_eq!(safe, offset + 1);
    }
    let held = site.held().await;
    assert!(held[0].ends_with("run `rollbook migrate`"), "{held:?}");
    assert!(held[1].ends_with("use the newer release"), "{held:?}");
    assert_eq!((held.len(), site.contents("acme").await), (2, [0, 0, 0]));
}

#[tokio::test]
async fn a_lane_passes_over_what_its_schema_already_has() {
    let site = Site::with(&["acme"]).await;
    let acme = site.id("acme");
    site.flush("acme", None, source(acme, 5, events(0..3))).await.expect("stored");
    let shared = site.shared(site.organizations());
    let records =
        vec![record(acme, 4, &events(40..42)), record(acme, 5, &events(0..3)), record(acme, 6, &[event(60)])];
    assert_eq!(site.through_a_lane(&shared, records).await, 7);
    assert_eq!(site.totals("acme").await, ["3|7|4|0|0"]);
    assert_ne!(
        opening(&site).await.watermark,
        Some(Watermark::after(6, record_id(6))),
        "the record's own id"
    );
}

#[tokio::test]
async fn a_copy_that_is_refused_before_its_first_row_leaves_no_connection_out_of_step() {
    let site = Site::with(&["acme"]).await;
    // One connection: what the refusal did to it would be met by everything that follows.
    let shared = site.shared_with(site.organizations(), |settings| {
        settings.connections = std::num::NonZeroU32::MIN;
    });
    let acme = site.id("acme");
    site.execute("ALTER TABLE org_acme.event RENAME seq TO gone").await;
    for offset in 0..3_i64 {
        let first = offset.unsigned_abs() as u128 * 1_000;
        let many = record(acme, offset, &events(first..first + 300));
        assert_eq!(site.through_a_lane(&shared, vec![many]).await, offset + 1);
    }
    let held = site.held().await;
    assert!(held.len() == 3 && held[0].starts_with("0|300|42703: "), "{held:?}");
    assert_eq!(site.number("SELECT count(*) FROM rollbook.unreadable_record").await, 0);

    site.execute("ALTER TABLE org_acme.event RENAME gone TO seq").await;
    assert_eq!(drain(&site, ALL).await.expect("drained"), stored(900));
}

#[tokio::test]
async fn a_record_of_a_newer_release_is_held_until_that_release_drains_it() {
    let site = Site::with(&["acme"]).await;
    let acme = site.id("acme");
    let (bytes, newer) = (record_bytes(acme, &[event(2)]), of_format(1, acme, &[event(2)]));
    let records =
        vec![record(acme, 0, &[event(1)]), log_record(1, newer.clone()), record(acme, 2, &[event(3)])];
    let shared = site.shared(site.organizations());
    assert_eq!(site.through_a_lane(&shared, records).await, 3, "all are safe");
    assert_eq!(site.contents("acme").await, [1, 0, 1], "only what stands before it is stored");
    let held = site.held().await;
    assert_eq!(held.len(), 2, "order is kept: {held:?}");
    let reason = "1|1|the record at offset 1 cannot be loaded: a newer release wrote it in format 1, and this one reads \
                  formats up to 0: use the newer release; loaders first";
    assert_eq!(held[0], reason);

    // This release drains nothing of it, also when it is asked to.
    let refused = drain(&site, ALL).await;
    assert!(matches!(&refused, Err(DrainError::Unfit(unfit)) if unfit.offset == 1), "{refused:?}");
    assert_eq!(site.held().await, held);

    // To the newer one it is a record like any other.
    let superuser = site.superuser().await;
    let known = "UPDATE rollbook.held_record SET record = $1 WHERE record = $2";
    assert_eq!(superuser.execute(known, &[&bytes, &newer]).await.expect("an update"), 1);
    assert_eq!(drain(&site, ALL).await.expect("drained"), stored(2));
    assert_eq!(site.contents("acme").await, [3, 0, 1]);
    assert_eq!(site.held().await, Vec::<String>::new());
}

/// A record as a release writes it whose readers must know this format.
fn of_format(format: u32, organization: OrganizationId, events: &[Event<'_>]) -> Vec<u8> {
    let record = proto::Record::decode(&record_bytes(organization, events)[..]).expect("a record of ours");
    proto::Record { format, ..record }.encode_to_vec()
}

/// What is held leaves the log: a crash must not forget it.
#[tokio::test]
async fn a_hold_is_committed_synchronously_where_the_servers_default_is_not() {
    let site = Site::with(&["acme"]).await;
    let login = site.loader_login();
    site.execute(&format!(
        "CREATE TABLE public.told (said text); \
         CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
             $$ BEGIN INSERT INTO public.told SELECT current_setting('synchronous_commit'); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON rollbook.held_record DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION public.tell(); \
         ALTER ROLE {login} SET synchronous_commit = off"
    ))
    .await;
    let mut organization = site.organization("acme").clone();
    organization.schema_version = 0;
    let shared = site.shared(vec![organization]);
    site.through_a_lane(&shared, vec![record(site.id("acme"), 7, &[event(1)])]).await;
    // Asked at the commit.
    assert_eq!(site.texts("SELECT said FROM public.told").await, ["on"]);
}

#[tokio::test]
async fn a_drain_takes_as_many_rows_as_it_may_and_one_record_at_least() {
    let site = Site::with(&["acme"]).await;
    for offset in 0..5_i64 {
        let ids = 100 * u128::from(offset.unsigned_abs());
        hold_one(&site, offset, &events(ids..ids + 10)).await;
    }
    for (rows, taken) in [(1, 10), (10, 10), (11, 20)] {
        let limits = BatchLimits { rows, bytes: ALL };
        assert_eq!(drain_up_to(&site, limits).await.expect("drained"), stored(taken), "{rows}");
    }
    assert_eq!(site.held().await.len(), 1);
}
