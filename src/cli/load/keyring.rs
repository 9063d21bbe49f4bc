//! The organizations that events are sent for, each with its write key.

use std::num::NonZeroUsize;

use crate::config::Secret;
use crate::tenant::{Slug, WriteKey};

/// In the order of the flags, which is the order of their size.
#[derive(Debug)]
pub(in crate::cli) struct Keyring {
    organizations: Vec<Slug>,
    keys: Vec<WriteKey>,
}

impl Keyring {
    /// Of organizations with keys that are known already.
    pub(in crate::cli) fn of(keys: impl IntoIterator<Item = (Slug, WriteKey)>) -> Self {
        let (organizations, keys) = keys.into_iter().unzip();
        Self { organizations, keys }
    }

    /// Reads `SLUG=rb_…` from each. The complaint names entries by their place or slug, never by their text.
    pub(in crate::cli) fn parse(entries: &[Secret]) -> Result<Self, String> {
        let mut keyring = Self { organizations: Vec::new(), keys: Vec::new() };
        for (place, entry) in (1..).zip(entries) {
            let (slug, key) = entry
                .expose()
                .trim()
                .split_once('=')
                .ok_or_else(|| format!("has an entry that is not SLUG=KEY: number {place}"))?;
            let slug: Slug = slug.parse().map_err(|bad| format!("has a bad slug in entry {place}: {bad}"))?;
            let key = WriteKey::parse(key).map_err(|bad| format!("names {slug} with what is {bad}"))?;
            if keyring.organizations.contains(&slug) {
                return Err(format!("names {slug} twice"));
            }
            keyring.organizations.push(slug);
            keyring.keys.push(key);
        }
        Ok(keyring)
    }

    /// How many organizations: the command line does not go on without one.
    pub(in crate::cli) fn count(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.organizations.len()).unwrap_or(NonZeroUsize::MIN)
    }

    pub(in crate::cli) fn organizations(&self) -> &[Slug] {
        &self.organizations
    }

    /// Each organization with its key.
    pub(in crate::cli) fn iter(&self) -> impl Iterator<Item = (&Slug, &WriteKey)> {
        self.organizations.iter().zip(&self.keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[String]) -> Result<Keyring, String> {
        let entries: Vec<Secret> =
            entries.iter().map(|entry| entry.parse().expect("any text is a secret")).collect();
        Keyring::parse(&entries)
    }

    #[test]
    fn keys_keep_their_order() {
        let key = WriteKey::generate().expect("randomness");
        let keyring = parse(&["zebra", "acme"].map(|slug| format!("{slug}={}", key.reveal()))).expect("good");
        let slugs: Vec<_> = keyring.organizations().iter().map(Slug::as_str).collect();
        assert_eq!(slugs, ["zebra", "acme"]);
    }

    #[test]
    fn no_complaint_repeats_a_key() {
        let key = WriteKey::generate().expect("randomness");
        let good = format!("acme={}", key.reveal());
        for (entries, complaint) in [
            (vec![good.clone(), good.clone()], "names acme twice"),
            (vec![good.clone(), key.reveal().to_owned()], "has an entry that is not SLUG=KEY: number 2"),
            (
                vec![format!("{good}x")],
                "names acme with what is not a write key: it has the wrong shape or a typing error in it",
            ),
        ] {
            assert_eq!(parse(&entries).expect_err("not good"), complaint);
        }
        let bad_slug = parse(&[format!("Acme={}", key.reveal())]).expect_err("not good");
        assert!(bad_slug.starts_with("has a bad slug in entry 1") && !bad_slug.contains(key.reveal()));
    }
}
