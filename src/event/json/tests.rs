use proptest::prelude::*;
use serde_json::{Map, Value as Tree};

use super::*;

/// What `serde_json` would build, built from what the walker finds.
fn tree(value: Value<'_>) -> Tree {
    let text = |text: Text<'_>| text.read().expect("no lone surrogates in a tree").into_owned();
    match value {
        Value::Null => Tree::Null,
        Value::Bool(is) => Tree::Bool(is),
        Value::Number(token) => serde_json::from_str(token).expect("a number"),
        Value::Text(inner) => Tree::String(text(inner)),
        Value::List(list) => elements(list).map(tree).collect(),
        Value::Object(object) => {
            members(object).map(|(key, inner)| (text(key), tree(inner))).collect::<Map<_, _>>().into()
        }
        other => panic!("{other:?} does not come from JSON"),
    }
}

fn any_json() -> impl Strategy<Value = Tree> {
    let text =
        || "(?s)([\"\\\\/{}\\[\\],:]|.){0,12}".prop_filter("Postgres text", |text| !text.contains('\0'));
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        any::<f64>().prop_map(Tree::from),
        text().prop_map(Tree::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Tree::from),
            proptest::collection::btree_map(text(), inner, 0..6)
                .prop_map(|members| Tree::Object(members.into_iter().collect())),
        ]
    })
}

fn depth_of(tree: &Tree) -> usize {
    match tree {
        Tree::Array(list) => 1 + list.iter().map(depth_of).max().unwrap_or(0),
        Tree::Object(members) => 1 + members.values().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}

/// Every character of `json` outside of ASCII as an escape.
fn escaped(json: &str) -> String {
    let mut units = [0; 2];
    let escape = |character: char| match character {
        '\0'..='\x7f' => character.to_string(),
        _ => character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")).collect(),
    };
    json.chars().map(escape).collect()
}

proptest! {
    #[test]
    fn the_walk_agrees_with_serde_json(expected in any_json()) {
        let compact = serde_json::to_string(&expected).expect("json");
        let spacious = serde_json::to_string_pretty(&expected).expect("json");
        for text in [&compact, &spacious, &escaped(&compact), &format!(" \t{compact}\r\n")] {
            // Not `expected` itself: `serde_json` reads some floats back a little off.
            let theirs: Tree = serde_json::from_str(text).expect("json");
            prop_assert_eq!(value(text).map(tree), Some(theirs), "{}", text);
            prop_assert_eq!(depth(text), depth_of(&expected), "{}", text);
        }
    }

    #[test]
    fn text_that_is_not_json_is_no_panic(text in "(?s)([\"\\\\{}\\[\\],:u0-9 ]|.){0,40}") {
        if let Some(found) = value(&text) {
            let _any = format!("{found:?}");
        }
        for (key, inner) in members(&text) {
            let _any = (key.show(), inner);
        }
        let _any = (elements(&text).count(), depth(&text));
    }
}

#[test]
fn repeated_keys_come_repeatedly_and_in_order() {
    let found: Vec<_> = members(r#" {"a":1, "b" :[1,{"a":2}],"\u0061":{} } "#).collect();
    assert_eq!(
        found,
        [
            (Text::Plain("a"), Value::Number("1")),
            (Text::Plain("b"), Value::List(r#"[1,{"a":2}]"#)),
            (Text::Escaped(r"\u0061"), Value::Object("{}")),
        ]
    );
    assert_eq!(elements(" [ ] ").count(), 0);
    assert_eq!(members("{ }").count(), 0);
}

#[test]
fn strings_end_where_they_end() {
    for length in 0..40 {
        let inside = "x".repeat(length);
        for (inside, escapes) in
            [(inside.clone(), false), (format!(r#"\\{inside}\""#), true), (format!(r"{inside}\\"), true)]
        {
            let text = format!("\"{inside}\"");
            let expected = if escapes { Text::Escaped(&inside) } else { Text::Plain(&inside) };
            assert_eq!(value(&text), Some(Value::Text(expected)), "{text}");
        }
    }
}
