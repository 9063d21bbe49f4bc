//! The one label that could grow without end: kept to the first organizations seen since the start.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use metrics::SharedString;

use crate::tenant::Slug;

/// So many organizations have a label of their own.
pub const MAX_ORGANIZATIONS: usize = 100;
/// The label of the others.
pub const OTHER: &str = "_other";

/// Shared by all rooms, so that an organization has the same label in every metric.
static SEEN: LazyLock<Mutex<HashSet<Slug>>> = LazyLock::new(Mutex::default);

/// The `organization` label for a slug: itself for the first 100 seen since the start, `_other` for the rest. Takes a
/// lock: keep what you made with it.
pub fn organization_label(slug: &Slug) -> SharedString {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    label(&mut seen, slug)
}

fn label(seen: &mut HashSet<Slug>, slug: &Slug) -> SharedString {
    if seen.contains(slug) {
        return slug.to_string().into();
    }
    if seen.len() >= MAX_ORGANIZATIONS {
        return OTHER.into();
    }
    seen.insert(slug.clone());
    slug.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hundred_and_first_organization_is_one_of_the_others() {
        let mut seen = HashSet::new();
        let slug = |n: usize| format!("school_{n}").parse::<Slug>().expect("a slug");
        for n in 0..MAX_ORGANIZATIONS {
            assert_eq!(*label(&mut seen, &slug(n)), *slug(n).as_str());
        }
        assert_eq!(*label(&mut seen, &slug(MAX_ORGANIZATIONS)), *OTHER);
        assert_eq!(*label(&mut seen, &slug(3)), *"school_3");
    }
}
