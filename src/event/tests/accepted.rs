//! What an accepted event becomes.

use super::*;

#[test]
fn an_answer_becomes_a_row() {
    let more = r#""seq":4294967295,"position_ms":0,"rate":1.25,"item_id":"q\u0031","answer": {"number" : 12.50},
        "attempt":32767,"elapsed_ms":172800000,"correct":false,"score":1e0,"ext":{"b":1.10, "a":[null,"\ud83d\ude00"]}"#;
    with_accepted(&event("item.answered", more), |event| {
        assert_eq!(event.id.to_string(), ID);
        assert_eq!(event.type_name, "item.answered");
        assert_eq!((&*event.session_id, &*event.viewer_id, &*event.content_id), ("s", "v", "c"));
        assert_eq!(event.item_id.as_deref(), Some("q1"));
        assert_eq!((event.occurred_at, event.client_occurred_at), (NOW, NOW));
        assert_eq!((event.seq, event.position_ms, event.rate), (Some(u32::MAX), Some(0), Some(1.25)));
        assert_eq!((event.attempt, event.elapsed_ms), (Some(32_767), Some(172_800_000)));
        assert_eq!((event.correct, event.score), (Some(false), Some(1.0)));
        assert_eq!(event.answer.as_deref(), Some(r#"{"number" : 12.50}"#));
        assert_eq!(event.details.as_deref(), Some(r#"{"ext":{"b":1.10, "a":[null,"\ud83d\ude00"]}}"#));
        assert_eq!((event.watched, event.played_ms), (None, None));
        assert!(matches!(event.session_id, Cow::Borrowed(_)), "text without escapes is not copied");
    });
}

#[test]
fn fields_without_a_column_go_to_details_in_the_tables_order() {
    let more = r#""ext":{"k":1},"player":"web \u00e9\"","duration_ms":60000"#;
    with_accepted(&event("video.ready", more), |event| {
        let details = r#"{"duration_ms":60000,"player":"web \u00e9\"","ext":{"k":1}}"#;
        assert_eq!(event.details.as_deref(), Some(details));
    });
    with_accepted(&event("video.rate_changed", r#""from":1.0,"to":1.50"#), |event| {
        assert_eq!(event.details.as_deref(), Some(r#"{"from":1.0,"to":1.50}"#));
        assert_eq!(event.rate, None);
    });
    with_accepted(&event("video.fullscreen_changed", r#""on":true"#), |event| {
        assert_eq!(event.details.as_deref(), Some(r#"{"on":true}"#));
    });
    with_accepted(&event("video.error", r#""code":"c","message":"""#), |event| {
        assert_eq!(event.details.as_deref(), Some(r#"{"code":"c","message":""}"#));
    });
}

#[test]
fn nothing_is_not_something() {
    for nothing in ["", r#""ext":{}"#, r#""ext":{ }"#, r#""ext":null,"seq":null,"rate":null"#] {
        with_accepted(&event("video.played", nothing), |event| {
            assert_eq!((event.details, event.seq, event.rate), (None, None, None), "{nothing}");
        });
    }
    with_accepted(&event("video.ready", r#""player":null"#), |event| assert_eq!(event.details, None));
}

#[test]
fn watched_keeps_order_and_overlaps_and_drops_what_is_empty() {
    let watched = |json: &str| {
        with_accepted(&event("video.paused", &format!(r#""watched":{json}"#)), |event| event.watched)
    };
    assert_eq!(watched("[ [ 5 , 9 ],[3,3],[0,6],[0,6], [172799999,172800000] ]"), {
        Some(vec![(5, 9), (0, 6), (0, 6), (172_799_999, 172_800_000)])
    });
    assert_eq!(watched("[]"), Some(vec![]));
    assert_eq!(watched("[[1,1]]"), Some(vec![]));
    assert_eq!(watched("null"), None);
    assert_eq!(watched(&format!("[{}]", vec!["[1,2]"; 64].join(","))).map(|w| w.len()), Some(64));
}

#[test]
fn every_kind_of_answer_is_kept_as_it_was_sent() {
    let many = (0..64).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",");
    for answer in [
        r#"{"choice":"2"}"#,
        r#"{"choices":["1","3"]}"#,
        r#"{"choices":[]}"#,
        &format!(r#"{{"choices":[{many}]}}"#),
        &format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000)),
        r#"{"text":""}"#,
        r#"{"number":"12.50"}"#,
        r#"{"number":"-0.000000000000000000000000000000001"}"#,
        r#"{"number":1234567890123456789012345678901234}"#,
        r#"{"number":1e308}"#,
        r#"{"number":1E-308}"#,
        r#"{"bool":true}"#,
        r#"{"b\u006fol":false}"#,
    ] {
        for type_name in ["item.option_selected", "item.answered"] {
            let event = event(type_name, &format!(r#""item_id":"i","answer":{answer}"#));
            with_accepted(&event, |event| assert_eq!(event.answer.as_deref(), Some(answer)));
        }
    }
}

#[test]
fn limits_of_ext_are_taken() {
    let ext_of_4_kib = format!(r#"{{"a":"{}"}}"#, "x".repeat(4_096 - 8));
    assert_eq!(ext_of_4_kib.len(), 4_096);
    let keys = (0..32).map(|n| format!(r#""k{n}":{{"deep":[[0]]}}"#)).collect::<Vec<_>>().join(",");
    for ext in [&ext_of_4_kib, &format!("{{{keys}}}"), r#"{"a":1,"a":2}"#, r#"{"a":1E+308,"b":-1e-308}"#] {
        with_accepted(&event("video.played", &format!(r#""ext":{ext}"#)), |event| {
            assert_eq!(event.details.as_deref(), Some(&*format!(r#"{{"ext":{ext}}}"#)));
        });
    }
}

#[test]
fn defaults_stand_in_for_what_is_left_out() {
    let body = format!(
        r#"{{"viewer_id":"dv","session_id":"d\u0073","content_id":"dc","events":[
            {{"id":"{ID}","type":"video.played","occurred_at":{now},"session_id":null,"content_id":"own"}}]}}"#,
        now = NOW.0
    );
    let envelope = Envelope::from_json(body.as_bytes()).expect("in order");
    let verdicts = check_batch(&envelope, clock());
    let [Verdict::Accepted(event)] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert_eq!((&*event.viewer_id, &*event.session_id, &*event.content_id), ("dv", "ds", "own"));
}

#[test]
fn an_id_is_accepted_once_in_a_batch() {
    let wrong = event("video.played", r#""seq":-1"#);
    let upper = event("video.paused", "").replace(ID, &ID.to_uppercase());
    let body = batch(&[wrong.clone(), event("video.played", ""), upper, wrong]);
    let envelope = Envelope::from_json(body.as_bytes()).expect("in order");
    let verdicts = check_batch(&envelope, clock());
    let id = ID.parse().expect("a uuid");
    assert!(matches!(&verdicts[0], Verdict::Rejected(_)), "a refused event takes no id");
    assert!(matches!(&verdicts[1], Verdict::Accepted(event) if event.id == id));
    assert_eq!(verdicts[2], Verdict::Duplicate(id));
    assert!(matches!(&verdicts[3], Verdict::Rejected(_)), "being a duplicate is judged last");
}

#[test]
fn a_clock_that_is_off_is_put_right() {
    let body = batch(&[event("video.played", "")]);
    let envelope = Envelope::from_json(body.as_bytes()).expect("in order");
    let clock = Clock { received_at: UnixMillis(NOW.0 + 500_000), sent_at: Some(UnixMillis(NOW.0 + 1_000)) };
    let verdicts = check_batch(&envelope, clock);
    let [Verdict::Accepted(event)] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert_eq!((event.occurred_at.0, event.client_occurred_at), (NOW.0 + 499_000, NOW));
}
