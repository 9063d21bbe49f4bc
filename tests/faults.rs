//! Faults by name. The servers belong to this binary, and its tests take turns on them: whatever one test did to a
//! server, the next finds it well.
//!
//! What they stand on: `servers` can be killed, a `proxy` can cut and hold what is said on the way to them, `ground`
//! puts a site behind proxies, `client`s send events, and the `ledger` remembers what each of them was promised.

mod client;
mod ground;
mod ledger;
mod proxy;
mod servers;

mod anchor;
mod duplicates;
mod group;
mod log;
mod login;
mod neighbours;
mod postgres;
mod processes;
mod random;
mod wire;

use client::{Clients, Habit};
use ground::Ground;
use proxy::{Passage, Proxy, Then, Trap};
use servers::{Servers, WITH_RULES};
