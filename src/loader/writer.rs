//! One flush over one connection: records into rows, and how they go over the wire.

pub(in crate::loader) mod copy;
mod dead_letter;
pub(in crate::loader) mod flush;
pub(in crate::loader) mod insert;
pub(in crate::loader) mod record_rows;
pub(in crate::loader) mod refusal;
pub(in crate::loader) mod rows;
pub(in crate::loader) mod scope;
pub(in crate::loader) mod statements;
pub(in crate::loader) mod ways;
