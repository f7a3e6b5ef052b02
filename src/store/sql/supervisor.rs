//! Keeps a connection to the database for itself: over it the link is proved that the cache relies
//! on, and a server is found to be down or up again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::Inner;
use super::engine::{Engine, Role, Unready};
use super::pool::CONNECT_DEADLINE;

/// How long bringing the tables up to date may take, with the wait for a node that does so.
const PREPARE_DEADLINE: Duration = Duration::from_secs(30);
/// Pauses between attempts.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The same, where the operator has to act.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// A connection that lived so long is followed by one at once.
const LIFE: Duration = Duration::from_secs(5);

/// Why there is no connection.
pub(super) enum Cause {
    /// The operator has to act.
    Refused(String),
    Failed(String),
}

/// Never returns.
pub(super) async fn run<E: Engine>(inner: Arc<Inner<E>>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let began = Instant::now();
        let cause = live(&inner).await;
        inner.hearing.end();
        if E::IS_SERVER {
            inner.pools.clear();
        }
        if began.elapsed() >= LIFE {
            backoff = BACKOFF_MIN;
        }
        let pause = match &cause {
            Cause::Refused(_) => REFUSED_PAUSE,
            Cause::Failed(_) => backoff,
        };
        let (Cause::Refused(text) | Cause::Failed(text)) = cause;
        if E::IS_SERVER {
            inner.hearing.health.down(&text);
        } else {
            // Whether calls fail too is for them to say.
            tracing::debug!(cause = text, engine = E::NAME, "changes are not heard of");
        }
        sleep(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Connects and hears of changes until that fails.
async fn live<E: Engine>(inner: &Inner<E>) -> Cause {
    let connection = match reach(&*inner.engine).await {
        Ok(connection) => connection,
        Err(cause) => return cause,
    };
    tokio::select! {
        cause = inner.engine.watch(connection, &inner.hearing) => Cause::Failed(cause),
        () = inner.pools.tend(&inner.deadlines) => Cause::Failed("ended".to_owned()),
    }
}

/// A connection to a database whose tables are up to date.
pub(super) async fn reach<E: Engine>(engine: &E) -> Result<E::Connection, Cause> {
    let made = timeout(CONNECT_DEADLINE, engine.connect(Role::Heart)).await;
    let mut connection = match made {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(Cause::Failed(E::explained(&error))),
        Err(_elapsed) => return Err(late("connection", CONNECT_DEADLINE)),
    };
    match timeout(PREPARE_DEADLINE, engine.prepare(&mut connection)).await {
        Ok(Ok(())) => Ok(connection),
        Ok(Err(Unready::Refused(reason))) => Err(Cause::Refused(reason)),
        Ok(Err(Unready::Failed(error))) => Err(Cause::Failed(E::explained(&error))),
        Err(_elapsed) => Err(late("answer about its tables", PREPARE_DEADLINE)),
    }
}

fn late(what: &str, deadline: Duration) -> Cause {
    Cause::Failed(format!("no {what} within {deadline:?}"))
}
