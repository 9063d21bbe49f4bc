//! Good events of every type, made from the table of types.

use rollbook::event::UnixMillis;
use rollbook::event::table::{COMMON, EventType, Field, Kind, Presence};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// How much of what its type allows an event carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    Everything,
    OnlyTheRequired,
}

/// A value that differs from event to event, as JSON text: as numbers are written, so they are kept.
fn value(field: &Field, event_type: &EventType, n: usize) -> Value {
    let parse = |text: String| serde_json::from_str(&text).expect("JSON");
    match field.kind {
        Kind::Id => json!(Uuid::now_v7()),
        Kind::TypeName => json!(event_type.name),
        Kind::OccurredAt => json!(UnixMillis::now().0 - i64::try_from(n).expect("few") * 1_001),
        Kind::ViewerId { max_chars } => json!("ü".repeat(max_chars - n)),
        Kind::Text { max_chars, .. } => json!(format!("{n}\"\\\t\u{1F980}{}", "x".repeat(max_chars - 6))),
        Kind::Whole { max, .. } => json!(max - u32::try_from(n).expect("few")),
        Kind::Number { max, .. } => {
            let max = f64::from(max.nearest);
            parse((max - max * f64::from(u32::try_from(n).expect("few")) / 64.0).to_string())
        }
        Kind::Bool { .. } => json!(n.is_multiple_of(2)),
        Kind::Watched => json!([[5, 9_000], [2_000, 4_000 + n], [7, 7], [0, 172_800_000]]),
        Kind::Answer => [
            json!({"choice": "2"}),
            json!({"choices": ["3", "1"]}),
            json!({"text": "ein \"Text\"\n\u{1F980}"}),
            json!({"number": "12.50"}),
            json!({"bool": false}),
        ][n % 5]
            .clone(),
        Kind::Ext => parse(r#"{"course":"a","nested":{"list":[1,null,true]}}"#.to_owned()),
    }
}

/// A good event of a type.
pub(crate) fn event_of(event_type: &EventType, n: usize, carries: Carries) -> Map<String, Value> {
    let fields = COMMON.iter().chain(event_type.fields);
    let kept = fields.filter(|field| match field.presence {
        Presence::Required | Presence::OrDefault(_) => true,
        Presence::Optional => carries == Carries::Everything,
    });
    kept.map(|field| (field.name.to_owned(), value(field, event_type, n))).collect()
}
