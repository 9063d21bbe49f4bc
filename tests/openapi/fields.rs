//! What the description has to say of a field of the table of types.

use std::collections::BTreeSet;

use rollbook::event::table::{Field, Kind, Presence, TWO_DAYS_MS};
use serde_json::{Value, json};

const NO_NUL: &str = r"^[^\u0000]*$";

/// The names of the required ones. What a batch can give by default is left to the batch's own schema.
pub(super) fn required(fields: &[Field]) -> BTreeSet<String> {
    let required = fields.iter().filter(|field| matches!(field.presence, Presence::Required));
    required.map(|field| field.name.to_owned()).collect()
}

/// A field's schema, without references and descriptions.
pub(super) fn schema_of(field: &Field, type_name: &str) -> Value {
    let schema = schema_of_kind(field.kind, type_name);
    match field.presence {
        Presence::Required => schema,
        Presence::OrDefault(_) | Presence::Optional => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

fn schema_of_kind(kind: Kind, type_name: &str) -> Value {
    match kind {
        Kind::Id => json!({
            "type": "string",
            "format": "uuid",
            "pattern": "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$",
            "not": {"pattern": "^([0-]*|[Ff-]*)$"},
        }),
        Kind::TypeName => json!({"const": type_name}),
        Kind::OccurredAt => json!({"anyOf": [
            {
                "type": "integer",
                "minimum": rollbook::event::UnixMillis::MIN.0,
                "maximum": rollbook::event::UnixMillis::MAX.0,
            },
            {"type": "string", "format": "date-time"},
        ]}),
        Kind::ViewerId { max_chars } => {
            let mut schema = text(1, max_chars);
            schema["not"] = json!({"pattern": r"^[^@\s]+@[^@\s]*\.[^@\s]*$"});
            schema
        }
        Kind::Text { min_chars, max_chars, .. } => text(min_chars, max_chars),
        Kind::Whole { min, max, .. } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Number { min, max, .. } => {
            json!({"type": "number", "minimum": decimal(min.written), "maximum": decimal(max.written)})
        }
        Kind::Bool { .. } => json!({"type": "boolean"}),
        Kind::Watched => {
            let millis = json!({"type": "integer", "minimum": 0, "maximum": TWO_DAYS_MS});
            let interval =
                json!({"type": "array", "minItems": 2, "prefixItems": [millis, millis], "items": false});
            json!({"type": "array", "maxItems": 64, "items": interval})
        }
        Kind::Answer => {
            let only = |name: &str, schema: Value| json!({"required": [name], "properties": {name: schema}, "additionalProperties": false});
            let choice = text(1, 64);
            let choices =
                json!({"type": "array", "maxItems": 64, "uniqueItems": true, "items": choice.clone()});
            let long = json!({"type": "string", "maxLength": 10_000, "pattern": NO_NUL});
            let decimal =
                json!({"type": "string", "maxLength": 36, "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"});
            json!({"type": "object", "oneOf": [
                only("choice", choice),
                only("choices", choices),
                only("text", long),
                only("number", json!({"anyOf": [{"type": "number"}, decimal]})),
                only("bool", json!({"type": "boolean"})),
            ]})
        }
        Kind::Ext => json!({"type": "object", "maxProperties": 32, "propertyNames": {"pattern": NO_NUL}}),
    }
}

fn text(min_chars: usize, max_chars: usize) -> Value {
    json!({"type": "string", "minLength": min_chars, "maxLength": max_chars, "pattern": NO_NUL})
}

/// As JSON writes it: a whole number without a fraction.
fn decimal(text: &str) -> Value {
    serde_json::from_str(text).expect("the table's limits are JSON")
}
