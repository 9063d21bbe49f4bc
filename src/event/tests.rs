//! The room through its front door: a body in, verdicts out.

use super::*;

mod accepted;
pub(crate) mod any;
mod envelopes;
mod properties;
mod refusals;

pub(crate) const NOW: UnixMillis = UnixMillis(1_795_384_100_123);
const ID: &str = "01942f3e-7c1a-7def-8abc-0123456789ab";

fn clock() -> Clock {
    Clock { received_at: NOW, sent_at: None }
}

/// The members that every event needs, with `type`, and more members after a comma.
fn event(type_name: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(
        r#"{{"id":"{ID}","type":"{type_name}","occurred_at":{},"session_id":"s","viewer_id":"v","content_id":"c"{comma}{more}}}"#,
        NOW.0
    )
}

fn batch(events: &[String]) -> String {
    format!(r#"{{"events":[{}]}}"#, events.join(","))
}

/// The verdict on the only event of a JSON body.
fn judge_json<T>(event: &str, look: impl FnOnce(Verdict<Event<'_>>) -> T) -> T {
    let body = format!(r#"{{"events":[{event}]}}"#);
    let envelope = Envelope::from_json(body.as_bytes()).expect("the envelope is in order");
    let mut verdicts = check_batch(&envelope, clock());
    assert_eq!(verdicts.len(), 1);
    look(verdicts.remove(0))
}

fn refusal(event: &str) -> Refusal {
    judge_json(event, |verdict| match verdict {
        Verdict::Rejected(refusal) => refusal,
        other => panic!("{event} should be refused: {other:?}"),
    })
}

fn with_accepted<T>(event: &str, look: impl FnOnce(Event<'_>) -> T) -> T {
    judge_json(event, |verdict| match verdict {
        Verdict::Accepted(event) => look(event),
        other => panic!("{event} should be accepted: {other:?}"),
    })
}
