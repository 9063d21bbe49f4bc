//! What a request is called: what its caller calls it, where a record has room for that, so that one id leads from a page's
//! trace over the reply and the record to the loader's line. Nothing else goes by it.

use hyper::header::HeaderMap;
use uuid::Uuid;

/// Where proxies and browsers' libraries write what they call a request.
const REQUEST_ID: &str = "x-request-id";
/// W3C Trace Context: `00-<trace, 32 digits>-<parent, 16 digits>-<flags, 2 digits>`.
const TRACEPARENT: &str = "traceparent";

/// The caller's `X-Request-Id` if it is a UUID, else the trace of its `traceparent`, which is as long; else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> Uuid {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let named = said(REQUEST_ID).and_then(digits_or_uuid);
    named.or_else(|| said(TRACEPARENT).and_then(trace_id)).unwrap_or_else(Uuid::now_v7)
}

fn digits_or_uuid(text: &str) -> Option<Uuid> {
    // The parser takes braces and URNs, too, which nobody sends.
    let id = matches!(text.len(), 32 | 36).then(|| Uuid::try_parse(text).ok())?;
    id.filter(|id| !id.is_nil())
}

fn trace_id(text: &str) -> Option<Uuid> {
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
    digits_or_uuid(trace)
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
}
