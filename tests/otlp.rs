//! Spans go to a collector of traces, and cost nobody anything where it is away. The collector is a server of the test's own that
//! reads OTLP by its official messages.

mod collector;

use serde_json::Value;

use crate::harness::{Form, Organization, Reply, Rollbook, Service, Site, eventually, played};
use collector::{Collector, Manner, Seen};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const OWN: &str = "019aae9c-2b3f-7d51-9c33-6d1f0b2a4e57";
const NEVER: &str = "3600000";

/// A service whose spans come to this collector soon.
fn serve(site: &Site, collector: &Collector) -> Rollbook {
    site.serve("")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("RUST_LOG", "debug")
}

/// Posts two events with these headers more.
async fn post(service: &Service, organization: &Organization, more: &[(&str, &str)]) -> Reply {
    let (headers, body) = Form::Json.pack(&organization.slug, &organization.key, &played(2));
    let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let headers: Vec<(&str, &str)> = headers.chain(more.iter().copied()).collect();
    service.intake().send("POST", "/v1/events", &headers, body).await
}

fn traceparent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{CALLER}-{flags}")
}

/// Lines about spans that a person should look at.
fn complaints(service: &Service) -> Vec<Value> {
    let said = service.said();
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["level"] == "WARN" && line["collector"].is_string()).collect()
}

#[tokio::test]
async fn a_request_and_the_loading_of_its_record_are_in_the_callers_trace() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let collector = Collector::start(Manner::Takes).await;
    let serving = serve(&site, &collector)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=S3CRET%2E")
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .env("OTEL_SERVICE_NAME", "of-the-test");
    let service = Service::ready(serving).await;
    // What its caller does not keep, nobody keeps.
    let unkept = TRACE.replace("0a", "0b");
    post(&service, &acme, &[("traceparent", &traceparent(&unkept, "00"))]).await.accepts(2);
    // A proxy gives each request an id of its own beside the trace that it is part of.
    let parent = traceparent(TRACE, "01");
    let reply = post(&service, &acme, &[("traceparent", &parent), ("x-request-id", OWN)]).await.accepts(2);
    assert_eq!(reply.json["request_id"], OWN);

    let request = collector.span_of(TRACE, "POST /v1/events").await;
    assert_eq!(request.parent, CALLER);
    assert_eq!((request.kind, request.is_error), ("SPAN_KIND_SERVER", false), "{request:?}");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/events"),
        ("url.path", "/v1/events"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("rollbook.organization", "acme"),
        ("rollbook.request_id", OWN),
        ("rollbook.accepted", "2"),
        ("rollbook.rejected", "0"),
    ] {
        assert_eq!(request.says(name), value, "{name}");
    }
    let load = collector.span_of(TRACE, "load record").await;
    assert_eq!(
        (load.kind, &load.parent, load.is_error),
        ("SPAN_KIND_CONSUMER", &request.id, false),
        "{load:?}"
    );
    for (name, value) in [("rollbook.fate", "loaded"), ("rollbook.events", "2"), ("rollbook.request_id", OWN)]
    {
        assert_eq!(load.says(name), value, "{name}");
    }
    assert!(request.begun <= request.ended && load.begun <= load.ended, "{request:?} {load:?}");
    assert!(request.begun <= load.ended, "{request:?} {load:?}");
    assert_eq!(request.resource["service.name"], "of-the-test");
    assert_eq!(request.headers["x-token"], "S3CRET.");

    assert_eq!(site.loaded("acme", 4).await, (4, 0));
    service.stop().await;
    assert_eq!(collector.spans_of(&unkept), [], "its caller does not keep it");
    assert_eq!(collector.spans_of(TRACE).len(), 2, "one of each");
    assert_eq!(collector.spans().len(), 2, "nothing is made of exporting, and nothing of probes");
}

#[tokio::test]
async fn without_a_caller_the_reply_names_the_trace_and_the_last_spans_are_handed_over_at_the_end() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let collector = Collector::start(Manner::Takes).await;
    // None comes by itself.
    let service = Service::ready(serve(&site, &collector).env("OTEL_BSP_SCHEDULE_DELAY", NEVER)).await;
    let taken = post(&service, &acme, &[]).await.accepts(2);
    let key = acme.key.clone();
    let stranger = Organization { key: "rb_nobodys".to_owned(), ..acme };
    let refused = post(&service, &stranger, &[]).await.refuses(401, "unknown_key");
    let nowhere = service.intake().send("BREW", "/coffee", &[], "").await.refuses(404, "not_found");
    assert_eq!(site.loaded("acme", 2).await, (2, 0));
    assert_eq!(collector.spans(), []);
    let complaints = complaints(&service);
    service.stop().await;

    let trace = |reply: &Reply| reply.json["request_id"].as_str().expect("an id").replace('-', "");
    let [request, load] = &collector.spans_of(&trace(&taken))[..] else { panic!("{:?}", collector.spans()) };
    assert_eq!((request.name.as_str(), request.parent.as_str()), ("POST /v1/events", ""));
    assert_eq!((load.name.as_str(), &load.parent), ("load record", &request.id));
    assert_eq!(request.resource["service.name"], "rollbook");

    let [refusal] = &collector.spans_of(&trace(&refused))[..] else { panic!("{:?}", collector.spans()) };
    assert_eq!(refusal.says("error.type"), "unknown_key");
    assert_eq!(refusal.says("http.response.status_code"), "401");
    assert!(!refusal.is_error, "a client's fault is no error of a server");
    let [lost] = &collector.spans_of(&trace(&nowhere))[..] else { panic!("{:?}", collector.spans()) };
    assert_eq!((lost.name.as_str(), lost.says("http.request.method")), ("HTTP", "_OTHER"));
    assert_eq!(lost.says("url.path"), "/coffee");
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(!format!("{:?}", collector.spans()).contains(&key), "no span tells a key");
}

#[tokio::test]
async fn what_is_held_and_drained_is_told_in_its_requests_trace() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let collector = Collector::start(Manner::Takes).await;
    site.execute("ALTER TABLE org_acme.event RENAME TO away").await;
    let service = Service::ready(serve(&site, &collector)).await;
    post(&service, &acme, &[("traceparent", &traceparent(TRACE, "01"))]).await.accepts(2);
    let request = collector.span_of(TRACE, "POST /v1/events").await;
    let held = collector.span_of(TRACE, "hold record").await;
    assert!(held.is_error, "a person should look: {held:?}");

    site.execute("ALTER TABLE org_acme.away RENAME TO event").await;
    let drained = collector.span_of(TRACE, "drain record").await;
    assert_eq!((drained.says("rollbook.fate"), drained.is_error), ("drained", false));
    assert_eq!(drained.says("rollbook.transaction.stored"), "2");
    assert_eq!((&held.parent, &drained.parent), (&request.id, &request.id));
    assert_eq!(held.says("rollbook.offset"), drained.says("rollbook.offset"), "the same record");
    service.stop().await;
}

#[tokio::test]
async fn our_own_fault_is_an_error_and_a_share_keeps_none_or_all() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let collector = Collector::start(Manner::Takes).await;
    let nobody = site.url("nobody", "nothing").replace(site.address(), "127.0.0.1:1");
    let starting = serve(&site, &collector)
        .env("ROLLBOOK_ROLE", "intake")
        .env("ROLLBOOK_INTAKE_DATABASE_URL", &nobody)
        .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .env("OTEL_TRACES_SAMPLER_ARG", "0");
    let service = Service::start(starting).await;
    post(&service, &acme, &[]).await.refuses(503, "starting");
    post(&service, &acme, &[("traceparent", &traceparent(TRACE, "01"))]).await.refuses(503, "starting");
    let refused = collector.span_of(TRACE, "POST /v1/events").await;
    assert!(refused.is_error, "{refused:?}");
    assert_eq!(refused.says("error.type"), "starting");
    service.stop().await;
    assert_eq!(collector.spans().len(), 1, "the other one has no caller who keeps it");
}

#[tokio::test]
async fn a_collector_that_is_away_or_refuses_costs_no_request_anything_and_writes_few_lines() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let manners =
        [&[Manner::IsAway][..], &[Manner::Answers(503), Manner::Answers(401), Manner::TakesNoneOfThem]];
    for manners in manners {
        let collector = Collector::start(manners[0]).await;
        let serving = serve(&site, &collector)
            .env("OTEL_BSP_SCHEDULE_DELAY", "1")
            .env("OTEL_BSP_MAX_QUEUE_SIZE", "8")
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20S3CRET");
        let service = Service::ready(serving).await;
        for manner in manners {
            collector.behaves(*manner);
            let before = collector.asked();
            for _ in 0..50 {
                post(&service, &acme, &[]).await.accepts(2);
            }
            eventually("it was asked, if it is there", async || {
                *manner == Manner::IsAway || collector.asked() > before
            })
            .await;
        }
        eventually("it is said that spans are lost", async || !complaints(&service).is_empty()).await;
        let said = complaints(&service);
        // Each kind once in a while: the queue is full; the collector takes nothing; or not all.
        assert!(said.len() <= 3, "{manners:?}: {said:#?}");
        assert!(said.iter().all(|line| line["lost"].as_u64() > Some(0)), "{said:#?}");
        assert!(!service.said().contains("S3CRET"), "no line tells a secret");
        service.stop().await;
    }
}

#[tokio::test]
async fn a_collector_that_hangs_holds_up_neither_requests_nor_the_end() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let collector = Collector::start(Manner::Hangs).await;
    // Whoever waited for it would wait for an hour.
    let serving =
        serve(&site, &collector).env("OTEL_EXPORTER_OTLP_TIMEOUT", NEVER).env("OTEL_BSP_MAX_QUEUE_SIZE", "4");
    let service = Service::ready(serving).await;
    let mut sent = 0;
    eventually("the queue is full", async || {
        post(&service, &acme, &[]).await.accepts(2);
        sent += 2;
        complaints(&service)
            .iter()
            .any(|line| line["reason"].as_str().is_some_and(|why| why.contains("full")))
    })
    .await;
    assert_eq!(site.loaded("acme", sent).await, (sent, 0), "records go their way");
    service.terminate().await;
    eventually("it is said which spans were left", async || {
        complaints(&service)
            .iter()
            .any(|line| line["message"].as_str().is_some_and(|said| said.contains("in time")))
    })
    .await;
    assert!(service.ended().await.success());
}

#[tokio::test]
async fn a_batch_that_finds_the_collector_busy_is_tried_again() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let collector = Collector::start(Manner::Answers(429)).await;
    let service = Service::ready(serve(&site, &collector).env("OTEL_EXPORTER_OTLP_TIMEOUT", NEVER)).await;
    post(&service, &acme, &[("traceparent", &traceparent(TRACE, "01"))]).await.accepts(2);
    eventually("it was refused", async || collector.asked() > 0).await;
    collector.behaves(Manner::Takes);
    let request: Seen = collector.span_of(TRACE, "POST /v1/events").await;
    assert_eq!(request.parent, CALLER);
    assert_eq!(complaints(&service), [] as [Value; 0], "nothing was lost");
    service.stop().await;
}

#[tokio::test]
async fn a_wrong_variable_keeps_the_service_from_starting_and_is_named_without_its_value() {
    let site = Site::set_up().await;
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "S3CRET"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "127.0.0.1:4318/S3CRET"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "S3CRET"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_SAMPLER", "S3CRET"),
        ("OTEL_RESOURCE_ATTRIBUTES", "S3CRET"),
    ] {
        for words in ["serve", "serve --check"] {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
            let ran =
                site.rollbook(words).env(endpoint.0, endpoint.1).env(variable, value).run().await.exits(64);
            let said = ran.stdout + &ran.stderr;
            assert!(said.contains(&format!("{variable} ")) && !said.contains("S3CRET"), "{words}: {said}");
        }
    }
    // Commands that serve nothing have no spans.
    site.rollbook("status").env("OTEL_EXPORTER_OTLP_ENDPOINT", "S3CRET").run().await.done();
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_collector_behind_tls_is_believed_if_its_certificate_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = std::process::Command::new("openssl")
        .args(["req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key", "-out", "crt"])
        .current_dir(folder.path())
        .output()
        .expect("openssl is installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let collector = Collector::start_with_tls(folder.path()).await;
    let parent = traceparent(TRACE, "01");
    let roots = folder.path().join("crt");
    let serving = serve(&site, &collector).env("SSL_CERT_FILE", roots.to_str().expect("text"));
    let service = Service::ready(serving).await;
    post(&service, &acme, &[("traceparent", &parent)]).await.accepts(2);
    collector.span_of(TRACE, "load record").await;
    service.stop().await;

    let before = collector.spans().len();
    let service = Service::ready(serve(&site, &collector).env("OTEL_EXPORTER_OTLP_TIMEOUT", "3000")).await;
    post(&service, &acme, &[("traceparent", &parent)]).await.accepts(2);
    eventually("it is not believed", async || !complaints(&service).is_empty()).await;
    let said = complaints(&service);
    assert!(
        said[0]["reason"].as_str().is_some_and(|why| why.contains("certificate verify failed")),
        "{said:?}"
    );
    service.stop().await;
    assert_eq!(collector.spans().len(), before);
}
