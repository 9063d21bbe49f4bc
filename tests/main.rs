//! One binary, one module per behaviour, through the front door with a real Postgres and a real Kafka. Each test has a
//! database, roles, logins and a topic of its own, so all run at once. `./dev test` starts what they need.

mod harness;

mod audit;
mod corpus;
mod dead_letters;
mod directory;
mod disconnects;
mod drain;
mod environment;
mod held;
mod isolation;
mod keys;
mod memory;
mod migrations;
mod organizations;
mod overload;
mod partly;
mod pipeline;
mod pool;
mod provisioning;
mod refusals;
mod restart;
mod rights;
mod setup;
mod status;
