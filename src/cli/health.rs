//! `rollbook health`: asks a running service how it is, where no other program is there to ask it.

use std::time::Duration;

use hyper::StatusCode;

use super::{Failure, output};
use crate::config::Output;
use crate::config::ops::AdminAddr;
use crate::ops::AdminClient;
use crate::ops::chain;
use crate::ops::client::AnswerLimits;

/// The service answers from memory: one that takes longer is not well. Its body is a few roles and reasons.
const LIMITS: AnswerLimits = AnswerLimits { patience: Duration::from_secs(5), most_bytes: 64 * 1024 };

/// What `health` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Asks whether it would take work now (`/readyz`). Default: whether it makes progress (`/healthz`), which is what a
    /// restart can mend.
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    address: AdminAddr,
    /// What the service says is JSON in any case.
    #[command(flatten)]
    _output: Output,
}

impl Arguments {
    /// Prints what the service says of itself, and fails where it is not well or does not answer.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let service = AdminClient::new(self.address.admin_addr, LIMITS);
        let unanswered = |why: String| {
            Failure::new("no_answer", format!("no service answers at http://{}{path}: {why}", service.addr()))
        };
        let (status, body) = service.get(path).await.map_err(|error| unanswered(chain(&error)))?;
        let said = String::from_utf8_lossy(&body);
        match status {
            StatusCode::OK => {
                output::say(&format!("{}\n", said.trim_end()));
                Ok(())
            }
            StatusCode::SERVICE_UNAVAILABLE => Err(Failure::new("unwell", said.trim_end())),
            other => Err(unanswered(format!("what listens there answers {other}"))),
        }
    }
}
