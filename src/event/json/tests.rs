use proptest::prelude::*;
use serde_json::{Map, Value as Tree};

use super::*;

/// The one value that `text` is.
fn value(text: &str) -> Option<Value<'_>> {
    Walker { text, at: 0 }.value()
}

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
    fn the_scan_takes_what_serde_json_takes_and_nothing_else(
        json in any_json(),
        spacious: bool,
        at: prop::sample::Index,
        damage in "(?s)([\"\\\\{}\\[\\],:u0-9eE.+tfn\\- \u{0}-\u{1f}]|.){0,2}",
        noise in "(?s)([\"\\\\{}\\[\\],:u0-9eE.+tfn\\- ]|.){0,12}",
    ) {
        let whole = if spacious { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) };
        let whole = escaped(&whole.expect("json"));
        let mut damaged = whole.clone();
        let at = at.index(damaged.len());
        damaged.replace_range(at..(at + 1).min(damaged.len()), &damage);
        for text in [whole, damaged, noise.clone(), format!("[{noise}]"), format!("\"{noise}\"")] {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            let ours = Scanner::whole(&text);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}", text);
            if let Ok(theirs) = theirs {
                prop_assert_eq!(ours.ok(), value(theirs.get()), "{:?}", text);
            }
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

#[test]
fn what_is_nearly_json_is_not() {
    for text in [
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "[}",
        "{]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{,}",
        r#"{"a":1,}"#,
        r#"{"a"}"#,
        r#"{"a":}"#,
        "{1:2}",
        r#"{"a":1 "b":2}"#,
        "[[]",
        "[]]",
        "01",
        "-",
        "-01",
        "+1",
        ".5",
        "1.",
        "1.e3",
        "1e",
        "1e+",
        "0x1",
        "1_0",
        "tru",
        "truee",
        "nul",
        "True",
        "NaN",
        "'a'",
        "\"",
        r#""\"#,
        r#""\x""#,
        r#""\u12""#,
        r#""\u12g4""#,
        "\"\t\"",
        "\"\u{1f}\"",
        "\"a\u{0}\"",
        "1 1",
        "[1]x",
        "\u{feff}1",
        "\u{a0}1",
        "[\"]",
        "/**/1",
        "[1,\u{b}2]",
    ] {
        assert_eq!(Scanner::whole(text), Err(NotJson), "{text}");
        assert!(serde_json::from_str::<&serde_json::value::RawValue>(text).is_err(), "{text}");
    }
    let deep = 1_000_000;
    assert!(Scanner::whole(&("[".repeat(deep) + &"]".repeat(deep))).is_ok());
    assert_eq!(Scanner::whole(&("[{".repeat(deep) + &"]}".repeat(deep))), Err(NotJson));
}
