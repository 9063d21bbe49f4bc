//! What every administrator's command takes, and the connection it works on.

use super::Failure;
use crate::config::{AdminDatabase, Faults, Operator, Output, RolePrefixSetting};
use crate::store::{Admin, Installation};

/// The arguments that all administrator's commands share.
#[derive(clap::Args, Debug)]
pub(super) struct AdminArguments {
    #[command(flatten)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) database: AdminDatabase,
    #[command(flatten)]
    pub(super) prefix: RolePrefixSetting,
}

impl AdminArguments {
    /// What is wrong with them.
    pub(super) fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        faults.note(self.database.resolve());
        faults
    }

    /// Logs in as the administrator of a database where `setup` has run.
    pub(super) async fn open(&self) -> Result<(Admin, Installation), Failure> {
        let url = self.database.resolve()?;
        let admin = Admin::connect(&url, Operator::from_environment()).await?;
        let installation = Installation::load(&admin, self.prefix.role_prefix.as_ref()).await?;
        Ok((admin, installation))
    }
}
