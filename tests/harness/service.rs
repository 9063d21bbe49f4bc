//! The real service as a process of its own, on free ports.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::{Mutex as Gate, OwnedMutexGuard};
use tokio::task::JoinHandle;

use super::{Form, Http, Organization, Reply, Rollbook, eventually};

/// A running `rollbook serve`. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    said: Said,
    /// Reads what it says.
    reader: JoinHandle<()>,
    /// Is held by the reader while it reads a line.
    reading: Arc<Gate<()>>,
    pub(crate) intake: Option<Http>,
    pub(crate) admin: Http,
}

/// What the process wrote to its log so far, one JSON object a line.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Service {
    /// Starts it and waits until it would take work.
    pub(crate) async fn ready(serve: Rollbook) -> Self {
        let service = Self::start(serve).await;
        service.becomes_ready().await;
        service
    }

    /// Starts it and waits until it is a member of its group, whatever its partitions are like.
    pub(crate) async fn ready_or_not(serve: Rollbook) -> Self {
        let service = Self::start(serve).await;
        eventually("the loader has partitions", async || {
            service.metric("rollbook_loader_partitions{state=\"running\"}").await > 0.0
        })
        .await;
        service
    }

    /// Starts it and waits until its listeners are there.
    pub(crate) async fn start(serve: Rollbook) -> Self {
        let serve = serve
            .env("ROLLBOOK_HTTP_ADDR", "127.0.0.1:0")
            .env("ROLLBOOK_ADMIN_ADDR", "127.0.0.1:0")
            .env("ROLLBOOK_LOG_FORMAT", "json");
        let mut child = serve.start();
        let said = Said::default();
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let reading = Arc::new(Gate::default());
        let reader = tokio::spawn({
            let (said, reading) = (said.clone(), Arc::clone(&reading));
            async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    let _reading = reading.lock().await;
                    said.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            }
        });
        eventually("the service is listening", async || {
            let ended = child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "the service ended with {ended:?}: {}", said.text());
            said.field("admin_addr").is_some()
        })
        .await;
        let intake = said.field("http_addr").map(|address| Http::new(&address));
        let admin = Http::new(&said.field("admin_addr").expect("it was waited for"));
        Self { child, said, reader, reading, intake, admin }
    }

    /// Waits until `/readyz` says that it would take work.
    pub(crate) async fn becomes_ready(&self) {
        let mut last = Value::Null;
        eventually("the service is ready", async || {
            let Ok(reply) = self.admin.try_send("GET", "/readyz", &[], "").await else { return false };
            last = reply.json;
            reply.status == StatusCode::OK
        })
        .await;
    }

    /// What it said so far that a person should look at, but for the log, whose broker other tests start up with.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let lines = self.said.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_complaint = |line: &&String| {
            (line.contains("\"WARN\"") || line.contains("\"ERROR\"")) && !line.contains("rollbook::log")
        };
        lines.iter().filter(is_complaint).cloned().collect()
    }

    /// Intake's address.
    pub(crate) fn intake(&self) -> &Http {
        self.intake.as_ref().expect("this service has the role intake")
    }

    /// Posts a batch of an organization's own.
    pub(crate) async fn post(&self, organization: &Organization, form: Form, events: &[Value]) -> Reply {
        self.try_post(organization, form, events).await.unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// Posts a batch to a service that may be going away.
    pub(crate) async fn try_post(
        &self,
        organization: &Organization,
        form: Form,
        events: &[Value],
    ) -> Result<Reply, String> {
        let (headers, body) = form.pack(&organization.slug, &organization.key, events);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.intake().try_send("POST", "/v1/events", &headers, body).await
    }

    /// One sample of its metrics, zero when there is none.
    pub(crate) async fn metric(&self, sample: &str) -> f64 {
        let reply = self.admin.get("/metrics").await;
        let text = std::str::from_utf8(&reply.body).expect("metrics are text");
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Bytes that the process has in memory (`VmRSS`), or had at most (`VmHWM`).
    pub(crate) fn memory_bytes(&self, field: &str) -> u64 {
        let id = self.child.id().expect("it was not waited for");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it is running");
        let kib =
            status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.strip_suffix("kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("the kernel says it") * 1_024
    }

    /// Lets `VmHWM` begin anew.
    pub(crate) fn forget_peak_memory(&self) {
        let id = self.child.id().expect("it was not waited for");
        std::fs::write(format!("/proc/{id}/clear_refs"), "5").expect("a child of ours");
    }

    /// Goes away with the other end of the pipe that it writes its log into.
    pub(crate) async fn close_its_log(&mut self) {
        self.reader.abort();
        let ended = (&mut self.reader).await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "it was still reading");
    }

    /// Reads nothing of its log until the guard is dropped.
    pub(crate) async fn leave_its_log_unread(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.reading).lock_owned().await
    }

    /// How many files and sockets it may have open now.
    pub(crate) fn most_open_files(&self) -> u64 {
        let id = self.child.id().expect("it was not waited for");
        let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).expect("it is running");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().next()).expect("the kernel says it");
        soft.parse().expect("a number")
    }

    /// Files and sockets that the process has open.
    pub(crate) fn open_files(&self) -> usize {
        let id = self.child.id().expect("it was not waited for");
        std::fs::read_dir(format!("/proc/{id}/fd")).expect("it is running").count()
    }

    /// Ends it as a crash does, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("a child of ours");
    }

    /// The same for a service that others still hold. Only ever asked of our own child, which nobody has waited for.
    pub(crate) async fn kill_now(&self) {
        self.signal("-KILL").await;
    }

    /// Asks it to end.
    pub(crate) async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    /// Stops its clock.
    pub(crate) async fn freeze(&self) {
        self.signal("-STOP").await;
    }

    /// Lets it go on.
    pub(crate) async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// What it wrote to its log so far.
    pub(crate) fn said(&self) -> String {
        self.said.text()
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it was not waited for").to_string();
        let sent = tokio::process::Command::new("kill").args([signal, &id]).status().await;
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let wait = tokio::time::timeout(std::time::Duration::from_secs(60), self.child.wait());
        let status = wait.await.unwrap_or_else(|_| panic!("it does not end: {}", self.said.text()));
        status.expect("a child of ours")
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.terminate().await;
        let said = self.said.clone();
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", said.text());
    }
}

impl Said {
    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The value of a field in the first line that has it.
    fn field(&self, name: &str) -> Option<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .find_map(|line| serde_json::from_str::<Value>(line).ok()?.get(name)?.as_str().map(str::to_owned))
    }
}
