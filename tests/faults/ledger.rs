//! Every id that was sent, with what its client was promised. In the end the schemas are held against it, id by id.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::harness::{Reply, Site, id_of};

/// What clients were told, by organization.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pages: Mutex<BTreeMap<String, Page>>,
}

/// One organization's part.
#[derive(Debug, Default)]
struct Page {
    accepted: HashSet<String>,
    /// Asked for, and no promise was heard: stored or not, both are right.
    unheard: HashSet<String>,
    /// Verdicts `accepted`, an event that was sent twice counted twice.
    promises: u64,
    /// Requests without a promise.
    failures: u64,
}

/// What became of everything that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reckoning {
    /// Different events that were promised to somebody.
    pub(super) accepted: usize,
    /// Different events in the schemas.
    pub(super) stored: usize,
    /// Of those, how many nobody had heard a promise for.
    pub(super) unheard_stored: usize,
    /// Events that met themselves in the schema, as the loaders counted.
    pub(super) duplicate: i64,
    /// Dead letters.
    pub(super) dead: usize,
    /// Verdicts `accepted`.
    pub(super) promises: u64,
    /// Requests without one.
    pub(super) failures: u64,
}

impl Ledger {
    /// Writes down an event that the log took from a client of its own.
    pub(super) fn promise(&self, slug: &str, id: String) {
        let mut pages = self.lock();
        let page = pages.entry(slug.to_owned()).or_default();
        page.promises += 1;
        page.accepted.insert(id);
    }

    /// Writes down what a batch was answered; an error: it was not. Gives whether all of it is promised.
    pub(super) fn note(&self, slug: &str, events: &[Value], answer: &Result<Reply, String>) -> bool {
        let mut pages = self.lock();
        let page = pages.entry(slug.to_owned()).or_default();
        let ids = events.iter().map(id_of);
        match answer {
            Ok(reply) if reply.status == 200 => {
                // Nothing wrong is sent, so what is not plainly accepted is asked for again.
                let results = reply.json["results"].as_array().expect("a list of results");
                let again: HashSet<&str> =
                    results.iter().filter_map(|result| result["id"].as_str()).collect();
                assert!(results.iter().all(|result| result["verdict"] == "retry"), "{}", reply.json);
                let (unheard, accepted): (Vec<_>, Vec<_>) = ids.partition(|id| again.contains(id.as_str()));
                page.promises += accepted.len() as u64;
                page.accepted.extend(accepted);
                page.failures += u64::from(!unheard.is_empty());
                let all = unheard.is_empty();
                page.unheard.extend(unheard);
                all
            }
            Ok(reply) => {
                assert_eq!(reply.status, 503, "{}", reply.json);
                eprintln!("{slug} was refused: {}", reply.json);
                page.unheard.extend(ids);
                page.failures += 1;
                false
            }
            Err(reason) => {
                eprintln!("{slug} was not answered: {reason}");
                page.unheard.extend(ids);
                page.failures += 1;
                false
            }
        }
    }

    /// How many different events of an organization were promised so far.
    pub(super) fn accepted(&self, slug: &str) -> usize {
        self.lock().get(slug).map_or(0, |page| page.accepted.len())
    }

    /// Requests without a promise so far.
    pub(super) fn failures(&self) -> u64 {
        self.lock().values().map(|page| page.failures).sum()
    }

    /// Compares every id with the schemas of a site where everything is loaded.
    pub(super) async fn compare(&self, site: &Site) -> Reckoning {
        let pages = std::mem::take(&mut *self.lock());
        let held = site.number("SELECT count(*) FROM rollbook.held_record").await;
        assert_eq!(held, 0, "records are still held");
        let unreadable = site.number("SELECT count(*) FROM rollbook.unreadable_record").await;
        assert_eq!(unreadable, 0, "records were unreadable");
        let mut all = Reckoning::default();
        for (slug, page) in pages {
            page.compare(site, &slug, &mut all).await;
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    async fn compare(&self, site: &Site, slug: &str, all: &mut Reckoning) {
        let stored = site.stored_ids(slug).await;
        let dead = site.texts(&format!("SELECT event_id::text FROM org_{slug}.dead_letter")).await;
        let repeated: Vec<_> = stored.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(repeated.is_empty(), "{slug} has ids twice: {repeated:?}");
        let kept: HashSet<&str> = stored.iter().chain(&dead).map(String::as_str).collect();
        assert_eq!(kept.len(), stored.len() + dead.len(), "{slug} has events that are stored and dead");

        let lost: Vec<_> = self.accepted.iter().filter(|id| !kept.contains(id.as_str())).collect();
        assert!(
            lost.is_empty(),
            "{slug} lost {} of {} accepted events: {lost:?}",
            lost.len(),
            self.accepted.len()
        );
        let is_ours = |id: &&str| self.accepted.contains(*id) || self.unheard.contains(*id);
        let foreign: Vec<_> = kept.iter().copied().filter(|id| !is_ours(id)).collect();
        assert!(foreign.is_empty(), "{slug} has events that nobody sent for it: {foreign:?}");

        let totals = |column: &str| format!("SELECT sum({column})::bigint FROM org_{slug}.ingest_watermark");
        let counted = (site.number(&totals("stored")).await, site.number(&totals("dead")).await);
        let seen = (as_total(stored.len()), as_total(dead.len()));
        assert_eq!(counted, seen, "{slug}: the running totals of stored and dead against the rows");

        all.accepted += self.accepted.len();
        all.stored += stored.len();
        all.unheard_stored += stored.iter().filter(|id| !self.accepted.contains(*id)).count();
        all.duplicate += site.number(&totals("duplicate")).await;
        all.dead += dead.len();
        all.promises += self.promises;
        all.failures += self.failures;
    }
}

fn as_total(rows: usize) -> i64 {
    i64::try_from(rows).expect("few")
}
