//! (in the making)
pub mod intake;
pub mod log;
pub mod ops;
