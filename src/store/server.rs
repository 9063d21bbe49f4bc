//! What we rely on and a server may have otherwise.
//!
//! Asked before anything is made (`setup`) and before anything is promised (`serve`): where text is kept in another
//! encoding, for one, everything works until the first event with an é.

use tokio_postgres::{GenericClient, Row};

/// PostgreSQL 15, the oldest that we run on.
const OLDEST_VERSION: i32 = 15_00_00;
/// What Postgres gives names unless it was built otherwise; `reader_`, a prefix of 8 and a slug of 48 make it full.
const LONGEST_NAME: i32 = 63;

/// Whether a login is to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Intake reads organizations and keys: a standby is as good.
    Reading,
    /// All others write.
    Writing,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What, and what to do about it.
    pub what: String,
    /// Whether it may pass by itself: a standby is promoted, and where a disk was full writing is allowed again.
    pub may_pass: bool,
}

/// All that does not fit, not only the first; empty: nothing.
///
/// # Errors
/// Postgres.
pub async fn misfits(
    client: &impl GenericClient,
    purpose: Purpose,
) -> Result<Vec<Misfit>, tokio_postgres::Error> {
    Ok(judge(&client.query_typed_one(SETTINGS, &[]).await?, purpose))
}

/// As the login sees them: the server's, the database's and its own.
const SETTINGS: &str = "
    SELECT current_database()::text AS database, pg_is_in_recovery() AS is_standby,
           current_setting('server_version_num')::integer AS version_number,
           current_setting('server_version') AS version,
           current_setting('server_encoding') AS encoding,
           current_setting('max_identifier_length')::integer AS longest_name,
           current_setting('default_transaction_read_only')::boolean AS is_read_only,
           current_setting('standard_conforming_strings')::boolean AS has_standard_strings,
           current_setting('session_replication_role') AS replication_role";

fn judge(settings: &Row, purpose: Purpose) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    let lasting = |what: String| Misfit { what, may_pass: false };
    let passing = |what: &str| Misfit { what: what.to_owned(), may_pass: true };
    if settings.get::<_, i32>("version_number") < OLDEST_VERSION {
        let version: &str = settings.get("version");
        misfits.push(lasting(format!("it is PostgreSQL {version}, and 15 is the oldest that will do")));
    }
    let (database, encoding): (&str, &str) = (settings.get("database"), settings.get("encoding"));
    if encoding != "UTF8" {
        misfits.push(lasting(format!(
            "the database `{database}` has the encoding {encoding}, in which not every viewer's text can be kept: it \
             takes one made with ENCODING 'UTF8' TEMPLATE template0"
        )));
    }
    let longest_name: i32 = settings.get("longest_name");
    if longest_name < LONGEST_NAME {
        misfits.push(lasting(format!(
            "it cuts names off after {longest_name} bytes, and ours take {LONGEST_NAME}"
        )));
    }
    if !settings.get::<_, bool>("has_standard_strings") {
        misfits.push(lasting(format!(
            "standard_conforming_strings is off: ALTER DATABASE \"{database}\" SET standard_conforming_strings = on"
        )));
    }
    let replication_role: &str = settings.get("replication_role");
    if replication_role != "origin" {
        misfits.push(lasting(format!(
            "session_replication_role is {replication_role}, so that triggers and foreign keys do not hold: it has to be \
             origin for the service's logins"
        )));
    }
    if purpose == Purpose::Writing && settings.get("is_standby") {
        misfits
            .push(passing("it is a standby, where nothing can be written: the URL has to name the primary"));
    }
    if purpose == Purpose::Writing && settings.get("is_read_only") {
        misfits.push(passing("default_transaction_read_only is on, so that nothing can be written"));
    }
    misfits
}

#[cfg(test)]
mod tests {
    use tokio_postgres::NoTls;

    use super::*;

    /// There is no older server at hand: this one says what that would say.
    #[tokio::test]
    async fn an_older_server_is_refused_by_its_version() {
        let url = std::env::var("TEST_POSTGRES_URL")
            .unwrap_or_else(|_| panic!("TEST_POSTGRES_URL is not set: run ./dev test"));
        let (client, driver) = tokio_postgres::connect(&url, NoTls).await.expect("a login that works");
        let driver = tokio::spawn(driver);
        let of_older = SETTINGS
            .replace("current_setting('server_version_num')::integer", "140020")
            .replace("current_setting('server_version')", "'14.20'");
        let settings = client.query_typed_one(&of_older, &[]).await.expect("settings");
        let what = "it is PostgreSQL 14.20, and 15 is the oldest that will do".to_owned();
        for purpose in [Purpose::Reading, Purpose::Writing] {
            assert_eq!(judge(&settings, purpose), [Misfit { what: what.clone(), may_pass: false }]);
        }
        drop(client);
        driver.await.expect("no panic").expect("it ends well");
    }
}
