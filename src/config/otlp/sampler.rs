//! Which traces are kept.

use uuid::Uuid;

use super::variables::Environment;
use crate::config::ConfigError;

const SAMPLERS: &str = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or \
                        parentbased_traceidratio";

/// Which traces are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// A caller has decided already.
    follows_caller: bool,
    /// Of all others.
    share: f64,
}

impl Sampler {
    /// Whether a trace is kept, whose caller has decided so or is not known. Every process with the same settings says the same.
    pub fn keeps(self, trace: Uuid, callers: Option<bool>) -> bool {
        match callers {
            Some(kept) if self.follows_caller => kept,
            // All ids have their last bytes from chance: W3C's as ours, whose first ones tell a time and whose middle
            // a version, which would weigh on the share.
            _ => {
                let [.., a, b, c, d] = *trace.as_bytes();
                f64::from(u32::from_be_bytes([a, b, c, d])) < self.share * (f64::from(u32::MAX) + 1.0)
            }
        }
    }
}

pub(super) fn sampler(environment: &Environment<'_>) -> Result<Sampler, ConfigError> {
    let Some(given) = environment.first(&["OTEL_TRACES_SAMPLER"])? else {
        return Ok(Sampler { follows_caller: true, share: 1.0 });
    };
    let (follows_caller, kind) = match given.text.strip_prefix("parentbased_") {
        Some(kind) => (true, kind),
        None => (false, given.text.as_str()),
    };
    let share = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => share(environment)?,
        _ => return given.is_wrong(format!("is not {SAMPLERS}")),
    };
    Ok(Sampler { follows_caller, share })
}

fn share(environment: &Environment<'_>) -> Result<f64, ConfigError> {
    let Some(given) = environment.first(&["OTEL_TRACES_SAMPLER_ARG"])? else { return Ok(1.0) };
    match given.text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => given.is_wrong("is no number from 0 to 1"),
    }
}
