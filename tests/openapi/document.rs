//! The description, and how to find one's way in it.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::harness::Seen;

/// What HTTP itself brings along.
const OF_HTTP: [&str; 5] = ["content-type", "content-length", "date", "connection", "transfer-encoding"];

pub(super) struct Document {
    root: Value,
}

impl Document {
    pub(super) fn load() -> Self {
        let text = include_str!("../../docs/openapi.yaml");
        Self { root: serde_saphyr::from_str(text).expect("docs/openapi.yaml is YAML") }
    }

    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    /// Every value in it.
    pub(super) fn visit<'a>(&'a self, look: &mut impl FnMut(&'a Value)) {
        let mut waiting = vec![&self.root];
        while let Some(value) = waiting.pop() {
            look(value);
            match value {
                Value::Object(members) => waiting.extend(members.values()),
                Value::Array(elements) => waiting.extend(elements),
                _ => {}
            }
        }
    }

    /// What a reference means; anything else means itself.
    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.root.pointer(&reference[1..]).expect("it leads somewhere"),
            None => value,
        }
    }

    pub(super) fn schema(&self, name: &str) -> &Value {
        &self.root["components"]["schemas"][name]
    }

    /// The strings of a list.
    pub(super) fn texts(&self, list: &Value) -> BTreeSet<String> {
        list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    /// A schema without references and descriptions.
    pub(super) fn plain(&self, schema: &Value) -> Value {
        match self.resolve(schema) {
            Value::Object(members) => {
                let kept = members.iter().filter(|(name, _)| *name != "description");
                let plain: Map<String, Value> =
                    kept.map(|(name, value)| (name.clone(), self.plain(value))).collect();
                // `allOf` of one stands only where a description goes beside a reference.
                match plain.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
                    Some([only]) if plain.len() == 1 => only.clone(),
                    _ => Value::Object(plain),
                }
            }
            Value::Array(elements) => elements.iter().map(|element| self.plain(element)).collect(),
            value => value.clone(),
        }
    }

    pub(super) fn validator(&self, schema: &str) -> Validator {
        self.validator_of(&json!({"$ref": format!("#/components/schemas/{schema}")}))
    }

    fn validator_of(&self, schema: &Value) -> Validator {
        let mut root = schema.clone();
        root["components"] = self.root["components"].clone();
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        options.build(&root).expect("a schema of JSON Schema 2020-12")
    }

    /// The value is within the schema.
    #[track_caller]
    pub(super) fn check(&self, schema: &Value, value: &Value, what: &str) {
        let errors: Vec<String> =
            self.validator_of(schema).iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{what}: {errors:?}: {value}");
    }

    pub(super) fn operation(&self, path: &str, method: &str) -> Option<&Value> {
        self.root["paths"].get(path)?.get(method)
    }

    /// What the description says of a reply.
    pub(super) fn response_to(&self, seen: &Seen) -> &Value {
        let request = &seen.vector.request;
        let path = request.path.split('?').next().expect("there is a first part");
        let listener = if seen.is_of_intake() { "intake" } else { "admin" };
        let status = seen.reply.status.as_str();
        let route = self.root["paths"].get(path).filter(|route| self.is_served_by(route, listener));
        let response = match route.map(|route| route.get(request.method.to_lowercase())) {
            None => &self.root["x-other-routes"][listener],
            Some(None) => &self.root["x-other-methods"][listener],
            Some(Some(operation)) => &operation["responses"][status],
        };
        let response = self.resolve(response);
        assert!(response.is_object(), "{status} is not described: {}", seen.vector.name);
        response
    }

    fn is_served_by(&self, route: &Value, listener: &str) -> bool {
        let servers = route.get("servers").unwrap_or(&self.root["servers"]);
        servers.as_array().expect("servers").iter().any(|server| server["x-listener"] == listener)
    }

    /// Every header of the reply is described, and every required one is there.
    pub(super) fn check_headers(&self, response: &Value, seen: &Seen) {
        let none = Map::new();
        let described = response["headers"].as_object().unwrap_or(&none);
        for (name, header) in described {
            let header = self.resolve(header);
            match seen.reply.headers.get(name) {
                Some(value) => {
                    let value = json!(value.to_str().expect("ASCII"));
                    self.check(&header["schema"], &value, &format!("{name}: {}", seen.vector.name));
                }
                None => assert_ne!(header["required"], json!(true), "{name}: {}", seen.vector.name),
            }
        }
        for name in seen.reply.headers.keys() {
            let is_described = described.keys().any(|known| known.eq_ignore_ascii_case(name.as_str()));
            assert!(is_described || OF_HTTP.contains(&name.as_str()), "{name}: {}", seen.vector.name);
        }
    }
}
