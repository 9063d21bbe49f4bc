//! The ways of writing: the same comes of a batch whichever it goes, and every row is counted as what became of it.

use tokio_postgres::Client;
use uuid::Uuid;

use super::super::holding::{ToHold, hold};
use super::super::lane::Expected;
use super::super::position::Watermark;
use super::super::writer::{
    Fates, FlushError, Flushed, Prepared, Source, Unfit, UnfitRecord, Way, WriteError, flush, sqlstate,
};
use super::events::{event, events, record_bytes, source};
use super::site::{POSITION, Site, prepared, record_id};
use crate::event::Event;

/// Few rows go by INSERT, many by COPY.
const SIZES: [usize; 2] = [20, 300];
const WAYS: [Way; 2] = [Way::Direct, Way::AskFirst];

/// Acme's schema, and how far it has come.
struct Acme {
    site: Site,
    loader: Client,
    offset: i64,
}

impl Acme {
    async fn new() -> Self {
        let site = Site::with(&["acme"]).await;
        let loader = site.loader().await;
        Self { site, loader, offset: 0 }
    }

    /// Flushes one record.
    async fn flush(&mut self, way: Way, events: Vec<Event<'_>>) -> Result<Flushed, FlushError> {
        let expected = (self.offset > 0).then(|| after(self.offset - 1));
        let batch = prepared(source(self.site.id("acme"), self.offset, events));
        let statements = self.site.statements("acme");
        let flushed = flush(&mut self.loader, &statements, Expected::Watermark(expected), &batch, way).await;
        match &flushed {
            Ok(Flushed::Committed(_)) => self.offset += 1,
            Err(error) if !error.spares_the_connection() => self.loader = self.site.loader().await,
            _ => {}
        }
        flushed
    }

    /// The fates of what is stored, and whether duplicates were met.
    async fn store(&mut self, way: Way, events: Vec<Event<'_>>) -> ([u64; 3], bool) {
        match self.flush(way, events).await.expect("stored") {
            Flushed::Committed(committed) => {
                let Fates { stored, duplicate, dead } = committed.fates;
                ([stored, duplicate, dead], committed.has_met_duplicates)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The SQLSTATE with which a batch is refused; nothing of it is stored.
    async fn refused(&mut self, way: Way, events: Vec<Event<'_>>) -> String {
        let before = self.site.contents("acme").await;
        let refused = match self.flush(way, events).await {
            Err(FlushError::Refused(WriteError::Postgres(error) | WriteError::Row(error))) => {
                sqlstate(&error).to_owned()
            }
            Err(FlushError::Refused(WriteError::TooManyDead { sqlstate, .. })) => sqlstate,
            other => panic!("{other:?}"),
        };
        assert_eq!(self.site.contents("acme").await, before);
        refused
    }
}

fn after(offset: i64) -> Watermark {
    Watermark::after(offset, record_id(offset))
}

/// So many events, with ids that no other batch has.
fn fresh(acme: &Acme, size: usize) -> Vec<Event<'static>> {
    let base = 10_000 * (u128::from(acme.offset.unsigned_abs()) + 1);
    events(base..base + size as u128)
}

#[tokio::test]
async fn a_duplicate_costs_the_direct_way_its_transaction_and_nothing_else() {
    let mut acme = Acme::new().await;
    let first = fresh(&acme, 300);
    assert_eq!(acme.store(Way::Direct, first.clone()).await, ([300, 0, 0], false));
    for way in WAYS {
        let mut batch = fresh(&acme, 300);
        assert_eq!(acme.store(way, batch.clone()).await, ([300, 0, 0], false));
        // Repeated inside the batch alone: nothing that the table has.
        batch = fresh(&acme, 300);
        batch.extend(batch.clone());
        assert_eq!(acme.store(way, batch.clone()).await, ([300, 300, 0], false));
        // At both ends, in the middle, and twice.
        batch = fresh(&acme, 300);
        for at in [0, 1, 150, 299] {
            batch[at].id = first[at].id;
        }
        batch.push(first[0].clone());
        assert_eq!(acme.store(way, batch).await, ([296, 5, 0], true));
        assert_eq!(acme.store(way, first.clone()).await, ([0, 300, 0], true));
        assert_eq!(acme.store(way, first[..3].to_vec()).await, ([0, 3, 0], true));
    }
    assert_eq!(acme.site.number("SELECT count(*) FROM org_acme.event").await, 300 + 2 * (300 + 300 + 296));
}

#[tokio::test]
async fn where_a_policy_forbids_copy_rows_go_by_insert() {
    let mut acme = Acme::new().await;
    let sql = "ALTER TABLE org_acme.event ENABLE ROW LEVEL SECURITY; \
               CREATE POLICY everybody ON org_acme.event USING (true)";
    acme.site.execute(sql).await;
    for (size, way) in SIZES.into_iter().flat_map(|size| WAYS.map(|way| (size, way))) {
        let batch = fresh(&acme, size);
        assert_eq!(acme.store(way, batch.clone()).await, ([size as u64, 0, 0], false));
        assert_eq!(acme.store(way, batch).await, ([0, size as u64, 0], true));
    }
}

#[tokio::test]
async fn where_a_view_or_partitions_stand_in_for_the_table_both_ways_store() {
    let mut acme = Acme::new().await;
    let view = "ALTER TABLE org_acme.event RENAME TO real; \
                CREATE VIEW org_acme.event AS SELECT * FROM org_acme.real; \
                GRANT SELECT, INSERT ON org_acme.event TO W";
    let partitions = "DROP VIEW org_acme.event; \
                      CREATE TABLE org_acme.event (LIKE org_acme.real INCLUDING ALL) PARTITION BY HASH (event_id); \
                      CREATE TABLE org_acme.half PARTITION OF org_acme.event FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
                      CREATE TABLE org_acme.other PARTITION OF org_acme.event FOR VALUES WITH (MODULUS 2, REMAINDER 1); \
                      GRANT SELECT, INSERT ON org_acme.event TO W";
    let writer = format!("{}org_acme", acme.site.prefix.as_str());
    for sql in [view, partitions] {
        acme.site.execute(&sql.replace("TO W", &format!("TO {writer}"))).await;
        for (size, way) in SIZES.into_iter().flat_map(|size| WAYS.map(|way| (size, way))) {
            let batch = fresh(&acme, size);
            assert_eq!(acme.store(way, batch.clone()).await, ([size as u64, 0, 0], false), "{sql}");
            assert_eq!(acme.store(way, batch).await, ([0, size as u64, 0], true), "{sql}");
        }
    }
}

/// COPY passes over rules, and asks for no unique id: what is refused when it is small must not be stored when it is large.
#[tokio::test]
async fn what_insert_is_refused_copy_does_not_get() {
    let mut acme = Acme::new().await;
    let cases = [
        (
            "CREATE RULE nowhere AS ON INSERT TO org_acme.event DO INSTEAD NOTHING",
            "DROP RULE nowhere ON org_acme.event",
            "02000",
        ),
        (
            "CREATE RULE twice AS ON INSERT TO org_acme.event DO ALSO SELECT 1",
            "DROP RULE twice ON org_acme.event",
            "0A000",
        ),
        (
            "ALTER TABLE org_acme.event DROP CONSTRAINT event_pkey",
            "ALTER TABLE org_acme.event ADD PRIMARY KEY (event_id)",
            "42P10",
        ),
    ];
    for (breaks, heals, expected) in cases {
        acme.site.execute(breaks).await;
        for (size, way) in SIZES.into_iter().flat_map(|size| WAYS.map(|way| (size, way))) {
            let batch = fresh(&acme, size);
            assert_eq!(acme.refused(way, batch).await, expected, "{breaks}: {size} rows, {way:?}");
        }
        acme.site.execute(heals).await;
        let batch = fresh(&acme, 300);
        assert_eq!(acme.store(Way::Direct, batch).await, ([300, 0, 0], false), "{heals}");
    }
}

#[tokio::test]
async fn rows_that_a_trigger_swallows_are_dead_letters_and_no_duplicates() {
    let mut acme = Acme::new().await;
    acme.site
        .execute(
            "CREATE FUNCTION org_acme.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER swallow BEFORE INSERT ON org_acme.event FOR EACH ROW WHEN (NEW.seq = 13) \
                 EXECUTE FUNCTION org_acme.swallow()",
        )
        .await;
    let unlucky = |event: Event<'static>| Event { seq: Some(13), ..event };
    for (size, way) in SIZES.into_iter().flat_map(|size| WAYS.map(|way| (size, way))) {
        let there = fresh(&acme, 2);
        acme.store(way, there.clone()).await;
        let mut batch = fresh(&acme, size);
        let swallowed = [batch[1].id, batch[size - 1].id];
        batch[1].seq = Some(13);
        batch[size - 1].seq = Some(13);
        // With duplicates beside them, and without.
        let stored = size as u64 - 2;
        assert_eq!(acme.store(way, batch.clone()).await, ([stored, 0, 2], false), "{size} rows, {way:?}");
        let letters = "SELECT event_id::text FROM org_acme.dead_letter WHERE sqlstate = '02000' \
                       AND reason LIKE 'a trigger %' AND event IS NOT NULL ORDER BY id DESC LIMIT 2";
        let letters = acme.site.texts(letters).await;
        assert_eq!(letters, [swallowed[1], swallowed[0]].map(|id| id.to_string()));
        let mut again = fresh(&acme, size);
        again[3].seq = Some(13);
        again.extend(there);
        assert_eq!(acme.store(way, again).await, ([size as u64 - 1, 2, 1], true), "{size} rows, {way:?}");

        let many: Vec<_> = fresh(&acme, size.max(20)).into_iter().map(unlucky).collect();
        assert_eq!(acme.refused(way, many).await, "02000");
    }
}

#[tokio::test]
async fn a_unique_index_of_the_organizations_own_singles_out_its_rows() {
    let mut acme = Acme::new().await;
    acme.site
        .execute(
            "CREATE UNIQUE INDEX once ON org_acme.event (seq); \
             CREATE UNIQUE INDEX id_again ON org_acme.event (event_id)",
        )
        .await;
    for (size, way) in SIZES.into_iter().flat_map(|size| WAYS.map(|way| (size, way))) {
        let mut batch = fresh(&acme, size);
        batch[2].seq = Some(u32::try_from(acme.offset).expect("small"));
        batch[size - 1].seq = batch[2].seq;
        let stored = size as u64 - 1;
        assert_eq!(acme.store(way, batch.clone()).await, ([stored, 0, 1], false));
        let letter = "SELECT sqlstate || ' ' || event_id FROM org_acme.dead_letter ORDER BY id DESC LIMIT 1";
        assert_eq!(acme.site.texts(letter).await, [format!("23505 {}", batch[size - 1].id)]);
        batch.truncate(size - 1);
        assert_eq!(acme.store(way, batch).await, ([0, stored, 0], true));
    }
}

/// A table of the organization's own, whose constraint has the name of ours.
#[tokio::test]
async fn a_row_that_a_triggers_own_table_refuses_stands_alone() {
    let mut acme = Acme::new().await;
    let mut taken = Vec::new();
    acme.site
        .execute(
            "CREATE SCHEMA archive; CREATE TABLE archive.event (event_id uuid CONSTRAINT event_pkey PRIMARY KEY); \
             CREATE FUNCTION org_acme.copy() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
                 INSERT INTO archive.event VALUES (NEW.event_id); RETURN NEW; END $$; \
             CREATE TRIGGER copy AFTER INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.copy()",
        )
        .await;
    for (size, way) in SIZES.into_iter().flat_map(|size| WAYS.map(|way| (size, way))) {
        let batch = fresh(&acme, size);
        let id = batch[size / 2].id;
        acme.site.execute(&format!("INSERT INTO archive.event VALUES ('{id}')")).await;
        taken.push(format!("23505 {id}"));
        let (fates, _) = acme.store(way, batch).await;
        assert_eq!(fates, [size as u64 - 1, 0, 1], "{size} rows, {way:?}");
    }
    let letters = "SELECT sqlstate || ' ' || event_id FROM org_acme.dead_letter ORDER BY id";
    assert_eq!(acme.site.texts(letters).await, taken);
    acme.site.execute("DROP SCHEMA archive CASCADE").await;
}

#[tokio::test]
async fn rows_are_not_stored_unless_the_watermark_moves_with_them() {
    let mut acme = Acme::new().await;
    let batch = fresh(&acme, 3);
    acme.store(Way::Direct, batch).await;
    acme.site
        .execute(
            "CREATE FUNCTION org_acme.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER keep BEFORE UPDATE ON org_acme.ingest_watermark FOR EACH ROW \
                 EXECUTE FUNCTION org_acme.keep()",
        )
        .await;
    for (size, way) in SIZES.into_iter().flat_map(|size| WAYS.map(|way| (size, way))) {
        let batch = fresh(&acme, size);
        let flushed = acme.flush(way, batch).await;
        assert!(matches!(flushed, Err(FlushError::Refused(WriteError::Unmoved))), "{flushed:?}");
        assert_eq!(acme.site.contents("acme").await, [3, 0, 1]);
    }
}

#[tokio::test]
async fn a_commit_is_synchronous_where_the_servers_default_is_not() {
    let mut acme = Acme::new().await;
    let (login, database) = (acme.site.loader_login(), "pg_catalog.current_setting('synchronous_commit')");
    acme.site
        .execute(&format!(
            "CREATE FUNCTION org_acme.tell() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN NEW.content_id := {database}; RETURN NEW; END $$; \
             CREATE TRIGGER tell BEFORE INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.tell()"
        ))
        .await;
    for (default, expected) in [("off", "on"), ("local", "local"), ("on", "on")] {
        acme.site.execute(&format!("ALTER ROLE {login} SET synchronous_commit = '{default}'")).await;
        acme.loader = acme.site.loader().await;
        let batch = fresh(&acme, 1);
        let id = batch[0].id;
        acme.store(Way::Direct, batch).await;
        let told = format!("SELECT content_id FROM org_acme.event WHERE event_id = '{id}'");
        assert_eq!(acme.site.texts(&told).await, [expected], "{default}");
    }
}

#[tokio::test]
async fn a_lane_that_knows_nothing_opens_its_schema_in_its_first_flush() {
    let site = Site::with(&["acme"]).await;
    let (id, statements) = (site.id("acme"), site.statements("acme"));
    let mut loader = site.loader().await;
    for (offset, size) in [(4_i64, 20), (5, 300), (9, 20)] {
        let ids = 1_000 * u128::from(offset.unsigned_abs());
        let batch = prepared(source(id, offset, events(ids..ids + size)));
        let flushed = flush(&mut loader, &statements, Expected::AtLeast(None), &batch, Way::Direct).await;
        let stored = u64::try_from(size).expect("small");
        match flushed.expect("stored") {
            Flushed::Committed(committed) => {
                assert_eq!(committed.fates, Fates { stored, duplicate: 0, dead: 0 });
                let from = match offset {
                    4 => None,
                    5 => Some(after(4)),
                    _ => Some(after(5)),
                };
                assert_eq!((committed.from, committed.to), (from, after(offset)));
            }
            other => panic!("{other:?}"),
        }
        // Once more: the watermark covers it now.
        let again = flush(&mut loader, &statements, Expected::AtLeast(None), &batch, Way::Direct).await;
        assert_eq!(again.expect("an answer"), Flushed::Stale { found: Some(after(offset)) });
    }
    let bytes = record_bytes(id, &[event(1)]);
    let to_hold = [ToHold { offset: 10, bytes: &bytes, events: 1 }];
    hold(&loader, id, POSITION, &to_hold, "a test").await.expect("held");
    let before = (site.contents("acme").await, site.totals("acme").await);
    for size in SIZES {
        let batch = prepared(source(id, 11, events(50_000..50_000 + size as u128)));
        let flushed = flush(&mut loader, &statements, Expected::AtLeast(None), &batch, Way::Direct).await;
        assert_eq!(flushed.expect("an answer"), Flushed::Held);
    }
    assert_eq!((site.contents("acme").await, site.totals("acme").await), before);
}

#[test]
fn a_batch_ends_before_the_first_record_that_is_unfit() {
    let id = |n| crate::tenant::OrganizationId(Uuid::from_u128(n));
    let take = |sources: &[Source<Vec<u8>>]| {
        Prepared::take(id(1), POSITION, sources.iter().cloned())
            .map(|batch| batch.map(|batch| (batch.records(), batch.events(), batch.next())))
    };
    // Enough for several chunks, so that taking back what an undecodable record had already added crosses their borders.
    let good = source(id(1), 4, events(0..2_000));
    let mut half_good = source(id(1), 5, events(5_000..7_000));
    half_good.bytes.extend([0x2a, 2, 0xff, 0xff]);
    let foreign = source(id(2), 6, events(8_000..8_001));
    let nonsense = Source { offset: 7, bytes: b"nonsense".to_vec() };

    assert_eq!(take(&[]), Ok(None));
    for unfit in [&half_good, &foreign, &nonsense] {
        assert_eq!(take(&[good.clone(), unfit.clone(), good.clone()]), Ok(Some((1, 2_000, after(4)))));
    }
    let refused = |source: &Source<Vec<u8>>| take(&[source.clone(), good.clone()]).expect_err("unfit");
    assert_eq!(refused(&half_good), UnfitRecord { offset: 5, why: Unfit::Undecodable });
    assert_eq!(refused(&foreign), UnfitRecord { offset: 6, why: Unfit::Foreign { named: id(2) } });
    assert_eq!(refused(&nonsense), UnfitRecord { offset: 7, why: Unfit::Undecodable });
}

/// What an undecodable record had added before it turned out to be one is gone from the rows, too.
#[tokio::test]
async fn half_a_record_is_never_stored() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    let mut half_good = source(id, 5, events(5_000..7_000));
    half_good.bytes.extend([0x2a, 2, 0xff, 0xff]);
    let sources = [source(id, 4, events(0..1_234)), half_good];
    let batch = Prepared::take(id, POSITION, sources).expect("a batch").expect("records");
    let mut loader = site.loader().await;
    let known = Expected::Watermark(None);
    flush(&mut loader, &site.statements("acme"), known, &batch, Way::Direct).await.expect("stored");
    assert_eq!(site.totals("acme").await, ["3|5|1234|0|0"]);
    assert_eq!(site.contents("acme").await, [1_234, 0, 1]);
}
