//! TLS to Postgres: as much as was asked for, and no more. The server's certificate is made as PostgreSQL's own manual
//! makes it: X.509 version 1, without a name but the common one.

use std::path::Path;
use std::process::Command;

use rollbook::config::DatabaseUrl;
use rollbook::store::{Error, connect};

use crate::harness::{Cluster, Rollbook, Site};

/// What signs, and what it signed. OpenSSL's commands are the manual's.
fn certificates(folder: &Path) {
    let openssl = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let done =
            Command::new("openssl").args(&words).current_dir(folder).output().expect("openssl is installed");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    for root in ["root", "other"] {
        openssl(&format!(
            "req -new -x509 -days 2 -nodes -subj /CN={root} -keyout {root}.key -out {root}.crt"
        ));
    }
    for (name, subject) in [("server", "localhost"), ("ann", "ann")] {
        openssl(&format!("req -new -nodes -subj /CN={subject} -keyout {name}.key -out {name}.csr"));
        openssl(&format!(
            "x509 -req -in {name}.csr -days 2 -CA root.crt -CAkey root.key -CAcreateserial -out {name}.crt"
        ));
        let shown = openssl(&format!("x509 -in {name}.crt -noout -text"));
        assert!(shown.contains("Version: 1 "), "{shown}");
    }
    std::fs::write(folder.join("empty.crt"), "").expect("a folder of ours");
    std::fs::copy(folder.join("root.crt"), folder.join("our root.crt")).expect("a folder of ours");
}

async fn log_in(url: &str) -> Result<bool, String> {
    let secret = url.parse().expect("any text");
    let url = DatabaseUrl::parse(&secret).map_err(|bad| bad.to_string())?;
    let client = connect(&url).await.map_err(|error| match error {
        Error::Connect { source, .. } => {
            let cause = std::error::Error::source(&source).map(ToString::to_string);
            format!("{source}: {}", cause.unwrap_or_default())
        }
        other => other.to_string(),
    })?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(client.query_one(sql, &[]).await.expect("an answer").get(0))
}

#[tokio::test]
async fn who_did_not_ask_to_verify_gets_encryption_and_who_asked_is_not_deceived() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let cluster = Cluster::start(|data| {
        for file in ["server.crt", "server.key", "root.crt"] {
            std::fs::copy(folder.path().join(file), data.join(file)).expect("a folder of ours");
        }
        (
            "ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\nssl_ca_file = 'root.crt'\n",
            "hostssl all ann all cert\n",
        )
    });
    cluster.execute("CREATE ROLE ann LOGIN").await;
    let at = folder.path().display();
    // Host, parameters, and `None`: encrypted; or what the refusal says.
    let cases = [
        ("127.0.0.1", "", None),
        ("127.0.0.1", "sslmode=prefer", None),
        ("127.0.0.1", "sslmode=require", None),
        ("127.0.0.1", "sslmode=require&sslrootcert=D/root.crt", None),
        ("127.0.0.1", "sslmode=require&sslrootcert=D/our%20root.crt", None),
        ("127.0.0.1", "sslmode=require&sslrootcert=D/other.crt", Some("certificate verify failed")),
        ("127.0.0.1", "sslmode=require&sslrootcert=D/empty.crt", Some("empty.crt: it holds no certificate")),
        ("127.0.0.1", "sslmode=require&sslrootcert=D/none.crt", Some("none.crt: No such file")),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=D/root.crt", None),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=D/other.crt", Some("certificate verify failed")),
        ("127.0.0.1", "sslmode=verify-full", Some("certificate verify failed")),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=D/root.crt", Some("IP address mismatch")),
        ("localhost", "sslmode=verify-full&sslrootcert=D/root.crt", None),
        ("localhost", "sslmode=verify-full&sslrootcert=D/other.crt", Some("certificate verify failed")),
    ];
    for (host, parameters, refused) in cases {
        let parameters = parameters.replace('D', &at.to_string());
        let found = log_in(&cluster.url(host, "rollbook_admin:throwaway", &parameters)).await;
        match (found, refused) {
            (Ok(encrypted), None) => assert!(encrypted, "{parameters}"),
            (Err(said), Some(expected)) => assert!(said.contains(expected), "{parameters}: {said}"),
            (found, _) => panic!("{host} {parameters}: {found:?}"),
        }
    }

    // What OpenSSL says is said once, however often its error repeats it.
    let others = format!("sslmode=verify-ca&sslrootcert={at}/other.crt");
    let url = cluster.url("127.0.0.1", "rollbook_admin:throwaway", &others);
    let ran = Rollbook::new("org list").env("ROLLBOOK_ADMIN_DATABASE_URL", &url).run().await.exits(1);
    assert_eq!(ran.stderr.matches("certificate verify failed").count(), 1, "{}", ran.stderr);

    // A certificate of one's own instead of a password.
    let own = format!("sslmode=require&sslcert={at}/ann.crt&sslkey={at}/ann.key");
    assert_eq!(log_in(&cluster.url("127.0.0.1", "ann", &own)).await, Ok(true));
    let without = log_in(&cluster.url("127.0.0.1", "ann", "sslmode=require")).await;
    assert!(without.as_ref().is_err_and(|said| said.contains("certificate")), "{without:?}");
    let anothers = format!("sslmode=require&sslcert={at}/ann.crt&sslkey={at}/root.key");
    let anothers = log_in(&cluster.url("127.0.0.1", "ann", &anothers)).await;
    assert!(anothers.as_ref().is_err_and(|said| said.contains("root.key")), "{anothers:?}");
}

#[tokio::test]
async fn who_insists_on_tls_is_never_served_in_plain_text() {
    let site = Site::set_up().await;
    for parameters in ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"] {
        let refused = log_in(&format!("{}?{parameters}", site.admin_url())).await;
        assert!(refused.as_ref().is_err_and(|said| said.contains("TLS")), "{parameters}: {refused:?}");
    }
    assert_eq!(log_in(&format!("{}?sslmode=prefer", site.admin_url())).await, Ok(false));
}
