//! What surrounds the events, right and wrong.

use super::*;

fn error(body: &str) -> EnvelopeError {
    Envelope::from_json(body.as_bytes()).expect_err(body)
}

#[test]
fn a_full_envelope_is_taken_apart() {
    let body = r#" {"organization":"acme_school","key":"rb_\u0078","sent_at":"1970-01-01T00:00:01Z","sdk":"web 1",
        "viewer_id":"v","session_id":null,"events" : [ {} , 7 ]} "#;
    let envelope = Envelope::from_json(body.as_bytes()).expect("in order");
    assert_eq!(envelope.organization.as_deref(), Some("acme_school"));
    assert_eq!(envelope.key.as_deref(), Some("rb_x"));
    assert_eq!(envelope.sent_at, Some(UnixMillis(1_000)));
    assert_eq!(envelope.sdk.as_deref(), Some("web 1"));
    assert_eq!(envelope.defaults.viewer_id.as_deref(), Some("v"));
    assert_eq!(envelope.defaults.session_id, None);
    let events: Vec<_> = envelope.events.iter().collect();
    assert!(matches!(events[..], [RawEvent::Json("{}"), RawEvent::Json("7")]));
    assert!(!format!("{envelope:?}").contains("rb_"));
}

#[test]
fn what_is_not_json_is_a_bad_body() {
    for body in [
        "",
        "{",
        r#"{"events":[{}]"#,
        r#"{"events":[{}]} x"#,
        r#"{"events":[{]}"#,
        r#"{"events":[01]}"#,
        "{\"events\":[\"\u{1}\"]}",
        r#"{"events":["\x"]}"#,
        // Also behind something that would be a bad envelope.
        r#"{"zzz":1,"events":[}"#,
        r#"{"events":7,"#,
        "[1,]",
        "\u{feff}{}",
    ] {
        assert!(matches!(error(body), EnvelopeError::BadBody(_)), "{body}");
    }
    let not_utf8 = b"{\"events\":[\"\xff\"]}";
    assert!(matches!(Envelope::from_json(not_utf8), Err(EnvelopeError::BadBody(_))));
    assert!(matches!(Envelope::from_ndjson(b"{}\n\xff"), Err(EnvelopeError::BadBody(_))));
}

#[test]
fn a_wrong_envelope_names_the_field() {
    let long = "x".repeat(65);
    for (body, named) in [
        ("7", "top level"),
        ("[]", "top level"),
        ("\"rb_secret\"", "top level"),
        ("1e999", "top level"),
        ("{}", "events"),
        (r#"{"events":null}"#, "events"),
        (r#"{"events":[]}"#, "events"),
        (r#"{"events":{}}"#, "events"),
        (r#"{"events":1e999}"#, "events"),
        (r#"{"events":[{}],"events":[{}]}"#, "events is there more than once"),
        (r#"{"events":[{}],"sdk":"a","sd\u006b":null}"#, "sdk is there more than once"),
        (r#"{"event":[{}]}"#, "`event`"),
        (r#"{"zzz":null,"events":[{}]}"#, "`zzz`"),
        (r#"{"\ud800":1,"events":[{}]}"#, r"`\ud800`"),
        (r#"{"organization":7,"events":[{}]}"#, "organization"),
        (r#"{"organization":"\ud800","events":[{}]}"#, "organization"),
        (r#"{"key":{},"events":[{}]}"#, "key"),
        (r#"{"sent_at":"yesterday","events":[{}]}"#, "sent_at"),
        (r#"{"sent_at":1e3,"events":[{}]}"#, "sent_at"),
        (r#"{"sent_at":99999999999999999999,"events":[{}]}"#, "sent_at"),
        (&format!(r#"{{"sdk":"{long}","events":[{{}}]}}"#), "sdk"),
        (&format!(r#"{{"session_id":"{long}","events":[{{}}]}}"#), "session_id"),
        (r#"{"session_id":"","events":[{}]}"#, "session_id"),
        (r#"{"content_id":5,"events":[{}]}"#, "content_id"),
        (r#"{"viewer_id":"a@b.c","events":[{}]}"#, "viewer_id"),
        (r#"{"viewer_id":"\u0000","events":[{}]}"#, "viewer_id"),
    ] {
        match error(body) {
            EnvelopeError::BadEnvelope(text) => {
                assert!(text.contains(named), "{body}: {text}");
                assert!(!text.contains("secret"), "{body}: {text}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn five_hundred_events_are_taken_and_no_more() {
    let body = |events: usize| format!(r#"{{"events":[{}]}}"#, vec!["0"; events].join(","));
    assert_eq!(Envelope::from_json(body(500).as_bytes()).map(|e| e.events.len()), Ok(500));
    assert!(matches!(error(&body(501)), EnvelopeError::BadEnvelope(text) if text.contains("500")));
    let lines = |events: usize| "0\n".repeat(events);
    assert_eq!(Envelope::from_ndjson(lines(500).as_bytes()).map(|e| e.events.len()), Ok(500));
    assert!(matches!(Envelope::from_ndjson(lines(501).as_bytes()), Err(EnvelopeError::BadEnvelope(_))));

    let (mut arriving, mut taken) = (Lines::default(), 0);
    arriving.feed(lines(600).as_bytes(), |_| taken += 1).expect("UTF-8");
    assert_eq!(taken, 500);
    let error = arriving.finish(|_| taken += 1).expect_err("too many");
    assert!(matches!(error, EnvelopeError::BadEnvelope(text) if text.contains("500")));
}

#[test]
fn ndjson_skips_blank_lines_and_refuses_a_bad_line_alone() {
    let body = format!("\r\n{}\r\n \t\n{{\"id\":\n  7\n\u{b}", event("video.played", ""));
    let envelope = Envelope::from_ndjson(body.as_bytes()).expect("in order");
    let verdicts = check_batch(&envelope, clock());
    assert!(matches!(&verdicts[0], Verdict::Accepted(_)));
    for verdict in &verdicts[1..] {
        let Verdict::Rejected(refusal) = verdict else { panic!("{verdict:?}") };
        assert_eq!((refusal.code, &refusal.field, refusal.id), (RefusalCode::BadType, &None, None));
    }
    assert_eq!(verdicts.len(), 4);
    assert!(matches!(Envelope::from_ndjson(b" \n\r\n"), Err(EnvelopeError::BadEnvelope(_))));
}
