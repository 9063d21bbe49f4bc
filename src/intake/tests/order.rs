//! Which error wins: every pair of the contract's list that one request can have at once.

use std::sync::Arc;

use super::client::{Asking, Reply, Wire};
use super::*;

/// What a condition changes. Two that change the same thing cannot meet in one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Method,
    Type,
    Encoding,
    Length,
    Authorization,
    Body,
    Tag,
    Key,
    Member,
    /// Goes with every other.
    Organization(usize),
}

struct Condition {
    code: &'static str,
    part: Part,
    /// Another part that has to be as it was.
    needs: Option<Part>,
}

const fn condition(code: &'static str, part: Part) -> Condition {
    Condition { code, part, needs: None }
}

/// In the contract's order, from the first that is about the request itself.
const CONDITIONS: [Condition; 16] = [
    condition("not_found", Part::Path),
    condition("method_not_allowed", Part::Method),
    condition("unsupported_type", Part::Type),
    condition("unsupported_encoding", Part::Encoding),
    condition("body_too_large", Part::Length),
    condition("unknown_key", Part::Authorization),
    condition("bad_body", Part::Body),
    condition("bad_envelope", Part::Body),
    Condition { code: "missing_organization", part: Part::Tag, needs: None },
    Condition { code: "missing_key", part: Part::Key, needs: Some(Part::Authorization) },
    Condition { code: "unknown_key", part: Part::Key, needs: Some(Part::Body) },
    condition("organization_mismatch", Part::Tag),
    condition("organization_suspended", Part::Organization(SUSPENDED)),
    condition("origin_not_allowed", Part::Organization(FENCED)),
    condition("rate_limited", Part::Organization(LIMITED)),
    // No request is needed for it: the broker does not exist.
    condition("log_unavailable", Part::Member),
];

const SUSPENDED: usize = 1;
const FENCED: usize = 2;
const LIMITED: usize = 4;

/// An organization for every combination of what can be wrong with one.
fn organizations() -> Vec<(Organization, WriteKey)> {
    (0..8usize)
        .map(|bits| {
            let mut made = organization(&format!("order_{bits}"));
            if bits & SUSPENDED != 0 {
                made.0.state = State::Suspended;
            }
            if bits & FENCED != 0 {
                made.0.origins = vec!["https://school.example".to_owned()];
            }
            if bits & LIMITED != 0 { limited(made, 1) } else { made }
        })
        .collect()
}

/// A request that has two conditions at once.
fn asking(members: &[Member], having: [&Condition; 2]) -> Option<Asking> {
    let [first, second] = having;
    let clash = first.part == second.part
        || [(first, second), (second, first)].iter().any(|(a, b)| a.needs == Some(b.part));
    if clash {
        return None;
    }
    let bits = having.iter().fold(0, |bits, condition| match condition.part {
        Part::Organization(bit) => bits | bit,
        _ => bits,
    });
    let member = &members[bits];
    let mut asking = Asking::batch(member, good_batch()).with("origin", "https://elsewhere.example");
    for condition in having {
        asking = match (condition.part, condition.code) {
            (Part::Path, _) => Asking { path: "/v2/events".to_owned(), ..asking },
            (Part::Method, _) => Asking { method: "PUT".to_owned(), ..asking },
            (Part::Type, _) => asking.with("content-type", "text/html"),
            (Part::Encoding, _) => asking.with("content-encoding", "compress"),
            (Part::Length, _) => asking.with("content-length", "524289"),
            (Part::Authorization, _) => asking.with("authorization", "Bearer rb_nobody"),
            (Part::Body, "bad_body") => Asking { body: b"{\"events\":".to_vec(), ..asking },
            (Part::Body, _) => Asking { body: b"{\"evnets\":[]}".to_vec(), ..asking },
            (Part::Tag, "missing_organization") => asking.with("organization", ""),
            (Part::Tag, _) => asking.with("organization", "nobody"),
            (Part::Key, "missing_key") => asking.with("authorization", ""),
            (Part::Key, _) => {
                let body = String::from_utf8(asking.body.clone()).expect("UTF-8");
                let with_key = body.replacen('{', "{\"key\":\"rb_nobody\",", 1);
                Asking { body: with_key.into_bytes(), ..asking }.with("authorization", "")
            }
            (Part::Member | Part::Organization(_), _) => asking,
        };
    }
    Some(asking)
}

async fn ask(room: &Room, asking: &Asking) -> Reply {
    let mut wire = Wire::open(room.address).await;
    wire.write(&asking.bytes()).await;
    wire.reply().await
}

/// Takes what each limited organization has, so that the next batch is over its limit.
async fn exhaust(room: &Room, members: &[Member]) {
    for member in members.iter().enumerate().filter(|(bits, _)| bits & LIMITED != 0).map(|(_, member)| member)
    {
        Asking::batch(member, refused_batch(500))
            .with("origin", "https://school.example")
            .send(room.address)
            .await;
    }
}

#[tokio::test]
async fn of_two_errors_the_first_of_the_contract_wins() {
    let organizations = organizations();
    let members: Vec<_> = organizations.iter().map(member).collect();
    let room = Room::open(&[], organizations).await;
    exhaust(&room, &members).await;
    let mut tried = 0;
    for (at, first) in CONDITIONS.iter().enumerate() {
        for second in &CONDITIONS[at + 1..] {
            let Some(asking) = asking(&members, [first, second]) else { continue };
            tried += 1;
            let reply = ask(&room, &asking).await;
            assert_eq!(reply.code(), first.code, "with {} as well: {:?}", second.code, reply);
        }
    }
    assert!(tried >= 100, "{tried} pairs");
}

#[tokio::test]
async fn before_the_first_snapshot_everything_is_starting() {
    let members: Vec<_> = organizations().iter().map(member).collect();
    let room = Room::open_with(&[], Arc::new(Directory::default()), Duration::ZERO).await;
    for condition in &CONDITIONS {
        let Some(asking) = asking(&members, [condition, &CONDITIONS[15]]) else { continue };
        assert_eq!(ask(&room, &asking).await.code(), "starting", "with {}", condition.code);
    }
    assert_eq!(Asking::get("/readyz").send(room.address).await.status, 503);
    assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
}

#[tokio::test]
async fn a_full_house_answers_before_it_looks() {
    let organizations = organizations();
    let members: Vec<_> = organizations.iter().map(member).collect();
    let flags = ["--max-body-bytes", "2048", "--max-unpacked-bytes", "2048", "--in-flight-bytes", "18432"];
    let room = Room::open(&flags, organizations).await;
    // One request whose body does not come holds nearly all that there is.
    let mut holding = Wire::open(room.address).await;
    let slow = Asking::batch(&members[0], "").with("content-length", "2048");
    holding.write(&slow.bytes()).await;
    wait_until_held(&room, &members[0]).await;
    for condition in &CONDITIONS {
        let Some(asking) = asking(&members, [condition, &CONDITIONS[15]]) else { continue };
        let reply = ask(&room, &asking).await;
        assert_eq!(reply.code(), "overloaded", "with {}", condition.code);
        let seconds: u64 =
            reply.header("retry-after").expect("when to come back").parse().expect("whole seconds");
        assert!((1..=2).contains(&seconds));
    }
    assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
}

async fn wait_until_held(room: &Room, member: &Member) {
    for _ in 0..1_000 {
        if Asking::batch(member, refused_batch(1)).send(room.address).await.code() == "overloaded" {
            return;
        }
    }
    panic!("the slow request never took its room");
}
