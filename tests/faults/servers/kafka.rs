//! One Kafka node, broker and controller, with three doors: its own, and one for each side of Rollbook that leads
//! through a proxy if a test puts one there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;
use super::{folder, port, setting};

/// As `./dev` runs it, but a loader that was killed is missed sooner.
const PROPERTIES: &str = include_str!("../../../deploy/kafka/dev.properties");
/// How long the group waits for a loader that says nothing.
const SESSION: Duration = Duration::from_secs(3);

/// Rules are kept, for those who have no other name, too; there is none at first.
pub(in super::super) const WITH_RULES: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
     allow.everyone.if.no.acl.found=true\n";
/// Who says no name.
const EVERYBODY: &str = "User:ANONYMOUS";

/// The node, running or not.
#[derive(Debug)]
pub(in super::super) struct Kafka {
    folder: TempDir,
    class_path: String,
    ports: Ports,
    process: Mutex<Option<Process>>,
}

/// Where it listens itself, and what it says that its other two doors are: there a test listens.
#[derive(Clone, Copy, Debug)]
struct Ports {
    direct: u16,
    controller: u16,
    /// `(where the broker listens, where it sends clients)`.
    intake: (u16, u16),
    loader: (u16, u16),
}

/// Doors that ask who is there: what their addresses are.
#[derive(Clone, Debug)]
pub(in super::super) struct Guarded {
    /// `SSL`.
    pub(in super::super) tls: u16,
    /// `SASL_SSL` with `SCRAM-SHA-512`.
    pub(in super::super) login: u16,
}

/// A side of Rollbook.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Side {
    Intake,
    Loader,
}

impl Kafka {
    /// A new node, which is not waited for.
    pub(super) fn launch() -> Self {
        let folder = folder("kafka", |_| true);
        let ports = Ports {
            direct: port::free(),
            controller: port::free(),
            intake: (port::free(), port::free()),
            loader: (port::free(), port::free()),
        };
        let class_path = format!("{}/libs/*", setting("TEST_KAFKA_HOME").display());
        let kafka = Self { folder, class_path, ports, process: Mutex::new(None) };
        std::fs::write(kafka.path("node.properties"), kafka.properties(&[])).expect("a file");
        let id = "cm9sbGJvb2tfZmF1bHRzXw"; // any 16 bytes in base64
        let format = Command::new("java")
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &kafka.class_path])
            .args(["kafka.tools.StorageTool", "format", "-t", id, "-c"])
            .arg(kafka.path("node.properties"))
            .output()
            .expect("java runs");
        assert!(format.status.success(), "{}", String::from_utf8_lossy(&format.stderr));
        *kafka.lock() = Some(kafka.started());
        kafka
    }

    /// With doors beside its own: their names, ports and protocols.
    fn properties(&self, further: &[(&str, u16, &str)]) -> String {
        let Ports { direct, controller, intake, loader } = self.ports;
        let at = |name: &str, port: u16| format!("{name}://127.0.0.1:{port}");
        let mut listeners = vec![
            at("PLAINTEXT", direct),
            at("INTAKE", intake.0),
            at("LOADER", loader.0),
            at("CONTROLLER", controller),
        ];
        let mut advertised = vec![at("PLAINTEXT", direct), at("INTAKE", intake.1), at("LOADER", loader.1)];
        let mut security =
            ["PLAINTEXT", "INTAKE", "LOADER", "CONTROLLER"].map(|name| format!("{name}:PLAINTEXT")).to_vec();
        for (name, port, protocol) in further {
            listeners.push(at(name, *port));
            // Their certificate names the machine, not its address.
            advertised.push(format!("{name}://localhost:{port}"));
            security.push(format!("{name}:{protocol}"));
        }
        // Of a property that is set twice the last counts.
        format!(
            "{PROPERTIES}\nlisteners={}\nadvertised.listeners={}\nlistener.security.protocol.map={}\n\
             inter.broker.listener.name=PLAINTEXT\ncontroller.quorum.voters=1@127.0.0.1:{controller}\nlog.dirs={}\n\
             group.consumer.heartbeat.interval.ms=500\ngroup.consumer.session.timeout.ms={}\n",
            listeners.join(","),
            advertised.join(","),
            security.join(","),
            self.path("data").display(),
            SESSION.as_millis(),
        )
    }

    /// For whoever nothing is done to.
    pub(in super::super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.direct)
    }

    /// Where clients of a side are sent, and where the broker waits for them: a proxy goes between.
    pub(in super::super) fn door(&self, side: Side) -> (String, String) {
        let (inside, outside) = match side {
            Side::Intake => self.ports.intake,
            Side::Loader => self.ports.loader,
        };
        (format!("127.0.0.1:{outside}"), format!("127.0.0.1:{inside}"))
    }

    /// Starts it if it is not running, and waits until it works.
    pub(in super::super) fn start(&self) {
        let mut process = self.lock();
        if process.as_mut().is_none_or(|process| !process.is_running()) {
            *process = Some(self.started());
        }
        drop(process);
        self.is_up();
    }

    /// Ends it as a crash does, and starts it with these properties beside its own.
    pub(in super::super) fn restart_with(&self, further: &str) {
        self.kill();
        std::fs::write(self.path("node.properties"), self.properties(&[]) + further).expect("a file");
        self.start();
    }

    /// The same with doors that show this certificate (a PEM file with its key), one of which asks for a password, too.
    pub(in super::super) fn restart_guarded(&self, certificate: &Path) -> Guarded {
        self.kill();
        let doors = Guarded { tls: port::free(), login: port::free() };
        let further = [("TLS", doors.tls, "SSL"), ("LOGIN", doors.login, "SASL_SSL")];
        let properties = format!(
            "{}ssl.keystore.type=PEM\nssl.keystore.location={}\nsasl.enabled.mechanisms=SCRAM-SHA-512\n\
             listener.name.login.scram-sha-512.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
            self.properties(&further),
            certificate.display()
        );
        std::fs::write(self.path("node.properties"), properties).expect("a file");
        self.start();
        doors
    }

    /// Lets somebody log in by SCRAM.
    pub(in super::super) fn know(&self, name: &str, password: &str) {
        let password = format!("SCRAM-SHA-512=[iterations=4096,password={password}]");
        let who = ["--alter", "--entity-type", "users", "--entity-name", name, "--add-config", &password];
        self.tool("kafka.admin.ConfigCommand", &who);
    }

    /// Forbids everybody an operation on resources, as [`WITH_RULES`] allows it to: `Write` on `--topic *`.
    pub(in super::super) fn forbid(&self, operation: &str, resources: &[&str]) {
        // Once there is a rule, what no rule allows is forbidden.
        self.rule(&["--add", "--allow-principal", EVERYBODY, "--operation", "All"], resources);
        self.rule(&["--add", "--deny-principal", EVERYBODY, "--operation", operation], resources);
    }

    fn rule(&self, what: &[&str], resources: &[&str]) {
        self.tool("org.apache.kafka.tools.AclCommand", &[what, resources].concat());
    }

    /// Runs one of Kafka's own programs against this node.
    fn tool(&self, class: &str, words: &[&str]) {
        let done = Command::new("java")
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &self.class_path])
            .args([class, "--bootstrap-server", &self.address()])
            .args(words)
            .output()
            .expect("java runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Waits until it works.
    pub(super) fn is_up(&self) {
        let log = self.path("log");
        let said_so =
            || std::fs::read_to_string(&log).is_ok_and(|said| said.contains("Kafka Server started"));
        let mut process = self.lock();
        let process = process.as_mut().expect("it was started");
        process
            .wait_until(said_so)
            .unwrap_or_else(|ended| panic!("Kafka ended, {ended}\n{}", process.said()));
    }

    /// Ends it as a crash does.
    pub(in super::super) fn kill(&self) {
        self.lock().take().expect("it is running").kill();
    }

    fn started(&self) -> Process {
        let mut program: Vec<OsString> =
            ["java", "-Xmx512m", "-XX:+UseSerialGC", "-cp", &self.class_path, "kafka.Kafka"]
                .map(OsString::from)
                .into();
        program.push(self.path("node.properties").into());
        Process::start(&program, &self.path("log"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
