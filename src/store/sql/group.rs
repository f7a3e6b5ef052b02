//! Replacements that wait for their turn to write, and are then written in one transaction.
//!
//! A commit costs more than the statements in it. Whoever gets the turn writes for all who wait;
//! each is told its own outcome, as though it had been written alone, in the order of arrival.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Inner;
use super::engine::{Driver, Engine};
use super::operations::{Operation, Replace};
use crate::session::outcome::Replaced;

/// The most that are written at a time: the others wait no longer than for so many.
const GROUP_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Group {
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    replace: Replace,
    answer: oneshot::Sender<sqlx::Result<Replaced>>,
}

/// Writes a replacement, with others that wait at that time.
pub(super) async fn replace<E: Engine>(
    inner: Arc<Inner<E>>,
    replace: Replace,
) -> sqlx::Result<Replaced> {
    let (answer, mut answered) = oneshot::channel();
    inner.pools.group.push(Waiting { replace, answer });
    let turn = inner.pools.write.permits.clone().acquire_owned();
    tokio::select! {
        biased;
        answer = &mut answered => return answer.map_err(gone)?,
        turn = turn => {
            let turn = turn.map_err(|_| sqlx::Error::PoolClosed)?;
            // Not part of this call, which may be given up while others wait for their answers.
            tokio::spawn(write_waiting(inner, turn));
        }
    }
    answered.await.map_err(gone)?
}

fn gone(_: oneshot::error::RecvError) -> sqlx::Error {
    sqlx::Error::WorkerCrashed
}

async fn write_waiting<E: Engine>(inner: Arc<Inner<E>>, _turn: OwnedSemaphorePermit) {
    let group = inner.pools.group.take();
    if group.is_empty() {
        return;
    }
    match tokio::time::timeout(inner.deadlines.write, write(&inner, &group)).await {
        Ok(Ok(outcomes)) => {
            for (waiting, outcome) in group.into_iter().zip(outcomes) {
                // Nobody waits for it any more where its call was given up.
                let _ = waiting.answer.send(Ok(outcome));
            }
        }
        Ok(Err(error)) => {
            let text = error.to_string();
            for waiting in group {
                let _ = waiting.answer.send(Err(sqlx::Error::Protocol(text.clone())));
            }
        }
        // All of them have met the same deadline by now.
        Err(_elapsed) => {}
    }
}

async fn write<E: Engine>(inner: &Inner<E>, group: &[Waiting]) -> sqlx::Result<Vec<Replaced>> {
    let pool = &inner.pools.write;
    let (mut connection, generation) = pool.take().await?;
    // One statement is a transaction by itself.
    let is_alone = group.len() == 1;
    if !is_alone {
        connection.run("BEGIN IMMEDIATE").await?;
    }
    let mut outcomes = Vec::with_capacity(group.len());
    for waiting in group {
        outcomes.push(waiting.replace.perform::<E>(&mut connection).await?);
    }
    if !is_alone {
        connection.run("COMMIT").await?;
    }
    pool.give_back(connection, generation);
    Ok(outcomes)
}

impl Group {
    fn push(&self, waiting: Waiting) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
    }

    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Those whose calls were given up are no longer wanted, nor known to have failed.
        waiting.retain(|waiting| !waiting.answer.is_closed());
        let count = waiting.len().min(GROUP_MAX);
        waiting.drain(..count).collect()
    }
}
