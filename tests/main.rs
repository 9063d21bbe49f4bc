//! One binary, one module per behaviour, through the front door with a real Postgres and a real Kafka. Each test has a
//! database, roles, logins and a topic of its own, so all run at once. `./dev test` starts what they need.

mod harness;

mod audit;
mod corpus;
mod dead_letters;
mod directory;
mod environment;
mod generations;
mod held;
mod isolation;
mod keys;
mod life;
mod liveness;
mod migrations;
mod organizations;
mod pipeline;
mod pool;
mod provisioning;
mod refusals;
mod restart;
mod rights;
mod setup;
mod status;
