//! `rollbook health`: for health checks where there is no other program.

use crate::harness::{Service, Site, eventually};

#[tokio::test]
async fn a_health_check_needs_no_other_program() {
    let site = Site::set_up().await;
    let service = Service::ready(site.serve("")).await;
    eventually("it says that the log is there", async || service.said().contains("the log changed its"))
        .await;
    let said = service.said();
    let is_warning = |line: &&str| line.contains("the log changed its") && !line.contains("\"INFO\"");
    assert_eq!(said.lines().find(is_warning), None, "nothing is wrong");
    let asked = async |words: &str| {
        site.rollbook(words).env("ROLLBOOK_ADMIN_ADDR", service.admin.address()).run().await
    };
    assert_eq!(asked("health").await.done().stdout, "{\"status\":\"alive\"}\n");
    assert_eq!(asked("health --json").await.done().json()["status"], "alive");
    let ready = asked("health --ready").await.done().json();
    assert_eq!((&ready["status"], &ready["intake"]["ready"]), (&"ready".into(), &true.into()));

    let wrong = site.rollbook("health").env("ROLLBOOK_ADMIN_ADDR", "127.0.0.1:1").run().await.exits(1);
    assert!(wrong.stderr.contains("no service answers at http://127.0.0.1:1/healthz"), "{}", wrong.stderr);

    let wrong = site.rollbook("health --json").env("ROLLBOOK_ADMIN_ADDR", "127.0.0.1:1").run().await.exits(1);
    assert_eq!(wrong.error_code(), "no_answer");

    service.freeze().await;
    let frozen = asked("health").await.exits(1);
    assert!(frozen.stderr.contains("it takes too long"), "{}", frozen.stderr);
    service.thaw().await;
    service.stop().await;
}

#[tokio::test]
async fn an_outage_is_no_reason_to_restart() {
    let site = Site::set_up().await;
    let serve = site.serve("--role intake").env("ROLLBOOK_KAFKA_BROKERS", "127.0.0.1:1");
    let service = Service::start(serve).await;
    let asked = async |words: &str| {
        site.rollbook(words).env("ROLLBOOK_ADMIN_ADDR", service.admin.address()).run().await
    };
    asked("health").await.done();
    eventually("intake has its organizations", async || {
        asked("health --ready").await.exits(1).stderr.contains("the log is unavailable")
    })
    .await;
    service.stop().await;
}
