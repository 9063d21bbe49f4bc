//! Events made from the table: whatever it allows is accepted, and a record gives it back.

use proptest::prelude::*;

use super::super::table::{COMMON, EventType, Presence};
use super::any::{any_members, as_json};
use super::*;
use crate::log::record::{RecordBuilder, RecordView};
use crate::tenant::OrganizationId;

proptest! {
    #[test]
    fn what_the_table_allows_is_accepted_and_survives_a_record((event_type, members) in any_members()) {
        let json = as_json(&members);
        prop_assume!(json.len() <= 16_384);
        with_accepted(&json, |event| {
            assert_eq!(event.type_name, event_type.name);
            expect_details(&event, event_type, &members);
            let mut builder = RecordBuilder::new(OrganizationId(Uuid::nil()), Uuid::nil(), NOW);
            builder.push(&event);
            let record = builder.finish().remove(0);
            let view = RecordView::parse(&record.bytes).expect("a record of ours");
            assert_eq!(view.events().collect::<Vec<_>>(), [Ok(event)]);
        });
    }

    #[test]
    fn leaving_a_required_field_out_is_told((event_type, members) in any_members()) {
        for field in COMMON.iter().chain(event_type.fields) {
            if matches!(field.presence, Presence::Optional) {
                continue;
            }
            let rest: Vec<_> = members.iter().filter(|(name, _)| *name != field.name).cloned().collect();
            let json = as_json(&rest);
            prop_assume!(json.len() <= 16_384);
            let refusal = refusal(&json);
            prop_assert_eq!((refusal.code, refusal.field.as_deref()), (RefusalCode::MissingField, Some(field.name)));
        }
    }

    #[test]
    fn a_field_of_another_type_is_unknown((event_type, mut members) in any_members(), at: prop::sample::Index) {
        let foreign: Vec<_> = NAMES
            .iter()
            .filter(|name| !COMMON.iter().chain(event_type.fields).any(|field| field.name == **name))
            .collect();
        let name = foreign[at.index(foreign.len())];
        members.push((name, "null".to_owned()));
        let json = as_json(&members);
        prop_assume!(json.len() <= 16_384);
        let refusal = refusal(&json);
        prop_assert_eq!((refusal.code, refusal.field.as_deref()), (RefusalCode::UnknownField, Some(*name)));
    }

    #[test]
    fn any_body_is_no_panic(bytes: Vec<u8>, text in "(?s)([\"\\\\{}\\[\\],:u0-9 \n]|.){0,60}") {
        for body in [&bytes[..], text.as_bytes(), format!("{{\"events\":[{text}]}}").as_bytes()] {
            let readings = [Envelope::from_json(body), Envelope::from_ndjson(body), Envelope::from_protobuf(body)];
            for envelope in readings.into_iter().flatten() {
                prop_assert_eq!(check_batch(&envelope, clock()).len(), envelope.events.len());
            }
        }
    }

    #[test]
    fn lines_that_arrive_in_pieces_are_cut_as_the_whole_is(
        lines in proptest::collection::vec("(?s)[ \t\r{}\"a0é]{0,6}|.{0,3}", 0..8),
        damage in proptest::option::of(any::<prop::sample::Index>()),
        piece in 1..9_usize,
    ) {
        let mut body = lines.join("\n").into_bytes();
        if let (Some(at), false) = (damage, body.is_empty()) {
            let at = at.index(body.len());
            body[at] = 0xff;
        }
        let (mut cutter, mut events) = (Lines::default(), Vec::new());
        let cut = body.chunks(piece).try_for_each(|piece| cutter.feed(piece, |event| events.push(shown(event))));
        let cut = cut.and_then(|()| cutter.finish(|event| events.push(shown(event))));
        match Envelope::from_ndjson(&body) {
            Ok(envelope) => {
                prop_assert_eq!(cut, Ok(()));
                prop_assert_eq!(events, envelope.events.iter().map(shown).collect::<Vec<_>>());
            }
            Err(error) => prop_assert_eq!(cut, Err(error)),
        }
    }

    #[test]
    fn a_damaged_event_is_no_panic((_, members) in any_members(), at: prop::sample::Index, byte in 0x20..0x7f_u8) {
        let mut json = as_json(&members).into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        let body = [b"{\"events\":[", &json[..], b"]}"].concat();
        for envelope in [Envelope::from_json(&body), Envelope::from_ndjson(&json)].into_iter().flatten() {
            prop_assert_eq!(check_batch(&envelope, clock()).len(), envelope.events.len());
        }
    }

    /// Whoever hands us text that is no JSON has broken a promise, but nothing else breaks.
    #[test]
    fn text_that_was_not_validated_is_no_panic(text in "(?s)\\{([\"\\\\{}\\[\\],:u0-9 ]|.){0,60}") {
        let envelope = raw([RawEvent::Json(&text), RawEvent::NotJson(&text)]);
        prop_assert_eq!(check_batch(&envelope, clock()).len(), 2);
    }

    /// Two ways to one verdict: the scan's notes, and the walk over the text alone.
    #[test]
    fn the_scan_and_the_walk_give_the_same_verdicts(
        (_, mut members) in any_members(),
        more in proptest::option::of((any::<prop::sample::Index>(), any::<bool>())),
        damage in proptest::option::of((any::<prop::sample::Index>(), 0x20..0x7f_u8)),
    ) {
        if let Some((at, is_strange)) = more {
            // Once more, or what no field has.
            let again = members[at.index(members.len())].clone();
            members.push(if is_strange { ("strange", again.1) } else { again });
        }
        let mut json = as_json(&members).into_bytes();
        if let Some((at, byte)) = damage {
            let at = at.index(json.len());
            json[at] = byte;
        }
        let body = [b"{\"viewer_id\":\"v\",\"events\":[", &json[..], b", ", &json[..], b" ]}"].concat();
        if let Ok(scanned) = Envelope::from_json(&body) {
            let texts = scanned.events.iter().map(|event| match event {
                RawEvent::Scanned(scanned) => RawEvent::Json(scanned.text),
                raw => raw,
            });
            let walked = Envelope { defaults: scanned.defaults.clone(), ..raw(texts) };
            prop_assert_eq!(check_batch(&scanned, clock()), check_batch(&walked, clock()));
        }
    }
}

fn raw<'a>(events: impl IntoIterator<Item = RawEvent<'a>>) -> Envelope<'a> {
    let mut envelope = Envelope::default();
    events.into_iter().for_each(|event| envelope.events.push(event));
    envelope
}

/// An event by its text, whatever was found in it.
fn shown(event: RawEvent<'_>) -> String {
    match event {
        RawEvent::Scanned(scanned) => format!("{:?}", RawEvent::Json(scanned.text)),
        raw => format!("{raw:?}"),
    }
}

/// `details` has exactly the fields without a column, each as it was sent.
fn expect_details(event: &Event<'_>, event_type: &EventType, members: &[(&str, String)]) {
    let mut expected = serde_json::Map::new();
    for field in event_type.fields.iter().chain(&COMMON) {
        let sent = members.iter().find(|(name, value)| *name == field.name && value != "null");
        let sent = sent.filter(|(_, value)| value != "{}");
        if let (Some((name, value)), false) = (sent, field.kind.has_column()) {
            expected.insert((*name).to_owned(), serde_json::from_str(value).expect("json"));
        }
    }
    let details = event.details.as_deref().map(|text| serde_json::from_str(text).expect("details are JSON"));
    assert_eq!(details, (!expected.is_empty()).then_some(serde_json::Value::Object(expected)));
}
