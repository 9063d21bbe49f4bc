//! The trail of administrators: who changed what, when.

use serde_json::Value;
use tokio_postgres::Transaction;

use super::Error;
use crate::config::Operator;
use crate::tenant::OrganizationId;

/// Writes one line of the trail, in the transaction that makes the change. `what` holds new values, never a secret.
pub(super) async fn record(
    transaction: &Transaction<'_>,
    operator: &Operator,
    action: &str,
    organization: Option<OrganizationId>,
    what: &Value,
) -> Result<(), Error> {
    let sql =
        "INSERT INTO rollbook.admin_event (os_user, action, organization_id, what) VALUES ($1, $2, $3, $4)";
    let organization = organization.map(|id| id.0);
    transaction.execute(sql, &[&operator.os_user, &action, &organization, what]).await?;
    Ok(())
}
