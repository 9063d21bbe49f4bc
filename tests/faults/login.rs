//! Kafka behind TLS, and behind a password: who is right gets in, and who is wrong is told why, without a secret.

use std::path::Path;
use std::process::Command;

use super::Ground;
use crate::harness::{Form, Rollbook, Service, played};

/// A signer, another one, and `server.pem`: a certificate for `localhost` with its key, as Kafka reads it.
fn certificates(folder: &Path) {
    let openssl = |words: &str| {
        let done = Command::new("openssl").args(words.split(' ')).current_dir(folder).output();
        let done = done.expect("openssl is installed");
        assert!(done.status.success(), "{words}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a folder of ours");
    for root in ["root", "other"] {
        openssl(&format!(
            "req -new -x509 -days 2 -nodes -subj /CN={root} -keyout {root}.key -out {root}.crt"
        ));
    }
    write("names", "subjectAltName = DNS:localhost");
    openssl("req -new -nodes -subj /CN=broker -keyout server.key -out server.csr");
    openssl(
        "x509 -req -in server.csr -days 2 -CA root.crt -CAkey root.key -CAcreateserial -extfile names -out server.crt",
    );
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("openssl wrote it");
    write("server.pem", &(read("server.key") + &read("server.crt")));
}

#[tokio::test]
async fn a_kafka_behind_tls_and_a_password_lets_the_right_ones_in_and_tells_the_others_why() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let ground = Ground::with(&["acme"]).await;
    let doors = ground.kafka().restart_guarded(&folder.path().join("server.pem"));
    ground.kafka().know("ann", "right-secret");
    let at = |file: &str| folder.path().join(file).display().to_string();
    let tls = |root: &str| format!("security.protocol=ssl,ssl.ca.location={}", at(root));
    let login = |password: &str| {
        format!(
            "security.protocol=sasl_ssl,sasl.mechanism=SCRAM-SHA-512,sasl.username=ann,sasl.password={password},\
             ssl.ca.location={}",
            at("root.crt")
        )
    };
    let by = |command: Rollbook, host: &str, port: u16, properties: &str| {
        command
            .env("ROLLBOOK_KAFKA_BROKERS", &format!("{host}:{port}"))
            .env("ROLLBOOK_KAFKA_PROPERTIES", properties)
    };

    for (port, properties) in [(doors.tls, tls("root.crt")), (doors.login, login("right-secret"))] {
        by(ground.rollbook("setup"), "localhost", port, &properties).run().await.done();
        let service = Service::ready(by(ground.serve(""), "localhost", port, &properties)).await;
        service.post(&ground.organizations[0], Form::Json, &played(3)).await.accepts(3);
        let all = if port == doors.tls { 3 } else { 6 };
        ground.loaded("acme", all).await;
        let said = service.said();
        assert!(!said.contains("right-secret"), "{said}");
        service.stop().await;
        by(ground.rollbook("audit"), "localhost", port, &properties).run().await.done();
    }

    let mut unclear = Vec::new();
    for (host, port, properties, told) in [
        ("localhost", doors.tls, tls("other.crt"), "certificate verify failed"),
        ("127.0.0.1", doors.tls, tls("root.crt"), "certificate verify failed"),
        ("localhost", doors.tls, tls("none.crt"), "ssl.ca.location"),
        ("localhost", doors.tls, String::new(), "security.protocol"),
        ("localhost", doors.login, login("wrong-secret"), "uthentication failed"),
        ("localhost", doors.login, tls("root.crt"), "security.protocol"),
    ] {
        for command in ["setup", "serve --check"] {
            let ran = by(ground.rollbook(command), host, port, &properties).run().await;
            let ran = ran.exits(if command == "setup" { 1 } else { 64 });
            let said = format!("{}{}", ran.stdout, ran.stderr);
            if !said.contains(told) || said.contains("-secret") {
                unclear.push(format!("{command} at {host} with {properties}: {said}"));
            }
        }
    }
    assert!(unclear.is_empty(), "{unclear:#?}");
    ground.kafka().restart_with("");
}
