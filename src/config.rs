//! (in the making)
pub mod log;
