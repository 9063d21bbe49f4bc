//! What goes over the wire in a flush: one batch of one lane, over one connection, in one transaction.
//!
//! A batch is [`Prepared`] before a connection is there and [`flush()`]ed over one. The flight plan is in `flush`, the ways of
//! writing rows and what is counted as what in `ways`, the forms of a row in `copy` and `insert`; `halving` looks for rows
//! that Postgres refuses, `dead_letter` keeps them. What goes wrong is sorted by `scope`, and told as a [`Refusal`].
//!
//! Left to others: which lane is next, what a lane remembers (its watermark, whether it met duplicates lately), and what
//! is done about a refusal.

mod connections;
mod copy;
mod dead_letter;
mod flush;
mod halving;
mod insert;
mod perform;
mod prepared;
mod refusal;
mod rows;
mod scope;
mod statements;
mod unknown;
mod ways;

pub(super) use connections::{Connections, Finished};
pub(super) use copy::COLUMNS;
#[cfg(test)]
pub(super) use flush::FlushError;
pub(super) use flush::{Flushed, any_held, enter, flush, store, watermark};
pub(super) use insert::{insert_rows, statement as insert_statement};
#[cfg(test)]
pub(super) use perform::perform;
pub(super) use prepared::{Prepared, Source, Unfit, UnfitRecord};
pub(super) use refusal::Refusal;
#[cfg(test)]
pub(super) use rows::Row;
pub(super) use rows::rows_of;
#[cfg(test)]
pub(super) use scope::{Scope, scope_of, scope_of_code, sqlstate};
pub(super) use statements::Statements;
pub use ways::Fates;
pub(super) use ways::{Manner, Way, WriteError};
