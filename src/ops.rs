//! What an operator watches, and how the process lives and ends.
//!
//! Every metric is named and described in [`metrics`]; [`health`] says whether the process makes progress and whether
//! it would take work; [`admin`] serves both. [`supervise`](mod@supervise) runs the parts of the process and brings
//! them down together; [`signals`] is what asks for that.

pub mod admin;
pub mod health;
pub mod metrics;
pub mod signals;
pub mod supervise;
pub mod tracing;

pub use health::{Health, Heartbeat, Role};
pub use supervise::supervise;
