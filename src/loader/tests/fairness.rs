//! Schemas that are slow, each in itself within all limits, beside one that is well: nobody waits for another's schema.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Shared;
use super::super::holding::{ToHold, hold};
use super::super::position::Watermark;
use super::driver::Driver;
use super::events::{event, record, record_bytes};
use super::site::{POSITION, Site};
use crate::tenant::OrganizationId;

/// The longest that a healthy organization's events may take until analysts see them.
const VISIBLE_WITHIN: Duration = Duration::from_secs(2);
const HEALTHY: &str = "healthy";
const ASLEEP: &str = "SELECT count(*) FROM pg_stat_activity \
     WHERE wait_event = 'PgSleep' AND state = 'active' AND datname = current_database()";

/// Slow organizations beside a healthy one, and a loader with two writers, and six connections for what is slow.
struct Scene {
    site: Site,
    shared: Arc<Shared>,
    driver: Driver,
    slow: Vec<String>,
    next_offset: i64,
    given: HashMap<String, u64>,
    most_connections: i64,
}

impl Scene {
    async fn with(slow: usize, seconds: u32) -> Self {
        let slow: Vec<String> = (0..slow).map(|n| format!("slow{n}")).collect();
        let slugs: Vec<&str> = slow.iter().map(String::as_str).chain([HEALTHY]).collect();
        let site = Site::with(&slugs).await;
        for slug in &slow {
            site.execute(&format!(
                "CREATE FUNCTION org_{slug}.slow() RETURNS trigger LANGUAGE plpgsql AS \
                     'BEGIN PERFORM pg_catalog.pg_sleep({seconds}); RETURN NULL; END'; \
                 CREATE TRIGGER slow BEFORE INSERT ON org_{slug}.event EXECUTE FUNCTION org_{slug}.slow()"
            ))
            .await;
        }
        let shared = site.shared(site.organizations());
        let driver = Driver::new(&shared);
        Self { site, shared, driver, slow, next_offset: 0, given: HashMap::new(), most_connections: 0 }
    }

    fn id(&self, slug: &str) -> OrganizationId {
        self.site.id(slug)
    }

    /// The log brings a record with one event; gives its offset.
    fn give(&mut self, slug: &str) -> i64 {
        let offset = self.offset_of(slug);
        let event = event(offset.unsigned_abs().into());
        self.driver.give(record(self.id(slug), offset, &[event]));
        offset
    }

    fn offset_of(&mut self, slug: &str) -> i64 {
        *self.given.entry(slug.to_owned()).or_default() += 1;
        self.next_offset += 1;
        self.next_offset - 1
    }

    /// Something new for each of the slow ones.
    fn give_to_slow(&mut self) {
        for slug in self.slow.clone() {
            self.give(&slug);
        }
    }

    /// The healthy organization's next event is stored in time, as time goes on this machine at present.
    async fn healthy_is_seen(&mut self) {
        let (offset, given_at) = (self.give(HEALTHY), Instant::now());
        let healthy = self.id(HEALTHY);
        let mut probing = Probing::default();
        let is_stored =
            |driver: &Driver| Watermark::covers(driver.lane(healthy).confirmed().as_ref(), offset);
        tokio::select! {
            () = self.driver.until("the healthy organization's event", is_stored) => {}
            () = probing.go_on(&self.site) => {}
        }
        let (took, usual) = (given_at.elapsed(), probing.longest());
        assert!(
            took < VISIBLE_WITHIN + 4 * usual,
            "a healthy organization waited for {took:?}, where {usual:?} is usual"
        );
        let connections =
            format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", self.site.loader_login());
        let connections = self.driver.during(self.site.number(&connections)).await;
        self.most_connections = self.most_connections.max(connections);
    }

    fn confirmed(&self, slug: &str) -> Option<Watermark> {
        self.driver.lane(self.id(slug)).confirmed()
    }

    /// All that the log brought is stored, once, within the connections that there may be, and nothing goes on.
    async fn all_is_stored(mut self) {
        self.driver.until_all_is_safe().await;
        self.driver.during(self.site.until(&ASLEEP.replace("count(*)", "(count(*) = 0)::int::bigint"))).await;
        for (slug, given) in &self.given {
            let totals = format!(
                "SELECT concat_ws('|', stored, duplicate, dead, (SELECT count(*) FROM org_{slug}.event)) \
                 FROM org_{slug}.ingest_watermark"
            );
            assert_eq!(self.site.texts(&totals).await, [format!("{given}|0|0|{given}")], "{slug}");
        }
        assert_eq!(self.site.held().await, Vec::<String>::new());
        let most = i64::from(self.shared.settings.most_connections().get());
        assert!(self.most_connections <= most, "{} connections, {most} at most", self.most_connections);
    }
}

/// What a connection and a row cost on this machine while something else is measured: tests share it with others.
#[derive(Default)]
struct Probing {
    longest: Duration,
    begun: Option<Instant>,
}

impl Probing {
    /// Goes on for as long as it is asked to.
    async fn go_on(&mut self, site: &Site) {
        loop {
            let begun = Instant::now();
            self.begun = Some(begun);
            site.execute(
                "CREATE TABLE IF NOT EXISTS public.probe (n int); INSERT INTO public.probe VALUES (1)",
            )
            .await;
            self.longest = self.longest.max(begun.elapsed());
        }
    }

    fn longest(&self) -> Duration {
        self.longest.max(self.begun.map_or(Duration::ZERO, |begun| begun.elapsed()))
    }
}

/// Records go on coming for all of them, until each of the slow ones was served three times.
async fn slow_ones_flush(slow: usize) -> Scene {
    let mut scene = Scene::with(slow, 3).await;
    let mut served: HashMap<String, HashSet<i64>> = HashMap::new();
    scene.healthy_is_seen().await;
    while served.len() < slow || served.values().any(|watermarks| watermarks.len() < 3) {
        scene.give_to_slow();
        scene.healthy_is_seen().await;
        for slug in &scene.slow {
            let watermark = scene.confirmed(slug).map(|watermark| watermark.next_offset);
            served.entry(slug.clone()).or_default().extend(watermark);
        }
    }
    scene
}

/// Records of each are held, and new ones come behind them.
async fn slow_ones_drain(slow: usize) -> Scene {
    let mut scene = Scene::with(slow, 3).await;
    let loader = scene.site.loader().await;
    for slug in [scene.slow.clone(), scene.slow.clone()].concat() {
        let offset = scene.offset_of(&slug);
        // Held, its place in the log is nobody's any more.
        let bytes = record_bytes(scene.id(&slug), &[event(offset.unsigned_abs().into())]);
        let to_hold = [ToHold { offset, bytes: &bytes, events: 1 }];
        hold(&loader, scene.id(&slug), POSITION, &to_hold, "a test").await.expect("held");
    }
    drop(loader);
    scene.healthy_is_seen().await;
    scene.driver.look_for_held().await;
    scene.give_to_slow();
    while !scene.site.held().await.is_empty() {
        scene.healthy_is_seen().await;
    }
    scene
}

#[tokio::test]
async fn four_slow_schemas_delay_nobody() {
    slow_ones_flush(4).await.all_is_stored().await;
}

/// More than there are connections for what is slow: some are given up, and come to their turn all the same.
#[tokio::test]
async fn eight_slow_schemas_delay_nobody() {
    let scene = slow_ones_flush(8).await;
    assert!(scene.driver.put_back > 0, "eight do not fit beside the others");
    scene.all_is_stored().await;
}

#[tokio::test]
async fn four_slow_drains_delay_nobody() {
    slow_ones_drain(4).await.all_is_stored().await;
}

#[tokio::test]
async fn eight_slow_drains_delay_nobody() {
    slow_ones_drain(8).await.all_is_stored().await;
}

/// Nothing of another's passed lately that would tell slow schemas from a slow server.
#[tokio::test]
async fn whoever_comes_when_all_that_is_there_is_slow_does_not_wait() {
    let mut scene = Scene::with(8, 8).await;
    scene.give_to_slow();
    let all_are_taken = ASLEEP.replace("count(*)", "count(*) / 8");
    scene.driver.during(scene.site.until(&all_are_taken)).await;
    scene.healthy_is_seen().await;
    scene.all_is_stored().await;
}

/// What is given up for others' sake is at an end in Postgres, too, and is stored in the end.
#[tokio::test]
async fn what_is_given_up_is_cancelled_in_postgres() {
    let mut scene = Scene::with(8, 9).await;
    scene.healthy_is_seen().await;
    scene.give_to_slow();
    while scene.driver.put_back == 0 {
        scene.healthy_is_seen().await;
    }
    // Eight began, and there are six connections for them, and two for all. What was put back sleeps no longer.
    let begun = 8 - i64::try_from(scene.driver.put_back).expect("few");
    assert_eq!(scene.site.number(ASLEEP).await, begun);
    scene.all_is_stored().await;
}
