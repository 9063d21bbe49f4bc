//! The one label that could grow without end: kept to the first organizations seen since the start.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use metrics::SharedString;

use crate::tenant::Slug;

/// So many organizations have a label of their own.
pub const MAX_ORGANIZATIONS: usize = 100;
/// The label of the others.
pub const OTHER: &str = "_other";

/// Shared by all rooms, so that an organization has the same label in every metric. Replaced whole by each of the first
/// organizations; the others, of which there may be thousands, only read it.
static SEEN: LazyLock<ArcSwap<HashSet<Slug>>> = LazyLock::new(ArcSwap::default);

/// The `organization` label for a slug: itself for the first 100 seen since the start, `_other` for the rest. Takes no
/// lock.
pub fn organization_label(slug: &Slug) -> SharedString {
    label(&SEEN, slug)
}

fn label(seen: &ArcSwap<HashSet<Slug>>, slug: &Slug) -> SharedString {
    if !seen.load().contains(slug) && !took_a_place(seen, slug) {
        return OTHER.into();
    }
    slug.to_string().into()
}

fn took_a_place(seen: &ArcSwap<HashSet<Slug>>, slug: &Slug) -> bool {
    if seen.load().len() >= MAX_ORGANIZATIONS {
        return false;
    }
    seen.rcu(|seen| {
        if seen.len() >= MAX_ORGANIZATIONS {
            return Arc::clone(seen);
        }
        let mut more = HashSet::clone(seen);
        more.insert(slug.clone());
        Arc::new(more)
    });
    // Another one may have had the last place.
    seen.load().contains(slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hundred_and_first_organization_is_one_of_the_others() {
        let seen = ArcSwap::default();
        let slug = |n: usize| format!("school_{n}").parse::<Slug>().expect("a slug");
        for n in 0..MAX_ORGANIZATIONS {
            assert_eq!(*label(&seen, &slug(n)), *slug(n).as_str());
        }
        assert_eq!(*label(&seen, &slug(MAX_ORGANIZATIONS)), *OTHER);
        assert_eq!(*label(&seen, &slug(3)), *"school_3");
    }
}
