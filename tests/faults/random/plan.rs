//! What goes wrong, where, and when: drawn from a seed.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rollbook::config::log::LogKind;

use super::ORGANIZATIONS;

/// Where one thing goes wrong at a time; several places are in trouble at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Kafka,
    Postgres,
    Intake,
    FirstLoader,
    SecondLoader,
    ThirdLoader,
    Schema,
    Topic,
    Clients,
    Folder,
}

impl Place {
    /// On the embedded log the first loader is the one process that is both.
    pub(super) fn of(log: LogKind, disk_can_be_filled: bool) -> &'static [Self] {
        match log {
            LogKind::Kafka => &[
                Self::Kafka,
                Self::Postgres,
                Self::Intake,
                Self::FirstLoader,
                Self::SecondLoader,
                Self::ThirdLoader,
                Self::Schema,
                Self::Topic,
            ],
            LogKind::Embedded if disk_can_be_filled => {
                &[Self::Postgres, Self::FirstLoader, Self::Schema, Self::Clients, Self::Folder]
            }
            LogKind::Embedded => &[Self::Postgres, Self::FirstLoader, Self::Schema, Self::Clients],
        }
    }

    fn faults(self) -> &'static [Fault] {
        match self {
            Self::Kafka => &[
                Fault::KillKafka,
                Fault::KillKafka,
                Fault::SlowKafka,
                Fault::StallKafka,
                Fault::RefuseKafka,
                Fault::CutKafka,
                Fault::LoseAcknowledgement,
            ],
            Self::Postgres => &[
                Fault::KillPostgres,
                Fault::RestartPostgres,
                Fault::ReadOnlyPostgres,
                Fault::FillDisk,
                Fault::SlowPostgres,
                Fault::StallPostgres,
                Fault::RefusePostgres,
                Fault::CutPostgres,
                Fault::CutInCopy,
                Fault::LoseCommitAnswer,
                Fault::LoseCommit,
            ],
            Self::Intake => &[Fault::KillIntake, Fault::RestartIntake, Fault::CutClients],
            Self::FirstLoader | Self::SecondLoader => {
                &[Fault::KillLoader, Fault::KillLoader, Fault::RestartLoader, Fault::FreezeLoader]
            }
            Self::ThirdLoader => &[Fault::OneLoaderMore],
            Self::Schema => &[
                Fault::RenameSchema,
                Fault::RenameTable,
                Fault::DropColumn,
                Fault::LockTable,
                Fault::SlowSchema,
            ],
            Self::Topic => &[Fault::PublishAgain],
            Self::Clients => &[Fault::CutClients],
            Self::Folder => &[Fault::FillFolder],
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    KillKafka,
    SlowKafka,
    StallKafka,
    RefuseKafka,
    CutKafka,
    LoseAcknowledgement,
    KillPostgres,
    RestartPostgres,
    ReadOnlyPostgres,
    FillDisk,
    SlowPostgres,
    StallPostgres,
    RefusePostgres,
    CutPostgres,
    CutInCopy,
    LoseCommitAnswer,
    LoseCommit,
    KillIntake,
    RestartIntake,
    CutClients,
    KillLoader,
    RestartLoader,
    FreezeLoader,
    OneLoaderMore,
    RenameSchema,
    RenameTable,
    DropColumn,
    LockTable,
    SlowSchema,
    PublishAgain,
    FillFolder,
}

impl Fault {
    /// For the report.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::KillKafka => "kill -9 of Kafka",
            Self::SlowKafka => "Kafka slow",
            Self::StallKafka => "connections to Kafka stalled",
            Self::RefuseKafka => "Kafka out of reach",
            Self::CutKafka => "connections to Kafka cut anywhere",
            Self::LoseAcknowledgement => "an answer of Kafka to intake lost",
            Self::KillPostgres => "kill -9 of Postgres",
            Self::RestartPostgres => "Postgres restarted in order",
            Self::ReadOnlyPostgres => "Postgres read-only",
            Self::FillDisk => "Postgres's disk full",
            Self::SlowPostgres => "Postgres slow",
            Self::StallPostgres => "connections to Postgres stalled",
            Self::RefusePostgres => "Postgres out of reach",
            Self::CutPostgres => "connections to Postgres cut anywhere",
            Self::CutInCopy => "connection cut in the middle of a COPY",
            Self::LoseCommitAnswer => "the answer to a commit lost",
            Self::LoseCommit => "a commit lost",
            Self::KillIntake => "kill -9 of intake",
            Self::RestartIntake => "intake restarted in order",
            Self::CutClients => "connections of clients cut anywhere",
            Self::KillLoader => "kill -9 of a loader",
            Self::RestartLoader => "a loader restarted in order",
            Self::FreezeLoader => "a loader stopped by SIGSTOP and let go on",
            Self::OneLoaderMore => "a third loader came and went",
            Self::RenameSchema => "a schema renamed",
            Self::RenameTable => "a table renamed",
            Self::DropColumn => "a column dropped",
            Self::LockTable => "a table locked",
            Self::SlowSchema => "a schema slow",
            Self::PublishAgain => "records published a second time",
            Self::FillFolder => "the embedded log's disk full",
        }
    }
}

/// One fault to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    /// After the start, at the earliest.
    pub(super) at: Duration,
    pub(super) fault: Fault,
    /// Until it is undone.
    pub(super) lasts: Duration,
    /// Whom it hits, where it hits one organization.
    pub(super) organization: &'static str,
    /// A number that the fault may need.
    pub(super) size: usize,
}

/// Everything that will go wrong at a place within this time.
pub(super) fn schedule(seed: u64, place: Place, span: Duration, disk_can_be_filled: bool) -> Vec<Planned> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ (place as u64) << 32);
    let mut planned = Vec::new();
    let mut at = Duration::from_millis(random.random_range(3_000..8_000));
    while at < span {
        let mut fault = *place.faults().choose(&mut random).expect("every place has faults");
        if fault == Fault::FillDisk && !disk_can_be_filled {
            fault = Fault::ReadOnlyPostgres;
        }
        let mut lasts = Duration::from_millis(random.random_range(200..7_000));
        // Once in a while an outage that is longer than anybody's patience.
        if fault == Fault::KillKafka && span > Duration::from_secs(300) && random.random_ratio(1, 8) {
            lasts = Duration::from_secs(60);
        }
        let organization = ORGANIZATIONS.choose(&mut random).expect("there are some");
        let size = random.random_range(0..60_000);
        planned.push(Planned { at, fault, lasts, organization, size });
        at += lasts + Duration::from_millis(random.random_range(2_000..20_000));
    }
    planned
}
