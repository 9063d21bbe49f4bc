//! The generated messages of `proto/rollbook/v1/`.
//!
//! A client in Rust would send these, and tests hold our own readers and writers against them; intake and loader never
//! touch them, for they copy.
#![allow(missing_docs, reason = "generated; what the .proto files explain is here too")]

include!(concat!(env!("OUT_DIR"), "/rollbook.v1.rs"));
