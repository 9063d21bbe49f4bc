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
        let mut word = [0; Word::BYTES];
        word.get_mut(..key.len())?.copy_from_slice(key.as_bytes());
        Self::of_word(Word(u128::from_le_bytes(word))).filter(|slot| slot.name().len() == key.len())
    }

    /// The slot of a key that is read as one word.
    #[inline]
    pub(super) fn of_word(key: Word) -> Option<Self> {
        let mut at = key.hash();
        while let Some((name, slot)) = TABLE[at] {
            if name.0 == key.0 {
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

/// A key of less than 16 bytes as one number, its first byte the lowest, the bytes behind it zero. Every name is one, and none
/// has a zero in it, so that to compare these is to compare the keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word(u128);

impl Word {
    /// How many bytes are read for one.
    pub(super) const BYTES: usize = 16;

    /// The first `length` of these bytes, which are not all of them.
    #[inline]
    pub(super) const fn first(bytes: [u8; Self::BYTES], length: usize) -> Self {
        Self(u128::from_le_bytes(bytes) & !(u128::MAX << (8 * length)))
    }

    /// Its first place in [`TABLE`].
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number that has two")]
    const fn hash(self) -> usize {
        let folded = (self.0 as u64) ^ ((self.0 >> 64) as u64).rotate_left(23);
        (folded.wrapping_mul(SPREAD) >> (64 - TABLE_LEN.trailing_zeros())) as usize
    }
}

/// 2⁶⁴ by the golden ratio: Knuth's multiplier, The Art of Computer Programming, volume 3, section 6.4.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// An open-addressed hash table of [`NAMES`], laid out by the compiler. At most half full, so that every probe ends.
static TABLE: [Option<(Word, Slot)>; TABLE_LEN] = lay_out();
const TABLE_LEN: usize = 64;

const _: () = assert!(NAMES.len() * 2 <= TABLE_LEN, "a fuller table makes long probes");

const fn lay_out() -> [Option<(Word, Slot)>; TABLE_LEN] {
    let mut table = [None; TABLE_LEN];
    let mut position = 0;
    while position < NAMES.len() {
        assert!(Slot::of(NAMES[position]).index() == position, "a name is there twice");
        let word = word_of(NAMES[position].as_bytes());
        let mut at = word.hash();
        while table[at].is_some() {
            at = (at + 1) % TABLE_LEN;
        }
        table[at] = Some((word, Slot::at(position)));
        position += 1;
    }
    table
}

/// The word of a name.
const fn word_of(name: &[u8]) -> Word {
    assert!(name.len() < Word::BYTES, "a name is too long for a word");
    let mut bytes = [0; Word::BYTES];
    let mut at = 0;
    while at < name.len() {
        bytes[at] = name[at];
        at += 1;
    }
    Word::first(bytes, name.len())
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
        for stranger in
            ["", "x", "ids", "iD", "id\0", "occurred_ax", "é", "occurred_at_or_later", "sixteen_letters_"]
        {
            assert_eq!(Slot::find(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn probes_are_short() {
        let is_displaced = |name: &str| {
            let first = TABLE[word_of(name.as_bytes()).hash()];
            first.map(|(_, slot)| slot) != Some(Slot::of(name))
        };
        let displaced = NAMES.iter().filter(|name| is_displaced(name)).count();
        assert!(displaced <= 8, "{displaced} names are not where their hash says");
    }
}
