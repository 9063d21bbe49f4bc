//! An origin as browsers write it. They and intake compare byte by byte, so what no browser sends would keep the
//! organization's door shut without a word. The rules are those of the URL standard for `http` and `https`; names of
//! other scripts are taken in their `xn--` form alone, which is what browsers send.

use std::net::{Ipv4Addr, Ipv6Addr};

/// One word of `--origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Any,
    One(String),
}

/// Takes an origin that a browser may send, and says of another one what it would send instead.
pub(super) fn origin(text: &str) -> Result<Origin, String> {
    if text == "any" {
        return Ok(Origin::Any);
    }
    match as_browsers_write(text) {
        Some(written) if written == text => Ok(Origin::One(written)),
        Some(written) => Err(format!("browsers write this origin as `{written}`: write it so")),
        None => {
            Err("an origin is http:// or https://, a host, and a port if it is not the usual one, such as \
                     `https://a.example`; or `any`"
                .to_owned())
        }
    }
}

/// The origin of a page at this address; `None`: it is no address.
fn as_browsers_write(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://")?;
    let usual_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // The colons of an IPv6 address stand in brackets.
    let brackets = authority.find(']').map_or(0, |at| at + 1);
    let colon = authority[brackets..].find(':').map(|at| brackets + at);
    let (host, port) = authority.split_at(colon.unwrap_or(authority.len()));
    let host = host_as_browsers_write(host)?;
    match port.get(1..).map_or(Some(usual_port), |port| port_number(port, usual_port))? {
        port if port == usual_port => Some(format!("{scheme}://{host}")),
        port => Some(format!("{scheme}://{host}:{port}")),
    }
}

/// Nothing behind the colon means the usual port.
fn port_number(text: &str, usual: u16) -> Option<u16> {
    match text {
        "" => Some(usual),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().filter(|port| *port > 0),
        _ => None,
    }
}

fn host_as_browsers_write(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return address.parse().ok().map(ipv6_as_browsers_write);
    }
    let is_number = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit());
    match text.rsplit('.').next() {
        // What ends in a number is an address, or nothing.
        Some(last) if is_number(last) => text.parse::<Ipv4Addr>().ok().map(|address| address.to_string()),
        _ => (text.len() <= 253 && text.split('.').all(is_label)).then(|| text.to_owned()),
    }
}

/// `_` is none of DNS, and names that are resolved otherwise have it.
fn is_label(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Rust shows the end of some of them as an IPv4 address, browsers do not.
fn ipv6_as_browsers_write(address: Ipv6Addr) -> String {
    match (address.to_ipv4_mapped(), address.segments()) {
        (Some(_), [.., high, low]) => format!("[::ffff:{high:x}:{low:x}]"),
        (None, _) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_sends_is_taken() {
        let label = "a".repeat(63);
        for good in [
            "https://play.example.org",
            "http://localhost:5173",
            "https://a.example:80",
            "http://a.example:443",
            "http://my_app",
            "https://xn--bcher-kva.example",
            "http://127.0.0.1:8080",
            "http://[::1]",
            "http://[2001:db8::1]:8080",
            "http://[::ffff:102:304]",
            &format!("https://{label}.example"),
        ] {
            assert_eq!(origin(good), Ok(Origin::One(good.to_owned())), "{good}");
        }
        assert_eq!(origin("any"), Ok(Origin::Any));
    }

    #[test]
    fn what_it_would_send_instead_is_said() {
        for (written, instead) in [
            ("https://a.example:443", "https://a.example"),
            ("http://x:80", "http://x"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://a.example:", "https://a.example"),
            ("https://a.example:08443", "https://a.example:8443"),
            ("https://Example.org", "https://example.org"),
            ("HTTPS://a.example", "https://a.example"),
            ("https://a.example/", "https://a.example"),
            ("https://a.example/player?x#y", "https://a.example"),
            ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
            ("http://[::FFFF:1.2.3.4]", "http://[::ffff:102:304]"),
        ] {
            let said = origin(written).expect_err(written);
            assert_eq!(said, format!("browsers write this origin as `{instead}`: write it so"));
        }
    }

    #[test]
    fn what_no_page_has_as_its_origin_is_refused() {
        let long = format!("https://{}", "a".repeat(64));
        for bad in [
            "play.example.org",
            "https://",
            "https://.",
            "https://a..example",
            "https://a.example.",
            "http://a:b:c",
            "http://a:0",
            "http://a:65536",
            "http://a:+80",
            "http://[::1",
            "http://[a]",
            "http://::1",
            "http://1.2.3",
            "http://1.2.3.256",
            "https://ann@a.example",
            "https://*.example.org",
            "https://bücher.example",
            "ftp://a.example",
            "null",
            "*",
            "",
            &long,
        ] {
            let said = origin(bad).expect_err(bad);
            assert!(said.contains("such as `https://a.example`"), "{bad}: {said}");
        }
    }
}
