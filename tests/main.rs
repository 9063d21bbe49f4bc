//! One binary, one module per behaviour, through the front door with a real Postgres. Each test has a database, roles
//! and logins of its own, so all run at once. `./dev test` starts what they need.

mod harness;

mod audit;
mod directory;
mod environment;
mod isolation;
mod keys;
mod migrations;
mod organizations;
mod pool;
mod provisioning;
mod rights;
mod setup;
mod status;
