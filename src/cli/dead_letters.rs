//! `rollbook dead-letters`: events that Postgres refused.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::admin::AdminArguments;
use super::{Failure, output};
use crate::loader::replay::insert_letter;
use crate::store::dead_letters::{self, DeadLetter, Extent, Replayed};
use crate::tenant::Slug;

/// What can be done with dead letters.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Lists dead letters, discarded ones too.
    List(Letters),
    /// Shows dead letters with their events.
    Show(Letters),
    /// Tries once more to store their events, under the ids that they have. Those that are still refused stay.
    Replay(Letters),
    /// Gives dead letters up. They stay where they are, marked, and are not replayed any more.
    Discard(Letters),
}

/// Some dead letters of one organization.
#[derive(Debug, clap::Args)]
pub(super) struct Letters {
    /// Whose dead letters.
    slug: Slug,
    /// Only these, by the id that `list` shows. Default: all (`replay`, `discard`: all that are not discarded).
    ids: Vec<i64>,
    #[command(flatten)]
    admin: AdminArguments,
}

impl Command {
    pub(super) fn admin(&self) -> &AdminArguments {
        let (Self::List(letters) | Self::Show(letters) | Self::Replay(letters) | Self::Discard(letters)) =
            self;
        &letters.admin
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(letters) => letters.list().await,
            Self::Show(letters) => letters.show().await,
            Self::Replay(letters) => letters.replay().await,
            Self::Discard(letters) => letters.discard().await,
        }
    }
}

#[derive(Serialize)]
struct Listed {
    id: i64,
    event_id: Uuid,
    sqlstate: String,
    reason: String,
    partition: i32,
    offset: i64,
    at: String,
    discarded_at: Option<String>,
}

impl From<&DeadLetter> for Listed {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            id: letter.id,
            event_id: letter.event_id,
            sqlstate: letter.sqlstate.clone(),
            reason: letter.reason.clone(),
            partition: letter.partition,
            offset: letter.log_offset,
            at: output::time(letter.dead_at),
            discarded_at: letter.discarded_at.map(output::time),
        }
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    listed: Listed,
    generation: i32,
    /// The row by column. Raw, so that its numbers stay as they are.
    event: Option<Box<RawValue>>,
    /// Where the event is not kept by column: its record's bytes in hexadecimal digits.
    record: Option<String>,
}

impl Shown {
    fn new(letter: &DeadLetter) -> Result<Self, Failure> {
        let event = letter.event.clone().map(RawValue::from_string).transpose();
        Ok(Self {
            listed: letter.into(),
            generation: letter.generation,
            event: event.map_err(|error| Failure::new("unreadable_row", error.to_string()))?,
            record: letter.record.as_deref().map(hexadecimal),
        })
    }

    fn text(&self) -> String {
        let Self { listed, generation, .. } = self;
        let discarded =
            listed.discarded_at.as_ref().map_or(String::new(), |at| format!("\n  discarded  {at}"));
        let content = match (&self.event, &self.record) {
            (Some(event), _) => format!("event      {}", output::printable(event.get())),
            (None, Some(record)) => format!("record     {record}"),
            (None, None) => String::new(),
        };
        format!(
            "dead letter {}\n  event id   {}\n  refused    {}: {}\n  from       generation {generation}, partition {}, \
             offset {}\n  since      {}{discarded}\n  {content}",
            listed.id,
            listed.event_id,
            listed.sqlstate,
            output::printable(&listed.reason),
            listed.partition,
            listed.offset,
            listed.at
        )
    }
}

#[derive(Serialize)]
struct Answer {
    id: i64,
    outcome: &'static str,
    sqlstate: Option<String>,
    reason: Option<String>,
}

impl Answer {
    fn new(id: i64, replayed: Replayed) -> Self {
        let plain = |outcome| Self { id, outcome, sqlstate: None, reason: None };
        match replayed {
            Replayed::Stored => plain("stored"),
            Replayed::Duplicate => plain("duplicate"),
            Replayed::Discarded => plain("discarded"),
            Replayed::NotFound => plain("not_found"),
            Replayed::Refused { sqlstate, reason } => {
                Self { id, outcome: "refused", sqlstate: Some(sqlstate), reason: Some(reason) }
            }
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.outcome, "stored" | "duplicate")
    }
}

impl Letters {
    async fn list(self) -> Result<(), Failure> {
        let (admin, _) = self.admin.open().await?;
        let letters = dead_letters::list(&admin, &self.slug, &self.ids, Extent::Envelope).await?;
        self.print(&letters);
        Ok(())
    }

    async fn show(self) -> Result<(), Failure> {
        let (admin, _) = self.admin.open().await?;
        let letters = dead_letters::list(&admin, &self.slug, &self.ids, Extent::Whole).await?;
        let shown = letters.iter().map(Shown::new).collect::<Result<Vec<_>, _>>()?;
        if self.admin.output.json {
            output::list(self.admin.output, &shown, &[], |_| Vec::new());
        } else {
            shown.iter().for_each(|one| output::say(&one.text()));
        }
        Ok(())
    }

    async fn replay(self) -> Result<(), Failure> {
        let (mut admin, _) = self.admin.open().await?;
        let ids = match self.ids.is_empty() {
            true => dead_letters::replayable(&admin, &self.slug).await?,
            false => self.ids.clone(),
        };
        let bar = output::progress_bar(
            Some(ids.len() as u64),
            "{bar:40} {pos}/{len} letters {elapsed} (left: {eta})",
        );
        let mut answers = Vec::with_capacity(ids.len());
        let mut broken_off = None;
        for id in ids {
            match dead_letters::replay(&mut admin, &self.slug, id, insert_letter).await {
                Ok(replayed) => answers.push(Answer::new(id, replayed)),
                Err(error) => {
                    broken_off = Some(error);
                    break;
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        output::list(self.admin.output, &answers, &["id", "outcome", "sqlstate", "reason"], |one| {
            vec![
                one.id.to_string(),
                one.outcome.to_owned(),
                output::or_dash(one.sqlstate.as_ref()),
                output::or_dash(one.reason.as_deref().map(output::printable)),
            ]
        });
        // What was replayed before it is, and has been said.
        if let Some(error) = broken_off {
            return Err(error.into());
        }
        let stay = answers.iter().filter(|answer| !answer.is_done()).count();
        if stay == 0 {
            return Ok(());
        }
        let message = format!("{stay} of {} dead letters were not replayed", answers.len());
        Err(Failure::new("not_replayed", message))
    }

    async fn discard(self) -> Result<(), Failure> {
        let (mut admin, _) = self.admin.open().await?;
        let letters = dead_letters::discard(&mut admin, &self.slug, &self.ids).await?;
        self.print(&letters);
        Ok(())
    }

    fn print(&self, letters: &[DeadLetter]) {
        let listed: Vec<Listed> = letters.iter().map(Listed::from).collect();
        let header = ["id", "event id", "sqlstate", "reason", "partition", "offset", "at", "discarded"];
        output::list(self.admin.output, &listed, &header, |one| {
            vec![
                one.id.to_string(),
                one.event_id.to_string(),
                one.sqlstate.clone(),
                output::printable(&one.reason),
                one.partition.to_string(),
                one.offset.to_string(),
                one.at.clone(),
                output::or_dash(one.discarded_at.as_ref()),
            ]
        });
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
