//! Why one event is refused, alone and never for its batch.

use uuid::Uuid;

/// The stable codes of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// Over 16 KiB, or `ext` over one of its limits.
    TooLarge,
    /// A field of the wrong kind.
    BadType,
    /// A type that is not in the table.
    UnknownType,
    /// A field that is not in the table of its type.
    UnknownField,
    /// A required field left out or null.
    MissingField,
    /// A length or a number out of its range.
    OutOfRange,
    /// Anything else wrong inside `answer`.
    BadAnswer,
    /// Anything else wrong inside `watched`.
    BadWatched,
    /// Text that Postgres cannot hold, or that looks like an e-mail address.
    BadText,
    /// More than 30 days old.
    TooOld,
    /// More than 24 hours ahead.
    InFuture,
}

impl RefusalCode {
    /// The code as replies and metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::BadType => "bad_type",
            Self::UnknownType => "unknown_type",
            Self::UnknownField => "unknown_field",
            Self::MissingField => "missing_field",
            Self::OutOfRange => "out_of_range",
            Self::BadAnswer => "bad_answer",
            Self::BadWatched => "bad_watched",
            Self::BadText => "bad_text",
            Self::TooOld => "too_old",
            Self::InFuture => "in_future",
        }
    }
}

/// The verdict `rejected` of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The event's id where it could be read.
    pub id: Option<Uuid>,
    /// The stable code.
    pub code: RefusalCode,
    /// The field, with a dotted path below it; `None` for the whole event.
    pub field: Option<String>,
    /// One sentence for a person, with the limit that was broken.
    pub message: String,
}
