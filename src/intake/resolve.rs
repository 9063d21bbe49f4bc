//! Who a request writes for: the key says who may, the tag says where the client believes it writes.
//!
//! A key in a header is looked up before the body is read, so that a stranger's body costs nothing. Where header and
//! body both name a key or a tag they must agree.

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, ORIGIN};

use super::problem::Problem;
use crate::event::Envelope;
use crate::tenant::{Directory, KeyHolder, Organization, ResolveError, State, Tenant, WriteKey};

const TAG: &str = "organization";

/// A live key that came in the `Authorization` header.
pub(super) struct Authorized {
    token: String,
    holder: KeyHolder,
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Starting => Self::Starting,
            ResolveError::UnknownKey => Self::UnknownKey,
            ResolveError::OrganizationMismatch => Self::OrganizationMismatch,
            ResolveError::OrganizationSuspended => Self::OrganizationSuspended,
        }
    }
}

impl Authorized {
    /// Whose key it is. What the request names has yet to agree.
    pub(super) fn organization(&self) -> &Organization {
        self.holder.organization()
    }

    /// Whether all that the headers tell speaks for taking the request.
    pub(super) fn may_write(&self, headers: &HeaderMap) -> bool {
        self.organization().state == State::Active && check_origin(headers, self.organization()).is_ok()
    }
}

/// Looks the key of the `Authorization` header up; `None` when there is no such header.
pub(super) fn authorize(headers: &HeaderMap, directory: &Directory) -> Result<Option<Authorized>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| Problem::UnknownKey)?,
        (Some(_), Some(_)) => return Err(Problem::UnknownKey),
    };
    let token = bearer(value).ok_or(Problem::UnknownKey)?;
    Ok(Some(Authorized { token: token.to_owned(), holder: look_up(token, directory)? }))
}

/// The tenant, once the body is read: both parts of the name agree, and the page may write.
pub(super) fn resolve(
    headers: &HeaderMap,
    authorized: Option<Authorized>,
    envelope: &Envelope<'_>,
    directory: &Directory,
) -> Result<Tenant, Problem> {
    let tag = agreed_tag(headers, envelope)?;
    if let (Some(header), Some(body)) = (&authorized, &envelope.key)
        && header.token.as_str() != body.as_ref()
    {
        return Err(Problem::BadEnvelope("header and body name different keys".to_owned()));
    }
    let tag = tag.ok_or(Problem::MissingOrganization)?;
    let holder = match (authorized, &envelope.key) {
        (Some(authorized), _) => authorized.holder,
        (None, Some(key)) => look_up(key, directory)?,
        (None, None) => return Err(Problem::MissingKey),
    };
    let tenant = holder.claim(&tag)?;
    check_origin(headers, tenant.organization())?;
    Ok(tenant)
}

/// `Bearer`, in any case, and what follows it (RFC 6750, 2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn look_up(token: &str, directory: &Directory) -> Result<KeyHolder, Problem> {
    let key = WriteKey::presented(token).map_err(|_| Problem::UnknownKey)?;
    Ok(directory.authenticate(&key)?)
}

/// The one tag that all headers and the body name. What is no UTF-8 is no slug, and is answered as one that nobody has.
fn agreed_tag<'a>(
    headers: &'a HeaderMap,
    envelope: &'a Envelope<'_>,
) -> Result<Option<Cow<'a, str>>, Problem> {
    let from_headers = headers.get_all(TAG).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let from_body = envelope.organization.as_deref().map(Cow::Borrowed);
    let mut tags = from_headers.chain(from_body);
    let first = tags.next();
    match tags.find(|tag| Some(tag) != first.as_ref()) {
        None => Ok(first),
        Some(_) => Err(Problem::BadEnvelope(
            "the request names different organizations, in its headers or in header and body".to_owned(),
        )),
    }
}

/// Browsers say which page a request comes from, and cannot be told to lie; other clients send no origin and pass.
fn check_origin(headers: &HeaderMap, organization: &Organization) -> Result<(), Problem> {
    let is_listed = |origin: &[u8]| {
        organization.origins.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin))
    };
    let takes_all = organization.origins.is_empty();
    if takes_all || headers.get_all(ORIGIN).iter().all(|origin| is_listed(origin.as_bytes())) {
        Ok(())
    } else {
        Err(Problem::OriginNotAllowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_a_key() {
        assert_eq!(bearer("Bearer rb_x"), Some("rb_x"));
        assert_eq!(bearer("bearer  rb_x "), Some("rb_x"));
        for text in ["", "Bearer", "rb_x", "Basic rb_x", "Bearerrb_x"] {
            assert_eq!(bearer(text), None, "{text:?}");
        }
    }
}
