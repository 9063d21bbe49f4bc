//! Database errors that no rule knows: said and counted, each for a person to look at. Triggers raise what codes they like,
//! and for each row if they like: so neither the labels nor the lines are without bound.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use metrics::SharedString;

use crate::ops::Complaints;
use crate::ops::metrics::OTHER;
use crate::ops::metrics::catalogue::LOADER_UNKNOWN_ERRORS;

/// So many codes have a label of their own; all others have one together.
const MOST_CODES: usize = 32;

static LABELS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static COMPLAINTS: Complaints = Complaints::now_and_then();

/// An error of this code was met.
pub(super) fn met(code: &str) {
    metrics::counter!(LOADER_UNKNOWN_ERRORS, "sqlstate" => label(&LABELS, code)).increment(1);
    if let Some(unwritten) = COMPLAINTS.hear(code, Instant::now()) {
        tracing::error!(
            sqlstate = code,
            unwritten,
            "an error that no rule knows; the organization's records are held"
        );
    }
}

fn label(seen: &Mutex<BTreeSet<String>>, code: &str) -> SharedString {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if !seen.contains(code) {
        if seen.len() >= MOST_CODES {
            return OTHER.into();
        }
        seen.insert(code.to_owned());
    }
    code.to_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_that_come_after_the_first_ones_have_one_label_together() {
        let seen = Mutex::default();
        let codes: Vec<String> = (0..1_000).map(|n| format!("ZZ{n:03}")).collect();
        let labels: BTreeSet<SharedString> = codes.iter().map(|code| label(&seen, code)).collect();
        assert_eq!(labels.len(), MOST_CODES + 1);
        assert_eq!(*label(&seen, "ZZ000"), *"ZZ000", "the first keep theirs");
        assert_eq!(*label(&seen, "ZZ999"), *OTHER);
    }
}
