//! `rollbook demo`: the whole thing on this machine, with nothing configured and nothing left behind.
//!
//! In reading order: `site` makes what the demo stands on (`postgres` is the server's share of it; each process is a
//! `part`), `classroom` sends what simulated viewers do, an `observe`r looks at the service from outside, and its looks
//! become a `picture`, which is drawn by `screen` or written by `lines`. `troubles` are what the person at the keyboard
//! may do to a school; `ending` waits for what is under way, and audits. Where the demo itself is killed its processes
//! end, too; its folder (`ground`) is the next demo's to remove, and its topic on a Kafka stays.

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
mod site;
mod troubles;

use std::io::IsTerminal as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::builder::UnknownArgumentValueParser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::output;
use crate::config::log::{BrokersArgs, LogSettings};
use crate::config::{ConfigError, Faults, Idle, Output};
use classroom::{Controls, LESSON};
use keyboard::{Key, Keyboard};
use observe::{Lesson, Moment, Observer};
use picture::Picture;
use screen::Colours;
use site::{Site, Wanted};
use troubles::Troubles;

/// How often the service is looked at, and the view drawn.
const LOOK: Duration = Duration::from_millis(250);
const LINE: Duration = Duration::from_secs(1);

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    output: Output,
    /// Ends the classrooms after so many seconds. Default: Ctrl-C or `q` ends them.
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

/// How the demo shows itself.
enum Show {
    Screen(ratatui::DefaultTerminal, Keyboard, Colours),
    Lines,
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
        let started = Instant::now();
        let quiet = self.output.json;
        let stop = stop_on_signal()?;
        let say = |text: &str| {
            if !quiet {
                output::explain(&format!("==> {text}"));
            }
        };
        let starting = Site::start(self.wanted()?, say);
        let Some(site) = stop.run_until_cancelled(starting).await else {
            return Err(Failure::new("interrupted", "stopped while it was starting; nothing is left behind"));
        };
        let mut site = site?;
        let shown = self.show(&mut site, started, &stop).await;
        // Whatever was wrong with the view, what runs is ended in order.
        let audited = match &shown {
            Ok(_) => Some(ending::audit(&site, quiet).await),
            Err(_) => None,
        };
        let stopped = site.stop().await;
        let picture = shown?;
        let audited = audited.transpose()?;
        stopped?;
        match audited {
            Some(audited) => ending::tell(self.output, &picture, &audited),
            None => Ok(()),
        }
    }

    /// Runs the classrooms and shows what becomes of it, until it is to end.
    async fn show(
        &self,
        site: &mut Site,
        started: Instant,
        stop: &CancellationToken,
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
        let mut show = self.open();
        let mut looks = interval(if matches!(show, Show::Lines) { LINE } else { LOOK });
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = tokio::time::Instant::now();
        let end = self.seconds.map(|seconds| begun + Duration::from_secs(seconds.get().into()));
        let watched = loop {
            let key = tokio::select! {
                () = stop.cancelled() => break Ok(()),
                () = until(end) => break Ok(()),
                _ = looks.tick() => None,
                key = show.key() => Some(key),
            };
            match key {
                Some(Key::Quit) => break Ok(()),
                Some(key) => troubles.pressed(key, &mut picture, &controls).await,
                None if site.has_ended() => {
                    break Err(Failure::new("service_failed", "rollbook serve ended by itself"));
                }
                None => {
                    let seen = observer.look(&picture.seen).await;
                    picture.take(Moment { at: Instant::now(), seen });
                }
            }
            (picture.is_paused, picture.is_flooding) = (controls.is_paused(), controls.is_flooding());
            if let Err(error) = show.show(&picture, key.is_none(), self.output.json) {
                break Err(Failure::new("view_failed", format!("cannot draw: {error}")));
            }
        };
        // No request is left half-way.
        drop(ended_in_any_case);
        let _ended = classes.await;
        drop(show);
        watched?;
        troubles.heal_all(&mut picture).await;
        let seen = ending::settle(&observer, &picture.seen).await;
        picture.take(Moment { at: Instant::now(), seen });
        Ok(picture)
    }

    /// A view where there is a terminal.
    fn open(&self) -> Show {
        let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        if self.output.json || !is_terminal {
            return Show::Lines;
        }
        match ratatui::try_init() {
            Ok(terminal) => Show::Screen(terminal, Keyboard::open(), Colours::of_environment()),
            Err(_) => Show::Lines,
        }
    }
}

impl Show {
    /// The next key that means something.
    async fn key(&mut self) -> Key {
        match self {
            Self::Screen(_, keyboard, _) => keyboard.next().await,
            Self::Lines => std::future::pending().await,
        }
    }

    /// A line is written for each look, a screen drawn for each key too.
    fn show(&mut self, picture: &Picture, is_look: bool, is_quiet: bool) -> std::io::Result<()> {
        match self {
            Self::Screen(terminal, _, colours) => {
                terminal.draw(|frame| screen::draw(frame, picture, *colours)).map(drop)
            }
            Self::Lines if is_look && !is_quiet => {
                output::say(&lines::line(picture));
                Ok(())
            }
            Self::Lines => Ok(()),
        }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        if let Self::Screen(..) = self {
            ratatui::restore();
        }
    }
}

/// That moment, or never.
async fn until(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Ctrl-C, SIGTERM, or the terminal that is closed.
fn stop_on_signal() -> Result<CancellationToken, Failure> {
    let failed =
        |error: std::io::Error| Failure::new("demo_not_started", format!("listening for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let stop = CancellationToken::new();
    let ours = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
        ours.cancel();
    });
    Ok(stop)
}
