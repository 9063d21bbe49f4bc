//! Values that a schema of the description allows. It knows the words that the description uses, and no others.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rollbook::event::UnixMillis;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::document::Document;

/// How far back the times lie that are made: within what the description's text allows.
const DAYS: i64 = 29;
/// Two long answers would not fit in one event; all other texts do.
const MOST_CHARS: u64 = 2_000;

pub(super) struct Generator<'d> {
    document: &'d Document,
    runner: TestRunner,
}

impl<'d> Generator<'d> {
    pub(super) fn new(document: &'d Document, runner: TestRunner) -> Self {
        Self { document, runner }
    }

    /// A batch of so many events, some of whose common fields come by default.
    pub(super) fn batch(&mut self, events: usize) -> Value {
        let mut batch = self.value(self.document.schema("Batch"));
        batch["organization"] = json!("acme");
        // A made-up key would not be the one that is sent.
        batch["key"] = Value::Null;
        let sent_at = UnixMillis::now().0;
        batch["sent_at"] = json!(sent_at);
        let mut events: Vec<Value> = (0..events).map(|_| self.value(self.document.schema("Event"))).collect();
        for name in ["session_id", "viewer_id", "content_id"] {
            if !batch[name].is_string() {
                for event in events.iter_mut().filter(|event| !event[name].is_string()) {
                    event[name] = json!("its own");
                }
            }
        }
        batch["events"] = events.into();
        batch
    }

    /// An event that needs no default.
    pub(super) fn event_alone(&mut self) -> Value {
        let mut event = self.value(self.document.schema("Event"));
        for name in ["session_id", "viewer_id", "content_id"] {
            if !event[name].is_string() {
                event[name] = json!("its own");
            }
        }
        event
    }

    fn sample<S: Strategy>(&mut self, strategy: S) -> S::Value {
        strategy.new_tree(&mut self.runner).expect("nothing is filtered").current()
    }

    fn pick<'a>(&mut self, list: &'a Value) -> &'a Value {
        let list = list.as_array().expect("alternatives");
        &list[self.sample(0..list.len())]
    }

    fn value(&mut self, schema: &Value) -> Value {
        if schema["$ref"] == "#/components/schemas/Time" {
            return self.time();
        }
        if schema["$ref"] == "#/components/schemas/Interval" {
            return self.interval();
        }
        let schema = self.document.resolve(schema);
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        for alternatives in ["enum", "oneOf", "anyOf"] {
            let Some(list) = schema.get(alternatives) else { continue };
            let picked = self.pick(list).clone();
            return if alternatives == "enum" { picked } else { self.value(&picked) };
        }
        if let Some([only]) = schema["allOf"].as_array().map(Vec::as_slice)
            && schema.get("properties").is_none()
        {
            return self.value(only);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds[self.sample(0..kinds.len())].clone(),
            kind => kind.clone(),
        };
        match kind.as_str().unwrap_or("object") {
            "null" => Value::Null,
            "boolean" => json!(self.sample(any::<bool>())),
            "integer" => self.integer(schema).into(),
            "number" => self.number(schema),
            "string" => self.text(schema).into(),
            "array" => self.list(schema),
            _ => self.object(schema),
        }
    }

    fn integer(&mut self, schema: &Value) -> i64 {
        let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
        let (least, most) = (least.expect("a minimum"), most.expect("a maximum"));
        self.sample(prop_oneof![Just(least), Just(most), least..=most])
    }

    fn number(&mut self, schema: &Value) -> Value {
        let least = schema["minimum"].as_f64().unwrap_or(-1e300);
        let most = schema["maximum"].as_f64().unwrap_or(1e300);
        json!(self.sample(prop_oneof![Just(least), Just(most), least..=most]))
    }

    fn text(&mut self, schema: &Value) -> String {
        if schema["format"] == "uuid" {
            return Uuid::now_v7().to_string();
        }
        if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("[0-9]+")) {
            return self.sample("-?(0|[1-9][0-9]{0,16})(\\.[0-9]{1,17})?");
        }
        if schema["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("^[a-z]")) {
            return self.sample("[a-z][a-z0-9_]{1,47}");
        }
        let least = schema["minLength"].as_u64().unwrap_or(0);
        let most = schema["maxLength"].as_u64().unwrap_or(64).min(MOST_CHARS);
        let length = self.sample(prop_oneof![Just(least), Just(most), least..=most]);
        let length = usize::try_from(length).expect("few");
        // No `@`: what looks like an address is not allowed everywhere.
        let character = any::<char>().prop_map(|c| if c == '\0' || c == '@' { 'x' } else { c });
        self.sample(proptest::collection::vec(character, length)).into_iter().collect()
    }

    fn list(&mut self, schema: &Value) -> Value {
        let most = usize::try_from(schema["maxItems"].as_u64().expect("a most")).expect("few");
        let length = self.sample(prop_oneof![Just(0), 0..=most.min(8)]);
        let mut list: Vec<Value> = Vec::new();
        for _ in 0..length {
            let element = self.value(&schema["items"]);
            if schema["uniqueItems"] != json!(true) || !list.contains(&element) {
                list.push(element);
            }
        }
        list.into()
    }

    /// The members of all that it is made of: the required ones, and some of the others.
    fn object(&mut self, schema: &Value) -> Value {
        let mut object = Map::new();
        if let Some(parts) = schema["allOf"].as_array() {
            for part in parts.iter().filter(|part| part.get("$ref").is_some()) {
                if let Value::Object(members) = self.value(part) {
                    object.extend(members);
                }
            }
        }
        let required = self.document.texts(&schema["required"]);
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let is_large = name == "events";
            if required.contains(name) || self.sample(0..3) > 0 {
                let value = if is_large { json!([]) } else { self.value(schema) };
                object.insert(name.clone(), value);
            }
        }
        if schema["properties"].is_null() && schema["maxProperties"].is_u64() {
            object = self.free();
        }
        object.into()
    }

    /// Members of the organization's own.
    fn free(&mut self) -> Map<String, Value> {
        let keys = self.sample(proptest::collection::btree_set("[^\u{0}]{0,9}", 0..=32));
        let inner = |n: usize| {
            [json!(n), json!([null, {"a": []}]), json!("text"), json!({"b": [1.5, true]})][n % 4].clone()
        };
        keys.into_iter().enumerate().map(|(n, key)| (key, inner(n))).collect()
    }

    fn time(&mut self) -> Value {
        let back = self.sample(0..DAYS * 86_400_000);
        let time = UnixMillis(UnixMillis::now().0 - back);
        if self.sample(any::<bool>()) { json!(time.0) } else { json!(time.to_string()) }
    }

    fn interval(&mut self) -> Value {
        let millis = self.document.schema("Milliseconds");
        let mut bounds = [self.integer(millis), self.integer(millis)];
        bounds.sort_unstable();
        json!(bounds)
    }
}
