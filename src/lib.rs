//! Rollbook takes what viewers of educational videos watch and answer, and files it in each organization's own
//! Postgres schema, exactly once.
//!
//! The rooms, in reading order:
//!
//! - [`config`]: the environment, read once and checked
//! - [`tenant`]: who a request or a record belongs to, and the proof of it
//! - [`event`]: what one viewer did, checked once; past this room an event cannot be wrong
//! - [`intake`]: accept → resolve → decode → check → publish → reply
//! - [`log`]: the record format, and the log that keeps what was accepted: a Kafka topic, or files of this process
//! - [`loader`]: from the log into each organization's schema, exactly once
//! - [`report`]: what an organization gets out of its events: summaries, kept current in its own schema
//! - [`store`]: Postgres: connections, roles, migrations, provisioning
//! - [`audit`]: the books: what the log says against what the schemas hold
//! - [`ops`]: metrics, health, supervision
//! - [`cli`]: one file per command family
//!
//! Rooms point one way: `intake → tenant, event, log`; `loader → tenant, event, log, store`; `report → tenant,
//! store`; nobody points at `intake`, `loader`, `report` or `cli` but the command line itself.

pub mod audit;
pub mod cli;
pub mod config;
pub mod event;
pub mod intake;
pub mod loader;
pub mod log;
pub mod ops;
pub mod report;
pub mod store;
pub mod tenant;
