//! The loader against a real Postgres that refuses: every test has a database, a role prefix and logins of its own.
//!
//! Dispatcher, writers and flushes are driven from inside, because what is tested is what no front door lets through.

mod accepted;
mod anchors;
mod crowding;
mod draining;
mod driver;
mod events;
mod fairness;
mod fence;
mod flushing;
mod forms;
mod holding;
mod names;
mod nobody;
mod opening;
mod scopes;
mod site;
mod ways;
