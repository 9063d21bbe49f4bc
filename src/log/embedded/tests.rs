//! The engine, over a real folder, and over one that forgets what was not synced.

mod appending;
mod support;
