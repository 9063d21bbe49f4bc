//! A real Prometheus that scrapes services, with the alerts of `deploy/`.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::{Http, Service, eventually};

/// How often it scrapes, and how long it waits for an answer.
const PERIOD: &str = "1s";
/// How often it looks at its rules.
const EVALUATION: &str = "500ms";
/// What takes minutes in earnest. No shorter, for on a busy machine several scrapes in a row may come to nothing.
const FOR: &str = "5s";

/// A running Prometheus. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Prometheus {
    process: Child,
    http: Http,
    /// It knows its services, and nothing fires for want of them any more.
    since: Instant,
    _folder: TempDir,
}

/// One sample of an answer.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) labels: Value,
    pub(crate) value: f64,
}

impl Prometheus {
    /// Starts one that scrapes these services.
    pub(crate) async fn watching(services: &[&Service]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("a folder of ours");
        };
        let rules = std::fs::read_to_string(of_deploy("prometheus/rules.yml")).expect("our own rules");
        let patience = |line: &str| match line.split_once("for: ") {
            Some((before, _)) if before.trim().is_empty() => format!("{before}for: {FOR}\n"),
            _ => format!("{line}\n"),
        };
        write("rules.yml", rules.lines().map(patience).collect());
        let targets: Vec<&str> = services.iter().map(|service| service.admin.address()).collect();
        write(
            "prometheus.yml",
            format!(
                "global: {{ scrape_interval: {PERIOD}, scrape_timeout: {PERIOD}, evaluation_interval: {EVALUATION} }}\n\
                 rule_files: [rules.yml]\n\
                 scrape_configs: [{{ job_name: rollbook, static_configs: [{{ targets: {targets:?} }}] }}]\n"
            ),
        );
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let process = Command::new(program("prometheus"))
            .arg(format!("--web.listen-address={free}"))
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("Prometheus is installed");
        let mut prometheus =
            Self { process, http: Http::new(&free.to_string()), since: Instant::now(), _folder: folder };
        eventually("Prometheus is ready", async || {
            assert!(prometheus.process.try_wait().expect("a child of ours").is_none(), "Prometheus ended");
            let asked = prometheus.http.try_send("GET", "/-/ready", &[], "").await;
            asked.is_ok_and(|reply| reply.status == 200)
        })
        .await;
        eventually("Prometheus has scraped every service", async || {
            let up = prometheus.query("sum(up)").await;
            up.first().is_some_and(|up| up.value == services.len() as f64)
                && prometheus.query("ALERTS{alertname=\"RollbookNotTaking\"}").await.is_empty()
        })
        .await;
        prometheus.since = Instant::now();
        prometheus
    }

    /// What it answers to a query now.
    pub(crate) async fn query(&self, query: &str) -> Vec<Sample> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let reply = self.http.get(&format!("/api/v1/query?query={escaped}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.json);
        let result = reply.json["data"]["result"].as_array().cloned().unwrap_or_default();
        let sample = |one: Value| {
            let value = one["value"][1].as_str().and_then(|text| text.parse().ok());
            Sample { labels: one["metric"].clone(), value: value.expect("a number") }
        };
        result.into_iter().map(sample).collect()
    }

    /// The alerts that fire now, sorted.
    pub(crate) async fn firing(&self) -> Vec<String> {
        self.names_of("ALERTS{alertstate=\"firing\"}").await
    }

    /// The alerts that have fired at any time, sorted.
    pub(crate) async fn fired(&self) -> Vec<String> {
        let since = self.since.elapsed().as_millis();
        self.names_of(&format!("count_over_time(ALERTS{{alertstate=\"firing\"}}[{since}ms])")).await
    }

    async fn names_of(&self, query: &str) -> Vec<String> {
        let samples = self.query(&format!("count by (alertname) ({query})")).await;
        let name = |one: Sample| one.labels["alertname"].as_str().expect("an alert has a name").to_owned();
        let mut names: Vec<String> = samples.into_iter().map(name).collect();
        names.sort_unstable();
        names
    }

    /// Waits until this alert fires, and gives what it says: its labels and its annotations.
    pub(crate) async fn fires(&self, alert: &str) -> Value {
        eventually(alert, async || self.firing().await.iter().any(|firing| firing == alert)).await;
        let alerts = self.http.get("/api/v1/alerts").await.json["data"]["alerts"].clone();
        let of_it = |one: &&Value| one["labels"]["alertname"] == alert && one["state"] == "firing";
        alerts.as_array().and_then(|alerts| alerts.iter().find(of_it)).cloned().unwrap_or_default()
    }

    /// Waits until it has looked at every service so often more.
    pub(crate) async fn scrapes(&self, times: f64) {
        let looks = async || {
            let samples = self.query("min(count_over_time(up[1h]))").await;
            samples.first().map_or(0.0, |sample| sample.value)
        };
        let until = looks().await + times;
        eventually("Prometheus has scraped", async || looks().await >= until).await;
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file of `deploy/`.
pub(crate) fn of_deploy(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// A program of Prometheus's package.
pub(crate) fn program(name: &str) -> PathBuf {
    let prometheus = std::env::var_os("TEST_PROMETHEUS")
        .unwrap_or_else(|| panic!("TEST_PROMETHEUS is not set: run ./dev test"));
    PathBuf::from(prometheus).with_file_name(name)
}
