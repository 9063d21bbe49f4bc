//! `serve` refuses a database login that may do more than its role needs: the database is the second fence between
//! organizations, and holds only if the service cannot climb it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::failure::chain;
use crate::config::{ConfigError, DatabaseUrl};
use crate::store::{Error, connect, installed_prefix, rights};
use crate::tenant::RolePrefix;

/// How often a database that did not answer at the start is asked again.
const RETRY: Duration = Duration::from_secs(2);

/// A role's login, to be looked at.
#[derive(Clone, Debug)]
pub(super) enum Login {
    /// Reads organizations and keys.
    Intake(DatabaseUrl),
    /// Becomes organizations' roles.
    Loader(DatabaseUrl, RolePrefix),
}

/// What a look at a login came to.
#[derive(Debug)]
pub(super) enum Checked {
    /// It may do what it needs, and no more.
    Fitting,
    /// It may do more, or the settings name other roles than the installation has.
    Refused(ConfigError),
    /// Postgres did not say.
    Unanswered(String),
}

impl Login {
    /// Asks Postgres once.
    pub(super) async fn check(&self) -> Checked {
        let (url, role, variable) = match self {
            Self::Intake(url) => (url, "intake", "ROLLBOOK_INTAKE_DATABASE_URL"),
            Self::Loader(url, _) => (url, "loader", "ROLLBOOK_LOADER_DATABASE_URL"),
        };
        let client = match connect(url).await {
            Ok(client) => client,
            Err(error) => return Checked::Unanswered(chain(&error)),
        };
        let excess = match self {
            Self::Intake(_) => rights::check_intake(&client).await,
            Self::Loader(_, prefix) => match installed_prefix(&client).await {
                Ok(Some(installed)) if installed != *prefix => {
                    return Checked::Refused(another_prefix(prefix, installed));
                }
                Ok(_) => rights::check_loader(&client, prefix).await,
                Err(error) => Err(error),
            },
        };
        match excess {
            Ok(excess) if excess.is_empty() => Checked::Fitting,
            Ok(excess) => Checked::Refused(ConfigError::PrivilegedLogin {
                login: url.user().to_owned(),
                role,
                variable,
                excess,
            }),
            Err(error) => Checked::Unanswered(chain(&error)),
        }
    }

    /// Asks until Postgres answers, for a service that was started while it was away.
    ///
    /// # Errors
    /// The login may do too much, or is of another installation.
    pub(super) async fn check_until_answered(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            match self.check().await {
                Checked::Refused(error) => return Err(error.into()),
                Checked::Fitting => break,
                Checked::Unanswered(_) => {}
            }
            if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
                return Ok(());
            }
        }
        stop.cancelled().await;
        Ok(())
    }
}

/// Under another prefix the loader would look for roles that do not exist, and hold every record.
fn another_prefix(given: &RolePrefix, installed: RolePrefix) -> ConfigError {
    let given = given.clone();
    ConfigError::Contradiction(Error::PrefixContradiction { given, installed }.to_string())
}
