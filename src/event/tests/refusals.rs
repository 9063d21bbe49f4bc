//! Every code, and which of several comes first.

use super::super::RefusalCode::{self, *};
use super::*;

/// Each line: an event's type, its further members, the code and the field.
#[test]
fn each_broken_rule_has_its_code_and_field() {
    let long = |chars: usize| "x".repeat(chars);
    let cases: Vec<(&str, String, RefusalCode, &str)> = vec![
        // bad_type
        ("video.played", r#""position_ms":1.0"#.into(), BadType, "position_ms"),
        ("video.played", r#""position_ms":1e3"#.into(), BadType, "position_ms"),
        ("video.played", r#""position_ms":"1""#.into(), BadType, "position_ms"),
        ("video.played", r#""rate":"1""#.into(), BadType, "rate"),
        ("video.played", r#""ext":[]"#.into(), BadType, "ext"),
        ("video.played", r#""seq":1,"seq":1"#.into(), BadType, "seq"),
        ("video.played", r#""seq":1,"s\u0065q":1"#.into(), BadType, "seq"),
        ("video.played", r#""zzz":1,"zzz":2"#.into(), BadType, "zzz"),
        ("video.ready", r#""player":1"#.into(), BadType, "player"),
        ("video.fullscreen_changed", r#""on":"true""#.into(), BadType, "on"),
        ("item.answered", r#""item_id":"i","answer":{"text":"a","text":"b"}"#.into(), BadType, "answer.text"),
        (
            "item.answered",
            r#""item_id":"i","answer":{"bool":true,"text":"a","t\u0065xt":"b"}"#.into(),
            BadType,
            "answer.text",
        ),
        // unknown_type, unknown_field
        ("video.watched", String::new(), UnknownType, "type"),
        ("video.played", r#""colour":null"#.into(), UnknownField, "colour"),
        ("video.played", r#""watched":null"#.into(), UnknownField, "watched"),
        ("video.played", r#""zzz":1,"watched":[]"#.into(), UnknownField, "zzz"),
        ("video.played", r#""watched":[],"zzz":1"#.into(), UnknownField, "watched"),
        // missing_field
        ("video.seeked", r#""from_ms":1"#.into(), MissingField, "to_ms"),
        ("video.seeked", r#""from_ms":null,"to_ms":1"#.into(), MissingField, "from_ms"),
        ("video.rate_changed", r#""to":1"#.into(), MissingField, "from"),
        ("video.quality_changed", r#""from":"a""#.into(), MissingField, "to"),
        ("item.shown", String::new(), MissingField, "item_id"),
        ("item.option_selected", r#""item_id":"i""#.into(), MissingField, "answer"),
        // out_of_range
        ("video.played", r#""position_ms":172800001"#.into(), OutOfRange, "position_ms"),
        ("video.played", r#""position_ms":-1"#.into(), OutOfRange, "position_ms"),
        ("video.played", r#""position_ms":99999999999999999999999999"#.into(), OutOfRange, "position_ms"),
        ("video.played", r#""seq":4294967296"#.into(), OutOfRange, "seq"),
        ("video.played", r#""rate":16.0000000000000000000000001"#.into(), OutOfRange, "rate"),
        ("video.played", r#""rate":0.0624999999999999999999999"#.into(), OutOfRange, "rate"),
        ("video.played", r#""rate":1e400"#.into(), OutOfRange, "rate"),
        ("video.played", r#""ext":{"a":{"b":[0,1e309]}}"#.into(), OutOfRange, "ext.a.b.1"),
        ("video.played", r#""ext":{"a":1e-309}"#.into(), OutOfRange, "ext.a"),
        ("video.ready", r#""player":"""#.into(), OutOfRange, "player"),
        ("video.ready", format!(r#""player":"{}""#, long(65)), OutOfRange, "player"),
        ("video.error", format!(r#""code":"c","message":"{}""#, long(257)), OutOfRange, "message"),
        ("item.answered", r#""item_id":"i","answer":{"text":""},"attempt":0"#.into(), OutOfRange, "attempt"),
        (
            "item.answered",
            r#""item_id":"i","answer":{"text":""},"attempt":32768"#.into(),
            OutOfRange,
            "attempt",
        ),
        ("item.answered", r#""item_id":"i","answer":{"text":""},"score":1.0001"#.into(), OutOfRange, "score"),
        (
            "item.answered",
            r#""item_id":"i","answer":{"text":""},"score":-1e-400"#.into(),
            OutOfRange,
            "score",
        ),
        ("item.answered", r#""item_id":"i","answer":{"choice":""}"#.into(), OutOfRange, "answer.choice"),
        (
            "item.answered",
            format!(r#""item_id":"i","answer":{{"text":"{}"}}"#, long(10_001)),
            OutOfRange,
            "answer.text",
        ),
        (
            "item.answered",
            r#""item_id":"i","answer":{"choices":["a",""]}"#.into(),
            OutOfRange,
            "answer.choices.1",
        ),
        // bad_answer
        ("item.answered", r#""item_id":"i","answer":"a""#.into(), BadAnswer, "answer"),
        ("item.answered", r#""item_id":"i","answer":{}"#.into(), BadAnswer, "answer"),
        ("item.answered", r#""item_id":"i","answer":{"text":"a","bool":null}"#.into(), BadAnswer, "answer"),
        ("item.answered", r#""item_id":"i","answer":{"colour":"red"}"#.into(), BadAnswer, "answer.colour"),
        ("item.answered", r#""item_id":"i","answer":{"text":null}"#.into(), BadAnswer, "answer.text"),
        ("item.answered", r#""item_id":"i","answer":{"choice":1}"#.into(), BadAnswer, "answer.choice"),
        ("item.answered", r#""item_id":"i","answer":{"choices":"1"}"#.into(), BadAnswer, "answer.choices"),
        (
            "item.answered",
            r#""item_id":"i","answer":{"choices":["1",2]}"#.into(),
            BadAnswer,
            "answer.choices.1",
        ),
        (
            "item.answered",
            r#""item_id":"i","answer":{"choices":["1","2","\u0031"]}"#.into(),
            BadAnswer,
            "answer.choices.2",
        ),
        (
            "item.answered",
            format!(
                r#""item_id":"i","answer":{{"choices":[{}]}}"#,
                (0..65).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",")
            ),
            BadAnswer,
            "answer.choices",
        ),
        ("item.answered", r#""item_id":"i","answer":{"number":true}"#.into(), BadAnswer, "answer.number"),
        ("item.answered", r#""item_id":"i","answer":{"number":"1e3"}"#.into(), BadAnswer, "answer.number"),
        ("item.answered", r#""item_id":"i","answer":{"number":"01"}"#.into(), BadAnswer, "answer.number"),
        ("item.answered", r#""item_id":"i","answer":{"number":1e309}"#.into(), BadAnswer, "answer.number"),
        (
            "item.answered",
            format!(r#""item_id":"i","answer":{{"number":{}}}"#, "1".repeat(35)),
            BadAnswer,
            "answer.number",
        ),
        ("item.answered", r#""item_id":"i","answer":{"bool":1}"#.into(), BadAnswer, "answer.bool"),
        // bad_watched
        ("video.paused", r#""watched":{}"#.into(), BadWatched, "watched"),
        ("video.paused", r#""watched":[[0,1],[2]]"#.into(), BadWatched, "watched.1"),
        ("video.paused", r#""watched":[[0,1,2]]"#.into(), BadWatched, "watched.0"),
        ("video.paused", r#""watched":[[2,1]]"#.into(), BadWatched, "watched.0"),
        ("video.paused", r#""watched":[[0,1],[0,1],[0,172800001]]"#.into(), BadWatched, "watched.2"),
        ("video.paused", r#""watched":[[0,1.0]]"#.into(), BadWatched, "watched.0"),
        ("video.paused", r#""watched":[null]"#.into(), BadWatched, "watched.0"),
        ("video.paused", format!(r#""watched":[{}]"#, vec!["[1,1]"; 65].join(",")), BadWatched, "watched"),
        // bad_text
        ("video.ready", r#""player":"a\u0000""#.into(), BadText, "player"),
        ("video.ready", r#""player":"\ud800""#.into(), BadText, "player"),
        ("video.played", r#""a\ud800":1"#.into(), BadText, r"a\ud800"),
        ("video.played", r#""ext":{"a":["\udc00"]}"#.into(), BadText, "ext.a.0"),
        ("video.played", r#""ext":{"a":{"b\u0000":1}}"#.into(), BadText, r"ext.a.b\u0000"),
        ("video.played", r#""ext":{"":"\ud800"}"#.into(), BadText, "ext."),
        ("video.played", r#""ext":{"a":{"":{"b":"\ud800"}}}"#.into(), BadText, "ext.a..b"),
        ("video.played", r#""ext":{"a":{"":"\ud800"}}"#.into(), BadText, "ext.a."),
        ("item.answered", r#""item_id":"i","answer":{"text":"\u0000"}"#.into(), BadText, "answer.text"),
        ("item.answered", r#""item_id":"i","answer":{"\ud800":1}"#.into(), BadText, r"answer.\ud800"),
        (
            "item.answered",
            r#""item_id":"i","answer":{"choices":["\ud800"]}"#.into(),
            BadText,
            "answer.choices.0",
        ),
        // too_large, inside ext
        ("video.played", format!(r#""ext":{{"a":"{}"}}"#, long(4_096 - 7)), TooLarge, "ext"),
        ("video.played", r#""ext":{"a":[{"b":[{}]}]}"#.into(), TooLarge, "ext"),
        (
            "video.played",
            format!(r#""ext":{{{}}}"#, (0..33).map(|n| format!(r#""k{n}":0"#)).collect::<Vec<_>>().join(",")),
            TooLarge,
            "ext",
        ),
    ];
    for (type_name, more, code, field) in cases {
        let event = event(type_name, &more);
        let refusal = refusal(&event);
        assert_eq!(
            (refusal.code, refusal.field.as_deref()),
            (code, Some(field)),
            "{event}: {}",
            refusal.message
        );
        assert_eq!(refusal.id.map(|id| id.to_string()).as_deref(), Some(ID), "{event}");
        assert!(refusal.message.starts_with(field), "{}", refusal.message);
    }
}

#[test]
fn common_fields_are_judged_in_the_tables_order() {
    let with = |name: &str, value: &str| {
        let mut members = vec![
            ("id", format!("\"{ID}\"")),
            ("type", "\"video.played\"".to_owned()),
            ("occurred_at", NOW.0.to_string()),
            ("session_id", "\"s\"".to_owned()),
            ("viewer_id", "\"v\"".to_owned()),
            ("content_id", "\"c\"".to_owned()),
        ];
        members.retain(|(known, _)| *known != name);
        let mut members: Vec<_> =
            members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        if !value.is_empty() {
            members.push(format!("\"{name}\":{value}"));
        }
        let refusal = refusal(&format!("{{{}}}", members.join(",")));
        assert_eq!(refusal.field.as_deref(), Some(name));
        (refusal.code, refusal.id.is_some())
    };
    for name in ["id", "type", "occurred_at", "session_id", "viewer_id", "content_id"] {
        assert_eq!(with(name, "").0, MissingField, "{name}");
        assert_eq!(with(name, "null").0, MissingField, "{name}");
        assert_eq!(with(name, "{}").0, BadType, "{name}");
        assert_eq!(with(name, r#""\ud800""#).0, BadText, "{name}");
        assert_eq!(with(name, "null").1, name != "id", "the id is told when it can be read");
    }
    for no_id in [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "01942f3e7c1a7def8abc0123456789ab",
        "{01942f3e-7c1a-7def-8abc-0123456789ab}",
        "urn:uuid:01942f3e-7c1a-7def-8abc-0123456789ab",
        "01942f3e-7c1a-7def-8abc-0123456789ag",
        "01942f3e-7c1a-7def-8abc-0123456789abc",
        "",
    ] {
        assert_eq!(with("id", &format!("\"{no_id}\"")), (BadType, false), "{no_id}");
    }
    assert_eq!(with("occurred_at", "\"1795384100123\"").0, BadType);
    assert_eq!(with("occurred_at", "\"2026-11-22T21:48:20\"").0, BadType);
    assert_eq!(with("occurred_at", "1.5").0, BadType);
    assert_eq!(with("occurred_at", "99999999999999999999").0, InFuture);
    assert_eq!(with("occurred_at", "0").0, TooOld);
    assert_eq!(with("occurred_at", "\"2026-11-23T21:48:20.124Z\"").0, InFuture);
    assert_eq!(with("session_id", &format!("\"{}\"", "é".repeat(65))).0, OutOfRange);
    assert_eq!(with("content_id", "\"\"").0, OutOfRange);
    assert_eq!(with("viewer_id", "\"jane@school.example\"").0, BadText);
}

#[test]
fn the_first_rule_that_is_broken_counts() {
    let cases = [
        // A repeated key before the id, the id before the type, the type before unknown fields, those before the tables.
        (r#"{"id":7,"type":"x","zzz":1,"zzz":1,"seq":""}"#.to_owned(), BadType, Some("zzz")),
        (r#"{"id":7,"type":"x","zzz":1,"seq":""}"#.to_owned(), BadType, Some("id")),
        (format!(r#"{{"type":"x","zzz":1,"seq":"","id":"{ID}"}}"#), UnknownType, Some("type")),
        (format!(r#"{{"seq":"","zzz":1,"type":"video.played","id":"{ID}"}}"#), UnknownField, Some("zzz")),
        (event("video.ready", r#""player":"","seq":"""#), BadType, Some("seq")),
        (event("video.ready", r#""player":"","duration_ms":-1"#), OutOfRange, Some("duration_ms")),
        (event("video.paused", r#""ext":1,"watched":1"#), BadType, Some("ext")),
        ("7".to_owned(), BadType, None),
        ("[]".to_owned(), BadType, None),
        ("null".to_owned(), BadType, None),
        (format!("[{}]", " ".repeat(16_384)), TooLarge, None),
    ];
    for (event, code, field) in cases {
        let refusal = refusal(&event);
        assert_eq!((refusal.code, refusal.field.as_deref()), (code, field), "{event}");
    }
}

#[test]
fn a_large_event_is_refused_whole_and_still_named() {
    let spaces = |total: usize| {
        let event = event("video.played", "");
        event.replacen('{', &format!("{{{}", " ".repeat(total - event.len())), 1)
    };
    with_accepted(&spaces(16_384), |_| ());
    let refusal = refusal(&spaces(16_385));
    assert_eq!((refusal.code, refusal.field), (TooLarge, None));
    assert_eq!(refusal.id.map(|id| id.to_string()).as_deref(), Some(ID));
}

#[test]
fn depth_is_the_fault_of_the_event_alone() {
    let deep = 900_000;
    let bomb = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
    let within = format!(r#"{{"ext":{{"a":{}{}}}}}"#, "[".repeat(8_000), "]".repeat(8_000));
    let body = batch(&[bomb, event("video.played", ""), within]);
    let envelope = Envelope::from_json(body.as_bytes()).expect("the envelope is in order");
    let verdicts = check_batch(&envelope, clock());
    assert!(matches!(&verdicts[0], Verdict::Rejected(refusal) if refusal.code == TooLarge));
    assert!(matches!(&verdicts[1], Verdict::Accepted(_)));
    assert!(matches!(&verdicts[2], Verdict::Rejected(refusal) if refusal.code == MissingField));
    let deep_ext = format!(r#""ext":{{"a":{}{}}}"#, "[".repeat(2_000), "]".repeat(2_000));
    assert_eq!(refusal(&event("video.played", &deep_ext)).code, TooLarge);
    let deep_answer = format!(r#""item_id":"i","answer":{{"a":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(refusal(&event("item.answered", &deep_answer)).code, BadAnswer);
}

#[test]
fn what_a_reply_quotes_is_cut() {
    let refusal = refusal(&event("video.played", &format!(r#""{}":1"#, "k".repeat(10_000))));
    assert!(refusal.field.as_deref().is_some_and(|field| field.len() < 100));
    assert!(refusal.message.len() < 300);
}

#[test]
fn the_message_says_the_limit() {
    let refusal = refusal(&event("video.played", r#""position_ms":999999999"#));
    assert_eq!(refusal.message, "position_ms is 999999999, the limit is 172800000");
}
