//! (in the making)
pub mod loader;
pub mod log;
