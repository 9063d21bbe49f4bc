//! Slugs, and the names in Postgres that are made from them.

use std::fmt;
use std::str::FromStr;

/// The name of an organization: `^[a-z][a-z0-9_]{1,47}$`. Safe inside any identifier by construction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(Box<str>);

/// The text is no slug.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a slug is 2 to 48 characters: a lower-case letter, then letters a-z, digits or `_`")]
pub struct BadSlug;

impl Slug {
    /// The slug as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = BadSlug;

    fn from_str(text: &str) -> Result<Self, BadSlug> {
        let (first, rest) = text.as_bytes().split_first().ok_or(BadSlug)?;
        let starts_well = first.is_ascii_lowercase();
        let goes_on_well = rest.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
        if starts_well && goes_on_well && (1..=47).contains(&rest.len()) {
            Ok(Self(text.into()))
        } else {
            Err(BadSlug)
        }
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What goes before `org_…` and `reader_…` in role names, so that two installations can share a Postgres cluster:
/// empty, or at most 8 characters of `[a-z0-9_]` that start with a letter.
///
/// Schemas live in a database of their own and carry no prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolePrefix(String);

impl RolePrefix {
    /// The role that owns nothing and may insert into one organization's schema.
    pub fn writer_role(&self, slug: &Slug) -> String {
        format!("{}org_{slug}", self.0)
    }

    /// The analysts' role of one organization.
    pub fn reader_role(&self, slug: &Slug) -> String {
        format!("{}reader_{slug}", self.0)
    }

    /// The prefix as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RolePrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let well_formed = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && text.bytes().next().is_none_or(|b| b.is_ascii_lowercase());
        // Postgres reserves `pg_` for its own roles and would refuse each one later.
        if well_formed && text.len() <= 8 && !text.starts_with("pg_") {
            Ok(Self(text.to_owned()))
        } else {
            Err("a role prefix is at most 8 characters of a-z, 0-9 and `_`, starts with a letter and not with `pg_`"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_and_misshapen_names_are_no_slugs() {
        let long = "a".repeat(49);
        for text in [
            "", "a", "1a", "_a", "Acme", "ac me", "ac\"me", "../etc", "acme;", "аcme", "acmé", "acme\0",
            &long,
        ] {
            assert_eq!(text.parse::<Slug>(), Err(BadSlug), "{text:?}");
        }
    }

    #[test]
    fn the_longest_role_name_fits_in_an_identifier_of_postgres() {
        let slug: Slug = "a".repeat(48).parse().expect("48 letters are a slug");
        let prefix: RolePrefix = "abcdefgh".parse().expect("8 letters are a prefix");
        assert_eq!(prefix.reader_role(&slug).len(), 63);
    }
}
