//! `serve` refuses a database login that may do more than its role needs: the database is the second fence between
//! organizations, and holds only if the service cannot climb it.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, DatabaseUrl};
use crate::ops::chain;
use crate::store::server::{self, Purpose};
use crate::store::{Error, connect, installed_prefix, look, rights};
use crate::tenant::RolePrefix;

/// How often a database that did not answer at the start is asked again.
const RETRY: Duration = Duration::from_secs(2);
/// How long it has for its answers once it let us in.
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

impl Role {
    fn url(&self) -> &DatabaseUrl {
        match self {
            Self::Intake(url) | Self::Loader(url, _) => url,
        }
    }
}

impl Login {
    /// Asks Postgres once.
    pub(super) async fn check(&self) -> Checked {
        let mut client = match connect(self.role.url()).await {
            Ok(client) => client,
            Err(error) => return Checked::Unanswered(chain(&error)),
        };
        match timeout(PATIENCE, self.look(&mut client)).await {
            Ok(Ok(checked)) => checked,
            Ok(Err(error)) => Checked::Unanswered(chain(&error)),
            Err(_) => Checked::Unanswered(format!("Postgres gave no answer within {} s", PATIENCE.as_secs())),
        }
    }

    async fn look(&self, client: &mut Client) -> Result<Checked, Error> {
        let (role, variable, purpose) = match &self.role {
            Role::Intake(_) => ("intake", "ROLLBOOK_INTAKE_DATABASE_URL", Purpose::Reading),
            Role::Loader(..) => ("loader", "ROLLBOOK_LOADER_DATABASE_URL", Purpose::Writing),
        };
        let transaction = look(client).await?;
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
        let login = self.role.url().user().to_owned();
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

/// Under another prefix the loader would look for roles that do not exist, and hold every record.
fn another_prefix(given: &RolePrefix, installed: RolePrefix) -> ConfigError {
    let given = given.clone();
    ConfigError::Contradiction(Error::PrefixContradiction { given, installed }.to_string())
}
