//! An error in one line, with what caused it.

use std::error::Error;

/// An error, and behind it each cause that says something new: libraries repeat their cause in their own words, OpenSSL's
/// twice.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Because(&'static str, #[source] Option<Box<Because>>);

    #[test]
    fn a_cause_is_said_once_however_often_it_is_repeated() {
        let root = Because("the certificate has expired", None);
        let session = Because("the handshake failed: the certificate has expired", Some(Box::new(root)));
        let driver = Because("TLS", Some(Box::new(session)));
        assert_eq!(chain(&driver), "TLS: the handshake failed: the certificate has expired");
    }
}
