//! Anchors: read and moved as the loader's own login, all or none, and only on the server that the loader began with.

use bytes::Bytes;
use tokio_postgres::Client;
use uuid::Uuid;

use super::super::anchor::{AnchorMove, Moved, read, write};
use super::super::lane::Waiting;
use super::super::partition::{LaneKey, Partition};
use super::super::position::Watermark;
use super::super::server::ServerIdentity;
use super::driver::Driver;
use super::events::{events, log_record, record};
use super::site::{POSITION, Site, record_id};

fn after(offset: i64) -> Watermark {
    Watermark::after(offset, record_id(offset))
}

fn moving(partition: i32, from: Option<Watermark>, to: Watermark) -> AnchorMove {
    AnchorMove { partition, from, to, rewound: false }
}

/// A loader's connection, and what it writes to.
struct Loader {
    site: Site,
    client: Client,
}

impl Loader {
    async fn new() -> Self {
        let site = Site::with(&[]).await;
        let client = site.loader().await;
        Self { site, client }
    }

    async fn write(&mut self, moves: &[AnchorMove]) -> Moved {
        let identity = self.site.identity();
        write(&mut self.client, POSITION.generation, &identity, moves).await.expect("an answer")
    }

    /// Partition, next offset and record of every anchor, and whether it is written at all.
    async fn anchors(&self) -> Vec<String> {
        self.site
            .texts(
                "SELECT concat_ws('|', generation, partition, next_offset, coalesce(record_id::text, 'none')) \
                 FROM rollbook.partition_anchor ORDER BY generation, partition",
            )
            .await
    }
}

#[tokio::test]
async fn anchors_are_read_as_they_were_written_and_moved_from_where_they_are() {
    let mut loader = Loader::new().await;
    let first = [moving(3, None, after(9)), moving(4, None, after(20))];
    assert_eq!(loader.write(&first).await, Moved::All);
    // One is moved, another is new.
    let next = [moving(3, Some(after(9)), after(12)), moving(5, None, after(0))];
    assert_eq!(loader.write(&next).await, Moved::All);
    let expected = [(3, 12), (4, 20), (5, 0)];

    let found = read(&mut loader.client, POSITION.generation, &[3, 4, 5, 6]).await.expect("an answer");
    assert_eq!(found.server, loader.site.identity());
    assert_eq!(found.places.len(), 3, "partition 6 was never loaded");
    for (partition, offset) in expected {
        assert_eq!(found.places.get(&partition), Some(&after(offset)));
    }
    assert_eq!(
        loader.anchors().await,
        expected.map(|(partition, offset)| format!("1|{partition}|{}|{}", offset + 1, record_id(offset)))
    );
    let others = read(&mut loader.client, POSITION.generation, &[4]).await.expect("an answer");
    assert_eq!(others.places.into_keys().collect::<Vec<_>>(), [4]);
    let of_another_life = read(&mut loader.client, POSITION.generation + 1, &[3]).await.expect("an answer");
    assert!(of_another_life.places.is_empty());
}

#[tokio::test]
async fn an_anchor_that_is_elsewhere_means_that_none_is_moved() {
    let mut loader = Loader::new().await;
    assert_eq!(loader.write(&[moving(3, None, after(9)), moving(4, None, after(20))]).await, Moved::All);
    let before = loader.anchors().await;
    let fine = moving(4, Some(after(20)), after(30));
    let new = moving(5, None, after(7));
    for elsewhere in [
        // Another loader made it, or moved it on; the database forgot a part of it.
        moving(3, None, after(12)),
        moving(3, Some(after(8)), after(12)),
        moving(3, Some(after(10)), after(12)),
        // The database forgot it altogether.
        moving(6, Some(after(1)), after(12)),
    ] {
        for moves in
            [vec![elsewhere], vec![fine, elsewhere], vec![elsewhere, fine, new], vec![new, elsewhere]]
        {
            assert_eq!(loader.write(&moves).await, Moved::None, "{moves:?}");
            assert_eq!(loader.anchors().await, before, "{moves:?}");
        }
    }
    assert_eq!(loader.write(&[fine, new]).await, Moved::All);
}

#[tokio::test]
async fn on_another_server_no_anchor_is_written() {
    let mut loader = Loader::new().await;
    assert_eq!(loader.write(&[moving(3, None, after(9))]).await, Moved::All);
    let before = loader.anchors().await;
    let other = ServerIdentity::for_tests("another");
    let moves = [moving(3, Some(after(9)), after(12)), moving(4, None, after(0))];
    let moved = write(&mut loader.client, POSITION.generation, &other, &moves).await;
    assert_eq!((moved.expect("an answer"), loader.anchors().await), (Moved::None, before));
    // The connection is as good as before.
    assert_eq!(loader.write(&moves).await, Moved::All);
}

#[tokio::test]
async fn two_loaders_that_move_the_same_anchor_are_one() {
    let mut loader = Loader::new().await;
    let mut other = loader.site.loader().await;
    let identity = loader.site.identity();
    for (from, to) in [(None, after(9)), (Some(after(9)), after(12))] {
        let moves = [moving(3, from, to)];
        let others = write(&mut other, POSITION.generation, &identity, &moves);
        let (one, others) = tokio::join!(loader.write(&moves), others);
        let others = others.expect("an answer");
        assert!(
            [(Moved::All, Moved::None), (Moved::None, Moved::All)].contains(&(one, others)),
            "{one:?} {others:?}"
        );
    }
}

#[tokio::test]
async fn behind_a_record_that_cannot_be_decoded_the_anchor_names_none() {
    let site = Site::with(&["acme"]).await;
    let shared = site.shared(site.organizations());
    let mut driver = Driver::new(&shared);
    driver.give(record(site.id("acme"), 0, &events(0..3)));
    driver.give(log_record(1, b"x".to_vec()));
    driver.until_all_is_safe().await;
    let to = driver.dispatcher.partition_mut(POSITION.partition).and_then(Partition::safe_place);
    let to = to.expect("all is safe");
    assert_eq!((to.next_offset, to.anchor()), (2, None));

    let mut loader = Loader { client: site.loader().await, site };
    assert_eq!(loader.write(&[moving(POSITION.partition, None, to)]).await, Moved::All);
    assert_eq!(loader.anchors().await, [format!("1|{}|2|none", POSITION.partition)]);
    let found =
        read(&mut loader.client, POSITION.generation, &[POSITION.partition]).await.expect("an answer");
    assert_eq!(found.places.get(&POSITION.partition), Some(&to));
    // From there it moves on like any other.
    assert_eq!(loader.write(&[moving(POSITION.partition, Some(to), after(2))]).await, Moved::All);
}

/// Below the anchor nothing is read again: it must never survive the rows.
#[tokio::test]
async fn an_anchor_is_committed_synchronously_where_the_servers_default_is_not() {
    let mut loader = Loader::new().await;
    let login = loader.site.loader_login();
    loader
        .site
        .execute(&format!(
            "CREATE TABLE public.told (said text); \
             CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
                 $$ BEGIN INSERT INTO public.told SELECT current_setting('synchronous_commit'); RETURN NULL; END $$; \
             CREATE TRIGGER tell AFTER INSERT OR UPDATE ON rollbook.partition_anchor EXECUTE FUNCTION public.tell(); \
             ALTER ROLE {login} SET synchronous_commit = off"
        ))
        .await;
    loader.client = loader.site.loader().await;
    assert_eq!(loader.write(&[moving(3, None, after(9))]).await, Moved::All);
    assert_eq!(loader.write(&[moving(3, Some(after(9)), after(12))]).await, Moved::All);
    assert_eq!(loader.site.texts("SELECT said FROM public.told").await, ["on", "on"]);
}

#[tokio::test]
async fn a_server_is_the_same_over_every_connection_and_known_by_the_loaders_own_login() {
    let site = Site::with(&[]).await;
    let [one, other] = [site.loader().await, site.loader().await];
    let identity = ServerIdentity::of(&one).await.expect("the loader's rights are enough");
    assert_eq!(ServerIdentity::of(&other).await.expect("an answer"), identity);
    // Writing, and switching to the next segment of the write-ahead log, make it no other.
    site.execute("CREATE TABLE public.some AS SELECT generate_series(1, 1000) AS n; SELECT pg_switch_wal(); CHECKPOINT").await;
    assert_eq!(ServerIdentity::of(&one).await.expect("an answer"), identity);
    assert_eq!(ServerIdentity::of(&site.superuser().await).await.expect("an answer"), identity);
    // All three parts are there.
    let said = site.texts(ServerIdentity::SQL).await;
    let parts: Vec<&str> = said[0].split('/').collect();
    assert!(parts.len() == 3 && parts.iter().all(|part| !part.is_empty()), "{said:?}");
}

#[tokio::test]
async fn a_record_that_says_nothing_of_itself_has_a_lane_and_no_id() {
    let record = Waiting::undecodable(7, Bytes::from_static(b"x"));
    assert_eq!((record.record_id, record.events), (Uuid::nil(), 0));
    let (key, _) = super::super::receive::waiting(7, Bytes::from_static(b"x"));
    assert_eq!(key, LaneKey::Undecodable);
}
