//! One batch between its headers and the log: the contract's order of errors, from the content type on.
//!
//! Nothing in here waits. What does is left to [`super::route`], and [`super::direct`] does without it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::http::request::Parts;
use tokio::time::Instant;
use uuid::Uuid;

use super::allowance::Allowance;
use super::check::{Judged, Judging};
use super::content_type::Form;
use super::lines::Stream;
use super::problem::Problem;
use super::resolve::{self, Authorized};
use super::turn::Owner;
use super::unpack::Encoding;
use crate::config::intake::Bodies;
use crate::event::{Clock, Envelope, UnixMillis};
use crate::ops::spans::SpanContext;
use crate::tenant::{Directory, Tenant};

/// What a batch is called, and when its headers arrived.
#[derive(Clone, Copy)]
pub(super) struct Receipt {
    pub(super) id: Uuid,
    /// The rows' own time. The headers' arrival, not the body's end: it is compared with when the client sent it.
    pub(super) at: UnixMillis,
    pub(super) started: Instant,
    /// What records name as their parent, where the request's span is exported.
    pub(super) span: Option<SpanContext>,
}

/// A batch as far as its headers tell.
pub(super) struct Batch {
    receipt: Receipt,
    head: Arc<Parts>,
    form: Form,
    encoding: Encoding,
    allowance: Allowance,
    /// `None`: a stranger's, until its body names a key.
    authorized: Option<Authorized>,
}

impl Batch {
    /// Reads the headers. `key` is what came of the one in `Authorization`: it is looked up before anything else, and told
    /// in its place.
    pub(super) fn open(
        receipt: Receipt,
        head: &Arc<Parts>,
        key: Result<Option<Authorized>, Problem>,
        declared_bytes: usize,
        bodies: &Bodies,
    ) -> Result<Self, Problem> {
        let form = Form::of(&head.headers)?;
        let encoding = Encoding::of(&head.headers)?;
        let allowance = match key {
            Ok(Some(_)) => Allowance::of_keyed(bodies),
            Ok(None) | Err(_) => Allowance::of_stranger(bodies),
        };
        allowance.wire.check(declared_bytes)?;
        Ok(Self { receipt, head: Arc::clone(head), form, encoding, allowance, authorized: key? })
    }

    pub(super) fn allowance(&self) -> Allowance {
        self.allowance
    }

    /// A live key in the headers, if there is nothing else in them that the batch would be refused for.
    pub(super) fn welcome(&self) -> Option<&Authorized> {
        self.authorized.as_ref().filter(|authorized| authorized.may_write(&self.head.headers))
    }

    /// Whether it is judged while it arrives. A stranger's lines are few: they are kept until they are all there, and no
    /// turn is taken for a part of them. What is packed is kept as it is sent: no decoder waits for more of it.
    pub(super) fn is_streamed(&self) -> bool {
        self.form == Form::Lines && self.encoding == Encoding::Identity && self.authorized.is_some()
    }

    /// How much work a body of this size is at most.
    pub(super) fn most_bytes(&self, wire_bytes: usize) -> usize {
        self.encoding.most_bytes(wire_bytes, self.allowance.unpacked)
    }

    /// Unpacks a whole body.
    pub(super) fn unpack(&self, wire: Bytes) -> Result<Bytes, Problem> {
        self.encoding.unpack(wire, self.allowance.unpacked)
    }

    /// Judges an unpacked body. `charge` is asked when it is known whose it is and how many events there are.
    pub(super) fn judge<C>(
        self,
        unpacked: Bytes,
        directory: &Directory,
        charge: impl FnOnce(&Tenant, usize) -> Result<C, Problem>,
    ) -> Result<(Tenant, Judged, C), Problem> {
        let envelope = match self.form {
            Form::Json => Envelope::from_json(&unpacked)?,
            Form::Protobuf => Envelope::from_protobuf(&unpacked)?,
            Form::Lines => {
                let mut stream = self.stream(directory);
                stream.feed(&unpacked);
                let (tenant, judged) = stream.finish()?;
                let charged = charge(&tenant, judged.outcomes.len())?;
                return Ok((tenant, judged, charged));
            }
        };
        let tenant = resolve::resolve(&self.head.headers, self.authorized, &envelope, directory)?;
        let charged = charge(&tenant, envelope.events.len())?;
        let clock = Clock { received_at: self.receipt.at, sent_at: envelope.sent_at };
        let mut judging = Judging::new(&tenant, self.receipt, clock);
        judging.take(&envelope.defaults, envelope.events.iter());
        Ok((tenant, judging.finish(), charged))
    }

    /// Begins to judge NDJSON, of which all or only a part may be there.
    pub(super) fn stream(self, directory: &Directory) -> Stream {
        Stream::begin(self.receipt, &self.head.headers, self.authorized, directory)
    }
}

/// In whose line the work on a request waits.
pub(super) fn owner(key: &Result<Option<Authorized>, Problem>) -> Owner {
    match key {
        Ok(Some(authorized)) => Owner::Organization(authorized.organization().id),
        Ok(None) | Err(_) => Owner::Strangers,
    }
}
