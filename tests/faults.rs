//! Faults by name. The servers belong to this binary, and its tests take turns on them: whatever one test did to a
//! server, the next finds it well.
//!
//! A fault that is neither Kafka's nor the embedded log's own is done on both logs.
//!
//! What they stand on: `servers` can be killed, a `proxy` can cut and hold what is said on the way to them, `ground`
//! puts a site behind proxies, `client`s send events, and the `ledger` remembers what each of them was promised.

/// Each of these faults on each log, as `kafka::FAULT` and `embedded::FAULT`.
macro_rules! on_each_log {
    ($($fault:ident),+ $(,)?) => {
        mod kafka {
            $(#[tokio::test]
            async fn $fault() {
                super::$fault(rollbook::config::log::LogKind::Kafka).await;
            })+
        }

        mod embedded {
            $(#[tokio::test]
            async fn $fault() {
                super::$fault(rollbook::config::log::LogKind::Embedded).await;
            })+
        }
    };
}

mod client;
mod ground;
mod ledger;
mod proxy;
mod servers;

mod anchor;
mod behind;
mod closing;
mod duplicates;
mod embedded;
mod group;
mod log;
mod login;
mod neighbours;
mod postgres;
mod processes;
mod random;
mod rollout;
mod standby;
mod wire;

use client::{Clients, Habit};
use ground::Ground;
use proxy::{Passage, Proxy, Then, Trap};
use servers::{DataFolder, Servers, SmallDisk, Standby, WITH_RULES};
