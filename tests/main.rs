//! One binary, one module per behaviour, through the front door with a real Postgres and a real Kafka. Each test has a
//! database, roles, logins and a topic of its own, so all run at once. `./dev test` starts what they need. What
//! needs no server is beside the code: the loader's protocol, explored and simulated, is in `src/loader/model.rs` and
//! `src/loader/simulator.rs`.

#[allow(dead_code, reason = "the binary for faults uses the rest of it")]
mod harness;

mod audit;
mod check;
mod corpus;
mod dead_letters;
mod demo;
mod descriptors;
mod directory;
mod disconnects;
mod drain;
mod embedded;
mod environment;
mod gaps;
mod generations;
mod group;
mod health;
mod held;
mod idle;
mod installations;
mod isolation;
mod keys;
mod life;
mod liveness;
mod log;
mod memory;
mod metrics;
mod migrations;
mod openapi;
mod organizations;
#[cfg(feature = "otlp")]
mod otlp;
mod overload;
mod partly;
mod pipeline;
mod pool;
mod pooler;
mod prometheus;
mod provisioning;
mod refusals;
mod reports;
mod restart;
mod restore;
mod rights;
mod search_path;
mod server;
mod setup;
mod status;
mod stderr;
mod strangers;
mod tls;
mod trail;
mod vectors;
