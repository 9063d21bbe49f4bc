//! `rollbook demo`: the whole thing on this machine, with nothing configured and nothing left behind.
//!
//! In reading order: `site` makes what the demo stands on (`postgres` is the server's share of it; each process is a
//! `part`), `classroom` sends what simulated viewers do, an `observe`r looks at the service from outside, and its looks
//! become a `picture`, which is drawn by `screen` or written by `lines`, as `show` finds a terminal. `troubles` are what the
//! person at the keyboard may do to a school; `stop` says when to end; `ending` waits for what is under way, and audits.
//! Where the demo itself is killed its processes end, too; its folder (`ground`) is the next demo's to remove, and its topic
//! on a Kafka stays.

mod classroom;
mod ending;
mod ground;
mod keyboard;
mod lines;
mod observe;
mod part;
mod picture;
mod postgres;
mod screen;
mod show;
mod site;
mod stop;
mod troubles;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::builder::UnknownArgumentValueParser;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::output;
use crate::config::log::{BrokersArgs, LogSettings};
use crate::config::{ConfigError, Faults, Idle, Output};
use classroom::{Controls, LESSON};
use keyboard::Key;
use observe::{Lesson, Moment, Observer, Seen};
use picture::Picture;
use show::{Show, Unseen};
use site::{Site, Wanted};
use stop::Stop;
use troubles::Troubles;

/// How often the service is looked at, and the view drawn.
const LOOK: Duration = Duration::from_millis(250);
const LINE: Duration = Duration::from_secs(1);

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    output: Output,
    /// Ends the classrooms after so many seconds. Default: Ctrl-C or `q` ends them. Once they end, Ctrl-C ends everything
    /// at once, without the audit.
    #[arg(long, value_name = "N")]
    seconds: Option<NonZeroU32>,
    /// Folder of `initdb` and `postgres`. Default: the first of the PATH, of where distributions put them, and of the
    /// cache that `./dev` fills.
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
    /// Uses the Kafka of ROLLBOOK_KAFKA_BROKERS, with a topic of its own, instead of the embedded log, which is what it uses
    /// whatever ROLLBOOK_LOG says.
    #[arg(long)]
    kafka: bool,
    #[command(flatten)]
    brokers: BrokersArgs,
    /// Other commands have it: it is said which flag is meant here.
    #[arg(long = "log", hide = true, value_parser = UnknownArgumentValueParser::suggest_arg("--kafka"))]
    _log: Option<String>,
}

impl Arguments {
    /// What is wrong with the settings.
    pub(super) fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        faults.note(self.wanted());
        faults
    }

    /// What has no effect beside the rest.
    pub(super) fn idle(&self) -> Option<Idle> {
        let why = "is of no use to a demo with a log of its own; --kafka has it use that Kafka instead";
        Idle::if_so(!self.kafka, &["kafka_brokers", "kafka_properties"], why)
    }

    fn wanted(&self) -> Result<Wanted, ConfigError> {
        // The topic is one of its own.
        let kafka = self.kafka.then(|| self.brokers.with_topic("")).transpose()?;
        Ok(Wanted { postgres_bin: self.postgres_bin.clone(), kafka })
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        let stop = Stop::on_signal()?;
        tokio::select! {
            // Its parts end before their time then, and that is no failure of theirs.
            biased;
            () = stop.at_once() => {}
            ended = self.demonstrate(&stop) => return ended,
        };
        let left = if self.kafka { "its topic may be left on that Kafka" } else { "nothing is left behind" };
        Err(Failure::new(
            "interrupted",
            format!("a second signal ended it at once, without an audit; {left}"),
        ))
    }

    /// # Cancel safety
    /// Dropping the future ends at once what runs, and removes the folder.
    async fn demonstrate(&self, stop: &Stop) -> Result<(), Failure> {
        let started = Instant::now();
        let quiet = self.output.json;
        let say = |text: &str| {
            if !quiet {
                output::explain(&format!("==> {text}"));
            }
        };
        let mut site = Site::start(self.wanted()?, stop.asked(), say).await?;
        let shown = self.show(&mut site, started, stop, say).await;
        let picture = match shown {
            Ok(picture) => picture,
            Err(failed) => {
                // There is nothing to audit, so nothing to end in order; what failed is what is told.
                let _left = site.end_at_once().await;
                return Err(failed);
            }
        };
        say("audit: every accepted event against the schemas, by id");
        let audited = ending::audit(&site).await;
        let stopped = site.stop().await;
        let audited = audited?;
        stopped?;
        ending::tell(self.output, &picture, &audited)
    }

    /// Runs the classrooms and shows what becomes of it, until it is to end.
    async fn show(
        &self,
        site: &mut Site,
        started: Instant,
        stop: &Stop,
        say: impl Fn(&str),
    ) -> Result<Picture, Failure> {
        let names: Vec<String> = site.schools.iter().map(|one| one.organization.slug.to_string()).collect();
        let (kind, limit) = match &site.log {
            LogSettings::Embedded(settings) => ("embedded", settings.retention_bytes),
            LogSettings::Kafka(_) => ("kafka", 0),
        };
        let lesson =
            Lesson { schema: site.schools[0].organization.schema_name.clone(), content: LESSON.to_owned() };
        let observer = Observer::new(site.operator, &site.admin_url, names.clone(), lesson).await?;
        let mut troubles = Troubles::new(&site.admin_url).await?;
        let mut picture = Picture::new(names, kind, limit, LESSON).started_at(started, Instant::now());
        let controls = Arc::new(Controls::default());
        let url = format!("http://{}", site.intake).parse().expect("a URL of our own making");
        let classes_end = CancellationToken::new();
        let ended_in_any_case = classes_end.clone().drop_guard();
        let classes = tokio::spawn(classroom::run(site.keys(), url, Arc::clone(&controls), classes_end));
        let mut show = Show::open(self.output.json);
        let mut looks = interval(if matches!(show, Show::Screen(..)) { LOOK } else { LINE });
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = tokio::time::Instant::now();
        let end = self.seconds.map(|seconds| begun + Duration::from_secs(seconds.get().into()));
        let watched = loop {
            let look = async {
                looks.tick().await;
                observer.look(&picture.seen).await
            };
            let turn = tokio::select! {
                () = stop.asked().cancelled() => break Ok(()),
                () = until(end) => break Ok(()),
                key = show.key() => Turn::Pressed(key),
                seen = look => Turn::Seen(seen),
            };
            let is_look = matches!(turn, Turn::Seen(_));
            match turn {
                Turn::Pressed(Key::Quit) => break Ok(()),
                Turn::Pressed(key) => troubles.pressed(key, &mut picture, &controls).await,
                Turn::Seen(seen) => picture.take(Moment { at: Instant::now(), seen }),
            }
            if let Err(ended) = site.still_runs() {
                break Err(ended);
            }
            (picture.is_paused, picture.is_flooding) = (controls.is_paused(), controls.is_flooding());
            match show.show(&picture, is_look) {
                Ok(()) => {}
                // As if a signal had said so.
                Err(Unseen::NobodyLooks) => break Ok(()),
                Err(Unseen::Failed(error)) => {
                    break Err(Failure::new("view_failed", format!("cannot draw: {error}")));
                }
            }
        };
        stop.ask();
        drop((show, ended_in_any_case));
        watched?;
        say("what is under way arrives; a signal (Ctrl-C) ends it at once");
        // No request is left half-way.
        let _ended = classes.await;
        troubles.heal_all(&mut picture).await;
        let seen = ending::settle(&observer, site, &picture.seen).await?;
        picture.take(Moment { at: Instant::now(), seen });
        Ok(picture)
    }
}

/// What the demo turns to next.
enum Turn {
    Pressed(Key),
    Seen(Seen),
}

/// That moment, or never.
async fn until(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
