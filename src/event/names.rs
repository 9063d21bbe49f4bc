//! Every name that a field of an event can have, and the short way from a key to its slot.
//!
//! An event's members arrive in any order and are judged in the order of the [`table`](super::table), so they are
//! first put into slots, one per name. A slot is also a bit: "already seen" and "known to this type" are one mask each.

/// Every field name once. Names are only ever appended: a name's position plus one is its number in `ingest.proto`.
pub const NAMES: [&str; 29] = [
    "id",
    "type",
    "occurred_at",
    "session_id",
    "viewer_id",
    "content_id",
    "seq",
    "position_ms",
    "rate",
    "ext",
    "watched",
    "played_ms",
    "duration_ms",
    "player",
    "from_ms",
    "to_ms",
    "from",
    "to",
    "on",
    "stall_ms",
    "code",
    "message",
    "item_id",
    "item_kind",
    "answer",
    "attempt",
    "elapsed_ms",
    "correct",
    "score",
];

/// The place of one name in [`NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u8);

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots(u32);

const _: () = assert!(NAMES.len() <= 32, "a set of slots is 32 bits");

impl Slot {
    pub(super) const ID: Self = Self::of("id");
    pub(super) const TYPE: Self = Self::of("type");

    /// The slot of a name that the table uses; one that is not in [`NAMES`] does not compile there.
    ///
    /// # Panics
    /// The name is not in [`NAMES`].
    pub(super) const fn of(name: &str) -> Self {
        let mut at = 0;
        while at < NAMES.len() {
            if equal(NAMES[at].as_bytes(), name.as_bytes()) {
                return Self::at(at);
            }
            at += 1;
        }
        panic!("this field name is missing in NAMES")
    }

    /// The slot of a key that a client sent.
    #[inline]
    pub(super) fn find(key: &str) -> Option<Self> {
        let mut at = hash(key.as_bytes()) % TABLE_LEN;
        while let Some(slot) = TABLE[at] {
            if slot.name() == key {
                return Some(slot);
            }
            at = (at + 1) % TABLE_LEN;
        }
        None
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "NAMES has at most 32 entries; `try_from` is not const"
    )]
    const fn at(position: usize) -> Self {
        assert!(position < NAMES.len());
        Self(position as u8)
    }

    /// The slot of a field number in `ingest.proto`.
    pub(super) fn of_number(number: u32) -> Option<Self> {
        let position = u8::try_from(number.checked_sub(1)?).ok()?;
        (usize::from(position) < NAMES.len()).then_some(Self(position))
    }

    /// The name.
    pub fn name(self) -> &'static str {
        NAMES[self.index()]
    }

    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Slots {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn with(self, slot: Slot) -> Self {
        Self(self.0 | (1 << slot.0))
    }

    pub(super) const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(super) const fn contains(self, slot: Slot) -> bool {
        self.0 & (1 << slot.0) != 0
    }

    pub(super) const fn is_within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }
}

/// An open-addressed hash table of [`NAMES`], laid out by the compiler. At most half full, so that every probe ends.
static TABLE: [Option<Slot>; TABLE_LEN] = lay_out();
const TABLE_LEN: usize = 64;

const _: () = assert!(NAMES.len() * 2 <= TABLE_LEN, "a fuller table makes long probes");

/// Length, first and last byte tell nearly all the names apart.
#[inline]
const fn hash(key: &[u8]) -> usize {
    match key {
        [] => 0,
        [first, .., last] => key.len() * 5 + *first as usize * 3 + *last as usize,
        [only] => *only as usize,
    }
}

const fn lay_out() -> [Option<Slot>; TABLE_LEN] {
    let mut table = [None; TABLE_LEN];
    let mut position = 0;
    while position < NAMES.len() {
        assert!(Slot::of(NAMES[position]).index() == position, "a name is there twice");
        let mut at = hash(NAMES[position].as_bytes()) % TABLE_LEN;
        while table[at].is_some() {
            at = (at + 1) % TABLE_LEN;
        }
        table[at] = Some(Slot::at(position));
        position += 1;
    }
    table
}

/// `a == b`, which slices cannot say in a const function.
#[inline]
const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_own_slot_and_others_find_none() {
        for (position, name) in NAMES.iter().enumerate() {
            assert_eq!(Slot::find(name).map(Slot::index), Some(position), "{name}");
            assert_eq!(Slot::find(&name[1..]).map(Slot::name).filter(|found| *found == *name), None);
        }
        for stranger in ["", "x", "ids", "iD", "occurred_ax", "é"] {
            assert_eq!(Slot::find(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn probes_are_short() {
        let displaced = NAMES
            .iter()
            .filter(|name| TABLE[hash(name.as_bytes()) % TABLE_LEN] != Some(Slot::of(name)))
            .count();
        assert!(displaced <= 8, "{displaced} names are not where their hash says");
    }
}
