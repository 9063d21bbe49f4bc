//! Where spans go: OpenTelemetry's own variables, which whoever runs a collector sets for all of their programs alike. Without an
//! endpoint among them there are none.
//!
//! Nothing here repeats a value: a header's is a secret, and an endpoint may hold one.

mod sampler;
mod variables;

use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::{ConfigError, Faults};
pub use sampler::Sampler;
use sampler::sampler;
use variables::{Environment, Given, pairs};

const ENDPOINT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const PROTOCOL: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const COMPRESSION: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
const TIMEOUT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
/// They would be passed over in silence where somebody relies on them.
const UNSUPPORTED: [&str; 6] = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
];

/// Where spans go, and which: checked.
#[derive(Clone, Debug)]
pub struct OtlpSettings {
    /// Batches of spans are posted to it.
    pub endpoint: Uri,
    /// Sent with each. Their values print nothing.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether batches are packed with gzip.
    pub packs: bool,
    /// For one batch, however often it is tried.
    pub patience: Duration,
    /// Which traces are kept.
    pub sampler: Sampler,
    /// What is said of this process.
    pub resource: Vec<(String, String)>,
    /// How spans wait.
    pub queue: SpanQueue,
}

/// How spans wait for their batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanQueue {
    /// So many at most; more are lost.
    pub most_spans: usize,
    /// So many are posted at once.
    pub batch_spans: usize,
    /// The first of a batch waits so long for others.
    pub delay: Duration,
}

/// Whether somebody wants spans of this process.
pub fn is_asked_for() -> bool {
    OtlpSettings::from_environment().is_ok_and(|settings| settings.is_some())
}

impl OtlpSettings {
    /// Reads the environment. `None`: spans go nowhere.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_environment() -> Result<Option<Self>, Faults> {
        Self::read(&Environment(&|name| std::env::var_os(name)))
    }

    fn read(environment: &Environment<'_>) -> Result<Option<Self>, Faults> {
        let mut faults = Faults::default();
        if faults.note(is_off(environment)) == Some(true) {
            return Ok(None);
        }
        let endpoint = faults.note(endpoint(environment));
        if endpoint == Some(None) {
            return Ok(None);
        }
        for refused in UNSUPPORTED {
            faults.note(environment.first(&[refused]).and_then(refuse));
        }
        faults.note(environment.first(&PROTOCOL).and_then(check_protocol));
        let headers = faults.note(environment.first(&HEADERS).and_then(headers));
        let packs = faults.note(environment.first(&COMPRESSION).and_then(packs));
        let patience = faults.note(environment.number(&TIMEOUT, 10_000, 3_600_000));
        let sampler = faults.note(sampler(environment));
        let resource = faults.note(resource(environment));
        let queue = faults.note(queue(environment));
        let settings = || {
            Some(Self {
                endpoint: endpoint??,
                headers: headers?,
                packs: packs?,
                patience: Duration::from_millis(patience?),
                sampler: sampler?,
                resource: resource?,
                queue: queue?,
            })
        };
        faults.none_or(settings()).map(Some)
    }

    /// Where spans go, without what may be a secret.
    pub fn collector(&self) -> String {
        let (scheme, authority) = (self.endpoint.scheme_str(), self.endpoint.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        format!("{}://{authority}{}", scheme.unwrap_or_default(), self.endpoint.path())
    }
}

fn is_off(environment: &Environment<'_>) -> Result<bool, ConfigError> {
    if let Some(given) = environment.first(&["OTEL_SDK_DISABLED"])? {
        match given.text.to_ascii_lowercase().as_str() {
            "true" => return Ok(true),
            "false" => {}
            _ => return given.is_wrong("is neither true nor false"),
        }
    }
    match environment.first(&["OTEL_TRACES_EXPORTER"])? {
        Some(given) if given.text == "none" => Ok(true),
        Some(given) if given.text != "otlp" => given.is_wrong("is neither otlp nor none"),
        _ => Ok(false),
    }
}

/// The one for traces is used as it is; below the one for everything they have a place of their own.
fn endpoint(environment: &Environment<'_>) -> Result<Option<Uri>, ConfigError> {
    let Some(given) = environment.first(&ENDPOINT)? else { return Ok(None) };
    let is_for_traces = given.variable == ENDPOINT[0];
    let text = if is_for_traces {
        given.text.clone()
    } else {
        format!("{}/v1/traces", given.text.trim_end_matches('/'))
    };
    let Ok(uri) = text.parse::<Uri>() else { return given.is_wrong(NO_URL) };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return given.is_wrong(NO_URL);
    };
    match scheme {
        "https" if !cfg!(feature = "tls") => {
            return given
                .is_wrong("begins with https://, which a build without the feature `tls` does not speak");
        }
        "http" | "https" => {}
        _ => return given.is_wrong(NO_URL),
    }
    if authority.as_str().contains('@') {
        return given.is_wrong("holds a login: give it in OTEL_EXPORTER_OTLP_HEADERS");
    }
    // What is behind the host and no port is not cut off: `:99999`.
    let has_bad_port = authority.port_u16().is_none() && authority.as_str() != authority.host();
    if authority.host().is_empty() || has_bad_port { given.is_wrong(NO_URL) } else { Ok(Some(uri)) }
}

const NO_URL: &str = "is no URL such as http://127.0.0.1:4318";

fn refuse(given: Option<Given>) -> Result<(), ConfigError> {
    match given {
        Some(given) => given.is_wrong("is not supported: whom to trust is OpenSSL's to know (SSL_CERT_FILE)"),
        None => Ok(()),
    }
}

fn check_protocol(given: Option<Given>) -> Result<(), ConfigError> {
    match given {
        Some(given) if given.text != "http/protobuf" => {
            given.is_wrong("is not http/protobuf, the only one spoken here (collectors take it on port 4318)")
        }
        _ => Ok(()),
    }
}

fn packs(given: Option<Given>) -> Result<bool, ConfigError> {
    match given {
        Some(given) if given.text == "gzip" => Ok(true),
        Some(given) if given.text != "none" => given.is_wrong("is neither gzip nor none"),
        _ => Ok(false),
    }
}

/// `name=value,…`, each value escaped as in a URL.
fn headers(given: Option<Given>) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    let Some(given) = given else { return Ok(Vec::new()) };
    let header = |(name, value): (&str, String)| {
        let name = name.parse::<HeaderName>().ok()?;
        let mut value = value.parse::<HeaderValue>().ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    match pairs(&given.text).map(|pair| header(pair?)).collect() {
        Some(headers) => Ok(headers),
        None => {
            given.is_wrong("is no list of headers: name=value,name=value, special characters written %20")
        }
    }
}

fn resource(environment: &Environment<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut resource: Vec<(String, String)> =
        vec![("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    if let Some(given) = environment.first(&["OTEL_RESOURCE_ATTRIBUTES"])? {
        let Some(said) = pairs(&given.text).collect::<Option<Vec<_>>>() else {
            return given
                .is_wrong("is no list of attributes: name=value,name=value, special characters written %20");
        };
        for (name, value) in said {
            resource.retain(|(other, _)| other != name);
            resource.push((name.to_owned(), value));
        }
    }
    let named = environment.first(&["OTEL_SERVICE_NAME"])?.map(|given| given.text);
    let is_service = |(name, _): &(String, String)| name == "service.name";
    if named.is_some() || !resource.iter().any(is_service) {
        resource.retain(|attribute| !is_service(attribute));
        resource.push(("service.name".to_owned(), named.unwrap_or_else(|| "rollbook".to_owned())));
    }
    Ok(resource)
}

fn queue(environment: &Environment<'_>) -> Result<SpanQueue, ConfigError> {
    let number = |name, default, most| environment.number(&[name], default, most);
    let most_spans = number("OTEL_BSP_MAX_QUEUE_SIZE", 2_048, 1_000_000)?;
    let batch_spans = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512.min(most_spans), 100_000)?;
    let delay = number("OTEL_BSP_SCHEDULE_DELAY", 5_000, 3_600_000)?;
    if batch_spans > most_spans {
        return Err(ConfigError::Contradiction(format!(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE ({batch_spans}) must not be above OTEL_BSP_MAX_QUEUE_SIZE ({most_spans})"
        )));
    }
    let size = |spans| usize::try_from(spans).unwrap_or(usize::MAX);
    Ok(SpanQueue {
        most_spans: size(most_spans),
        batch_spans: size(batch_spans),
        delay: Duration::from_millis(delay),
    })
}

#[cfg(test)]
mod tests;
