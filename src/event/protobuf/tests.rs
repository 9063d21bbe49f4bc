use proptest::prelude::*;
use prost::Message as _;

use super::super::RefusalCode::{self, *};
use super::super::names::NAMES;
use super::super::proto::{self, answer::Answer as Kind, setting::Setting};
use super::super::{Clock, Envelope, EnvelopeError, Event, Refusal, UnixMillis, Verdict, check_batch};

const NOW: UnixMillis = UnixMillis(1_795_384_100_123);
const ID: &str = "01942f3e-7c1a-7def-8abc-0123456789ab";

fn event(type_name: &str) -> proto::Event {
    proto::Event {
        id: Some(ID.to_owned()),
        r#type: Some(type_name.to_owned()),
        occurred_at: Some(NOW.0),
        session_id: Some("s".to_owned()),
        viewer_id: Some("v".to_owned()),
        content_id: Some("c".to_owned()),
        ..proto::Event::default()
    }
}

fn request(event: proto::Event) -> Vec<u8> {
    proto::IngestRequest { events: vec![event], ..proto::IngestRequest::default() }.encode_to_vec()
}

fn judge<T>(body: &[u8], look: impl FnOnce(Verdict<Event<'_>>) -> T) -> T {
    let envelope = Envelope::from_protobuf(body).expect("the envelope is in order");
    let clock = Clock { received_at: NOW, sent_at: envelope.sent_at };
    look(check_batch(&envelope, clock).remove(0))
}

fn with_accepted<T>(event: proto::Event, look: impl FnOnce(Event<'_>) -> T) -> T {
    judge(&request(event), |verdict| match verdict {
        Verdict::Accepted(event) => look(event),
        other => panic!("should be accepted: {other:?}"),
    })
}

fn refused(body: &[u8]) -> (RefusalCode, Option<String>) {
    judge(body, |verdict| match verdict {
        Verdict::Rejected(Refusal { code, field, .. }) => (code, field),
        other => panic!("should be refused: {other:?}"),
    })
}

#[test]
fn field_numbers_are_the_places_of_the_names() {
    let proto = include_str!("../../../proto/rollbook/v1/ingest.proto");
    let (_, event) = proto.split_once("message Event {").expect("the message");
    let (event, _) = event.split_once("\n}").expect("its end");
    let fields = event.lines().filter_map(|line| line.trim().strip_prefix("optional ")?.strip_suffix(';'));
    let mut count = 0;
    for (position, field) in fields.enumerate() {
        let (kind_and_name, number) = field.split_once(" = ").expect("a number");
        assert_eq!(kind_and_name.split_once(' ').map(|(_, name)| name), Some(NAMES[position]));
        assert_eq!(number.parse(), Ok(position + 1), "{field}");
        count += 1;
    }
    assert_eq!(count, NAMES.len());
}

#[test]
fn an_answer_becomes_the_same_row_as_from_json() {
    let sent = proto::Event {
        item_id: Some("q1".to_owned()),
        seq: Some(u32::MAX),
        position_ms: Some(5),
        rate: Some(1.25),
        ext: Some(r#" {"a":1.10} "#.to_owned()),
        answer: Some(proto::Answer { answer: Some(Kind::Number("12.50".to_owned())) }),
        attempt: Some(2),
        elapsed_ms: Some(7),
        correct: Some(false),
        score: Some(0.5),
        ..event("item.answered")
    };
    with_accepted(sent, |event| {
        assert_eq!(event.answer.as_deref(), Some(r#"{"number":"12.50"}"#));
        assert_eq!(event.details.as_deref(), Some(r#"{"ext":{"a":1.10}}"#));
        assert_eq!((event.seq, event.position_ms, event.rate), (Some(u32::MAX), Some(5), Some(1.25)));
        assert_eq!((event.attempt, event.elapsed_ms), (Some(2), Some(7)));
        assert_eq!((event.correct, event.score), (Some(false), Some(0.5)));
        assert_eq!((event.item_id.as_deref(), event.occurred_at), (Some("q1"), NOW));
    });
}

#[test]
fn every_kind_of_answer_becomes_json() {
    let choices = |choices: &[&str]| {
        Kind::Choices(proto::Choices { choices: choices.iter().map(|c| c.to_string()).collect() })
    };
    for (kind, json) in [
        (Kind::Choice("a\"\\\n".to_owned()), r#"{"choice":"a\"\\\u000a"}"#),
        (choices(&["1", "é"]), r#"{"choices":["1","é"]}"#),
        (choices(&[]), r#"{"choices":[]}"#),
        (Kind::Text(String::new()), r#"{"text":""}"#),
        (Kind::Number("-0.10".to_owned()), r#"{"number":"-0.10"}"#),
        (Kind::Bool(true), r#"{"bool":true}"#),
        (Kind::Bool(false), r#"{"bool":false}"#),
    ] {
        let sent = proto::Event {
            item_id: Some("q".to_owned()),
            answer: Some(proto::Answer { answer: Some(kind) }),
            ..event("item.option_selected")
        };
        with_accepted(sent, |event| assert_eq!(event.answer.as_deref(), Some(json)));
    }
}

#[test]
fn fields_without_a_column_go_to_details() {
    let ready = proto::Event { duration_ms: Some(7), player: Some("w\"".to_owned()), ..event("video.ready") };
    with_accepted(ready, |event| {
        assert_eq!(event.details.as_deref(), Some(r#"{"duration_ms":7,"player":"w\""}"#))
    });
    let number = |number| Some(proto::Setting { setting: Some(Setting::Number(number)) });
    let text = |text: &str| Some(proto::Setting { setting: Some(Setting::Text(text.to_owned())) });
    let rate = proto::Event { from: number(1.0), to: number(1.75), ..event("video.rate_changed") };
    with_accepted(rate, |event| assert_eq!(event.details.as_deref(), Some(r#"{"from":1,"to":1.75}"#)));
    let quality = proto::Event { from: text("hd"), to: text("sd"), ..event("video.quality_changed") };
    with_accepted(quality, |event| assert_eq!(event.details.as_deref(), Some(r#"{"to":"sd","from":"hd"}"#)));
    let on = proto::Event { on: Some(true), ..event("video.fullscreen_changed") };
    with_accepted(on, |event| assert_eq!(event.details.as_deref(), Some(r#"{"on":true}"#)));
    let wrong = proto::Event { from: text("1"), to: number(1.75), ..event("video.rate_changed") };
    assert_eq!(refused(&request(wrong)), (BadType, Some("from".to_owned())));
}

#[test]
fn an_empty_watched_can_be_told_from_none() {
    let watched = |intervals: &[(u32, u32)]| {
        let intervals =
            intervals.iter().map(|&(start_ms, end_ms)| proto::Interval { start_ms, end_ms }).collect();
        proto::Event { watched: Some(proto::Intervals { intervals }), ..event("video.paused") }
    };
    with_accepted(event("video.paused"), |event| assert_eq!(event.watched, None));
    with_accepted(watched(&[]), |event| assert_eq!(event.watched, Some(vec![])));
    with_accepted(watched(&[(0, 5), (0, 0), (3, 4)]), |event| {
        assert_eq!(event.watched, Some(vec![(0, 5), (3, 4)]))
    });
    assert_eq!(refused(&request(watched(&[(0, 1), (2, 1)]))), (BadWatched, Some("watched.1".to_owned())));
    assert_eq!(refused(&request(watched(&[(0, 172_800_001)]))), (BadWatched, Some("watched.0".to_owned())));
    assert_eq!(refused(&request(watched(&[(1, 1); 65]))), (BadWatched, Some("watched".to_owned())));
}

#[test]
fn each_verdict_that_the_form_can_express() {
    let answer = |kind| proto::Event {
        item_id: Some("i".to_owned()),
        answer: Some(proto::Answer { answer: kind }),
        ..event("item.answered")
    };
    let of = |change: &dyn Fn(&mut proto::Event)| {
        let mut event = event("video.played");
        change(&mut event);
        event
    };
    let choices = |choices: Vec<String>| Some(Kind::Choices(proto::Choices { choices }));
    for (event, code, field) in [
        (of(&|e| e.id = None), MissingField, "id"),
        (of(&|e| e.id = Some("x".to_owned())), BadType, "id"),
        (of(&|e| e.r#type = None), MissingField, "type"),
        (of(&|e| e.r#type = Some("x".to_owned())), UnknownType, "type"),
        (of(&|e| e.occurred_at = None), MissingField, "occurred_at"),
        (of(&|e| e.occurred_at = Some(0)), TooOld, "occurred_at"),
        (of(&|e| e.occurred_at = Some(i64::MAX)), InFuture, "occurred_at"),
        (of(&|e| e.occurred_at = Some(NOW.0 + 90_000_000)), InFuture, "occurred_at"),
        (of(&|e| e.viewer_id = Some("a@b.c".to_owned())), BadText, "viewer_id"),
        (of(&|e| e.session_id = Some("a\0".to_owned())), BadText, "session_id"),
        (of(&|e| e.content_id = Some(String::new())), OutOfRange, "content_id"),
        (of(&|e| e.position_ms = Some(u32::MAX)), OutOfRange, "position_ms"),
        (of(&|e| e.rate = Some(f64::NAN)), OutOfRange, "rate"),
        (of(&|e| e.rate = Some(f64::NEG_INFINITY)), OutOfRange, "rate"),
        (of(&|e| e.rate = Some(0.0)), OutOfRange, "rate"),
        (of(&|e| e.played_ms = Some(1)), UnknownField, "played_ms"),
        (of(&|e| e.ext = Some("{".to_owned())), BadType, "ext"),
        (of(&|e| e.ext = Some("[]".to_owned())), BadType, "ext"),
        (of(&|e| e.ext = Some(r#"{"a":"\ud800"}"#.to_owned())), BadText, "ext.a"),
        (of(&|e| e.ext = Some(format!(r#"{{"a":"{}"}}"#, "x".repeat(4_096)))), TooLarge, "ext"),
        (answer(None), BadAnswer, "answer"),
        (answer(Some(Kind::Number("1e3".to_owned()))), BadAnswer, "answer.number"),
        (answer(Some(Kind::Choice(String::new()))), OutOfRange, "answer.choice"),
        (answer(Some(Kind::Text("\0".to_owned()))), BadText, "answer.text"),
        (answer(choices(vec!["1".to_owned(), "1".to_owned()])), BadAnswer, "answer.choices.1"),
    ] {
        assert_eq!(refused(&request(event)), (code, Some(field.to_owned())));
    }
    let large = of(&|e| e.player = Some("x".repeat(16 * 1_024)));
    assert_eq!(refused(&request(large)), (TooLarge, None));
}

/// A request with one event of these bytes.
fn raw(event: &[u8]) -> Vec<u8> {
    let mut body = vec![0x42];
    prost::encode_length_delimiter(event.len(), &mut body).expect("room");
    body.extend_from_slice(event);
    body
}

#[test]
fn an_event_that_is_no_message_fails_alone() {
    let mut body = raw(&[0xff, 0xff]);
    body.extend(request(event("video.played")));
    let envelope = Envelope::from_protobuf(&body).expect("the envelope is in order");
    let verdicts = check_batch(&envelope, Clock { received_at: NOW, sent_at: None });
    assert!(
        matches!(&verdicts[0], Verdict::Rejected(refusal) if refusal.code == BadType && refusal.field.is_none())
    );
    assert!(matches!(&verdicts[1], Verdict::Accepted(_)));
}

#[test]
fn what_parsers_let_pass_is_refused() {
    let mut twice = event("video.played").encode_to_vec();
    twice.extend_from_slice(&[0x38, 0x01, 0x38, 0x02]);
    assert_eq!(refused(&raw(&twice)), (BadType, Some("seq".to_owned())));
    let mut unknown = event("video.played").encode_to_vec();
    unknown.extend_from_slice(&[0xf0, 0x01, 0x01]);
    assert_eq!(refused(&raw(&unknown)), (UnknownField, Some("30".to_owned())));
    let mut not_utf8 = proto::Event { session_id: None, ..event("video.played") }.encode_to_vec();
    not_utf8.extend_from_slice(&[0x22, 0x01, 0xff]);
    assert_eq!(refused(&raw(&not_utf8)), (BadText, Some("session_id".to_owned())));
    let mut text_for_time = proto::Event { occurred_at: None, ..event("video.played") }.encode_to_vec();
    text_for_time.extend_from_slice(b"\x1a\x142026-11-22T21:48:20Z");
    assert_eq!(refused(&raw(&text_for_time)), (BadType, None));
}

#[test]
fn an_envelope_is_taken_apart() {
    let full = proto::IngestRequest {
        organization: Some("acme".to_owned()),
        key: Some("rb_x".to_owned()),
        sent_at: Some(NOW.0 + 100_000),
        sdk: Some("ios 1".to_owned()),
        viewer_id: Some("v".to_owned()),
        session_id: Some("s".to_owned()),
        content_id: Some("c".to_owned()),
        events: vec![proto::Event {
            viewer_id: None,
            session_id: None,
            content_id: None,
            ..event("video.played")
        }],
    };
    let body = full.encode_to_vec();
    let envelope = Envelope::from_protobuf(&body).expect("in order");
    assert_eq!((envelope.organization.as_deref(), envelope.key.as_deref()), (Some("acme"), Some("rb_x")));
    assert_eq!(
        (envelope.sent_at, envelope.sdk.as_deref()),
        (Some(UnixMillis(NOW.0 + 100_000)), Some("ios 1"))
    );
    judge(&body, |verdict| match verdict {
        Verdict::Accepted(event) => {
            assert_eq!((&*event.viewer_id, &*event.session_id, &*event.content_id), ("v", "s", "c"));
            assert_eq!(event.occurred_at.0, NOW.0 - 100_000);
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn wrong_envelopes() {
    let error = |body: &[u8]| Envelope::from_protobuf(body).expect_err("wrong");
    let with = |change: &dyn Fn(&mut proto::IngestRequest)| {
        let mut request = proto::IngestRequest { events: vec![event("video.played")], ..Default::default() };
        change(&mut request);
        request.encode_to_vec()
    };
    let bad_envelope = |body: &[u8], named: &str| match error(body) {
        EnvelopeError::BadEnvelope(text) => assert!(text.contains(named), "{text}"),
        other => panic!("{other:?}"),
    };
    bad_envelope(&[], "events");
    bad_envelope(&with(&|r| r.events = vec![proto::Event::default(); 501]), "500");
    bad_envelope(&with(&|r| r.session_id = Some(String::new())), "session_id");
    bad_envelope(&with(&|r| r.viewer_id = Some("a@b.c".to_owned())), "viewer_id");
    bad_envelope(&with(&|r| r.sent_at = Some(i64::MIN)), "sent_at");
    bad_envelope(&[0x0a, 0x01, b'a', 0x0a, 0x01, b'a'], "organization");
    bad_envelope(&[0x4a, 0x01, b'a'], "9");
    for body in [&b"{\"events\":[]}"[..], &[0x4a, 0x01], &[0x40, 0x01], &[0x1a, 0x00]] {
        assert!(matches!(error(body), EnvelopeError::BadBody(_)), "{body:?}");
    }
    // A tag that is no text is a tag that nobody has.
    let body = [&[0x0a, 0x01, 0xff][..], &raw(&[])].concat();
    let envelope = Envelope::from_protobuf(&body).expect("in order");
    assert_eq!(envelope.organization.as_deref(), Some("\u{fffd}"));
}

proptest! {
    #[test]
    fn any_bytes_are_no_panic(body: Vec<u8>, event: Vec<u8>) {
        for body in [body, raw(&event)] {
            if let Ok(envelope) = Envelope::from_protobuf(&body) {
                let verdicts = check_batch(&envelope, Clock { received_at: NOW, sent_at: envelope.sent_at });
                prop_assert_eq!(verdicts.len(), envelope.events.len());
            }
        }
    }

    #[test]
    fn a_damaged_request_is_no_panic(at: prop::sample::Index, byte: u8) {
        let mut body = request(proto::Event {
            item_id: Some("q1".to_owned()),
            ext: Some(r#"{"a":[1.10]}"#.to_owned()),
            answer: Some(proto::Answer { answer: Some(Kind::Choices(proto::Choices { choices: vec!["1".to_owned()] })) }),
            watched: Some(proto::Intervals { intervals: vec![proto::Interval { start_ms: 1, end_ms: 2 }] }),
            from: Some(proto::Setting { setting: Some(Setting::Number(1.0)) }),
            ..event("item.answered")
        });
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(envelope) = Envelope::from_protobuf(&body) {
            let _any = check_batch(&envelope, Clock { received_at: NOW, sent_at: envelope.sent_at });
        }
    }
}
