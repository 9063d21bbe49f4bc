//! A Postgres URL that was read once, and prints no password.

use std::fmt;
use std::path::PathBuf;

use tokio_postgres::config::{Host, SslMode};

use crate::config::Secret;

/// `postgres://user:password@host:port/database?sslmode=…`, as libpq writes it.
#[derive(Clone)]
pub struct DatabaseUrl {
    config: tokio_postgres::Config,
    tls: TlsPolicy,
}

/// What a connection asks of TLS, with libpq's meanings of `sslmode`. Whether it is used at all, the driver's own
/// `SslMode` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPolicy {
    /// What the server has to prove.
    pub verify: Verify,
    /// Whose signature proves it.
    pub roots: Roots,
    /// What this client shows of itself.
    pub own: Option<OwnCertificate>,
}

/// What a server has to prove before it is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: `prefer` (the default) and `require`, unless they name roots. Who did not ask gets encryption.
    #[default]
    Nothing,
    /// That one of the roots signed its certificate: `verify-ca`, and naming `sslrootcert`.
    Signer,
    /// That too, and that the certificate names the host: `verify-full`.
    SignerAndName,
}

/// Whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// Those that the machine trusts: `sslrootcert=system`, or none named.
    #[default]
    Machine,
    /// Those in this PEM file, and no others.
    File(PathBuf),
}

/// What a client shows to a server that asks for certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    /// `sslcert`: PEM file of the certificate and those that signed it.
    pub chain: PathBuf,
    /// `sslkey`: PEM file of its key.
    pub key: PathBuf,
}

/// Why a text is no URL. Repeats nothing of it: whatever it is, a password may be in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadDatabaseUrl {
    /// Not the scheme.
    #[error("must start with postgres://")]
    Scheme,
    /// A second line, most likely: what errors would repeat of it may be another secret.
    #[error("has a line break or another control character in it: a URL is one line")]
    ControlCharacter,
    /// Not readable as a URL.
    #[error(
        "is no Postgres URL: postgres://user:password@host:port/database (special characters are written %40)"
    )]
    Shape,
    /// No user.
    #[error("names no user: postgres://user:password@host:port/database")]
    NoUser,
    /// An `sslmode` that we do not have.
    #[error("has an sslmode that is none of disable, prefer, require, verify-ca, verify-full")]
    SslMode,
    /// The machine's roots would be trusted for any host at all.
    #[error("has sslrootcert=system, which goes with sslmode=verify-full only")]
    RootsOfTheMachine,
    /// Half of a client's certificate.
    #[error("names one of sslcert and sslkey: a client's certificate takes both")]
    HalfACertificate,
    /// A parameter that libpq has and we have not.
    #[error("has the parameter {0}, which is not supported here")]
    Unsupported(&'static str),
}

/// What libpq takes and we do not: named, so that nobody believes that it works.
const UNSUPPORTED: [&str; 20] = [
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "sslcompression",
    "sslsni",
    "sslcertmode",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "gssencmode",
    "gsslib",
    "gssdelegation",
    "krbsrvname",
    "requirepeer",
    "require_auth",
    "requiressl",
    "service",
    "passfile",
    "replication",
    "client_encoding",
    "fallback_application_name",
];

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`BadDatabaseUrl`].
    pub fn parse(written: &Secret) -> Result<Self, BadDatabaseUrl> {
        // Where it stands in a file, or is pasted, blanks and line ends come along.
        let text = written.expose().trim();
        if text.chars().any(char::is_control) {
            return Err(BadDatabaseUrl::ControlCharacter);
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(BadDatabaseUrl::Scheme);
        }
        if has_an_unescaped_at(text) {
            return Err(BadDatabaseUrl::Shape);
        }
        let (plain, tls) = TlsParameters::split(text)?;
        let mut config: tokio_postgres::Config = plain.parse().map_err(|_| BadDatabaseUrl::Shape)?;
        if config.get_user().is_none_or(str::is_empty) {
            return Err(BadDatabaseUrl::NoUser);
        }
        if names(&config).any(|name| name.chars().any(char::is_control)) {
            return Err(BadDatabaseUrl::ControlCharacter);
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

/// The parameters that tokio-postgres does not know, or knows too few values of. An empty value is none.
#[derive(Default)]
struct TlsParameters {
    mode: Option<String>,
    roots: Option<String>,
    chain: Option<String>,
    key: Option<String>,
}

impl TlsParameters {
    /// Takes them out of a URL.
    fn split(url: &str) -> Result<(String, Self), BadDatabaseUrl> {
        let mut tls = Self::default();
        let Some((base, query)) = url.split_once('?') else {
            return Ok((url.to_owned(), tls));
        };
        let mut others = Vec::new();
        for parameter in query.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let place = match name {
                "sslmode" => &mut tls.mode,
                "sslrootcert" => &mut tls.roots,
                "sslcert" => &mut tls.chain,
                "sslkey" => &mut tls.key,
                _ => {
                    if let Some(known) = UNSUPPORTED.iter().find(|known| **known == name) {
                        return Err(BadDatabaseUrl::Unsupported(known));
                    }
                    others.push(parameter);
                    continue;
                }
            };
            let value = unescaped(value).ok_or(BadDatabaseUrl::Shape)?;
            *place = Some(value).filter(|value| !value.is_empty());
        }
        let plain = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
        Ok((plain, tls))
    }

    fn policy(self) -> Result<(SslMode, TlsPolicy), BadDatabaseUrl> {
        let own = match (self.chain, self.key) {
            (None, None) => None,
            (Some(chain), Some(key)) => Some(OwnCertificate { chain: chain.into(), key: key.into() }),
            _ => return Err(BadDatabaseUrl::HalfACertificate),
        };
        let roots = match self.roots.as_deref() {
            None | Some("system") => Roots::Machine,
            Some(file) => Roots::File(file.into()),
        };
        let is_system = self.roots.as_deref() == Some("system");
        // Naming roots is asking for them, whatever the mode: so libpq has it for `require`.
        let if_named = if self.roots.is_some() { Verify::Signer } else { Verify::Nothing };
        let (mode, verify) = match self.mode.as_deref() {
            None if is_system => (SslMode::Require, Verify::SignerAndName),
            Some("verify-full") => (SslMode::Require, Verify::SignerAndName),
            Some("disable") => (SslMode::Disable, Verify::Nothing),
            _ if is_system => return Err(BadDatabaseUrl::RootsOfTheMachine),
            None | Some("prefer") => (SslMode::Prefer, if_named),
            Some("require") => (SslMode::Require, if_named),
            Some("verify-ca") => (SslMode::Require, Verify::Signer),
            Some(_) => return Err(BadDatabaseUrl::SslMode),
        };
        Ok((mode, TlsPolicy { verify, roots, own }))
    }
}

/// A value with its `%20` and the like read; `None`: not readable.
pub(in crate::config) fn unescaped(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// What errors, ours and Postgres', repeat of a URL.
fn names(config: &tokio_postgres::Config) -> impl Iterator<Item = &str> {
    let hosts = config.get_hosts().iter().filter_map(|host| match host {
        Host::Tcp(name) => Some(name.as_str()),
        #[cfg(unix)]
        Host::Unix(path) => path.to_str(),
    });
    let others =
        [config.get_user(), config.get_dbname(), config.get_options(), config.get_application_name()];
    hosts.chain(others.into_iter().flatten())
}

/// Whether an `@` stands where none ends the login: a second one before the parameters, or the first of all among them.
/// Then it most likely is a password's, and what is left of that would be taken for a name, which errors tell.
fn has_an_unescaped_at(url: &str) -> bool {
    let Some((login, after)) = url.split_once('@') else { return false };
    login.contains('?') || after.split('?').next().is_some_and(|place| place.contains('@'))
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
        let full = TlsPolicy { verify: Verify::SignerAndName, ..TlsPolicy::default() };
        assert_eq!(url.tls(), &full);
        assert!(parse("postgres://ann@db/school?password=p@w").is_ok());
        let with_blanks = parse(" postgres://ann:pw@db/school \t\r\n").expect("a good URL");
        assert_eq!(with_blanks.database(), "school");
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
            ("postgres://ann:pw@db/school\nsecret", BadDatabaseUrl::ControlCharacter),
            ("postgres://ann:pw@db/school?sslmode=require\r\nsecret", BadDatabaseUrl::ControlCharacter),
            ("postgres://ann:pw@db/school%0Asecret", BadDatabaseUrl::ControlCharacter),
            ("postgres://ann%1b[2Jsecret@db/school", BadDatabaseUrl::ControlCharacter),
            ("postgres://ann:pw@db%0Dsecret/school", BadDatabaseUrl::ControlCharacter),
            ("postgres://ann:secret@db/school?sslmode=secret", BadDatabaseUrl::SslMode),
            ("postgres://ann:secret@db/school?sslrootcert=%secret", BadDatabaseUrl::Shape),
            ("postgres://ann:secret@db/school?sslcert=secret", BadDatabaseUrl::HalfACertificate),
            ("postgres://ann:secret@db/school?sslkey=secret", BadDatabaseUrl::HalfACertificate),
            ("postgres://ann:secret@db/x?sslpassword=secret", BadDatabaseUrl::Unsupported("sslpassword")),
            (
                "postgres://ann:secret@db/x?sslrootcert=system&sslmode=require",
                BadDatabaseUrl::RootsOfTheMachine,
            ),
        ] {
            let bad = parse(text).expect_err(text);
            assert_eq!(bad, expected, "{text}");
            assert!(!bad.to_string().contains("secret"));
        }
    }

    #[test]
    fn who_did_not_ask_to_verify_gets_encryption_and_who_names_roots_has_asked() {
        use SslMode::{Disable, Prefer, Require};
        use Verify::{Nothing, Signer, SignerAndName};
        for (parameters, mode, verify, roots) in [
            ("", Prefer, Nothing, ""),
            ("sslmode=prefer", Prefer, Nothing, ""),
            ("sslmode=require", Require, Nothing, ""),
            ("sslmode=require&sslrootcert=", Require, Nothing, ""),
            ("sslmode=require&sslrootcert=/etc/our%20roots.crt", Require, Signer, "/etc/our roots.crt"),
            ("sslrootcert=/r", Prefer, Signer, "/r"),
            ("sslmode=verify-ca", Require, Signer, ""),
            ("sslmode=verify-full&sslrootcert=%2Fr", Require, SignerAndName, "/r"),
            ("sslrootcert=system", Require, SignerAndName, ""),
            ("sslmode=disable&sslrootcert=/r", Disable, Nothing, "/r"),
        ] {
            let url = parse(&format!("postgres://ann@db/school?{parameters}")).expect(parameters);
            assert_eq!(url.config().get_ssl_mode(), mode, "{parameters}");
            let roots = if roots.is_empty() { Roots::Machine } else { Roots::File(roots.into()) };
            assert_eq!(url.tls(), &TlsPolicy { verify, roots, own: None }, "{parameters}");
        }
    }
}
