//! Where intake listens.

use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Scheme;

const ROUTE: &str = "/v1/events";

/// The address that batches are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct IntakeUrl(Uri);

impl IntakeUrl {
    pub(in crate::cli) fn uri(&self) -> &Uri {
        &self.0
    }
}

/// Takes the base of a URL, with or without the route of intake.
impl FromStr for IntakeUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no_url = || "not a URL such as http://127.0.0.1:8080".to_owned();
        let uri: Uri = text.parse().map_err(|_| no_url())?;
        let scheme = uri.scheme().ok_or_else(no_url)?;
        if scheme == &Scheme::HTTPS {
            let why = "is an https URL: TLS ends at the load balancer, name intake's own http port behind it";
            return Err(why.to_owned());
        }
        let authority = uri.authority().filter(|_| scheme == &Scheme::HTTP).ok_or_else(no_url)?;
        let base = uri.path().trim_end_matches('/');
        let base = base.strip_suffix(ROUTE).unwrap_or(base);
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority.clone())
            .path_and_query(format!("{base}{ROUTE}"))
            .build()
            .map(Self)
            .map_err(|_| no_url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_is_added_where_it_is_missing() {
        for (text, uri) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/events"),
            ("http://intake/", "http://intake/v1/events"),
            ("http://intake/v1/events", "http://intake/v1/events"),
            ("http://[::1]:8080/rollbook/", "http://[::1]:8080/rollbook/v1/events"),
        ] {
            assert_eq!(text.parse::<IntakeUrl>().map(|url| url.uri().to_string()), Ok(uri.to_owned()));
        }
    }

    #[test]
    fn anything_but_http_is_refused() {
        for text in ["", "127.0.0.1:8080", "intake", "/v1/events", "ftp://intake", "http://"] {
            let why = text.parse::<IntakeUrl>().expect_err(text);
            assert_eq!(why, "not a URL such as http://127.0.0.1:8080");
        }
        assert!("https://intake".parse::<IntakeUrl>().expect_err("https").contains("load balancer"));
    }
}
