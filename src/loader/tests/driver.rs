//! The loader without Kafka: a dispatcher and its writers, driven as the receive loop does it, over a list of records that
//! stands for the log.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::Shared;
use super::super::dispatcher::{Brought, Dispatcher, Overdue, Stretch};
use super::super::holding::lanes_with_held;
use super::super::lane::{Arrival, Lane, Told, Turn};
use super::super::partition::{LaneKey, Partition};
use super::super::receive::waiting;
use super::super::schedule::LaneId;
use super::super::writer::{Connections, Finished};
use super::site::POSITION;
use crate::log::LogRecord;
use crate::tenant::OrganizationId;

/// What did not come within this time never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// One owner of the partition. Dropped, it is a crash as far as the partition goes: what is in flight is rolled back.
pub(super) struct Driver {
    shared: Arc<Shared>,
    pub(super) dispatcher: Dispatcher,
    connections: Connections,
    log: BTreeMap<i64, Bytes>,
    stretch: Option<Stretch>,
    /// What became of lanes.
    pub(super) turns: Vec<(LaneKey, Turn)>,
    /// Transactions that were given up, and had not been committed by then.
    pub(super) put_back: usize,
}

impl Driver {
    /// An owner that reads the log from its beginning.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self::starting_at(shared, 0)
    }

    /// An owner for which the log begins here.
    pub(super) fn starting_at(shared: &Arc<Shared>, first: i64) -> Self {
        let mut dispatcher = Dispatcher::new(shared.dispatcher_limits());
        dispatcher.begin(POSITION, None, first);
        Self {
            shared: Arc::clone(shared),
            dispatcher,
            connections: Connections::new(shared),
            log: BTreeMap::new(),
            stretch: None,
            turns: Vec::new(),
            put_back: 0,
        }
    }

    /// The log has one more record, and brings it.
    pub(super) fn give(&mut self, record: LogRecord) -> Arrival {
        let (offset, bytes) = (record.offset, Bytes::from(record.bytes));
        self.log.insert(offset, bytes.clone());
        let (key, record) = waiting(offset, bytes);
        self.dispatcher.arrive(lane_id(key), record, Instant::now()).expect("the partition is ours")
    }

    /// The log brings records for all of which there is room.
    pub(super) fn give_all(&mut self, records: impl IntoIterator<Item = LogRecord>) {
        records.into_iter().for_each(|record| assert_ne!(self.give(record), Arrival::Left));
    }

    /// Looks once whether records are held, as the receive loop does now and then.
    pub(super) async fn look_for_held(&mut self) {
        let client = self.shared.pool.get().await.expect("a connection");
        let lanes = lanes_with_held(&client, POSITION.generation, &[POSITION.partition]).await;
        client.give_back();
        for (partition, organization) in lanes.expect("an answer") {
            let lane = LaneId { partition, key: LaneKey::Organization(organization) };
            self.dispatcher.found_held(lane, Instant::now());
        }
    }

    /// The partition.
    pub(super) fn partition(&self) -> &Partition {
        self.dispatcher.partition(POSITION.partition).expect("the partition is ours")
    }

    /// The lane of an organization that had records.
    pub(super) fn lane(&self, organization: OrganizationId) -> &Lane {
        self.partition().lane(LaneKey::Organization(organization)).expect("a lane")
    }

    /// The lane of this organization took these turns.
    pub(super) fn turns_of(&self, organization: OrganizationId) -> Vec<&Turn> {
        let key = LaneKey::Organization(organization);
        self.turns.iter().filter(|(of, _)| *of == key).map(|(_, turn)| turn).collect()
    }

    /// Goes on until its own state is this.
    pub(super) async fn until(&mut self, what: &str, is_reached: impl Fn(&Self) -> bool) {
        let reached = async {
            while !is_reached(self) {
                self.turn().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "never came: {what}");
    }

    /// Goes on for as long as something else is waited for.
    pub(super) async fn during<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return done,
                () = self.turn() => {}
            }
        }
    }

    /// Writes all that the log brought, and goes on until every transaction is over.
    pub(super) async fn until_all_is_safe(&mut self) {
        self.until("all is safe", |driver| {
            let partition = driver.partition();
            partition.low_water() == partition.next_offset()
                && partition.lanes().all(|(_, lane)| lane.has_nothing_to_write())
        })
        .await;
    }

    /// Gives the partition up: lanes write what they have in memory. Gives the offset that is safe then.
    pub(super) async fn close(mut self) -> i64 {
        let partition = self.dispatcher.partition_mut(POSITION.partition).expect("the partition is ours");
        partition.begin_close();
        self.until("all is written", |driver| driver.partition().has_written_all()).await;
        self.partition().low_water()
    }

    /// One turn of the receive loop.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn turn(&mut self) {
        self.dispatch();
        if self.stretch.is_some() {
            tokio::task::yield_now().await;
            if let Some(stretch) = self.stretch.take() {
                let brought = self.read_again(stretch);
                self.dispatcher.brought(brought, Instant::now());
            }
            return;
        }
        let asks_again_at = self.dispatcher.asks_again_at();
        let asks_again = async {
            match asks_again_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            finished = self.connections.next_finished() => {
                let Finished { work, told, other_server, .. } = finished.expect("no writer panics");
                assert!(other_server.is_none(), "the server of the tests stays the same");
                self.put_back += usize::from(told == Told::PutBack);
                self.dispatcher.told(work, told, Instant::now());
                self.take_turns();
            }
            () = asks_again => {}
        }
    }

    fn dispatch(&mut self) {
        let now = Instant::now();
        for overdue in self.dispatcher.overdue(now).overdue {
            match overdue {
                Overdue::Moved(_) => {}
                Overdue::GiveUp(work) => self.connections.give_up(work),
            }
        }
        while let Some(work) = self.dispatcher.next(now) {
            self.connections.begin(work);
        }
        if self.stretch.is_none() {
            self.stretch = self.dispatcher.next_stretch();
        }
        self.take_turns();
    }

    fn take_turns(&mut self) {
        let turns = self.dispatcher.take_turns().into_iter();
        self.turns.extend(turns.map(|(lane, turn)| (lane.key, turn)));
    }

    fn read_again(&self, stretch: Stretch) -> Brought {
        let (mut records, mut bytes, mut to) = (Vec::new(), 0, stretch.from);
        for (offset, record) in self.log.range(stretch.from..stretch.to) {
            if bytes >= stretch.most_bytes {
                return Brought { stretch, records, to };
            }
            let (key, record) = waiting(*offset, record.clone());
            if stretch.wanted.get(&key).is_some_and(|from| offset >= from) {
                bytes += record.cost();
                records.push((key, record));
            }
            to = offset + 1;
        }
        Brought { to: stretch.to, stretch, records }
    }
}

/// A lane of the partition.
pub(super) fn lane_id(key: LaneKey) -> LaneId {
    LaneId { partition: POSITION.partition, key }
}
