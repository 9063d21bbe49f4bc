//! The engine, over a real folder, and over one that forgets what was not synced.

mod appending;
mod broken;
mod damage;
mod disk;
mod forgetful;
mod killed;
mod limits;
mod looking;
mod power;
mod random;
mod reading;
mod support;
