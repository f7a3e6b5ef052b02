//! Removes what is garbage, in the background.

use std::sync::Arc;
use std::time::Duration;

use super::args::Batch;
use super::engine::Engine;
use super::operations::Reap;
use super::{Inner, millis};
use crate::clock::UnixMillis;
use crate::session::outcome::Durability;
use crate::store::health::Health;

const INTERVAL: Duration = Duration::from_secs(60);
/// While a store that is no server is down: how often it is asked whether it is up again, should
/// nobody call.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Rows removed in one statement, short enough that no writer behind it notices.
const BATCH: i64 = 500;
/// Between batches, for the writers that wait.
const PAUSE: Duration = Duration::from_millis(20);

/// Never returns.
pub(super) async fn run<E: Engine>(inner: Arc<Inner<E>>) {
    loop {
        let is_up = inner.hearing.health.current() == Health::Up;
        // The nodes of a fleet do not reap in step.
        let share = 0.5 + rand::random::<f64>();
        let pause = if is_up || E::IS_SERVER { INTERVAL.mul_f64(share) } else { PROBE_INTERVAL };
        tokio::time::sleep(pause).await;
        if E::IS_SERVER && inner.hearing.health.current() != Health::Up {
            continue;
        }
        // Whose clock is wrong may not know what it is that it removes.
        if !inner.hearing.clock.may_destroy() {
            continue;
        }
        match reap(&inner, inner.hearing.clock.now()).await {
            Ok(rows) => {
                if !E::IS_SERVER {
                    inner.hearing.health.up();
                }
                tracing::debug!(rows, "removed records that are garbage");
            }
            // A call that fails says so louder.
            Err(error) => tracing::debug!(%error, "garbage was not removed"),
        }
    }
}

/// Removes all rows that are garbage at `now`, the store's time; how many there were.
pub(super) async fn reap<E: Engine>(inner: &Inner<E>, now: UnixMillis) -> sqlx::Result<u64> {
    let mut total = 0;
    for statement in E::STATEMENTS.reap {
        let batch = Reap { statement, batch: Batch { limit: BATCH, now: millis(now) } };
        loop {
            let removed = inner.pools.for_writes(Durability::Master).perform(&batch).await?;
            total += removed;
            if removed == 0 {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(total)
}
