//! One connection: HTTP/1.1 or HTTP/2, and how long we are patient with it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use super::Intake;
use super::patience::{LAST_WORDS, Patience};
use super::places::Visitor;
use super::route;
use crate::config::intake::IntakeSettings;

/// The largest head of a request, and the most that is read at once: a connection's own memory.
const BUFFER_BYTES: usize = 32 * 1024;
const HTTP2_HEADER_BYTES: u32 = 16 * 1024;
/// What an HTTP/2 client may send before we have read it: per request, and per connection.
const HTTP2_STREAM_WINDOW: u32 = 128 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 512 * 1024;

/// How all connections are served.
pub(super) type Protocol = auto::Builder<Tracked>;

/// Which protocol a client speaks is told from its first bytes.
pub(super) fn protocol(settings: &IntakeSettings, tasks: TaskTracker) -> Protocol {
    let mut protocol = auto::Builder::new(Tracked { tasks });
    protocol
        .http1()
        .timer(TokioTimer::new())
        // It would also close connections that merely wait for their next request: see `patience`.
        .header_read_timeout(None)
        // A client that has sent everything may close its half of the connection and still hear the reply. One that has
        // gone away altogether looks the same: its reply is written, too, and not read.
        .half_close(true)
        .max_buf_size(BUFFER_BYTES);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_per_connection)
        .max_header_list_size(HTTP2_HEADER_BYTES)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER_BYTES);
    protocol
}

/// Serves one connection until it ends, until patience does, until its place is given to another one, or through a drain.
pub(super) async fn serve(intake: Arc<Intake>, stream: TcpStream, visitor: Visitor) {
    let visitor = Arc::new(visitor);
    let patience = Arc::clone(visitor.patience());
    let io = TokioIo::new(Timed { stream, patience: Arc::clone(&patience) });
    let service = service_fn(|request: Request<Incoming>| {
        let busy = patience.begin(request.version() == Version::HTTP_2);
        visitor.asks();
        let (intake, visitor) = (Arc::clone(&intake), Arc::clone(&visitor));
        async move {
            let response = route::answer(&intake, request, &visitor, &busy).await;
            drop(busy);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = std::pin::pin!(intake.protocol.serve_connection(io, service));
    let mut look_again = patience.look_again(Instant::now());
    let mut is_ending = false;
    // Kept for as long as the good-bye to a connection that has lost its place.
    let mut leaving = None;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = intake.closing.cancelled(), if !is_ending => {
                is_ending = true;
                // Who was let in and has not asked yet gets a moment to: it is answered, if only that we are closing.
                if !patience.has_served() && timeout(LAST_WORDS, connection.as_mut()).await.is_ok() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
            () = intake.killed.cancelled() => return,
            () = visitor.sent_away().cancelled(), if leaving.is_none() => {
                // A request whose body is still on its way is answered: see `body`. A reply may still be on its way, too.
                leaving = intake.places.leave();
                if leaving.is_none() || !patience.has_served() {
                    return;
                }
                is_ending = true;
                connection.as_mut().graceful_shutdown();
                look_again = Instant::now() + LAST_WORDS;
            }
            () = sleep_until(look_again) => {
                let now = Instant::now();
                match patience.look_again(now) {
                    _ if leaving.is_some() => return,
                    later if later > now => look_again = later,
                    _ if is_ending => return,
                    _ => {
                        is_ending = true;
                        connection.as_mut().graceful_shutdown();
                        look_again = now + LAST_WORDS;
                    }
                }
            }
        }
    }
}

/// Tells a connection too many that it is; it stays no longer than that takes.
pub(super) async fn turn_away(intake: Arc<Intake>, stream: TcpStream) {
    let service = service_fn(|request: Request<Incoming>| {
        let reply = route::turn_away(&intake, request);
        async { Ok::<_, Infallible>(reply) }
    });
    let connection = intake.protocol.serve_connection(TokioIo::new(stream), service);
    // Whether it heard it is its own affair.
    let _ = timeout(LAST_WORDS, connection).await;
}

/// Runs an HTTP/2 connection's requests where the drain can wait for them.
#[derive(Clone)]
pub(super) struct Tracked {
    tasks: TaskTracker,
}

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, request: F) {
        self.tasks.spawn(request);
    }
}

/// A connection whose patience is told of every arrival.
struct Timed {
    stream: TcpStream,
    patience: Arc<Patience>,
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.patience.bytes_arrived();
        }
        polled
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
