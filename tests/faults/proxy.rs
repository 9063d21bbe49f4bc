//! Stands between a client and a server, and hurts what passes: it can refuse, delay, stall and cut connections, and
//! wait for words that a client says to do so at that very moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::within;

/// What happens to everything that passes, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Open,
    /// Each piece waits for so long.
    Slow(Duration),
    /// Nothing passes; connections stay.
    Stalled,
    /// New connections are closed at once; those there are stay.
    Refused,
    /// New connections are taken, and nothing is ever said to them; those there are stay.
    Silent,
}

/// Words of a client to wait for, and what happens then: once.
#[derive(Debug)]
pub(super) struct Trap {
    /// In this order, on one connection. No words: whatever is said next.
    pub(super) said: &'static [&'static str],
    pub(super) then: Then,
}

/// What a trap does to the connection that springs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The last word never reaches the server: the connection is cut.
    Cut,
    /// The last word and so many bytes more reach the server, and the connection is cut. Of several connections that
    /// said it, the first to come so far: one of them may have nothing more to say.
    CutAfter(usize),
    /// The last word reaches the server, and its answer is lost with the connection.
    LoseAnswer,
    /// The last word waits, with everything behind it, until released.
    Hold,
}

/// Dropping it closes its port and every connection.
#[derive(Debug)]
pub(super) struct Proxy {
    address: String,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<String>,
    passage: watch::Sender<Passage>,
    /// Replaced with every cut.
    cut: Mutex<CancellationToken>,
    refused: AtomicUsize,
    trap: Mutex<Option<Arc<SetTrap>>>,
}

/// A trap that was set.
#[derive(Debug)]
pub(super) struct SetTrap {
    trap: Trap,
    sprung: CancellationToken,
    released: Notify,
}

impl SetTrap {
    /// Waits until it is sprung.
    pub(super) async fn sprung(&self) {
        let waiting = tokio::time::timeout(Duration::from_secs(60), self.sprung.cancelled()).await;
        waiting.unwrap_or_else(|_| panic!("nobody said {:?}", self.trap.said));
    }

    /// Whether it was.
    pub(super) fn has_sprung(&self) -> bool {
        self.sprung.is_cancelled()
    }

    /// Lets go what is held.
    pub(super) fn release(&self) {
        self.released.notify_one();
    }
}

impl Proxy {
    /// Listens at `address` (port 0: any), and leads to `target`.
    pub(super) async fn new(address: &str, target: &str) -> Self {
        let listener = listen(address).await;
        let address = listener.local_addr().expect("it is bound").to_string();
        let shared = Arc::new(Shared {
            target: Mutex::new(target.to_owned()),
            passage: watch::Sender::new(Passage::Open),
            cut: Mutex::default(),
            refused: AtomicUsize::new(0),
            trap: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { address, shared, accepting }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Leads new connections elsewhere.
    pub(super) fn lead_to(&self, target: &str) {
        target.clone_into(&mut lock(&self.shared.target));
    }

    /// From now on.
    pub(super) fn set(&self, passage: Passage) {
        self.shared.passage.send_replace(passage);
    }

    /// How many connections it has refused so far.
    pub(super) fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Cuts every connection there is.
    pub(super) fn cut(&self) {
        std::mem::take(&mut *lock(&self.shared.cut)).cancel();
    }

    /// Closes its port, for whoever is to listen there next, and every connection.
    pub(super) async fn close(self) {
        self.accepting.abort();
        while !self.accepting.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// Sets a trap, in place of any other.
    pub(super) fn trap(&self, trap: Trap) -> Arc<SetTrap> {
        let set = Arc::new(SetTrap { trap, sprung: CancellationToken::new(), released: Notify::new() });
        *lock(&self.shared.trap) = Some(Arc::clone(&set));
        set
    }

    /// Takes the trap away, if it is still set.
    pub(super) fn disarm(&self) {
        lock(&self.shared.trap).take();
    }
}

/// Listens at an address that the test before may have held: its runtime closes its proxy a moment after its turn ends.
async fn listen(address: &str) -> TcpListener {
    let mut listener = None;
    let bound = async || {
        listener = TcpListener::bind(address).await.ok();
        listener.is_some()
    };
    within(Duration::from_secs(30), "a free port", bound).await;
    listener.expect("it is bound")
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let passage = *shared.passage.borrow();
        if passage == Passage::Refused {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let shared = Arc::clone(&shared);
        // It ends with either side, with a cut, or with the test's runtime.
        tokio::spawn(async move {
            let cut = lock(&shared.cut).clone();
            let carrying = async {
                if passage == Passage::Silent {
                    let _held = client;
                    std::future::pending().await
                } else {
                    carry(client, &shared).await;
                }
            };
            cut.run_until_cancelled(carrying).await;
        });
    }
}

/// One connection, until either side has enough of it.
async fn carry(client: TcpStream, shared: &Shared) {
    let target = lock(&shared.target).clone();
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (muted, answered) = (CancellationToken::new(), CancellationToken::new());
    tokio::select! {
        _ = ask(shared, from_client, to_server, &muted, &answered) => {}
        _ = answer(shared, from_server, to_client, &muted, &answered) => {}
    }
}

/// What the client says.
async fn ask(
    shared: &Shared,
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    muted: &CancellationToken,
    answered: &CancellationToken,
) -> std::io::Result<()> {
    let mut passage = shared.passage.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    let mut listening = Listening::default();
    loop {
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let piece = &buffer[..read];
        pass(&mut passage).await;
        let trap = lock(&shared.trap).clone();
        let Some(set) = trap.filter(|set| listening.hears(set, piece)) else {
            server.write_all(piece).await?;
            continue;
        };
        if let Then::CutAfter(bytes) = set.trap.then {
            let left = listening.to_pass.get_or_insert(piece.len() + bytes);
            if *left > piece.len() {
                *left -= piece.len();
                server.write_all(piece).await?;
                continue;
            }
        }
        lock(&shared.trap).take();
        match set.trap.then {
            Then::Cut => {
                set.sprung.cancel();
                return Ok(());
            }
            Then::CutAfter(_) => {
                set.sprung.cancel();
                return server.write_all(&piece[..listening.to_pass.unwrap_or_default()]).await;
            }
            Then::LoseAnswer => {
                muted.cancel();
                server.write_all(piece).await?;
                answered.cancelled().await;
                set.sprung.cancel();
                return Ok(());
            }
            Then::Hold => {
                let mut held = piece.to_vec();
                set.sprung.cancel();
                // A client that goes away meanwhile is gone for the server too.
                while let Some(read) = tokio::select! {
                    () = set.released.notified() => None,
                    read = client.read(&mut buffer) => Some(read?),
                } {
                    if read == 0 {
                        return Ok(());
                    }
                    held.extend_from_slice(&buffer[..read]);
                }
                server.write_all(&held).await?;
            }
        }
    }
}

/// What the server answers.
async fn answer(
    shared: &Shared,
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    muted: &CancellationToken,
    answered: &CancellationToken,
) -> std::io::Result<()> {
    let mut passage = shared.passage.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = server.read(&mut buffer).await?;
        if muted.is_cancelled() {
            answered.cancel();
            std::future::pending::<()>().await;
        }
        if read == 0 {
            return Ok(());
        }
        pass(&mut passage).await;
        client.write_all(&buffer[..read]).await?;
    }
}

/// Waits for as long as the passage asks for.
async fn pass(passage: &mut watch::Receiver<Passage>) {
    let now = passage.wait_for(|passage| *passage != Passage::Stalled).await.map(|passage| *passage);
    if let Ok(Passage::Slow(pause)) = now {
        tokio::time::sleep(pause).await;
    }
}

/// How much of a trap's words a connection has said.
#[derive(Debug, Default)]
struct Listening {
    to: Option<Arc<SetTrap>>,
    heard: usize,
    tail: Vec<u8>,
    /// After them, for [`Then::CutAfter`].
    to_pass: Option<usize>,
}

impl Listening {
    /// Whether this piece has the last of the words.
    fn hears(&mut self, set: &Arc<SetTrap>, piece: &[u8]) -> bool {
        const LONGEST: usize = 64;
        if self.to.as_ref().is_none_or(|to| !Arc::ptr_eq(to, set)) {
            *self = Self { to: Some(Arc::clone(set)), ..Self::default() };
        }
        self.tail.extend_from_slice(piece);
        while let Some(word) = set.trap.said.get(self.heard) {
            let Some(at) = self.tail.windows(word.len()).position(|window| window == word.as_bytes()) else {
                break;
            };
            self.tail.drain(..at + word.len());
            self.heard += 1;
        }
        let forget = self.tail.len().saturating_sub(LONGEST);
        self.tail.drain(..forget);
        self.heard == set.trap.said.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
