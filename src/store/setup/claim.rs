//! Whose the roles are that the service is to use. They belong to the whole cluster, where another installation may have
//! them, or somebody who never heard of us.
//!
//! A role that is ours bears our mark. Three kinds of roles do not and are ours all the same: those that a release made
//! which marked them otherwise, or not at all; those of an installation that is gone with its database; and logins that
//! a person says to be ours. All others are left alone, and named.

use tokio_postgres::types::Type;

use crate::store::change::Change;
use crate::store::roles::{self, Found, Mark};
use crate::store::{Error, Installation};

/// What a person says of logins that exist and bear no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmarked {
    /// Nothing: those that this installation did not make are somebody else's.
    Refuse,
    /// They are this installation's.
    Adopt,
}

/// What this installation may call its own.
pub(super) struct Claim<'a> {
    pub(super) mark: Mark,
    /// What an earlier setup wrote down.
    pub(super) former: Option<&'a Installation>,
    pub(super) unmarked: Unmarked,
}

impl Claim<'_> {
    /// Looks for a login, and marks one that is ours without saying so.
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::LoginOfAnother`], or Postgres.
    pub(super) async fn on_login(&self, change: &Change<'_>, login: &str) -> Result<Found, Error> {
        let found = roles::find_role(&**change, login, &self.mark).await?;
        let Found::SomebodyElses(comment) = &found else { return Ok(found) };
        let is_ours = match comment {
            Some(comment) if comment.starts_with(Mark::OF_ANY_INSTALLATION) => {
                if !has_no_rights_anywhere(change, login).await? {
                    return Err(Error::LoginOfAnother(login.to_owned()));
                }
                true
            }
            _ => {
                self.unmarked == Unmarked::Adopt
                    || self.is_written_down(login)
                        && change.query_opt(OTHER_DATABASE, &[&login]).await?.is_none()
            }
        };
        if !is_ours {
            return Err(Error::NameTaken { kind: "login", name: login.to_owned() });
        }
        roles::mark_role(change, login, &self.mark).await?;
        Ok(Found::Ours)
    }

    fn is_written_down(&self, login: &str) -> bool {
        self.former.is_some_and(|former| former.intake_login == login || former.loader_login == login)
    }

    /// Makes the role that every reader is in, unless it is there and ours.
    ///
    /// # Errors
    /// [`Error::NameTaken`], or Postgres.
    pub(super) async fn ensure_readers_role(&self, change: &Change<'_>, role: &str) -> Result<(), Error> {
        if let Found::SomebodyElses(Some(comment)) = roles::find_role(&**change, role, &self.mark).await?
            && comment.starts_with(Mark::OF_ANY_INSTALLATION)
            && (has_no_rights_anywhere(change, role).await?
                || self.is_by_database(change, role, &comment).await?)
        {
            return roles::mark_role(change, role, &self.mark).await;
        }
        roles::ensure_role(change, role, &self.mark).await
    }

    /// Whether an earlier release marked the role by the name of this database: as it is, or as it was before it was
    /// renamed or restored.
    async fn is_by_database(&self, change: &Change<'_>, role: &str, comment: &str) -> Result<bool, Error> {
        let Some(database) = comment.strip_prefix(Mark::BY_DATABASE) else { return Ok(false) };
        if self.former.is_none() {
            return Ok(database == change.by.database);
        }
        // A name that another database took over in the meantime says nothing; what lets the role in does.
        let sql = "SELECT NOT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datname <> current_database()) \
                       OR EXISTS (SELECT FROM pg_database d, aclexplode(datacl), pg_roles r \
                                  WHERE datname = current_database() AND grantee = r.oid AND rolname = $2)";
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&database, Type::TEXT), (&role, Type::TEXT)];
        Ok(change.query_typed_one(sql, &parameters).await?.get(0))
    }
}

/// `$1` a role. A database whose list of rights names it, other than this one.
pub(super) const OTHER_DATABASE: &str = "
    SELECT datname::text FROM pg_database, aclexplode(datacl), pg_roles
    WHERE datname <> current_database() AND grantee = pg_roles.oid AND rolname = $1 ORDER BY 1 LIMIT 1";

/// Whether no database of the cluster names the role in anybody's rights, and it owns nothing: an installation's own have
/// at least the right to connect to its database, as long as that is there.
async fn has_no_rights_anywhere(change: &Change<'_>, role: &str) -> Result<bool, Error> {
    let sql = "SELECT NOT EXISTS (SELECT FROM pg_shdepend JOIN pg_roles ON refobjid = pg_roles.oid \
                                  WHERE refclassid = 'pg_authid'::regclass AND rolname = $1)";
    Ok(change.query_one(sql, &[&role]).await?.get(0))
}
