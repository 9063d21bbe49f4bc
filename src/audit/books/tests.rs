use std::borrow::Cow;

use super::super::ledger::OpenLedger;
use super::*;
use crate::event::{Event, UnixMillis};
use crate::log::RecordBuilder;
use crate::store::audit::{DeadLetter, Totals};
use crate::tenant::{OrganizationId, State};

fn organization(number: u128) -> Organization {
    let slug = if number == 1 { "acme" } else { "birch" };
    Organization {
        id: OrganizationId(Uuid::from_u128(number)),
        slug: slug.parse().expect("a slug"),
        schema_name: format!("org_{slug}"),
        state: State::Active,
        schema_version: 1,
        completion: crate::tenant::Completion::default(),
        rate_limit: None,
        origins: Vec::new(),
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(1000 + number)
}

/// One record with these ids.
fn record(organization: u128, ids: &[u128]) -> Vec<u8> {
    let organization = OrganizationId(Uuid::from_u128(organization));
    let mut builder = RecordBuilder::new(organization, Uuid::nil(), UnixMillis(1));
    for number in ids {
        builder.push(&Event {
            id: id(*number),
            type_name: Cow::Borrowed("video.played"),
            session_id: Cow::Borrowed("s"),
            viewer_id: Cow::Borrowed("v"),
            content_id: Cow::Borrowed("c"),
            occurred_at: UnixMillis(1),
            client_occurred_at: UnixMillis(1),
            ..Event::empty()
        });
    }
    builder.finish().remove(0).bytes
}

/// Acme's 1, 2, 3 and again 2; birch's 4; and something that nobody can read.
fn ledger() -> Ledger {
    let mut ledger = OpenLedger::default();
    ledger.write(0, 0, &record(1, &[2, 1]));
    ledger.write(0, 1, &record(2, &[4]));
    ledger.write(0, 2, b"not a record");
    ledger.write(0, 3, &record(1, &[3, 2]));
    ledger.close()
}

/// Loaded up to an offset, with these totals.
fn loaded(next_offset: i64, stored: u64, duplicate: u64, dead: u64) -> Holdings {
    let totals = Totals { next_offset, stored, duplicate, dead };
    Holdings { watermarks: HashMap::from([(0, totals)]), ..Holdings::default() }
}

fn account(holdings: Holdings, committed: i64, whole: bool, stored: &[u128]) -> Account {
    let ledger = ledger();
    let committed = HashMap::from([(0, committed)]);
    let mut books = Books::open(&ledger, organization(1), holdings, &committed, whole);
    stored.iter().for_each(|number| books.stored(id(*number)));
    books.close()
}

fn letter(number: u128, is_discarded: bool) -> DeadLetter {
    DeadLetter { event_id: id(number), is_of_this_generation: true, is_discarded }
}

#[test]
fn books_that_agree_have_no_remarks() {
    let account = account(loaded(4, 3, 1, 0), 4, true, &[1, 2, 3]);
    assert!(account.is_ok(), "{account:?}");
    assert_eq!((account.accepted, account.stored, account.duplicate), (4, 3, 1));
}

#[test]
fn what_the_loader_has_not_come_to_is_in_flight_and_what_it_has_passed_over_is_lost() {
    let in_flight = account(loaded(1, 2, 0, 0), 1, true, &[1, 2]);
    assert!(in_flight.is_ok(), "{in_flight:?}");
    assert_eq!(in_flight.in_flight, 2);
    let lost = account(loaded(1, 2, 0, 0), 4, true, &[1, 2]);
    assert_eq!((lost.in_flight, lost.missing), (0, vec![id(3)]));
}

#[test]
fn dead_discarded_and_held_events_are_where_they_should_be() {
    let dead_letters = vec![letter(1, false), letter(2, true)];
    let held = HashMap::from([((0, 3), 2)]);
    let account = account(Holdings { dead_letters, held, ..loaded(1, 0, 0, 2) }, 4, true, &[]);
    assert!(account.is_ok(), "{account:?}");
    assert_eq!((account.dead, account.discarded, account.held, account.in_flight), (1, 1, 2, 0));
}

#[test]
fn a_held_record_below_the_watermark_excuses_nothing_and_counts_nothing() {
    let held = HashMap::from([((0, 3), 2)]);
    let stale = account(Holdings { held: held.clone(), ..loaded(4, 3, 1, 0) }, 4, true, &[1, 2, 3]);
    assert!(stale.is_ok(), "{stale:?}");
    let account = account(Holdings { held, ..loaded(4, 3, 1, 0) }, 4, true, &[1, 2]);
    assert_eq!(account.missing, [id(3)]);
}

#[test]
fn ids_of_others_are_foreign_and_unknown_ones_only_where_the_log_has_everything() {
    let foreign = |holdings: Holdings, whole| account(holdings, 4, whole, &[1, 2, 3, 4, 9]).foreign;
    assert_eq!(foreign(loaded(4, 3, 1, 0), true), [id(4), id(9)]);
    assert_eq!(foreign(loaded(4, 3, 1, 0), false), [id(4)]);
    let loaded_before = Holdings { has_other_generations: true, ..loaded(4, 3, 1, 0) };
    assert_eq!(foreign(loaded_before, true), [id(4)]);
    let dead = Holdings { dead_letters: vec![letter(4, false)], ..loaded(4, 3, 1, 0) };
    assert_eq!(account(dead, 4, false, &[1, 2, 3]).foreign, [id(4)]);
}

#[test]
fn totals_are_compared_only_where_the_log_is_whole() {
    assert!(account(loaded(4, 7, 1, 0), 4, false, &[1, 2, 3]).is_ok());
    assert!(!account(loaded(4, 7, 1, 0), 4, true, &[1, 2, 3]).is_ok());
    assert!(!account(loaded(4, 2, 2, 0), 4, true, &[1, 2, 3]).is_ok(), "the rows are counted too");
}

#[test]
fn in_a_schema_that_cannot_be_read_everything_but_what_is_held_is_missing() {
    let unreadable = Some("gone".to_owned());
    let held = HashMap::from([((0, 3), 2)]);
    let account = account(Holdings { unreadable, held, ..Holdings::default() }, 0, true, &[]);
    // 2 is also in the held record, so it is not lost.
    assert_eq!(account.missing, [id(1)]);
    assert_eq!((account.held, account.in_flight), (2, 0));
}
