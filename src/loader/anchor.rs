//! Where each partition is safe, kept in the database that holds the rows.
//!
//! A loader begins at the anchor, never at what the group has committed. Postgres commits in order, so an anchor that
//! survived a crash, a failover or a restore means that everything below it did, too: reading on from the anchor is
//! exact. What the loader remembers beyond it is only true of the server that confirmed it; so each anchor is written in
//! a transaction that has asked which server this is.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use super::position::Watermark;
use super::server::{SYNCHRONOUS, ServerIdentity};
use super::writer::Refusal;

/// An anchor on its way from one place to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnchorMove {
    /// Of which partition.
    pub(super) partition: i32,
    /// Where the loader left it, or found it; `None`: there was none.
    pub(super) from: Option<Watermark>,
    /// Where everything below is safe.
    pub(super) to: Watermark,
    /// Whether it was found lower than it once was: that is written down, for people.
    pub(super) rewound: bool,
}

/// What became of moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// All are written.
    All,
    /// Nothing is: the server is another one, or an anchor is not where the loader left it. What it remembers is worth
    /// nothing.
    None,
}

/// Anchors as the database has them.
#[derive(Debug)]
pub(super) struct Anchors {
    /// Who says so.
    pub(super) server: ServerIdentity,
    /// By partition; a partition that was never loaded has none.
    pub(super) places: HashMap<i32, Watermark>,
}

/// Reads the anchors of these partitions.
pub(super) async fn read(
    client: &mut Client,
    generation: i32,
    partitions: &[i32],
) -> Result<Anchors, Refusal> {
    const READ: &str = "SELECT partition, next_offset, coalesce(record_id, $3) FROM rollbook.partition_anchor \
         WHERE generation = $1 AND partition = ANY($2)";
    let transaction = client.transaction().await?;
    let server = ServerIdentity::of(&transaction).await?;
    let rows = transaction
        .query_typed(
            READ,
            &[(&generation, Type::INT4), (&partitions, Type::INT4_ARRAY), (&Uuid::nil(), Type::UUID)],
        )
        .await?;
    transaction.commit().await?;
    let place = |row: &tokio_postgres::Row| Watermark { next_offset: row.get(1), last_record_id: row.get(2) };
    Ok(Anchors { server, places: rows.iter().map(|row| (row.get(0), place(row))).collect() })
}

/// Moves anchors, all or none, if the server is the one that the loader began with and each anchor is where it left it.
pub(super) async fn write(
    client: &mut Client,
    generation: i32,
    server: &ServerIdentity,
    moves: &[AnchorMove],
) -> Result<Moved, Refusal> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(SYNCHRONOUS).await?;
    if ServerIdentity::of(&transaction).await? != *server {
        return Ok(Moved::None);
    }
    let mut moved = 0;
    let (known, new): (Vec<&AnchorMove>, Vec<&AnchorMove>) = moves.iter().partition(|one| one.from.is_some());
    if !known.is_empty() {
        moved += update(&transaction, generation, &known).await?;
    }
    if !new.is_empty() {
        moved += insert(&transaction, generation, &new).await?;
    }
    if moved != moves.len() as u64 {
        return Ok(Moved::None);
    }
    transaction.commit().await?;
    Ok(Moved::All)
}

async fn update(
    transaction: &Transaction<'_>,
    generation: i32,
    moves: &[&AnchorMove],
) -> Result<u64, tokio_postgres::Error> {
    const UPDATE: &str = "UPDATE rollbook.partition_anchor AS anchor \
         SET next_offset = moves.next_offset, record_id = moves.record_id, written_at = now(), \
             rewound_at = CASE WHEN moves.rewound THEN now() ELSE anchor.rewound_at END \
         FROM unnest($2, $3, $4, $5, $6) AS moves (partition, next_offset, record_id, rewound, before) \
         WHERE anchor.generation = $1 AND anchor.partition = moves.partition AND anchor.next_offset = moves.before";
    let before: Vec<i64> = moves.iter().filter_map(|one| one.from.map(|from| from.next_offset)).collect();
    let columns = Columns::of(moves);
    transaction
        .execute_typed(
            UPDATE,
            &[
                (&generation, Type::INT4),
                (&columns.partitions, Type::INT4_ARRAY),
                (&columns.next_offsets, Type::INT8_ARRAY),
                (&columns.record_ids, Type::UUID_ARRAY),
                (&columns.rewound, Type::BOOL_ARRAY),
                (&before, Type::INT8_ARRAY),
            ],
        )
        .await
}

async fn insert(
    transaction: &Transaction<'_>,
    generation: i32,
    moves: &[&AnchorMove],
) -> Result<u64, tokio_postgres::Error> {
    const INSERT: &str = "INSERT INTO rollbook.partition_anchor \
         (generation, partition, next_offset, record_id, written_at, rewound_at) \
         SELECT $1, partition, next_offset, record_id, now(), CASE WHEN rewound THEN now() END \
         FROM unnest($2, $3, $4, $5) AS moves (partition, next_offset, record_id, rewound) \
         ON CONFLICT DO NOTHING";
    let columns = Columns::of(moves);
    transaction
        .execute_typed(
            INSERT,
            &[
                (&generation, Type::INT4),
                (&columns.partitions, Type::INT4_ARRAY),
                (&columns.next_offsets, Type::INT8_ARRAY),
                (&columns.record_ids, Type::UUID_ARRAY),
                (&columns.rewound, Type::BOOL_ARRAY),
            ],
        )
        .await
}

struct Columns {
    partitions: Vec<i32>,
    next_offsets: Vec<i64>,
    record_ids: Vec<Option<Uuid>>,
    rewound: Vec<bool>,
}

impl Columns {
    fn of(moves: &[&AnchorMove]) -> Self {
        let record_id = |id: Uuid| (!id.is_nil()).then_some(id);
        Self {
            partitions: moves.iter().map(|one| one.partition).collect(),
            next_offsets: moves.iter().map(|one| one.to.next_offset).collect(),
            record_ids: moves.iter().map(|one| record_id(one.to.last_record_id)).collect(),
            rewound: moves.iter().map(|one| one.rewound).collect(),
        }
    }
}
