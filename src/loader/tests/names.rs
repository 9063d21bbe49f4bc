//! Names that should never come out of the control schema, and what they would do if they did.

use super::super::lane::Expected;
use super::super::writer::{FlushError, Scope, Way, WriteError, flush, scope_of, sqlstate};
use super::events::{events, source};
use super::site::{Site, prepared};
use crate::store::quoted;
use crate::tenant::Organization;

#[tokio::test]
async fn hostile_schema_names_and_other_organizations_schemas_are_refused_and_nothing_is_written() {
    let site = Site::with(&["acme", "birch"]).await;
    let mut loader = site.loader().await;
    let cases = [
        // Another organization's schema with one's own role.
        ("org_birch", "42501"),
        ("rollbook", "42501"),
        ("public", "42P01"),
        ("pg_catalog", "42P01"),
        ("", "42601"),
        ("org_acme\"", "42P01"),
        ("org_acme.event", "42P01"),
        ("org_acme\".event; DROP SCHEMA \"org_acme\" CASCADE; --", "42P01"),
        ("\"; DROP SCHEMA org_acme CASCADE; --", "42P01"),
        ("org_acme\"; SET ROLE NONE; COMMIT; --", "42P01"),
        ("$user", "42P01"),
        ("ORG_ACME", "42P01"),
        ("оrg_acme", "42P01"), // a Cyrillic letter
        ("../org_birch", "42P01"),
    ];
    for (schema_name, expected) in cases {
        let lying = Organization { schema_name: schema_name.to_owned(), ..site.organization("acme").clone() };
        let batch = prepared(source(lying.id, 1, events(0..3)));
        match flush(&mut loader, &site.statements_of(lying), Expected::Watermark(None), &batch, Way::Direct)
            .await
        {
            Err(FlushError::Refused(WriteError::Postgres(error))) => {
                assert_eq!(
                    (sqlstate(&error), scope_of(&error)),
                    (expected, Scope::Tenant),
                    "{schema_name:?}: {error:?}"
                );
            }
            other => panic!("{schema_name:?}: {other:?}"),
        }
    }
    for slug in ["acme", "birch"] {
        assert_eq!(site.contents(slug).await, [0, 0, 0]);
    }
    assert_eq!(site.number("SELECT count(*) FROM rollbook.organization").await, 2);
}

#[tokio::test]
async fn a_slug_of_another_organization_beside_ones_own_schema_is_refused() {
    let site = Site::with(&["acme", "birch"]).await;
    let slug = site.organization("birch").slug.clone();
    let lying = Organization { slug, ..site.organization("acme").clone() };
    let batch = prepared(source(lying.id, 1, events(0..3)));
    match flush(
        &mut site.loader().await,
        &site.statements_of(lying),
        Expected::Watermark(None),
        &batch,
        Way::Direct,
    )
    .await
    {
        Err(FlushError::Refused(WriteError::Postgres(error))) => assert_eq!(sqlstate(&error), "42501"),
        other => panic!("{other:?}"),
    }
    assert_eq!(site.contents("acme").await, [0, 0, 0]);
}

#[test]
fn every_name_stands_between_quotes_whatever_is_in_it() {
    assert_eq!(quoted("org_acme"), "\"org_acme\"");
    assert_eq!(quoted("a\"; DROP SCHEMA b; --"), "\"a\"\"; DROP SCHEMA b; --\"");
}
