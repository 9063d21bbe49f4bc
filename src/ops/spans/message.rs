//! Spans as OTLP has them.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans, Status};
use prost::Message;

use super::{Kind, Span, Value};

/// W3C's flag of what is kept: of what is exported, all is.
const SAMPLED: u32 = 1;

/// Writes batches of one process.
pub(super) struct Encoder {
    resource: Resource,
    scope: InstrumentationScope,
}

impl Encoder {
    pub(super) fn new(resource: &[(String, String)]) -> Self {
        let attributes = resource.iter().map(|(name, value)| attribute(name, text(value.clone())));
        Self {
            resource: Resource { attributes: attributes.collect(), ..Resource::default() },
            scope: InstrumentationScope {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            },
        }
    }

    pub(super) fn encode(&self, spans: impl Iterator<Item = Span>) -> Vec<u8> {
        let scope_spans = ScopeSpans {
            scope: Some(self.scope.clone()),
            spans: spans.map(otlp::Span::from).collect(),
            schema_url: String::new(),
        };
        let resource_spans = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![scope_spans],
            schema_url: String::new(),
        };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
    }
}

impl From<Span> for otlp::Span {
    fn from(span: Span) -> Self {
        let kind = match span.kind {
            Kind::Server => otlp::span::SpanKind::Server,
            Kind::Consumer => otlp::span::SpanKind::Consumer,
        };
        // Every parent is another process's, or may be.
        let remote = match span.parent {
            Some(_) => {
                otlp::SpanFlags::ContextHasIsRemoteMask as u32 | otlp::SpanFlags::ContextIsRemoteMask as u32
            }
            None => 0,
        };
        let code = if span.error.is_some() {
            otlp::status::StatusCode::Error
        } else {
            otlp::status::StatusCode::Unset
        };
        let attributes = span.attributes.into_iter().map(|(name, value)| {
            attribute(
                name,
                match value {
                    Value::Text(value) => text(value.into_owned()),
                    Value::Whole(number) => any_value::Value::IntValue(number),
                },
            )
        });
        Self {
            trace_id: span.context.trace.get().to_be_bytes().to_vec(),
            span_id: span.context.span.get().to_be_bytes().to_vec(),
            parent_span_id: span
                .parent
                .map(|parent| parent.span.get().to_be_bytes().to_vec())
                .unwrap_or_default(),
            flags: SAMPLED | remote,
            name: span.name.into_owned(),
            kind: kind.into(),
            start_time_unix_nano: nanos(span.begun),
            end_time_unix_nano: nanos(span.ended),
            attributes: attributes.collect(),
            status: Some(Status { code: code.into(), message: span.error.unwrap_or_default().into_owned() }),
            ..Self::default()
        }
    }
}

fn attribute(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(value: String) -> any_value::Value {
    any_value::Value::StringValue(value)
}

/// Since 1970; a clock before it stands at its beginning.
fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
