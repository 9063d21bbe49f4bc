//! `rollbook load`: (in the making)

pub mod sessions;
