//! What an organization gets out of its events: summaries in its own schema, kept current.
//!
//! - [`Reports`]: the summaries of one schema: a [`turn`](Reports::turn) takes in what is new, a rebuild makes them again
//! - [`run`]: the role `reporter`, which gives every organization its turn
//!
//! The cursor of a build is a snapshot: each row of `event` carries the transaction that stored it, and a turn takes the
//! rows of transactions that the last one's snapshot did not see. So each row is taken once, whoever stored it. Cursor and
//! summaries move in one transaction. A slice is read once, gathered here and merged with the few rows that it changes (`gather`);
//! longer statements stand in `sql/`; the tables and views are the schema's migrations.
//!
//! A rebuild is a second set of rows with a cursor of its own: first the rows that its snapshot sees, by their place in the
//! table, then the others as in any turn. The views change over in the transaction that leaves nothing waiting.
//!
//! Reads the directory of organizations and Postgres; loaders never wait for it.

mod add;
mod build;
mod condition;
mod error;
mod export;
mod gather;
mod interval;
mod read;
mod rebuild;
mod reporter;
mod reports;
mod schedule;
mod take;

pub use condition::Condition;
pub use error::ReportError;
pub use export::{ExportError, Span, csv as export_csv, parquet as export_parquet};
pub use read::{Choice, Content, Item, Second, Sheet, contents, sheet};
pub use rebuild::{Progress, rebuild};
pub use reporter::{Parts, TURNS, run};
pub use reports::{Reports, Slices};
pub use take::{Slice, Turn};
