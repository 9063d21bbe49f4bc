use proptest::prelude::*;

use super::*;

fn millis(text: &str) -> Option<i64> {
    UnixMillis::from_rfc3339(text).map(|time| time.0)
}

#[test]
fn rfc_3339_is_read_strictly() {
    for (text, expected) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("2026-11-22T21:48:20.123Z", 1_795_384_100_123),
        ("2026-11-22T22:48:20.123+01:00", 1_795_384_100_123),
        ("2026-11-22T21:18:20.1239999-00:30", 1_795_384_100_123),
        ("2026-11-22T21:48:20.1-00:00", 1_795_384_100_100),
        ("1969-12-31T23:59:59.9995Z", -1),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2017-01-01T08:59:60.5+09:00", 1_483_228_800_500),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("0000-01-01T00:00:00Z", UnixMillis::MIN.0),
        ("9999-12-31T23:59:59.999Z", UnixMillis::MAX.0),
    ] {
        assert_eq!(millis(text), Some(expected), "{text}");
    }
    for text in [
        "",
        "2026-11-22",
        "2026-11-22T21:48:20",
        "2026-11-22 21:48:20Z",
        "2026-11-22T21:48Z",
        "2026-11-22T21:48:20.Z",
        "2026-11-22T21:48:20,5Z",
        "2026-11-22T21:48:20+0100",
        "2026-11-22T21:48:20+01",
        "2026-11-22T21:48:20+24:00",
        "2026-11-22T21:48:20+01:60",
        "2026-11-22T21:48:20Z[UTC]",
        "2026-11-22T21:48:20Z ",
        " 2026-11-22T21:48:20Z",
        "20261122T214820Z",
        "+002026-11-22T21:48:20Z",
        "2026-13-22T21:48:20Z",
        "2026-00-22T21:48:20Z",
        "2026-11-31T21:48:20Z",
        "2026-11-00T21:48:20Z",
        "2025-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T21:60:20Z",
        "2026-11-22T21:48:60Z",
        "2026-11-22T21:48:61Z",
        "2026-11-22T2١:48:20Z",
    ] {
        assert_eq!(millis(text), None, "{text}");
    }
}

#[test]
fn a_header_may_also_carry_milliseconds() {
    assert_eq!(UnixMillis::parse("1795384100123"), Some(UnixMillis(1_795_384_100_123)));
    assert_eq!(UnixMillis::parse("-5"), Some(UnixMillis(-5)));
    assert_eq!(UnixMillis::parse("2026-11-22T21:48:20.123Z"), Some(UnixMillis(1_795_384_100_123)));
    for text in
        ["", "-", "+5", "5.0", "1e3", "253402300800000", "99999999999999999999", "0000-01-01T00:00:00+00:01"]
    {
        assert_eq!(UnixMillis::parse(text), None, "{text}");
    }
}

#[test]
fn a_time_far_off_is_too_old_or_in_the_future_and_none_is_a_wrong_kind() {
    let code = |value| UnixMillis::read(value).map_err(|fault| fault.of_event(None).code);
    assert_eq!(code(Value::Number("9223372036854775808")), Err(InFuture));
    assert_eq!(code(Value::Number("-9223372036854775809")), Err(TooOld));
    assert_eq!(code(Value::Number("253402300800000")), Err(InFuture));
    assert_eq!(code(Value::Number("-62167219200001")), Err(TooOld));
    assert_eq!(code(Value::Number("1.5")), Err(crate::event::RefusalCode::BadType));
    assert_eq!(code(Value::Bool(true)), Err(crate::event::RefusalCode::BadType));
    assert_eq!(code(Value::Number("12")), Ok(UnixMillis(12)));
}

#[test]
fn replies_carry_rfc_3339_with_milliseconds() {
    assert_eq!(UnixMillis(1_795_384_100_120).to_string(), "2026-11-22T21:48:20.120Z");
    assert_eq!(UnixMillis(i64::MAX).to_string(), "9223372036854775807 ms");
}

proptest! {
    #[test]
    fn jiff_agrees(ms in -62_167_132_800_000_i64..253_402_207_200_000, offset_minutes in -1439_i32..=1439) {
        let time = jiff::Timestamp::from_millisecond(ms).expect("in jiff's range");
        prop_assert_eq!(millis(&format!("{time:.3}")), Some(ms));
        let offset = jiff::tz::Offset::from_seconds(offset_minutes * 60).expect("less than a day");
        let wall = offset.to_datetime(time);
        prop_assume!((0..=9999).contains(&wall.year()));
        let sign = if offset_minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset_minutes.abs() / 60, offset_minutes.abs() % 60);
        prop_assert_eq!(millis(&format!("{wall:.6}{sign}{hours:02}:{minutes:02}")), Some(ms));
    }

    #[test]
    fn any_text_is_no_panic(text in ".{0,40}") {
        let _any = UnixMillis::parse(&text);
    }
}
