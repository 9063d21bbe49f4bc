//! The running service, and how each fault is done to it and undone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::{Client, NoTls};

use super::plan::{Fault, Place, Planned};
use crate::faults::duplicates::publish_again;
use crate::faults::{DataFolder, Ground, Passage, Proxy, Servers, Then, Trap, wire};
use crate::harness::{Service, within};

/// Intake, two loaders, and at times a third; on the embedded log one process that is a loader and intake. A process is
/// locked by whoever does something to it.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) ground: Ground,
    intake: Option<Mutex<Service>>,
    loaders: Vec<Mutex<Service>>,
    ended_by_themselves: AtomicU32,
}

/// A server that was hurt is well again after so long.
const PATIENCE: Duration = Duration::from_secs(120);

impl Scene {
    pub(super) async fn start(ground: Ground) -> Self {
        let (intake, loader) = ground.running().await;
        let mut loaders = vec![Mutex::new(loader)];
        if intake.is_some() {
            loaders.push(Mutex::new(ground.loader().await));
        }
        let intake = intake.map(Mutex::new);
        Self { ground, intake, loaders, ended_by_themselves: AtomicU32::new(0) }
    }

    pub(super) fn has_small_disk(&self) -> bool {
        self.ground.postgres().disk().is_some()
    }

    /// Does what is planned, waits, and undoes it. Gives whether there was an occasion for it.
    pub(super) async fn strike(&self, place: Place, planned: &Planned) -> bool {
        let (kafka, postgres) = (self.ground.kafka(), self.ground.postgres());
        let to_kafka = [&self.ground.intake_to_kafka, &self.ground.loader_to_kafka];
        let to_postgres = [&self.ground.loader_to_postgres];
        let lasts = planned.lasts;
        let slow = Passage::Slow(Duration::from_millis(20 + planned.size as u64 % 180));
        let cut_later = Then::CutAfter(planned.size);
        match planned.fault {
            Fault::KillKafka => {
                kafka.kill();
                tokio::time::sleep(lasts).await;
                self.serve(|servers| servers.kafka.start()).await;
            }
            Fault::SlowKafka => passes(&to_kafka, slow, lasts).await,
            Fault::StallKafka => passes(&to_kafka, Passage::Stalled, lasts).await,
            Fault::RefuseKafka => passes(&to_kafka, Passage::Refused, lasts).await,
            Fault::CutKafka => return springs(&to_kafka, &[], cut_later, lasts).await,
            Fault::LoseAcknowledgement => return springs(&to_kafka[..1], &[], Then::LoseAnswer, lasts).await,
            Fault::KillPostgres => {
                postgres.kill();
                tokio::time::sleep(lasts).await;
                self.serve(|servers| servers.postgres.start()).await;
            }
            Fault::RestartPostgres => {
                self.serve(|servers| servers.postgres.stop()).await;
                tokio::time::sleep(lasts).await;
                self.serve(|servers| servers.postgres.start()).await;
            }
            Fault::ReadOnlyPostgres => {
                self.insist("ALTER SYSTEM SET default_transaction_read_only = on").await;
                postgres.reload();
                tokio::time::sleep(lasts).await;
                self.insist("ALTER SYSTEM RESET default_transaction_read_only").await;
                postgres.reload();
            }
            Fault::FillDisk => {
                let disk = postgres.disk().expect("only planned where there is one");
                disk.fill();
                tokio::time::sleep(lasts).await;
                disk.grow();
                self.serve(|servers| servers.postgres.start()).await;
            }
            Fault::SlowPostgres => passes(&to_postgres, slow, lasts).await,
            Fault::StallPostgres => passes(&to_postgres, Passage::Stalled, lasts).await,
            Fault::RefusePostgres => passes(&to_postgres, Passage::Refused, lasts).await,
            Fault::CutPostgres => return springs(&to_postgres, &[], cut_later, lasts).await,
            Fault::CutInCopy => return springs(&to_postgres, wire::COPY, cut_later, lasts).await,
            Fault::LoseCommitAnswer => {
                return springs(&to_postgres, wire::COMMIT_OF_FLUSH, Then::LoseAnswer, lasts).await;
            }
            Fault::LoseCommit => return springs(&to_postgres, wire::COMMIT_OF_FLUSH, Then::Cut, lasts).await,
            Fault::CutClients => return springs(&[&self.ground.door], &[], cut_later, lasts).await,
            Fault::KillIntake | Fault::RestartIntake => {
                let intake = self.intake.as_ref().expect("only planned where it is a process of its own");
                let mut intake = intake.lock().await;
                end(&mut intake, planned.fault == Fault::KillIntake).await;
                tokio::time::sleep(lasts).await;
                *intake = self.ground.intake().await;
            }
            Fault::KillLoader | Fault::RestartLoader => {
                let mut loader = self.loader(place).await;
                end(&mut loader, planned.fault == Fault::KillLoader).await;
                tokio::time::sleep(lasts).await;
                *loader = self.started_loader().await;
            }
            Fault::FreezeLoader => {
                let loader = self.loader(place).await;
                loader.freeze().await;
                tokio::time::sleep(lasts).await;
                loader.thaw().await;
            }
            Fault::OneLoaderMore => {
                let third = self.started_loader().await;
                tokio::time::sleep(lasts).await;
                third.terminate().await;
                third.ended().await;
            }
            Fault::RenameSchema
            | Fault::RenameTable
            | Fault::DropColumn
            | Fault::LockTable
            | Fault::SlowSchema => self.hurt_schema(planned).await,
            Fault::FillFolder => {
                let disk = self.ground.data().and_then(DataFolder::disk);
                let disk = disk.expect("only planned where there is one");
                disk.fill();
                tokio::time::sleep(lasts).await;
                disk.grow();
            }
            Fault::PublishAgain => return publish_again(&self.ground, 1 + planned.size % 20).await.is_ok(),
        }
        true
    }

    /// A loader that is there, whatever state everything is in.
    async fn started_loader(&self) -> Service {
        self.ground.start(self.ground.loader_to_be()).await
    }

    /// Does what waits for a server, off the async threads.
    async fn serve(&self, what: fn(&Servers)) {
        let servers = Arc::clone(&self.ground.servers);
        tokio::task::spawn_blocking(move || what(&servers)).await.expect("a server does as it is told");
    }

    async fn loader(&self, place: Place) -> MutexGuard<'_, Service> {
        self.loaders[usize::from(place == Place::SecondLoader)].lock().await
    }

    /// Each of these can be said twice: when its answer was lost, it is.
    async fn hurt_schema(&self, planned: &Planned) {
        let slug = planned.organization;
        let (hurt, heal) = match planned.fault {
            Fault::RenameTable => (
                format!("ALTER TABLE IF EXISTS org_{slug}.event RENAME TO away"),
                format!("ALTER TABLE IF EXISTS org_{slug}.away RENAME TO event"),
            ),
            Fault::DropColumn => (
                format!("ALTER TABLE org_{slug}.event DROP COLUMN IF EXISTS attempt CASCADE"),
                format!("ALTER TABLE org_{slug}.event ADD COLUMN IF NOT EXISTS attempt smallint"),
            ),
            Fault::SlowSchema => (
                format!(
                    "CREATE OR REPLACE FUNCTION org_{slug}.doze() RETURNS trigger LANGUAGE plpgsql AS \
                         $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$; \
                     CREATE OR REPLACE TRIGGER doze BEFORE INSERT ON org_{slug}.event \
                         FOR EACH STATEMENT EXECUTE FUNCTION org_{slug}.doze()"
                ),
                format!("DROP FUNCTION IF EXISTS org_{slug}.doze() CASCADE"),
            ),
            Fault::LockTable => {
                let locker = self.superuser().await;
                if let Ok(locker) = &locker {
                    // A server that goes away meanwhile takes the lock with it.
                    let _ = locker.batch_execute(&format!("BEGIN; LOCK TABLE org_{slug}.event")).await;
                }
                tokio::time::sleep(planned.lasts).await;
                return;
            }
            _ => (renamed(&format!("org_{slug}"), "gone"), renamed("gone", &format!("org_{slug}"))),
        };
        self.insist(&hurt).await;
        tokio::time::sleep(planned.lasts).await;
        self.insist(&heal).await;
    }

    /// Does something as the superuser, again and again while the server is away or takes no writes.
    async fn insist(&self, sql: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = async { anyhow::Ok(self.superuser().await?.batch_execute(sql).await?) };
            let Err(error) = done.await else { return };
            assert!(Instant::now() < deadline, "{sql}: {error:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn superuser(&self) -> anyhow::Result<Client> {
        let (client, driver) = tokio_postgres::connect(&self.ground.admin_url(), NoTls).await?;
        tokio::spawn(driver);
        // Nobody waits for an answer that never comes, nor for the writes of others.
        client.batch_execute("SET statement_timeout = '20s'; SET lock_timeout = '5s'").await?;
        Ok(client)
    }

    /// Starts what ended by itself, as an operator's supervisor does.
    pub(super) async fn start_what_ended(&self) {
        if let Some(Ok(mut intake)) = self.intake.as_ref().map(Mutex::try_lock)
            && self.has_ended(&mut intake, "intake")
        {
            *intake = self.ground.intake().await;
        }
        for loader in &self.loaders {
            if let Ok(mut loader) = loader.try_lock()
                && self.has_ended(&mut loader, "a loader")
            {
                *loader = self.started_loader().await;
            }
        }
    }

    fn has_ended(&self, service: &mut Service, name: &str) -> bool {
        let has_ended = service.has_ended();
        if has_ended {
            self.ended_by_themselves.fetch_add(1, Ordering::Relaxed);
            let said = service.said();
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            eprintln!("           {name} ended by itself:");
            last.iter().rev().for_each(|line| eprintln!("             {line}"));
        }
        has_ended
    }

    /// How many processes ended by themselves, once all of them run.
    pub(super) async fn all_run(&mut self) -> u32 {
        self.start_what_ended().await;
        self.ended_by_themselves.load(Ordering::Relaxed)
    }

    /// The records that are held at this moment, with their events; none where Postgres does not say.
    pub(super) async fn held(&self) -> HashMap<(i32, i64), i64> {
        let sql = "SELECT partition, log_offset, events::bigint FROM rollbook.held_record";
        let rows =
            async { anyhow::Ok(self.superuser().await?.query(sql, &[]).await.context("held records")?) };
        let rows = rows.await.unwrap_or_default();
        rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect()
    }
}

/// Ends a process as a crash does, or in order, and waits until it is gone. It may have ended by itself.
async fn end(service: &mut Service, crash: bool) {
    if !service.has_ended() {
        if crash { service.kill_now().await } else { service.terminate().await }
    }
    within(PATIENCE, "a process ends", async || service.has_ended()).await;
}

fn renamed(from: &str, to: &str) -> String {
    format!(
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_namespace WHERE nspname = '{from}') \
         THEN ALTER SCHEMA {from} RENAME TO {to}; END IF; END $$"
    )
}

/// All of them are like this for a while.
async fn passes(proxies: &[&Proxy], passage: Passage, lasts: Duration) {
    proxies.iter().for_each(|proxy| proxy.set(passage));
    if passage == Passage::Refused {
        proxies.iter().for_each(|proxy| proxy.cut());
    }
    tokio::time::sleep(lasts).await;
    proxies.iter().for_each(|proxy| proxy.set(Passage::Open));
}

/// Sets a trap on each, for so long at most; gives whether any was sprung.
async fn springs(proxies: &[&Proxy], said: &'static [&'static str], then: Then, lasts: Duration) -> bool {
    let traps: Vec<_> = proxies.iter().map(|proxy| proxy.trap(Trap { said, then })).collect();
    let all = futures_util::future::join_all(traps.iter().map(|trap| trap.sprung()));
    let _ = tokio::time::timeout(lasts, all).await;
    proxies.iter().for_each(|proxy| proxy.disarm());
    traps.iter().any(|trap| trap.has_sprung())
}
