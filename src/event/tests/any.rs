//! Any event that the table allows, with the texts and numbers that are most likely to hurt somebody.

use proptest::prelude::*;
use serde_json::Value;

use super::super::proto::{self, answer::Answer, setting::Setting};
use super::super::table::{COMMON, EventType, Field, Kind, Presence, TWO_DAYS_MS, TYPES};
use super::*;

/// An event's members in the order sent: names, and values as JSON text.
pub(crate) type Members = Vec<(&'static str, String)>;

/// The members of a valid event of any type, in any order; optional ones may be missing or null. Together they may be
/// more than an event's 16 KiB.
pub(crate) fn any_members() -> impl Strategy<Value = (&'static EventType, Members)> {
    (0..TYPES.len()).prop_flat_map(|at| {
        let event_type = &TYPES[at];
        let member = |field: &'static Field| {
            let value = match field.kind {
                Kind::TypeName => Just(format!("\"{}\"", event_type.name)).boxed(),
                kind => json_value(kind),
            };
            let sent = match field.presence {
                Presence::Required | Presence::OrDefault(_) => value.prop_map(Some).boxed(),
                Presence::Optional => prop_oneof![
                    6 => value.prop_map(Some),
                    1 => Just(None),
                    1 => Just(Some("null".to_owned())),
                ]
                .boxed(),
            };
            sent.prop_map(|value| value.map(|value| (field.name, value)))
        };
        let members: Vec<_> = COMMON.iter().chain(event_type.fields).map(member).collect();
        let members = members.prop_map(|members| members.into_iter().flatten().collect::<Members>());
        (Just(event_type), members.prop_shuffle())
    })
}

/// The JSON form.
pub(crate) fn as_json(members: &[(&str, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", members.join(", "))
}

/// A valid value of this kind, as JSON text.
fn json_value(kind: Kind) -> BoxedStrategy<String> {
    match kind {
        Kind::Id => any::<u128>()
            .prop_map(|id| format!("\"{}\"", Uuid::from_u128(id.clamp(1, u128::MAX - 1))))
            .boxed(),
        Kind::TypeName => unreachable!("the type is chosen before its fields"),
        Kind::OccurredAt => (-2_592_000_000..=86_400_000_i64)
            .prop_flat_map(|off| {
                let time = UnixMillis(NOW.0 + off);
                let finer = time.to_string().replace('Z', "999+00:00");
                prop_oneof![
                    Just(time.0.to_string()),
                    Just(format!("\"{time}\"")),
                    Just(format!("\"{finer}\""))
                ]
            })
            .boxed(),
        Kind::ViewerId { max_chars } => text(1, max_chars)
            .prop_filter("no e-mail", |text| !text.contains('@') && !text.contains("\\u0040"))
            .boxed(),
        Kind::Text { min_chars, max_chars, .. } => text(min_chars, max_chars),
        Kind::Whole { min, max, .. } => {
            prop_oneof![Just(min), Just(max), min..=max].prop_map(|n| n.to_string()).boxed()
        }
        Kind::Number { min, max, .. } => {
            let (low, high): (f64, f64) = (min.nearest.into(), max.nearest.into());
            prop_oneof![
                Just(min.written.to_owned()),
                Just(max.written.to_owned()),
                (low..=high).prop_map(|n| n.to_string()),
                (low..=high).prop_map(|n| format!("{n:e}")),
            ]
            .boxed()
        }
        Kind::Bool { .. } => any::<bool>().prop_map(|is| is.to_string()).boxed(),
        Kind::Watched => {
            let start = prop_oneof![Just(0), Just(TWO_DAYS_MS), 0..=TWO_DAYS_MS];
            let interval = (start.clone(), start).prop_map(|(one, other)| (one.min(other), one.max(other)));
            proptest::collection::vec(interval, 0..=64)
                .prop_map(|all| all.iter().map(|(start, end)| format!("[{start},{end}]")).collect::<Vec<_>>())
                .prop_map(|all| format!("[{}]", all.join(" ,")))
                .boxed()
        }
        Kind::Answer => answer().boxed(),
        Kind::Ext => ext().boxed(),
    }
}

/// A string of so many characters: any, or hard ones, plain or wholly escaped.
fn text(min: usize, max: usize) -> BoxedStrategy<String> {
    const HARD: &str = "\u{1}\t\n\r\u{1b}\u{7f}\u{85}\u{a0}\u{301}\u{2028}\u{202e}\u{d7ff}\u{e000}\u{fdd0}\u{feff}\u{fffd}\u{ffff}\
        \u{10000}\u{10ffff}\"'\\/{}[](),:;$%_NULLnull";
    let hard: Vec<char> = HARD.chars().collect();
    let one = prop_oneof![
        3 => any::<char>().prop_filter("no U+0000", |c| *c != '\0'),
        1 => proptest::sample::select(hard),
    ];
    let length = prop_oneof![4 => min..=max.min(min + 12), 1 => min..=max, 1 => Just(max)];
    (length.prop_flat_map(move |length| proptest::collection::vec(one.clone(), length)), any::<bool>())
        .prop_map(|(letters, escaped)| if escaped { escape(&letters) } else { quote(&letters) })
        .boxed()
}

fn quote(letters: &[char]) -> String {
    serde_json::to_string(&letters.iter().collect::<String>()).expect("JSON")
}

fn escape(letters: &[char]) -> String {
    let mut units = [0; 2];
    let mut escaped = String::from("\"");
    for letter in letters {
        for unit in letter.encode_utf16(&mut units) {
            escaped.push_str(&format!("\\u{unit:04X}"));
        }
    }
    escaped + "\""
}

fn answer() -> impl Strategy<Value = String> {
    let plain = "-?(0|[1-9][0-9]{0,16})(\\.[0-9]{1,17})?";
    let number = prop_oneof![
        2 => (plain, "([eE][+-]?[0-9]{1,2})?").prop_map(|(plain, exponent)| format!("{plain}{exponent}")),
        2 => plain.prop_map(|plain| format!("\"{plain}\"")),
        1 => proptest::sample::select(vec!["0", "-0", "-0.0", "1e308", "-1E-308", "0e0", "\"-0.00\""]).prop_map(str::to_owned),
    ];
    prop_oneof![
        text(1, 64).prop_map(|choice| format!(r#"{{"choice":{choice}}}"#)),
        proptest::collection::vec(text(1, 64), 0..9).prop_map(|mut all| {
            let mut seen = std::collections::HashSet::new();
            all.retain(|choice| seen.insert(serde_json::from_str::<String>(choice).expect("JSON")));
            format!(r#"{{"choices":[{}]}}"#, all.join(","))
        }),
        text(0, 1_000).prop_map(|text| format!(r#"{{ "text" : {text} }}"#)),
        number.prop_map(|number| format!(r#"{{"number":{number}}}"#)),
        any::<bool>().prop_map(|is| format!(r#"{{"bool":{is}}}"#)),
    ]
}

/// An object that is nested four deep at most, with numbers that no float holds; keys may repeat.
fn ext() -> impl Strategy<Value = String> {
    const NUMBER: &str = "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof![
        4 => NUMBER,
        1 => proptest::sample::select(vec!["null", "true", "false", "1e308", "-1E-308", "-0", "-0.0e-308"]).prop_map(str::to_owned),
        3 => text(0, 12),
    ];
    let inner = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(", "))),
            object(inner)
        ]
    });
    object(inner).prop_filter("at most 4 KiB", |ext| ext.len() <= 4 * 1_024)
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    proptest::collection::vec((text(0, 12), value), 0..5).prop_map(|members| {
        let members: Vec<_> = members.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// The protobuf form, and the members that it stands for: times are milliseconds there, an answer's number is a string,
/// and nothing is null.
pub(crate) fn as_protobuf(members: &[(&'static str, String)]) -> (proto::Event, Members) {
    let mut event = proto::Event::default();
    let mut stands_for = Members::new();
    for (name, sent) in members {
        let value: Value = serde_json::from_str(sent).expect("JSON");
        let mut stands = sent.clone();
        let text = || value.as_str().map(str::to_owned);
        // `serde_json` reads a float quickly, and then not always the nearest one.
        let number = || sent.parse().ok();
        let setting = || {
            let setting = text().map(Setting::Text).or_else(|| number().map(Setting::Number));
            Some(proto::Setting { setting })
        };
        let whole = || value.as_u64().and_then(|whole| u32::try_from(whole).ok());
        match *name {
            _ if value.is_null() => continue,
            "id" => event.id = text(),
            "type" => event.r#type = text(),
            "occurred_at" => {
                let millis = millis(&value);
                (event.occurred_at, stands) = (Some(millis), millis.to_string());
            }
            "session_id" => event.session_id = text(),
            "viewer_id" => event.viewer_id = text(),
            "content_id" => event.content_id = text(),
            "seq" => event.seq = whole(),
            "position_ms" => event.position_ms = whole(),
            "rate" => event.rate = number(),
            "ext" => event.ext = Some(sent.clone()),
            "watched" => {
                let bound = |pair: &Value, at: usize| pair[at].as_u64().and_then(|ms| u32::try_from(ms).ok());
                let interval = |pair: &Value| proto::Interval {
                    start_ms: bound(pair, 0).expect("a bound"),
                    end_ms: bound(pair, 1).expect("a bound"),
                };
                let intervals = value.as_array().expect("a list").iter().map(interval).collect();
                event.watched = Some(proto::Intervals { intervals });
            }
            "played_ms" => event.played_ms = whole(),
            "duration_ms" => event.duration_ms = whole(),
            "player" => event.player = text(),
            "from_ms" => event.from_ms = whole(),
            "to_ms" => event.to_ms = whole(),
            "from" => event.from = setting(),
            "to" => event.to = setting(),
            "on" => event.on = value.as_bool(),
            "stall_ms" => event.stall_ms = whole(),
            "code" => event.code = text(),
            "message" => event.message = text(),
            "item_id" => event.item_id = text(),
            "item_kind" => event.item_kind = text(),
            "answer" => {
                let answer = proto_answer(&value);
                if let Answer::Number(number) = &answer {
                    stands = format!(r#"{{"number":"{number}"}}"#);
                }
                event.answer = Some(proto::Answer { answer: Some(answer) });
            }
            "attempt" => event.attempt = whole(),
            "elapsed_ms" => event.elapsed_ms = whole(),
            "correct" => event.correct = value.as_bool(),
            "score" => event.score = number(),
            other => unreachable!("the protobuf form has no field {other}"),
        }
        stands_for.push((*name, stands));
    }
    (event, stands_for)
}

/// A time that was sent, by another reader than our own.
pub(crate) fn millis(time: &Value) -> i64 {
    match time.as_i64() {
        Some(millis) => millis,
        None => {
            let text = time.as_str().expect("a number or a text");
            text.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
        }
    }
}

fn proto_answer(value: &Value) -> Answer {
    let (kind, value) = value.as_object().and_then(|answer| answer.iter().next()).expect("one answer");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match kind.as_str() {
        "choice" => Answer::Choice(text(value).expect("a text")),
        "choices" => {
            let choices = value.as_array().expect("a list").iter().filter_map(text).collect();
            Answer::Choices(proto::Choices { choices })
        }
        "text" => Answer::Text(text(value).expect("a text")),
        // A JSON number is read as a float here, which is as good a number as any.
        "number" => Answer::Number(
            text(value).unwrap_or_else(|| format!("{:.3}", value.as_f64().expect("a number") % 1e9)),
        ),
        _ => Answer::Bool(value.as_bool().expect("a truth value")),
    }
}
