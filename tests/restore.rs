//! What docs/operating.md says of restoring one organization's schema. (All of Postgres: `faults/anchor.rs`.)

use crate::harness::{Form, Service, Site, eventually, played};

#[tokio::test]
async fn what_a_restored_schema_lacks_is_named_by_the_audit_and_comes_with_a_new_generation() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization_beside("acme").await);
    let service = Service::ready(site.serve("")).await;
    for organization in [&acme, &birch] {
        service.post(organization, Form::Json, &played(10)).await.accepts(10);
        site.loaded(&organization.slug, 10).await;
    }
    site.execute(
        "CREATE TABLE public.event_then AS SELECT * FROM org_acme.event; \
         CREATE TABLE public.watermark_then AS SELECT * FROM org_acme.ingest_watermark",
    )
    .await;
    service.post(&acme, Form::Json, &played(5)).await.accepts(5);
    site.loaded("acme", 15).await;
    // The anchor is beyond them.
    service.stop().await;
    site.execute(
        "TRUNCATE org_acme.event, org_acme.ingest_watermark; \
         INSERT INTO org_acme.event SELECT * FROM public.event_then; \
         INSERT INTO org_acme.ingest_watermark SELECT * FROM public.watermark_then",
    )
    .await;
    let serve = site.serve("").env("ROLLBOOK_LOADER_LOG_CHECK_SECONDS", "1");
    let service = Service::ready(serve).await;
    service.post(&acme, Form::Json, &played(1)).await.accepts(1);
    site.loaded("acme", 11).await;
    let audit = site.run("audit acme --json").await.exits(1).json();
    assert_eq!(audit["items"][0]["missing"].as_array().map(Vec::len), Some(5), "{audit}");

    site.run("setup --new-generation").await.done();
    eventually("the schema has them", async || site.stored_ids("acme").await.len() == 16).await;
    eventually("the books are right", async || site.run("audit --json").await.json()["ok"] == true).await;
    assert_eq!(site.stored_ids(&birch.slug).await.len(), 10);
    service.stop().await;
}
