//! What intake answers, as far as a client has to understand it.

use serde::Deserialize;

/// The body of a 200.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(in crate::cli) struct Reply {
    pub(in crate::cli) accepted: usize,
    pub(in crate::cli) duplicate: usize,
    pub(in crate::cli) rejected: usize,
    pub(in crate::cli) retry: usize,
    pub(in crate::cli) results: Vec<EventResult>,
}

/// What became of one event.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(in crate::cli) struct EventResult {
    pub(in crate::cli) index: usize,
    pub(in crate::cli) verdict: Verdict,
    pub(in crate::cli) code: Option<String>,
    pub(in crate::cli) message: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Verdict {
    Accepted,
    Duplicate,
    Rejected,
    Retry,
}

/// The body of any other status.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Problem {
    pub(in crate::cli) code: String,
    #[serde(default)]
    pub(in crate::cli) detail: String,
}

impl Reply {
    /// Reads the reply to a batch of so many events.
    ///
    /// # Errors
    /// It is not such a reply, or its counts do not agree with the batch or with each other: then nobody knows what
    /// became of which event.
    pub(in crate::cli) fn parse(body: &[u8], events: usize) -> Result<Self, String> {
        let reply: Self =
            serde_json::from_slice(body).map_err(|error| format!("the reply cannot be read: {error}"))?;
        let counted = reply.accepted + reply.duplicate + reply.rejected + reply.retry;
        let to_retry = reply.to_retry();
        let is_complete = counted == events
            && to_retry.len() == reply.retry
            && to_retry.is_sorted_by(|one, next| one < next)
            && to_retry.iter().all(|index| *index < events);
        if is_complete {
            Ok(reply)
        } else {
            Err(format!("the reply does not add up to the {events} events sent"))
        }
    }

    /// The places of the events that are to be sent again.
    pub(in crate::cli) fn to_retry(&self) -> Vec<usize> {
        self.with(Verdict::Retry).map(|result| result.index).collect()
    }

    /// The events that got this verdict, as far as the reply lists them.
    pub(in crate::cli) fn with(&self, verdict: Verdict) -> impl Iterator<Item = &EventResult> {
        self.results.iter().filter(move |result| result.verdict == verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_the_contract_is_read() {
        let body = br#"{"request_id":"r","received_at":"2026-11-22T21:48:20.123Z","accepted":1,"duplicate":0,"rejected":1,
            "retry":1,"results":[{"index":0,"id":null,"verdict":"rejected","code":"bad_type","field":"id","message":"m"},
            {"index":2,"id":"i","verdict":"retry","code":"unavailable","field":null,"message":"m"}]}"#;
        let reply = Reply::parse(body, 3).expect("in order");
        assert_eq!(reply.to_retry(), [2]);
        assert!(Reply::parse(body, 4).is_err());
        assert!(Reply::parse(b"<html>", 3).is_err());
    }

    #[test]
    fn a_reply_that_does_not_say_which_events_to_send_again_is_none() {
        let body = br#"{"accepted":0,"duplicate":0,"rejected":0,"retry":1,"results":[]}"#;
        assert!(Reply::parse(body, 1).is_err());
    }
}
