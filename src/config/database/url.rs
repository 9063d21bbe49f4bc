//! A Postgres URL that was read once, and prints no password.

use std::fmt;
use std::path::PathBuf;

use tokio_postgres::config::SslMode;

use crate::config::Secret;

/// `postgres://user:password@host:port/database?sslmode=…`, as libpq writes it.
#[derive(Clone)]
pub struct DatabaseUrl {
    config: tokio_postgres::Config,
    tls: TlsPolicy,
}

/// What a connection asks of TLS, with libpq's meanings of `sslmode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// `disable`, `prefer` (the default) and `require`: if encrypted, then whoever answers is believed, as libpq does.
    Unverified,
    /// `verify-full`: the certificate must name the host, and be signed by one of the machine's roots or by the file
    /// named in `sslrootcert`.
    Verified {
        /// PEM file of the only roots to trust.
        roots: Option<PathBuf>,
    },
}

/// Why a text is no URL. Repeats nothing of it: whatever it is, a password may be in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadDatabaseUrl {
    /// Not the scheme.
    #[error("must start with postgres://")]
    Scheme,
    /// Not readable as a URL.
    #[error(
        "is no Postgres URL: postgres://user:password@host:port/database (special characters are written %40)"
    )]
    Shape,
    /// No user.
    #[error("names no user: postgres://user:password@host:port/database")]
    NoUser,
    /// An `sslmode` that we do not have.
    #[error("has an sslmode that is none of disable, prefer, require, verify-full")]
    SslMode,
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`BadDatabaseUrl`].
    pub fn parse(written: &Secret) -> Result<Self, BadDatabaseUrl> {
        let text = written.expose();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(BadDatabaseUrl::Scheme);
        }
        if has_an_unescaped_at(text) {
            return Err(BadDatabaseUrl::Shape);
        }
        let (plain, tls) = split_tls(text);
        let mut config: tokio_postgres::Config = plain.parse().map_err(|_| BadDatabaseUrl::Shape)?;
        if config.get_user().is_none_or(str::is_empty) {
            return Err(BadDatabaseUrl::NoUser);
        }
        let (mode, tls) = tls.policy()?;
        config.ssl_mode(mode);
        Ok(Self { config, tls })
    }

    /// Everything but TLS certificates.
    pub fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// What is asked of TLS.
    pub fn tls(&self) -> &TlsPolicy {
        &self.tls
    }

    /// The login role.
    pub fn user(&self) -> &str {
        self.config.get_user().expect("`parse` refuses a URL without a user")
    }

    /// The login's password, if it has one.
    pub fn password(&self) -> Option<&[u8]> {
        self.config.get_password()
    }

    /// The database; Postgres takes the user's name where none is written.
    pub fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_else(|| self.user())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({}@…/{})", self.user(), self.database())
    }
}

/// The parameters that tokio-postgres does not know, or knows too few values of.
#[derive(Default)]
struct TlsParameters<'a> {
    mode: Option<&'a str>,
    roots: Option<&'a str>,
}

impl TlsParameters<'_> {
    fn policy(&self) -> Result<(SslMode, TlsPolicy), BadDatabaseUrl> {
        Ok(match self.mode {
            Some("disable") => (SslMode::Disable, TlsPolicy::Unverified),
            None | Some("prefer") => (SslMode::Prefer, TlsPolicy::Unverified),
            Some("require") => (SslMode::Require, TlsPolicy::Unverified),
            Some("verify-full") => {
                (SslMode::Require, TlsPolicy::Verified { roots: self.roots.map(PathBuf::from) })
            }
            Some(_) => return Err(BadDatabaseUrl::SslMode),
        })
    }
}

/// Whether an `@` stands where none ends the login: a second one before the parameters, or the first of all among them.
/// Then it most likely is a password's, and what is left of that would be taken for a name, which errors tell.
fn has_an_unescaped_at(url: &str) -> bool {
    let Some((login, after)) = url.split_once('@') else { return false };
    login.contains('?') || after.split('?').next().is_some_and(|place| place.contains('@'))
}

/// Takes the TLS parameters out of a URL.
fn split_tls(url: &str) -> (String, TlsParameters<'_>) {
    let mut tls = TlsParameters::default();
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), tls);
    };
    let mut others = Vec::new();
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some(("sslmode", mode)) => tls.mode = Some(mode),
            Some(("sslrootcert", path)) => tls.roots = Some(path),
            _ => others.push(parameter),
        }
    }
    let plain = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    (plain, tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DatabaseUrl, BadDatabaseUrl> {
        DatabaseUrl::parse(&text.parse().expect("a secret takes every text"))
    }

    #[test]
    fn a_url_is_read_and_prints_no_password() {
        let url = parse("postgres://ann:s%40cret@db:5433/school?sslmode=verify-full&connect_timeout=3")
            .expect("a good URL");
        assert_eq!((url.user(), url.database()), ("ann", "school"));
        assert_eq!(url.password(), Some(&b"s@cret"[..]));
        assert_eq!(url.tls(), &TlsPolicy::Verified { roots: None });
        assert!(parse("postgres://ann@db/school?password=p@w").is_ok());
        assert_eq!(url.config().get_ssl_mode(), SslMode::Require);
        let printed = format!("{url:?}");
        assert!(!printed.contains("cret"), "{printed}");
    }

    #[test]
    fn what_is_wrong_is_said_without_repeating_it() {
        for (text, expected) in [
            ("mysql://ann:secret@db/school", BadDatabaseUrl::Scheme),
            ("host=db password=secret", BadDatabaseUrl::Scheme),
            ("postgres://ann:secret@db:port/school", BadDatabaseUrl::Shape),
            ("postgres://ann:p@w/secret@db/school", BadDatabaseUrl::Shape),
            ("postgres://db/school?user=ann&password=sec@ret", BadDatabaseUrl::Shape),
            ("postgres://db/school?secret=1", BadDatabaseUrl::Shape),
            ("postgres:///school", BadDatabaseUrl::NoUser),
            ("postgres://ann:secret@db/school?sslmode=verify-ca", BadDatabaseUrl::SslMode),
        ] {
            let bad = parse(text).expect_err(text);
            assert_eq!(bad, expected, "{text}");
            assert!(!bad.to_string().contains("secret"));
        }
    }
}
