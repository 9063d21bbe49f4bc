//! What an operator watches, and how the process lives and ends.
//!
//! Every metric is named and described in [`metrics`]; [`health`] says whether the process makes progress and whether
//! it would take work; [`admin`] serves both, and a [`client`] asks for them. [`supervise`](mod@supervise) runs the parts of the process and brings
//! them down together; [`signals`] is what asks for that. What the process says goes to [`stderr`], whose reader may be
//! slow or gone; what goes wrong over and over is said at the rate of [`complaints`]. [`spans`] tell a collector of traces when what
//! happened. A [`listener`] hands out connections, as many as the [`descriptors`] allow.

pub mod admin;
mod causes;
pub mod client;
pub mod complaints;
pub mod descriptors;
pub mod health;
pub mod listener;
pub mod metrics;
pub mod signals;
pub mod spans;
pub mod stderr;
pub mod supervise;
pub mod tracing;

pub use causes::chain;
pub use client::AdminClient;
pub use complaints::Complaints;
pub use health::{Health, Heartbeat, Role};
pub use supervise::supervise;
