//! Removes what is garbage, in the background.

use std::sync::Arc;
use std::time::Duration;

use super::{Pools, millis};
use crate::clock::{Clock, UnixMillis};
use crate::session::outcome::Durability;
use crate::store::health::{Health, Signal};

const INTERVAL: Duration = Duration::from_secs(60);
/// While the store is down: how often it is asked whether it is up again, should nobody call.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Rows removed in one statement, short enough that no writer behind it notices.
const BATCH: i64 = 500;
/// Between batches, for the writers that wait.
const PAUSE: Duration = Duration::from_millis(20);
/// A batch of each table that collects garbage.
const REMOVALS: [&str; 3] = [
    "DELETE FROM records WHERE (tag, id) IN \
     (SELECT tag, id FROM records WHERE keep_until <= ?1 LIMIT ?2)",
    "DELETE FROM epochs WHERE tag IN (SELECT tag FROM epochs WHERE keep_until <= ?1 LIMIT ?2)",
    "DELETE FROM leases WHERE (tag, id) IN \
     (SELECT tag, id FROM leases WHERE keep_until <= ?1 LIMIT ?2)",
];

/// Never returns.
pub(super) async fn run(pools: Pools, clock: Clock, health: Arc<Signal>) {
    loop {
        let is_up = health.current() == Health::Up;
        tokio::time::sleep(if is_up { INTERVAL } else { PROBE_INTERVAL }).await;
        match reap(&pools, clock.now()).await {
            Ok(rows) => {
                health.up();
                tracing::debug!(rows, "removed records that are garbage");
            }
            // A call that fails says so louder.
            Err(error) => tracing::debug!(%error, "garbage was not removed"),
        }
    }
}

/// Removes all rows that are garbage at `now`; how many there were.
pub(super) async fn reap(pools: &Pools, now: UnixMillis) -> sqlx::Result<u64> {
    let now = millis(now);
    let mut total = 0;
    for removal in REMOVALS {
        loop {
            let batch = pools.clone().write(Durability::Master, async move |connection| {
                sqlx::query(removal).bind(now).bind(BATCH).execute(connection).await
            });
            let removed = batch.await?.rows_affected();
            total += removed;
            if removed == 0 {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(total)
}
