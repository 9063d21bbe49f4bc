//! From the front door to the table: what was accepted is in its organization's schema, once and whole.

use crate::harness::{Form, Service, Site, id_of, played};

#[tokio::test]
async fn an_accepted_event_is_in_the_right_schema_and_only_there() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    let service = Service::ready(site.serve("")).await;
    let (of_acme, of_birch) = (played(3), played(2));
    service.post(&acme, Form::Json, &of_acme).await.accepts(3);
    service.post(&birch, Form::Json, &of_birch).await.accepts(2);

    assert_eq!(site.loaded("acme", 3).await, (3, 0));
    assert_eq!(site.loaded("birch", 2).await, (2, 0));
    assert_eq!(site.stored_ids("acme").await, of_acme.iter().map(id_of).collect::<Vec<_>>());
    assert_eq!(site.stored_ids("birch").await, of_birch.iter().map(id_of).collect::<Vec<_>>());
    service.stop().await;
}
