//! A change that an administrator makes: one transaction in a session of its own, with nothing on its path.

use std::ops::Deref;

use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{SimpleQueryMessage, Transaction};

use super::Error;
use super::admin::Administrator;
use super::session::{Mark, READ_MARK};
use crate::tenant::OrganizationId;

/// Roles, paths and locks are the transaction's, so that none is left behind however it ends. Dropped without
/// [`Change::commit`], nothing of it is there. It waits for no lock without end: a minute, unless it says otherwise.
#[must_use = "a change that is not committed is none"]
pub(super) struct Change<'a> {
    transaction: Transaction<'a>,
    /// Who makes it.
    pub(super) by: &'a Administrator,
}

impl<'a> Change<'a> {
    /// Takes a transaction that has just begun.
    ///
    /// # Errors
    /// [`Error::SharedSession`]: it is not in the session that bears `mark`.
    pub(super) async fn new(
        transaction: Transaction<'a>,
        by: &'a Administrator,
        mark: &Mark,
    ) -> Result<Self, Error> {
        let answers = transaction
            .simple_query(&format!(
                "SET LOCAL search_path = ''; SET LOCAL lock_timeout = '1min'; {READ_MARK}"
            ))
            .await?;
        let found = answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        if !mark.is(found) {
            return Err(Error::SharedSession);
        }
        Ok(Self { transaction, by })
    }

    /// Writes one line of the trail: who changed what, when. `what` holds new values, never a secret. Gives the line's id.
    pub(super) async fn record(
        &self,
        action: &str,
        organization: Option<OrganizationId>,
        what: &Value,
    ) -> Result<i64, Error> {
        let sql = "INSERT INTO rollbook.admin_event (os_user, action, organization_id, what) \
                   VALUES ($1, $2, $3, $4) RETURNING id";
        let organization = organization.map(|id| id.0);
        let line: [&(dyn ToSql + Sync); 4] = [&self.by.operator.os_user, &action, &organization, what];
        Ok(self.transaction.query_one(sql, &line).await?.get(0))
    }

    /// Makes it true.
    pub(super) async fn commit(self) -> Result<(), Error> {
        Ok(self.transaction.commit().await?)
    }
}

impl<'a> Deref for Change<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.transaction
    }
}
