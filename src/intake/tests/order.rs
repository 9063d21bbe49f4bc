//! Which error wins: every pair of the contract's list, tried in one request or listed with why it cannot be.

use std::sync::Arc;

use futures_util::future::join_all;

use super::bodies::{chunked, gzip, gzip_at};
use super::client::{Asking, Reply, Wire};
use super::*;

/// What can be wrong, in the contract's order ("Where several apply, the first of").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    Starting,
    Draining,
    Overloaded,
    Path,
    Method,
    Type,
    Encoding,
    DeclaredLength,
    HeaderKey,
    SlowBody,
    LongBody,
    Bomb,
    Body,
    Envelope,
    NoTag,
    NoKey,
    BodyKey,
    OtherTag,
    Suspended,
    Origin,
    Rate,
    Log,
}

use Wrong::*;

const ALL: [Wrong; 22] = [
    Starting,
    Draining,
    Overloaded,
    Path,
    Method,
    Type,
    Encoding,
    DeclaredLength,
    HeaderKey,
    SlowBody,
    LongBody,
    Bomb,
    Body,
    Envelope,
    NoTag,
    NoKey,
    BodyKey,
    OtherTag,
    Suspended,
    Origin,
    Rate,
    Log,
];

/// The conditions of the process. The contract gives them one place: whichever is met first answers.
const OF_THE_PROCESS: [Wrong; 3] = [Starting, Draining, Overloaded];

#[rustfmt::skip] // One pair a line: it is read as a table.
const IMPOSSIBLE: [(Wrong, Wrong, &str); 7] = [
    (Encoding, Bomb, "what is packed in a way that nobody knows has no unpacked size"),
    (DeclaredLength, LongBody, "a body either declares its length or is found to be too long while it is read"),
    (HeaderKey, NoKey, "a key was sent, or none"),
    (HeaderKey, BodyKey, "one reply for both: which of them was looked up first cannot be seen"),
    (SlowBody, LongBody, "a body is over the limit before its time is up, or its time is up before it is over the limit"),
    (NoTag, OtherTag, "a tag was sent, or none"),
    (NoKey, BodyKey, "a key was sent, or none"),
];

impl Wrong {
    /// The code, and what else tells its reply from others of that code.
    fn told_by(self) -> (&'static str, &'static str) {
        match self {
            Starting => ("starting", ""),
            Draining => ("draining", ""),
            Overloaded => ("overloaded", ""),
            Path => ("not_found", ""),
            Method => ("method_not_allowed", ""),
            Type => ("unsupported_type", ""),
            Encoding => ("unsupported_encoding", ""),
            DeclaredLength | LongBody => ("body_too_large", "as it arrives"),
            Bomb => ("body_too_large", "when it is unpacked"),
            HeaderKey | BodyKey => ("unknown_key", ""),
            SlowBody => ("slow_body", ""),
            Body => ("bad_body", ""),
            Envelope => ("bad_envelope", ""),
            NoTag => ("missing_organization", ""),
            NoKey => ("missing_key", ""),
            OtherTag => ("organization_mismatch", ""),
            Suspended => ("organization_suspended", ""),
            Origin => ("origin_not_allowed", ""),
            Rate => ("rate_limited", ""),
            Log => ("log_unavailable", ""),
        }
    }

    /// Which bit of an organization's number says that this is wrong with it.
    fn of_organization(self) -> Option<usize> {
        [Suspended, Origin, Rate].iter().position(|wrong| *wrong == self)
    }
}

/// An organization for every combination of what can be wrong with one.
fn organizations() -> Vec<(Organization, WriteKey)> {
    let has = |number: usize, wrong: Wrong| wrong.of_organization().is_some_and(|bit| number >> bit & 1 == 1);
    (0..8)
        .map(|number| {
            let mut made = organization(&format!("order_{number}"));
            if has(number, Suspended) {
                made.0.state = State::Suspended;
            }
            if has(number, Origin) {
                made.0.origins = vec!["https://school.example".to_owned()];
            }
            if has(number, Rate) { limited(made, 1) } else { made }
        })
        .collect()
}

/// A request with all of this wrong.
fn asking(members: &[Member], wrongs: &[Wrong]) -> Asking {
    let is = |wrong: Wrong| wrongs.contains(&wrong);
    let number: usize = wrongs.iter().filter_map(|wrong| wrong.of_organization()).map(|bit| 1 << bit).sum();
    let mut asking = Asking::batch(&members[number], body(&is)).with("origin", "https://elsewhere.example");
    if is(Bomb) {
        asking = asking.with("content-encoding", "gzip");
    }
    if is(LongBody) {
        asking.body = chunked(&asking.body, 100_000);
        asking = asking.with("transfer-encoding", "chunked");
    }
    if is(SlowBody) {
        let more = (asking.body.len() + 100).to_string();
        asking = asking.with("content-length", &more);
    }
    for wrong in wrongs {
        asking = match wrong {
            Path => Asking { path: "/v2/events".to_owned(), ..asking },
            Method => Asking { method: "PUT".to_owned(), ..asking },
            Type => asking.with("content-type", "text/html"),
            Encoding => asking.with("content-encoding", "compress"),
            DeclaredLength => asking.with("content-length", "524289"),
            HeaderKey => asking.with("authorization", "Bearer rb_nobody"),
            NoTag => asking.with("organization", ""),
            OtherTag => asking.with("organization", "nobody"),
            NoKey | BodyKey => asking.with("authorization", ""),
            Starting | Draining | Overloaded | SlowBody | LongBody | Bomb | Body | Envelope | Suspended
            | Origin | Rate | Log => asking,
        };
    }
    asking
}

/// What is sent: so many events that a limited organization has to wait for minutes, with what is wrong inside.
fn body(is: &impl Fn(Wrong) -> bool) -> Vec<u8> {
    let events = if is(Rate) { refused_batch(400) } else { good_batch() };
    let mut inside = String::new();
    for (wrong, member) in [(BodyKey, r#""key":"rb_nobody","#), (Envelope, r#""evnets":[],"#)] {
        if is(wrong) {
            inside.push_str(member);
        }
    }
    let mut body = events.replacen('{', &format!("{{{inside}"), 1);
    if is(Body) {
        body.pop();
    }
    let spaces = if is(Bomb) {
        3 << 20
    } else if is(LongBody) {
        600 << 10
    } else {
        0
    };
    body.push_str(&" ".repeat(spaces));
    match (is(Bomb), is(LongBody)) {
        (false, _) => body.into_bytes(),
        (true, false) => gzip(body.as_bytes()),
        (true, true) => gzip_at(flate2::Compression::none(), body.as_bytes()),
    }
}

async fn ask(room: &Room, asking: &Asking) -> Reply {
    let mut wire = Wire::open(room.address).await;
    wire.write(&asking.bytes()).await;
    wire.reply().await
}

#[track_caller]
fn tells(reply: &Reply, wrong: Wrong, others: &[Wrong]) {
    let (code, detail) = wrong.told_by();
    assert_eq!(reply.code(), code, "with {others:?}: {reply:?}");
    let said = reply.json()["detail"].as_str().expect("a detail").to_owned();
    assert!(said.contains(detail), "with {others:?}: {said}");
}

fn is_impossible(first: Wrong, second: Wrong) -> bool {
    IMPOSSIBLE.iter().any(|(a, b, _)| (*a, *b) == (first, second))
}

/// Everything that is about the request, or about what it asks for.
fn of_the_request() -> impl Iterator<Item = Wrong> {
    ALL.into_iter().filter(|wrong| !OF_THE_PROCESS.contains(wrong))
}

/// A room without a log in which the limited organizations have used up what they had.
async fn room(flags: &[&str]) -> (Room, Vec<Member>) {
    let organizations = organizations();
    let members: Vec<_> = organizations.iter().map(member).collect();
    let room = Room::open(flags, organizations).await;
    let full = |member| Asking::batch(member, refused_batch(500)).with("origin", "https://school.example");
    join_all(members.iter().map(async |member| ask(&room, &full(member)).await)).await;
    (room, members)
}

#[test]
fn the_list_is_in_order_and_each_impossible_pair_is_in_it_once() {
    assert!(ALL.is_sorted_by(|a, b| a < b));
    assert!(IMPOSSIBLE.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
    assert!(IMPOSSIBLE.iter().all(|(first, second, why)| first < second && !why.is_empty()));
}

#[tokio::test]
async fn of_two_errors_the_first_of_the_contract_wins() {
    let (patient, members) = room(&[]).await;
    let (hasty, hasty_members) = room(&["--body-timeout-ms", "500"]).await;
    let all: Vec<Wrong> = of_the_request().collect();
    let mut tried = 0;
    for (at, first) in all.iter().copied().enumerate() {
        let possible = all[at + 1..].iter().copied().filter(|second| !is_impossible(first, *second));
        let asked = possible.map(async |second| {
            let has_time = first != SlowBody && second != SlowBody;
            let (room, members) = if has_time { (&patient, &members) } else { (&hasty, &hasty_members) };
            let reply = ask(room, &asking(members, &[first, second])).await;
            tells(&reply, first, &[second]);
        });
        tried += join_all(asked).await.len();
    }
    let pairs = all.len() * (all.len() - 1) / 2;
    assert_eq!(tried, pairs - IMPOSSIBLE.len(), "a pair is neither tried nor impossible");
}

#[tokio::test]
async fn each_error_alone_is_told() {
    let (patient, members) = room(&[]).await;
    let (hasty, hasty_members) = room(&["--body-timeout-ms", "500"]).await;
    for wrong in of_the_request() {
        let (room, members) = if wrong == SlowBody { (&hasty, &hasty_members) } else { (&patient, &members) };
        tells(&ask(room, &asking(members, &[wrong])).await, wrong, &[]);
    }
}

#[tokio::test]
async fn before_the_first_snapshot_everything_is_starting() {
    let members: Vec<_> = organizations().iter().map(member).collect();
    let room = Room::open_with(&[], Arc::new(Directory::default()), Duration::ZERO).await;
    for wrong in of_the_request() {
        tells(&ask(&room, &asking(&members, &[wrong])).await, Starting, &[wrong]);
    }
    assert_eq!(Asking::get("/readyz").send(room.address).await.status, 503);
    assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
}

#[tokio::test]
async fn in_a_drain_everything_is_draining() {
    let (room, members) = room(&[]).await;
    let of_wrong = |wrong| (wrong, asking(&members, &[wrong]).bytes());
    for (wrong, reply) in drained(room, of_the_request().map(of_wrong).collect()).await {
        tells(&reply, Draining, &[wrong]);
    }
}

/// Begins every request, starts the drain, sends the rest, and gives the replies.
async fn drained(room: Room, requests: Vec<(Wrong, Vec<u8>)>) -> Vec<(Wrong, Reply)> {
    let mut begun = Vec::new();
    for (wrong, bytes) in requests {
        let mut wire = Wire::open(room.address).await;
        wire.write(&bytes[..20]).await;
        begun.push((wrong, wire, bytes));
    }
    // Another connection's reply shows that the listener has turned since.
    assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
    room.stop.cancel();
    while tokio::net::TcpStream::connect(room.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let finished = begun.into_iter().map(async |(wrong, mut wire, bytes)| {
        wire.write(&bytes[20..]).await;
        (wrong, wire.reply().await)
    });
    let replies = join_all(finished).await;
    room.server.await.expect("no panic").expect("a clean end");
    replies
}

/// Room for a little more than one request with a body of two KiB.
const SMALL: [&str; 6] =
    ["--max-body-bytes", "2048", "--max-unpacked-bytes", "2048", "--in-flight-bytes", "18432"];

/// A request whose body does not come, and which holds nearly all that there is in a [`SMALL`] room.
async fn fill(room: &Room, member: &Member) -> Wire {
    let mut holding = Wire::open(room.address).await;
    holding.write(&Asking::batch(member, "").with("content-length", "2048").bytes()).await;
    for _ in 0..1_000 {
        if Asking::batch(member, refused_batch(1)).send(room.address).await.code() == "overloaded" {
            return holding;
        }
    }
    panic!("the slow request never took its room");
}

#[tokio::test]
async fn a_full_house_answers_before_it_looks() {
    let organizations = organizations();
    let members: Vec<_> = organizations.iter().map(member).collect();
    let room = Room::open(&SMALL, organizations).await;
    let _holding = fill(&room, &members[0]).await;
    // Strangers have a house of their own.
    for wrong in of_the_request().filter(|wrong| ![HeaderKey, NoKey, BodyKey].contains(wrong)) {
        let reply = ask(&room, &asking(&members, &[wrong])).await;
        tells(&reply, Overloaded, &[wrong]);
        let seconds: u64 =
            reply.header("retry-after").expect("when to come back").parse().expect("whole seconds");
        assert!((1..=2).contains(&seconds));
    }
    assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
}

#[tokio::test]
async fn two_conditions_of_the_process_are_answered_as_either() {
    let organizations = organizations();
    let members: Vec<_> = organizations.iter().map(member).collect();
    let good = || Asking::batch(&members[0], good_batch());
    let either = |reply: &Reply, two: [&str; 2]| {
        assert!(two.contains(&reply.code().as_str()), "{two:?}: {reply:?}");
    };

    let starting = || Room::open_with(&["--http-connections", "1"], Arc::default(), Duration::ZERO);
    let crowded = starting().await;
    let mut only = Wire::open(crowded.address).await;
    only.write(&Asking::get("/healthz").bytes()).await;
    assert_eq!(only.reply().await.status, 200);
    either(&good().send(crowded.address).await, ["starting", "overloaded"]);

    let starting = Room::open_with(&[], Arc::default(), Duration::ZERO).await;
    for (_, reply) in drained(starting, vec![(Draining, good().bytes())]).await {
        either(&reply, ["starting", "draining"]);
    }

    let full = Room::open(&SMALL, organizations).await;
    let holding = fill(&full, &members[0]).await;
    let address = full.address;
    let replies = drained(full, vec![(Overloaded, good().bytes())]);
    let (replies, ()) = tokio::join!(replies, async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        drop(holding);
    });
    for (_, reply) in replies {
        either(&reply, ["draining", "overloaded"]);
    }
}
