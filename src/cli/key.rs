//! `rollbook key`: who may write.

use serde::Serialize;
use uuid::Uuid;

use super::admin::AdminArguments;
use super::{Failure, output};
use crate::store::keys;
use crate::tenant::Slug;

/// What can be done with write keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Makes one more key, which is shown once. The others stay valid, so that clients can change over.
    Add(Add),
    /// Lists an organization's keys, revoked ones too.
    List(List),
    /// Makes a key invalid, for good.
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Whose key.
    slug: Slug,
    /// What people call it.
    #[arg(long, value_parser = label)]
    label: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Whose keys.
    slug: Slug,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// The key's id, as `key list` shows it.
    #[arg(value_parser = key_id)]
    id: Uuid,
    #[command(flatten)]
    admin: AdminArguments,
}

impl Command {
    pub(super) fn admin(&self) -> &AdminArguments {
        match self {
            Self::Add(arguments) => &arguments.admin,
            Self::List(arguments) => &arguments.admin,
            Self::Revoke(arguments) => &arguments.admin,
        }
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(arguments) => arguments.run().await,
            Self::List(arguments) => arguments.run().await,
            Self::Revoke(arguments) => arguments.run().await,
        }
    }
}

#[derive(Serialize)]
struct Added {
    organization: String,
    key_id: String,
    key: String,
}

impl Add {
    async fn run(self) -> Result<(), Failure> {
        let (mut admin, _) = self.admin.open().await?;
        let new = keys::add(&mut admin, &self.slug, self.label.as_deref()).await?;
        let answer = Added {
            organization: self.slug.to_string(),
            key_id: new.id.to_string(),
            key: new.key.reveal().to_owned(),
        };
        output::one(self.admin.output, &answer, |answer| {
            format!("write key of {}, shown this once: {}", answer.organization, answer.key)
        });
        Ok(())
    }
}

#[derive(Serialize)]
struct Listed {
    key_id: String,
    label: Option<String>,
    created_at: String,
    revoked_at: Option<String>,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let (admin, _) = self.admin.open().await?;
        let listed = keys::list(&admin, &self.slug).await?.into_iter().map(|key| Listed {
            key_id: key.id.to_string(),
            label: key.label,
            created_at: output::time(key.created_at),
            revoked_at: key.revoked_at.map(output::time),
        });
        let header = ["key id", "label", "created", "revoked"];
        output::list(self.admin.output, &listed.collect::<Vec<_>>(), &header, |key| {
            vec![
                key.key_id.clone(),
                output::or_dash(key.label.as_ref()),
                key.created_at.clone(),
                output::or_dash(key.revoked_at.as_ref()),
            ]
        });
        Ok(())
    }
}

#[derive(Serialize)]
struct Revoked {
    organization: String,
    key_id: String,
    revoked_at: String,
}

impl Revoke {
    async fn run(self) -> Result<(), Failure> {
        let (mut admin, _) = self.admin.open().await?;
        let revoked = keys::revoke(&mut admin, self.id).await?;
        let answer = Revoked {
            organization: revoked.organization,
            key_id: self.id.to_string(),
            revoked_at: output::time(revoked.revoked_at),
        };
        output::one(self.admin.output, &answer, |answer| {
            format!("key {} of {} is revoked since {}", answer.key_id, answer.organization, answer.revoked_at)
        });
        Ok(())
    }
}

fn key_id(text: &str) -> Result<Uuid, &'static str> {
    text.parse()
        .map_err(|_| "not the id of a key, which `rollbook key list SLUG` shows; the key itself is not it")
}

fn label(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=200 if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err("a label is 1 to 200 characters".to_owned()),
    }
}
