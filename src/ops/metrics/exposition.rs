//! `/metrics` in the form that the scraper asks for: Prometheus's text or OpenMetrics, plain or gzip.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use hyper::{HeaderMap, Response};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The reply to a scrape with these headers.
pub fn reply(text: String, asked: &HeaderMap) -> Response<Full<Bytes>> {
    let (content_type, body) = match accepts(asked, ACCEPT, "application/openmetrics-text") {
        true => (OPEN_METRICS, open_metrics(&text)),
        false => (TEXT, text),
    };
    let packed = accepts(asked, ACCEPT_ENCODING, "gzip").then(|| gzip(body.as_bytes())).flatten();
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if packed.is_some() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    *response.body_mut() = Full::new(packed.map_or_else(|| body.into(), Bytes::from));
    response
}

/// Whether a header lists this, and not with a weight of 0, which means never.
fn accepts(asked: &HeaderMap, header: HeaderName, wanted: &str) -> bool {
    let lists = asked.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        is_it && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

/// The same samples: a counter's family is named without `_total`, no line is empty, and the last one says so.
fn open_metrics(text: &str) -> String {
    let mut open = String::with_capacity(text.len() + 8);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) => {
                let family = name.strip_suffix("_total").unwrap_or(name);
                open.extend(["# ", what, " ", family, " ", rest]);
            }
            _ => open.push_str(line),
        }
        open.push('\n');
    }
    open.push_str("# EOF\n");
    open
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(body).ok()?;
    packed.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_zero_is_a_refusal() {
        let asked = |list: &str| {
            let value = HeaderValue::from_str(list).expect("a header");
            accepts(&HeaderMap::from_iter([(ACCEPT_ENCODING, value)]), ACCEPT_ENCODING, "gzip")
        };
        assert!(asked("gzip") && asked("br, GZIP;q=0.5"));
        assert!(!asked("gzip;q=0") && !asked("br") && !asked("xgzip") && !asked(""));
    }

    #[test]
    fn open_metrics_names_families_without_the_suffix_of_their_samples() {
        let text =
            "# HELP a_total What.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n\n# TYPE d gauge\nd 2\n\n";
        let open = "# HELP a What.\n# TYPE a counter\na_total{b=\"c\"} 1\n# TYPE d gauge\nd 2\n# EOF\n";
        assert_eq!(open_metrics(text), open);
    }
}
