//! A second binary, for faults: real servers of its own are killed, stopped, filled and cut off, and every run ends with
//! the books compared id by id. `./dev test` runs the named faults, `./dev faults` a random schedule of them.

mod faults;
#[allow(dead_code, unused_imports, reason = "the other binary uses the rest of it")]
mod harness;
