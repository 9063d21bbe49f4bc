//! Milliseconds since 1970 UTC: the one form of a point in time past the edge.

/// A point in time in milliseconds since 1970 UTC; finer parts are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl std::fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl UnixMillis {
    /// Reads a **time** of the contract in its text form: an RFC 3339 string with an offset, or the decimal digits of
    /// an integer of milliseconds (what a header carries). `None` when it is neither.
    pub fn parse(_text: &str) -> Option<Self> {
        todo!()
    }

    /// The current time of this machine.
    pub fn now() -> Self {
        todo!()
    }
}
