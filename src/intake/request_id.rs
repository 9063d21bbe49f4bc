//! What a request is called: what its caller calls it, where a record has room for that, so that one id leads from a page's
//! trace over the reply and the record to the loader's line. Nothing else goes by it.

use hyper::header::HeaderMap;
use uuid::Uuid;

use crate::ops::spans::{Caller, SpanContext};

/// Where proxies and browsers' libraries write what they call a request.
const REQUEST_ID: &str = "x-request-id";
/// W3C Trace Context: `00-<trace, 32 digits>-<parent, 16 digits>-<flags, 2 digits>`.
const TRACEPARENT: &str = "traceparent";
/// The flag of a caller that keeps its trace.
const SAMPLED: u8 = 1;

/// The caller's `X-Request-Id` if it is a UUID, else the trace of its `traceparent`, which is as long; else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> Uuid {
    let named = said(headers, REQUEST_ID).and_then(digits_or_uuid);
    let traced = || Some(Traceparent::parse(said(headers, TRACEPARENT)?)?.trace);
    named.or_else(traced).unwrap_or_else(Uuid::now_v7)
}

/// The caller's span, as its `traceparent` names it.
pub(super) fn caller(headers: &HeaderMap) -> Option<Caller> {
    let Traceparent { trace, parent, flags } = Traceparent::parse(said(headers, TRACEPARENT)?)?;
    Some(Caller { context: SpanContext::new(trace, parent)?, is_sampled: flags & SAMPLED != 0 })
}

fn said<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn digits_or_uuid(text: &str) -> Option<Uuid> {
    // The parser takes braces and URNs, too, which nobody sends.
    let id = matches!(text.len(), 32 | 36).then(|| Uuid::try_parse(text).ok())?;
    id.filter(|id| !id.is_nil())
}

struct Traceparent {
    trace: Uuid,
    parent: u64,
    flags: u8,
}

impl Traceparent {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version, trace, parent, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let is_hex = |part: &str, digits: usize| {
            part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        // A later version may say more behind these four.
        let is_known = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !(is_known && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2)) {
            return None;
        }
        Some(Self {
            trace: digits_or_uuid(trace)?,
            parent: u64::from_str_radix(parent, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn called(headers: &[(&'static str, &str)]) -> String {
        let header = |(name, value): &(&'static str, &str)| {
            (hyper::header::HeaderName::from_static(name), value.parse().expect("a value"))
        };
        request_id(&headers.iter().map(header).collect()).simple().to_string()
    }

    #[test]
    fn the_callers_own_id_comes_before_its_traces() {
        assert_eq!(called(&[(REQUEST_ID, ID)]), ID);
        assert_eq!(called(&[(REQUEST_ID, "0AF76519-16CD-43DD-8448-EB211C80319C")]), ID);
        assert_eq!(called(&[(TRACEPARENT, TRACE)]), ID);
        let other = "019aae9c2b3f7d519c336d1f0b2a4e57";
        assert_eq!(called(&[(TRACEPARENT, TRACE), (REQUEST_ID, other)]), other);
        assert_eq!(called(&[(TRACEPARENT, TRACE), (REQUEST_ID, "page-7")]), ID);
        assert_eq!(called(&[(TRACEPARENT, &TRACE.replacen("00", "cc", 1)), (REQUEST_ID, "")]), ID);
        assert_eq!(called(&[(TRACEPARENT, &format!("cc{}-more", &TRACE[2..]))]), ID);
    }

    #[test]
    fn what_a_record_has_no_room_for_is_passed_over() {
        let nil = "0".repeat(32);
        let named = ["", "page-7", "{0af7651916cd43dd8448eb211c80319c}", &ID[1..], &nil, "é"];
        for said in named {
            assert!(is_new(&called(&[(REQUEST_ID, said)])), "{said}");
        }
        let traced = [
            "",
            ID,
            &TRACE.to_uppercase(),
            &TRACE.replacen("00", "ff", 1),
            &TRACE.replace(ID, &nil),
            &TRACE.replace("-b7", "-z7"),
            &TRACE[..TRACE.len() - 1],
            &format!("{TRACE}-more"),
        ];
        for said in traced {
            assert!(is_new(&called(&[(TRACEPARENT, said)])), "{said}");
        }
    }

    fn is_new(id: &str) -> bool {
        id.parse::<Uuid>().expect("a UUID").get_version_num() == 7
    }

    #[test]
    fn a_callers_span_is_that_of_its_traceparent_whatever_the_request_is_called() {
        let of = |text: &str| {
            let headers = [(REQUEST_ID, "019aae9c2b3f7d519c336d1f0b2a4e57"), (TRACEPARENT, text)];
            let header = |(name, value): (&'static str, &str)| {
                (hyper::header::HeaderName::from_static(name), value.parse().expect("a value"))
            };
            caller(&headers.into_iter().map(header).collect())
        };
        let trace: Uuid = ID.parse().expect("a UUID");
        let context = SpanContext::new(trace, 0xb7ad_6b71_6920_3331).expect("a span");
        assert_eq!(of(TRACE), Some(Caller { context, is_sampled: true }));
        for (flags, is_sampled) in [("-00", false), ("-02", false), ("-03", true), ("-ff", true)] {
            let said = of(&TRACE.replace("-01", flags));
            assert_eq!(said.map(|caller| caller.is_sampled), Some(is_sampled), "{flags}");
        }
        for none in ["", "page-7", &TRACE.replace("b7ad6b7169203331", "0000000000000000")] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
