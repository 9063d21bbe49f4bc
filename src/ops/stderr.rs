//! Standard error, which somebody else reads: it may be slow, stop reading, or go away. None of that may hold up or
//! end the process.
//!
//! Who has a line puts it into a bounded buffer and never waits; a thread of its own writes the buffer out. Lines that
//! find the buffer full, or that cannot be written, are counted ([`lost`]), and once writing works again it is said how
//! many there were. One process has one standard error, so all of this is static.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Bytes that wait to be written: more than a pipe holds, little beside what the process has.
const MOST_BYTES: usize = 1024 * 1024;
/// How long the end of the process waits for a reader that is slow.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts where somebody who shares the descriptor made it non-blocking.
const RETRY: Duration = Duration::from_millis(10);

static STDERR: LazyLock<Buffer> = LazyLock::new(Buffer::default);

/// Lines on their way.
#[derive(Default)]
struct Buffer {
    waiting: Mutex<Waiting>,
    /// Something is waiting.
    filled: Condvar,
    /// Nothing is, and nothing is being written.
    emptied: Condvar,
    lost_lines: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The thread has taken bytes that it has not finished with.
    is_writing: bool,
    /// There is a thread.
    is_started: bool,
}

/// Starts the thread that writes.
///
/// # Errors
/// The system gives no thread.
pub(super) fn start() -> io::Result<()> {
    let mut waiting = STDERR.lock();
    if !waiting.is_started {
        std::thread::Builder::new().name("stderr".to_owned()).spawn(|| STDERR.write_out(io::stderr()))?;
        waiting.is_started = true;
    }
    Ok(())
}

/// Writes lines to standard error: by the thread if there is one, else at once, as a command does that has nothing else
/// to do.
pub fn write(lines: &str) {
    if STDERR.lock().is_started {
        STDERR.push(lines.as_bytes());
    } else {
        // Who is not read has nobody to say it to.
        let _ = io::stderr().write_all(lines.as_bytes());
    }
}

/// Waits until everything is written, or for a second: a reader that does not read must not keep the process.
pub fn flush() {
    STDERR.flush(FLUSH_PATIENCE);
}

/// Lines that nobody will read, since the start.
pub fn lost() -> u64 {
    STDERR.lost_lines.load(Ordering::Relaxed)
}

impl Buffer {
    fn push(&self, lines: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes.len() + lines.len() > MOST_BYTES {
            drop(waiting);
            self.lose(lines);
            return;
        }
        waiting.bytes.extend_from_slice(lines);
        self.filled.notify_one();
    }

    fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut waiting = self.lock();
        while waiting.is_started && (waiting.is_writing || !waiting.bytes.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting = self.emptied.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes what arrives, for as long as the process lives.
    fn write_out(&self, mut to: impl Write) {
        let mut lost_before = 0;
        loop {
            let bytes = self.take();
            let written = write_all(&mut to, &bytes);
            self.lose(&bytes[written..]);
            let lost = self.lost_lines.load(Ordering::Relaxed);
            if written == bytes.len() && lost > lost_before {
                tracing::warn!(
                    lines = lost - lost_before,
                    "lines of this log were lost: nobody read them in time"
                );
                lost_before = lost;
            }
        }
    }

    /// Waits for something to write.
    fn take(&self) -> Vec<u8> {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        while waiting.bytes.is_empty() {
            self.emptied.notify_all();
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.is_writing = true;
        std::mem::take(&mut waiting.bytes)
    }

    fn lose(&self, bytes: &[u8]) {
        let lines = memchr::memchr_iter(b'\n', bytes).count();
        self.lost_lines.fetch_add(lines as u64, Ordering::Relaxed);
    }

    /// Whoever panicked with the lock left whole lines behind.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of the bytes could be written.
fn write_all(to: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(_) => break,
        }
    }
    written
}

/// Gives each event of the log a writer that never fails and never waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines;

/// Takes one event, which it is given whole.
#[derive(Debug)]
pub(super) struct Line;

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDERR.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A reader that takes one write for each word that it is given: how much of it.
    struct Reader {
        asked: Receiver<io::Result<usize>>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = self.asked.recv().unwrap_or(Err(ErrorKind::BrokenPipe.into()))?;
            let taken = most.min(bytes.len());
            self.read.send(bytes[..taken].to_vec()).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reader() -> (Arc<Buffer>, Sender<io::Result<usize>>, Receiver<Vec<u8>>) {
        let buffer = Arc::new(Buffer::default());
        buffer.lock().is_started = true;
        let ((ask, asked), (read, taken)) = (channel(), channel());
        let writing = Arc::clone(&buffer);
        // Ends with the test's process.
        std::thread::spawn(move || writing.write_out(Reader { asked, read }));
        (buffer, ask, taken)
    }

    #[test]
    fn what_finds_no_room_or_no_reader_is_counted_by_line() {
        let (buffer, ask, taken) = reader();
        buffer.push(b"one\ntwo\n");
        ask.send(Ok(5)).expect("it writes");
        assert_eq!(taken.recv().expect("it writes"), b"one\nt");
        ask.send(Err(ErrorKind::Interrupted.into())).expect("it goes on");
        ask.send(Err(ErrorKind::BrokenPipe.into())).expect("it goes on");
        buffer.flush(Duration::from_secs(60));
        assert_eq!(buffer.lost_lines.load(Ordering::Relaxed), 1, "two was cut off");
        buffer.push(&vec![b'\n'; MOST_BYTES + 1]);
        assert_eq!(buffer.lost_lines.load(Ordering::Relaxed), MOST_BYTES as u64 + 2);
        buffer.push(b"three\n");
        ask.send(Ok(100)).expect("it writes");
        assert_eq!(taken.recv().expect("it writes"), b"three\n");
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up() {
        let (buffer, _ask, _taken) = reader();
        let line = [b'x'; 1023].iter().chain(b"\n").copied().collect::<Vec<u8>>();
        for _ in 0..3 * MOST_BYTES / line.len() {
            buffer.push(&line);
        }
        assert!(buffer.lost_lines.load(Ordering::Relaxed) >= 1024, "the buffer is bounded");
        buffer.flush(Duration::from_millis(1));
    }
}
