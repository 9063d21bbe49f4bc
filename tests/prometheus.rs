//! A real Prometheus, with the alerts and the dashboard of `deploy/`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{
    Form, Lending, Pooler, Prometheus, Service, Site, eventually, of_deploy, played, program,
};

/// Contracts 6 and 8.
const METRICS: [&str; 33] = [
    "rollbook_intake_requests_total{status=~\".+\",code=~\".+\"}",
    "rollbook_intake_request_seconds_count",
    "rollbook_intake_events_total{organization=~\".+\",verdict=~\".+\"}",
    "rollbook_intake_rejections_total{code=~\".+\"}",
    "rollbook_intake_body_bytes_sum{form=\"wire\"}",
    "rollbook_intake_body_bytes_sum{form=\"unpacked\"}",
    "rollbook_log_publish_seconds_bucket",
    "rollbook_log_publish_total{outcome=\"acked\"}",
    "rollbook_log_publish_total{outcome=\"failed\"}",
    "rollbook_log_publish_total{outcome=\"timed_out\"}",
    "rollbook_log_queue_bytes",
    "rollbook_loader_events_total{organization=~\".+\",fate=~\".+\"}",
    "rollbook_loader_unreadable_records_total",
    "rollbook_loader_batch_rows_sum",
    "rollbook_loader_batch_seconds_sum",
    "rollbook_loader_lag_records{partition=\"0\"}",
    "rollbook_loader_lag_seconds{partition=\"0\"}",
    "rollbook_loader_lanes{state=\"live\"}",
    "rollbook_loader_lanes{state=\"held\"}",
    "rollbook_loader_partitions{state=\"running\"}",
    "rollbook_loader_partitions{state=\"stopped\"}",
    "rollbook_loader_rewinds_total",
    "rollbook_report_lag_seconds",
    "rollbook_report_run_seconds_sum",
    "rollbook_report_events_total",
    "rollbook_snapshot_age_seconds",
    "rollbook_freshness_seconds_bucket",
    "rollbook_db_connections{state=\"idle\"}",
    "rollbook_db_connections{state=\"busy\"}",
    "rollbook_ready{role=\"intake\"}",
    "rollbook_ready{role=\"loader\"}",
    "rollbook_ready{role=\"reporter\"}",
    "rollbook_build_info{version=~\".+\"}",
];
/// They are the embedded log's.
const NOT_WITH_KAFKA: [&str; 3] =
    ["rollbook_log_bytes", "rollbook_log_unloaded_bytes", "rollbook_log_limit_bytes"];

#[tokio::test]
async fn a_service_at_work_has_every_metric_fills_every_panel_and_wakes_nobody() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    let service = Service::ready(site.serve("").env("ROLLBOOK_REPORT_PERIOD_SECONDS", "1")).await;
    let prometheus = Prometheus::watching(&[&service]).await;
    for _ in 0..20 {
        service.post(&acme, Form::Json, &played(50)).await.accepts(50);
        service.post(&birch, Form::Json, &played(1)).await.accepts(1);
    }
    let mut refused = played(2);
    refused[1]["id"] = json!("no id");
    assert_eq!(service.post(&birch, Form::Json, &refused).await.json["rejected"], 1);
    site.loaded("acme", 1_000).await;
    site.loaded("birch", 21).await;
    eventually("reports have them", async || service.metric("rollbook_report_events_total").await >= 1_021.0)
        .await;
    prometheus.scrapes(8.0).await;

    let mut empty = Vec::new();
    for metric in METRICS {
        if prometheus.query(metric).await.is_empty() {
            empty.push(metric.to_owned());
        }
    }
    for (panel, query) in panels() {
        let asked = query.replace("$__rate_interval", "1m").replace("$organization", ".*");
        let samples = prometheus.query(&asked).await;
        let is_of_the_other_log = NOT_WITH_KAFKA.contains(&query.as_str());
        if !is_of_the_other_log && !samples.iter().any(|sample| sample.value.is_finite()) {
            empty.push(format!("{panel}: {query}"));
        }
    }
    assert!(empty.is_empty(), "no data: {empty:#?}");
    let organizations = prometheus.query("count by (organization) (rollbook_intake_events_total)").await;
    let labels: Vec<_> = organizations.iter().map(|sample| &sample.labels["organization"]).collect();
    assert!(labels.contains(&&json!("acme")) && labels.contains(&&json!("_other")), "{labels:?}");
    assert_eq!(prometheus.fired().await, Vec::<String>::new());
    assert_eq!(lint(&service.admin.get("/metrics").await.body), "");
    service.stop().await;
}

#[tokio::test]
async fn an_embedded_log_says_how_full_it_is() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = |words: &str| {
        let mut command = site.rollbook(words);
        for variable in ["BROKERS", "TOPIC", "GROUP"] {
            command = command.without(&format!("ROLLBOOK_KAFKA_{variable}"));
        }
        command.env("ROLLBOOK_LOG", "embedded").env("ROLLBOOK_DATA_DIR", &folder.path().display().to_string())
    };
    embedded("setup --new-generation").run().await.done();
    let service = Service::ready(embedded("serve")).await;
    let prometheus = Prometheus::watching(&[&service]).await;
    service.post(&acme, Form::Json, &played(50)).await.accepts(50);
    site.loaded("acme", 50).await;
    prometheus.scrapes(2.0).await;
    let mut values = Vec::new();
    for metric in NOT_WITH_KAFKA {
        values.extend(prometheus.query(metric).await.into_iter().map(|sample| sample.value));
    }
    let is_sound =
        matches!(values[..], [bytes, unloaded, limit] if 0.0 < bytes && unloaded <= bytes && bytes < limit);
    assert!(is_sound, "{values:?}");
    assert_eq!(prometheus.fired().await, Vec::<String>::new());
    service.stop().await;
}

#[tokio::test]
async fn a_schema_that_is_broken_and_one_that_refuses_events_are_told_by_their_organizations() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization_beside("acme").await);
    let service = Service::ready(site.serve("")).await;
    let prometheus = Prometheus::watching(&[&service]).await;
    for organization in [&acme, &birch] {
        service.post(organization, Form::Json, &played(1)).await.accepts(1);
        site.loaded(&organization.slug, 1).await;
    }
    prometheus.scrapes(2.0).await;
    site.execute("ALTER TABLE org_acme.event RENAME TO moved_by_hand").await;
    let rule = format!("ALTER TABLE org_{}.event ADD CHECK (content_id = '') NOT VALID", birch.slug);
    site.execute(&rule).await;
    for organization in [&acme, &birch] {
        service.post(organization, Form::Json, &played(1)).await.accepts(1);
    }
    let held = prometheus.fires("RollbookRecordsHeld").await;
    let says = |alert: &Value, annotation: &str| alert["annotations"][annotation].as_str().map(str::to_owned);
    let description = says(&held, "description").expect("what it means");
    assert!(description.ends_with("records were held of: acme"), "{description}");
    assert_eq!(says(&held, "runbook_url").as_deref(), Some("docs/runbook.md#rollbookrecordsheld"));
    let dead = prometheus.fires("RollbookDeadLetters").await;
    assert_eq!(dead["labels"]["organization"], birch.slug.as_str());

    site.execute("ALTER TABLE org_acme.moved_by_hand RENAME TO event").await;
    site.loaded("acme", 2).await;
    eventually("nothing is held", async || prometheus.firing().await == ["RollbookDeadLetters"]).await;
    assert_eq!(prometheus.fired().await, ["RollbookDeadLetters", "RollbookRecordsHeld"]);
    service.stop().await;
}

#[tokio::test]
async fn a_log_that_is_another_one_is_told() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    service.post(&acme, Form::Json, &played(1)).await.accepts(1);
    site.loaded("acme", 1).await;
    service.stop().await;
    site.make_topic_anew().await;
    let service = Service::ready(site.serve("")).await;
    let prometheus = Prometheus::watching(&[&service]).await;
    let stopped = prometheus.fires("RollbookPartitionStopped").await;
    assert_eq!(
        stopped["annotations"]["summary"],
        format!("1 partitions of {} are stopped", service.admin.address())
    );
    prometheus.fires("RollbookLoaderUnready").await;
    assert_eq!(prometheus.fired().await, ["RollbookLoaderUnready", "RollbookPartitionStopped"]);
    service.stop().await;
}

#[tokio::test]
async fn a_loader_beside_which_nobody_keeps_reports_is_told() {
    let site = Site::set_up().await;
    let service = Service::ready(site.serve("--role intake,loader")).await;
    let prometheus = Prometheus::watching(&[&service]).await;
    prometheus.fires("RollbookNothingReported").await;
    assert_eq!(prometheus.fired().await, ["RollbookNothingReported"]);
    service.stop().await;
}

#[tokio::test]
async fn an_outage_of_postgres_is_told_and_intake_goes_on() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let pooler = Pooler::start(&site, Lending::Session);
    let mut serve = site.serve("");
    for role in ["intake", "loader"] {
        let url = site.url(&site.role(role), &format!("{role} password"));
        let variable = format!("ROLLBOOK_{}_DATABASE_URL", role.to_uppercase());
        serve = serve.env(&variable, &pooler.through(&site, &url));
    }
    let service = Service::ready(serve).await;
    service.post(&acme, Form::Json, &played(1)).await.accepts(1);
    site.loaded("acme", 1).await;
    let prometheus = Prometheus::watching(&[&service]).await;
    drop(pooler);
    service.post(&acme, Form::Json, &played(1)).await.accepts(1);
    prometheus.fires("RollbookLoaderUnready").await;
    prometheus.fires("RollbookNothingLoaded").await;
    assert_eq!(prometheus.fired().await, ["RollbookLoaderUnready", "RollbookNothingLoaded"]);
    service.kill().await;
}

/// Every query of the dashboard, with its panel's title.
fn panels() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(of_deploy("grafana/rollbook.json")).expect("our own dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let all = dashboard["panels"].as_array().expect("a dashboard has panels").clone();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let queries = |panel: &Value| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let title = text(&panel["title"]);
        targets.into_iter().map(move |target| (title.clone(), text(&target["expr"]))).collect::<Vec<_>>()
    };
    let found: Vec<_> = all.iter().flat_map(queries).collect();
    assert!(found.len() > 30, "{found:?}");
    found
}

/// What `promtool check metrics` finds fault with.
fn lint(metrics: &[u8]) -> String {
    let mut promtool = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool comes with Prometheus");
    promtool.stdin.take().expect("a pipe").write_all(metrics).expect("it reads");
    let output = promtool.wait_with_output().expect("a child of ours");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
