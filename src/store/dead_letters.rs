//! Dead letters: looked at, stored after all, or given up.
//!
//! How a letter becomes a row again is the caller's to say; here is the transaction around it, in which the event
//! changes its fate exactly once. It locks the watermark first and the letter then, as the loader locks the watermark
//! before it writes rows: so neither waits for the other in a circle.

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::json;
use tokio_postgres::{GenericClient, Row, Transaction};
use uuid::Uuid;

use super::organizations::{self, Lock};
use super::{Admin, Error, roles};
use crate::tenant::{Organization, Slug};

/// An event that Postgres refused, without the event.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Names it.
    pub id: i64,
    /// The event's own id.
    pub event_id: Uuid,
    /// Which life of the log it came from.
    pub generation: i32,
    /// Where in the log it came from.
    pub partition: i32,
    /// The offset of its record.
    pub log_offset: i64,
    /// How Postgres refused it.
    pub sqlstate: String,
    /// Why, in words.
    pub reason: String,
    /// Since when it is here.
    pub dead_at: Timestamp,
    /// When a person gave it up.
    pub discarded_at: Option<Timestamp>,
    /// The row by column, as JSON; `None` where jsonb refuses it, and where it was not asked for.
    pub event: Option<String>,
    /// The event as a record, where it is not kept by column.
    pub record: Option<Vec<u8>>,
}

/// How much of a letter is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What stands on the envelope.
    Envelope,
    /// The event too.
    Whole,
}

/// What putting a letter's event into `event` came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is there now.
    New,
    /// It was there already.
    Duplicate,
    /// Neither: something in the schema passes over it, and says nothing.
    Swallowed,
    /// The letter holds nothing that can be read.
    Unreadable,
}

/// What became of one letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Its event is stored, and the letter gone.
    Stored,
    /// Its event was stored before, and the letter is gone.
    Duplicate,
    /// Still refused: the letter stays.
    Refused {
        /// How, now.
        sqlstate: String,
        /// Why, now.
        reason: String,
    },
    /// A person gave it up: it stays.
    Discarded,
    /// There is no such letter: it never was, or was replayed.
    NotFound,
}

/// The letters of an organization in the order in which they came, discarded ones too; `only` these unless empty.
///
/// # Errors
/// [`Error::NoSuchDeadLetter`], the organization has no schema, or Postgres.
pub async fn list(
    admin: &Admin,
    slug: &Slug,
    only: &[i64],
    extent: Extent,
) -> Result<Vec<DeadLetter>, Error> {
    let organization = standing(&admin.client, slug).await?;
    let letters = read_letters(&admin.client, &organization, only, extent).await?;
    refuse_unknown(only, &letters)?;
    Ok(letters)
}

/// The ids of the letters that can be replayed, oldest first.
///
/// # Errors
/// The organization has no schema, or Postgres.
pub async fn replayable(admin: &Admin, slug: &Slug) -> Result<Vec<i64>, Error> {
    let schema = roles::quoted(&standing(&admin.client, slug).await?.schema_name);
    let sql = format!("SELECT id FROM {schema}.dead_letter WHERE discarded_at IS NULL ORDER BY id");
    Ok(admin.client.query(&sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Tries once more to store one letter's event. In one transaction: the row is there, the letter gone, the totals moved
/// and the trail written, or none of it. `insert` is given the quoted schema, the letter's id, and its record where the
/// event is not kept by column; it fails as Postgres does.
///
/// # Errors
/// The organization has no schema, or Postgres for another reason than the row.
pub async fn replay(
    admin: &mut Admin,
    slug: &Slug,
    id: i64,
    insert: impl AsyncFn(&Transaction<'_>, &str, i64, Option<Vec<u8>>) -> Result<Inserted, tokio_postgres::Error>,
) -> Result<Replayed, Error> {
    let organization = standing(&admin.client, slug).await?;
    let schema = roles::quoted(&organization.schema_name);
    let change = admin.begin().await?;
    // Deferred constraints have to speak up before the commit, as they do for the loader.
    change.batch_execute("SET LOCAL lock_timeout = '10s'; SET CONSTRAINTS ALL IMMEDIATE").await?;
    let Some(letter) = lock_letter(&change, &schema, id).await? else { return Ok(Replayed::NotFound) };
    if letter.is_discarded {
        return Ok(Replayed::Discarded);
    }
    let inserted = match insert(&change, &schema, id, letter.record).await {
        Ok(inserted) => inserted,
        Err(error) => match error.as_db_error() {
            Some(refused) => {
                let (sqlstate, reason) = (refused.code().code().to_owned(), refused.message().to_owned());
                return Ok(Replayed::Refused { sqlstate, reason });
            }
            None => return Err(error.into()),
        },
    };
    let (column, outcome) = match inserted {
        Inserted::New => ("stored", Replayed::Stored),
        Inserted::Duplicate => ("duplicate", Replayed::Duplicate),
        Inserted::Swallowed => {
            let reason = "a trigger on `event` passed over the row, and said nothing".to_owned();
            return Ok(Replayed::Refused { sqlstate: "02000".to_owned(), reason });
        }
        Inserted::Unreadable => {
            let reason = "its record cannot be decoded".to_owned();
            return Ok(Replayed::Refused { sqlstate: "22000".to_owned(), reason });
        }
    };
    change.execute(&format!("DELETE FROM {schema}.dead_letter WHERE id = $1"), &[&id]).await?;
    let moved = format!(
        "UPDATE {schema}.ingest_watermark SET {column} = {column} + 1, dead = dead - 1 \
         WHERE generation = $1 AND partition = $2"
    );
    change.execute(&moved, &[&letter.generation, &letter.partition]).await?;
    let what = json!({ "dead_letter": id, "event_id": letter.event_id, "fate": column });
    change.record("letter.replay", Some(organization.id), &what).await?;
    change.commit().await?;
    Ok(outcome)
}

/// Gives letters up: these, or all that can be replayed when `only` is empty. They stay, marked. Those that were given
/// up before keep their mark. Gives back the letters asked for, or those newly marked.
///
/// # Errors
/// [`Error::NoSuchDeadLetter`] and nothing is done; the organization has no schema; Postgres.
pub async fn discard(admin: &mut Admin, slug: &Slug, only: &[i64]) -> Result<Vec<DeadLetter>, Error> {
    let organization = standing(&admin.client, slug).await?;
    let schema = roles::quoted(&organization.schema_name);
    let change = admin.begin().await?;
    let mark = format!(
        "UPDATE {schema}.dead_letter SET discarded_at = now() \
         WHERE discarded_at IS NULL AND (cardinality($1::bigint[]) = 0 OR id = ANY ($1)) RETURNING id"
    );
    let marked = change.query(&mark, &[&only]).await?;
    let mut marked: Vec<i64> = marked.iter().map(|row| row.get(0)).collect();
    marked.sort_unstable();
    let letters = if only.is_empty() && marked.is_empty() {
        Vec::new()
    } else {
        let asked = if only.is_empty() { &marked } else { only };
        read_letters(&*change, &organization, asked, Extent::Envelope).await?
    };
    refuse_unknown(only, &letters)?;
    if !marked.is_empty() {
        let what = json!({ "dead_letters": marked });
        change.record("letter.discard", Some(organization.id), &what).await?;
    }
    change.commit().await?;
    Ok(letters)
}

/// An organization that has a schema.
pub(super) async fn standing(client: &impl GenericClient, slug: &Slug) -> Result<Organization, Error> {
    let organization = organizations::find(client, slug, Lock::None).await?.organization;
    organizations::refuse_unless_standing(&organization)?;
    Ok(organization)
}

/// What a replay needs of a letter.
struct Locked {
    event_id: Uuid,
    generation: i32,
    partition: i32,
    record: Option<Vec<u8>>,
    is_discarded: bool,
}

/// Locks the watermark that counts the letter, then the letter; `None`: it is not there, or not any more.
async fn lock_letter(
    transaction: &Transaction<'_>,
    schema: &str,
    id: i64,
) -> Result<Option<Locked>, tokio_postgres::Error> {
    let position = format!("SELECT generation, partition FROM {schema}.dead_letter WHERE id = $1");
    let Some(position) = transaction.query_opt(&position, &[&id]).await? else { return Ok(None) };
    let (generation, partition): (i32, i32) = (position.get(0), position.get(1));
    let watermark =
        format!("SELECT FROM {schema}.ingest_watermark WHERE generation = $1 AND partition = $2 FOR UPDATE");
    transaction.query_opt(&watermark, &[&generation, &partition]).await?;
    let letter = format!(
        "SELECT event_id, CASE WHEN event IS NULL THEN record END, discarded_at IS NOT NULL \
         FROM {schema}.dead_letter WHERE id = $1 FOR UPDATE"
    );
    let letter = transaction.query_opt(&letter, &[&id]).await?;
    Ok(letter.map(|row| Locked {
        event_id: row.get(0),
        generation,
        partition,
        record: row.get(1),
        is_discarded: row.get(2),
    }))
}

async fn read_letters(
    client: &impl GenericClient,
    organization: &Organization,
    only: &[i64],
    extent: Extent,
) -> Result<Vec<DeadLetter>, Error> {
    let schema = roles::quoted(&organization.schema_name);
    let content = match extent {
        Extent::Envelope => "NULL::text, NULL::bytea",
        Extent::Whole => "event::text, record",
    };
    let sql = format!(
        "SELECT id, event_id, generation, partition, log_offset, sqlstate, reason, dead_at, discarded_at, {content} \
         FROM {schema}.dead_letter WHERE cardinality($1::bigint[]) = 0 OR id = ANY ($1) ORDER BY id"
    );
    let rows = client.query(&sql, &[&only]).await?;
    let letters: Result<_, jiff::Error> = rows.iter().map(read_letter).collect();
    letters.map_err(|error| Error::UnreadableRow { id: organization.id, why: error.to_string() })
}

fn read_letter(row: &Row) -> Result<DeadLetter, jiff::Error> {
    Ok(DeadLetter {
        id: row.get(0),
        event_id: row.get(1),
        generation: row.get(2),
        partition: row.get(3),
        log_offset: row.get(4),
        sqlstate: row.get(5),
        reason: row.get(6),
        dead_at: Timestamp::try_from(row.get::<_, SystemTime>(7))?,
        discarded_at: row.get::<_, Option<SystemTime>>(8).map(Timestamp::try_from).transpose()?,
        event: row.get(9),
        record: row.get(10),
    })
}

fn refuse_unknown(only: &[i64], found: &[DeadLetter]) -> Result<(), Error> {
    let unknown = only.iter().find(|id| found.iter().all(|letter| letter.id != **id));
    unknown.map_or(Ok(()), |id| Err(Error::NoSuchDeadLetter(*id)))
}
