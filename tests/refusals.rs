//! Every refusal of the contract that a client can bring about, with its code.

mod events;
mod requests;
mod service;
