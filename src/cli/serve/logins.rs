//! `serve` refuses a database login that may do more than its role needs: the database is the second fence between
//! organizations, and holds only if the service cannot climb it.

use std::time::Duration;

use futures_util::TryFutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cli::failure::chain;
use crate::config::{ConfigError, DatabaseUrl};
use crate::store::server::{self, Purpose};
use crate::store::{Error, connect, installed_prefix, look, rights};
use crate::tenant::RolePrefix;

/// How often a database that did not answer at the start is asked again.
const RETRY: Duration = Duration::from_secs(2);
/// How long it has for an answer: one that is frozen takes connections and says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// A login of the service, to be looked at, and its server with it.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) role: Role,
    pub(super) rights: Rights,
}

/// What rights it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Those that its role needs.
    Needed,
    /// Whatever it has: nobody looks.
    Any,
}

/// What it is for.
#[derive(Clone, Debug)]
pub(super) enum Role {
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
    /// It may do more, the settings name other roles than the installation has, or the server will not do.
    Refused(ConfigError),
    /// Postgres did not say, or cannot be written to now.
    Unanswered(String),
}

impl Login {
    /// Asks Postgres once.
    pub(super) async fn check(&self) -> Checked {
        match in_time(self.look()).await {
            Ok(Ok(checked)) => checked,
            Ok(Err(error)) => Checked::Unanswered(chain(&error)),
            Err(reason) => Checked::Unanswered(reason),
        }
    }

    async fn look(&self) -> Result<Checked, Error> {
        let (url, role, variable, purpose) = match &self.role {
            Role::Intake(url) => (url, "intake", "ROLLBOOK_INTAKE_DATABASE_URL", Purpose::Reading),
            Role::Loader(url, _) => (url, "loader", "ROLLBOOK_LOADER_DATABASE_URL", Purpose::Writing),
        };
        let mut client = connect(url).await?;
        let transaction = look(&mut client).await?;
        let (passing, lasting): (Vec<_>, Vec<_>) =
            server::misfits(&transaction, purpose).await?.into_iter().partition(|misfit| misfit.may_pass);
        if !lasting.is_empty() {
            let misfits = lasting.into_iter().chain(passing).map(|misfit| misfit.what).collect();
            return Ok(Checked::Refused(ConfigError::UnfitDatabase { variable, misfits }));
        }
        if let Some(misfit) = passing.first() {
            return Ok(Checked::Unanswered(misfit.what.clone()));
        }
        let excess = match &self.role {
            _ if self.rights == Rights::Any => Vec::new(),
            Role::Intake(_) => rights::check_intake(&transaction).await?,
            Role::Loader(_, prefix) => match installed_prefix(&transaction).await? {
                Some(installed) if installed != *prefix => {
                    return Ok(Checked::Refused(another_prefix(prefix, installed)));
                }
                _ => rights::check_loader(&transaction, prefix).await?,
            },
        };
        if excess.is_empty() {
            return Ok(Checked::Fitting);
        }
        let login = url.user().to_owned();
        Ok(Checked::Refused(ConfigError::PrivilegedLogin { login, role, variable, excess }))
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

/// Postgres' answer, or that it gave none in time.
pub(super) fn in_time<T>(answer: impl Future<Output = T>) -> impl Future<Output = Result<T, String>> {
    timeout(PATIENCE, answer).map_err(|_| format!("Postgres gave no answer within {} s", PATIENCE.as_secs()))
}

/// Under another prefix the loader would look for roles that do not exist, and hold every record.
fn another_prefix(given: &RolePrefix, installed: RolePrefix) -> ConfigError {
    let given = given.clone();
    ConfigError::Contradiction(Error::PrefixContradiction { given, installed }.to_string())
}
