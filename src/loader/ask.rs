//! A question to Postgres beside the lanes' own work.
//!
//! The one place where such a question borrows its connection, is waited for no longer than it may take, compares which
//! server answers, gives the connection back, and tells the loader's condition what came of it. A question that told only
//! of outages, and never of their end, left a loader without work unready for ever.

use std::time::Duration;

use tokio_postgres::Client;

use super::server::{ServerIdentity, Use};
use super::writer::Refusal;
use super::{Condition, Shared};
use crate::store::Pool;

/// A server that is frozen, or gone without a word, says nothing: then the question is dropped, with its connection. How long
/// a connection is waited for, the pool says.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the server that the loader began with has not answered.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Postgres cannot be used now. The condition has been told.
    Lost,
    /// Another server answers: what the loader remembers is worth nothing.
    OtherServer,
}

/// Asks whichever server is there.
///
/// # Errors
/// Why it has not answered; the condition has been told.
///
/// # Cancel safety
/// Dropping the future closes the connection; what was asked may have been done all the same.
pub(super) async fn ask<T>(
    pool: &Pool,
    condition: &Condition,
    what_for: Use,
    question: impl AsyncFnOnce(&mut Client) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let asked = async {
        let mut client = pool.get().await?;
        let answer = in_time(question(&mut client)).await?;
        client.give_back();
        Ok(answer)
    };
    let answer: Result<T, Refusal> = asked.await;
    match &answer {
        Ok(_) => condition.server.answered(what_for),
        Err(refusal) => condition.server.lost(what_for, refusal.reason()),
    }
    answer
}

/// The answer, if it comes in time.
pub(super) async fn in_time<T, E: Into<Refusal>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(Refusal::Server(format!("it has not answered within {} s", PATIENCE.as_secs()))),
    }
}

impl Shared {
    /// Reads something from the server that the loader began with. What builds on the answer and a pooler could move to
    /// another server meanwhile has to compare in its own transaction, too.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub(super) async fn read<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, Refusal>,
    ) -> Result<T, Unanswered> {
        let asked = ask(&self.pool, &self.condition, Use::Reading, async |client: &mut Client| {
            if ServerIdentity::of(&*client).await? != self.identity {
                return Ok(None);
            }
            question(client).await.map(Some)
        });
        match asked.await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Unanswered::OtherServer),
            Err(_) => Err(Unanswered::Lost),
        }
    }
}
