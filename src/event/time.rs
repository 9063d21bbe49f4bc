//! Milliseconds since 1970 UTC: the one form of a point in time past the edge.

/// A point in time in milliseconds since 1970 UTC; finer parts are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);
