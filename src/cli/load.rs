//! `rollbook load`: (in the making)

mod replay;
pub mod sessions;
