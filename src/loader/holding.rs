//! Records that their schema cannot take now: kept in order in the control schema, and drained from there.
//!
//! The rules (each of them, left out, loses or doubles something): hold never touches the tenant's watermark; the log's
//! offset is committed only after the hold; nothing is held unless all before it is stored or held; a lane opens by
//! reading its watermark and whether records are held, and does not go live while any are; a drain writes the rows and
//! the watermark in the organization's role, and deletes in the same transaction; what lies below the watermark is
//! deleted unwritten.
//!
//! `hold` keeps and finds them, `opening` tells a lane what is there, `drain_held` is one transaction of a drain, which lanes
//! ask for and so do `drain`, for a person, and `former`, for generations that are over. `unreadable` is where records go
//! that belong in no schema at all.

pub mod drain;
mod drain_held;
mod former;
mod hold;
mod opening;
mod unreadable;

#[cfg(test)]
pub(super) use drain_held::DrainError;
pub(super) use drain_held::{Drained, drain_some};
pub(super) use former::drain_former_generations;
pub(super) use hold::{HoldOutcome, ToHold, hold, lanes_with_held};
pub(super) use opening::{Opening, open};
pub(super) use unreadable::{Unreadable, write_down};
