//! Postgres: connections, roles, migrations, and the life of an organization.
//!
//! The database is the second fence between organizations, and holds even when our code is wrong. Each has a schema
//! `org_<slug>`, a role `org_<slug>` that may insert there and nowhere else, and a role `reader_<slug>` that may
//! select there and nowhere else. The loader's login owns nothing: it becomes an organization's role inside each
//! transaction. What provisioning makes carries a COMMENT with the organization's id; a schema or role of that name
//! without it is somebody else's, and is left alone.
//!
//! Two kinds of callers: the running service uses [`connect()`], [`Pool`], [`directory`], [`rights`] and
//! [`server`]; the administrator's commands use everything else, through one [`Admin`] connection.

mod admin;
pub mod audit;
mod backoff;
mod blockers;
mod change;
mod connect;
pub mod dead_letters;
pub mod directory;
mod error;
mod grants;
pub mod held;
mod indexes;
mod installation;
pub mod keys;
pub mod lifecycle;
mod login;
pub mod migrate;
mod migrations;
pub mod organizations;
mod pool;
pub mod provision;
pub mod removal;
mod retry;
pub mod rights;
mod roles;
pub mod server;
mod session;
pub mod setup;
pub mod status;
mod survey;
mod tls;

pub use admin::Admin;
pub(crate) use backoff::Backoff;
pub use connect::{connect, look};
pub use error::Error;
pub use grants::SUMMARIES;
pub use installation::{Installation, installed_prefix};
pub use migrations::{CONTROL_SCHEMA_VERSION, TENANT_SCHEMA_VERSION};
pub use pool::{Pool, PoolError, PoolSettings, PoolState, PooledClient};
pub use roles::TenantNames;
pub(crate) use roles::quoted;
