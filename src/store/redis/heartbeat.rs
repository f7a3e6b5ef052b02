//! The heartbeat: finds out which connections no longer answer, whether the server still is a
//! master, and whether its replicas still confirm; and proves links by what was answered.
//!
//! Each connection is asked again a beat after it was last asked, or when it has answered, whichever
//! is later. On those for look-ups what `probe` says: its answer proves the link as of when it was sent. On
//! the one for writes ROLE, so that a master that was demoted is left within a beat.
//!
//! Where replicas must confirm, a beat on the durable connection writes a small key and waits until
//! so many have it: for each runtime four small writes per lease in the stream of replication. A
//! master that was cut off from its replicas gets no such answer, and is not served from for longer
//! than the lease, whatever else it answers: the replicas may have another master by now.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use redis::{Cmd, RedisResult};
use tokio::time::{sleep_until, timeout, timeout_at};

use super::cause::Cause;
use super::connection::{Connections, Line, Role, Terms, role};

const EVERY_MIN: Duration = Duration::from_millis(10);
const EVERY_MAX: Duration = Duration::from_millis(250);
const BEATS_PER_LEASE: u32 = 4;
/// How long a connection may owe an answer before it is given up.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long before another is preferred.
const SLOW: Duration = Duration::from_millis(100);
/// How long a confirmation of the beat is waited for, on a connection that others wait for.
const CONFIRM_MAX: Duration = Duration::from_millis(100);
/// What the replicas must confirm where a lease is no measure.
const LEASE_DEFAULT: Duration = Duration::from_secs(1);
/// The beat's key is written again long before.
const KEEP: Duration = Duration::from_secs(60);

/// How often, and how long answers may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heartbeat {
    pub(super) every: Duration,
    pub(super) patience: Duration,
    /// How old a confirmation by replicas may be, and a proof of a link.
    pub(super) lease: Duration,
}

impl Heartbeat {
    /// For links that are relied on for `lease` after a proof; zero where none are.
    pub(super) fn of_lease(lease: Duration) -> Self {
        let lease = if lease.is_zero() { LEASE_DEFAULT } else { lease };
        let every = (lease / BEATS_PER_LEASE).clamp(EVERY_MIN, EVERY_MAX);
        Self { every, patience: PATIENCE, lease }
    }
}

/// Asks until nothing is left to ask, or the caller has heard enough: what is found out is in the
/// connections and their fault.
pub(super) async fn watch_over(connections: &Connections, terms: &Terms) -> Infallible {
    let [read, other] = &connections.reads;
    tokio::join!(
        watch_read(connections, read, terms),
        watch_read(connections, other, terms),
        watch_write(connections, terms),
        async {
            match (&connections.durable, terms.require_replicas) {
                (None, _) => {}
                (Some(durable), 0) => watch_durable(connections, durable, terms.beat).await,
                (Some(durable), _) => watch_replicas(connections, durable, terms).await,
            }
        },
    );
    std::future::pending().await
}

async fn watch_read(connections: &Connections, line: &Line, terms: &Terms) {
    let beat = terms.beat;
    loop {
        let sent = Instant::now();
        match terms.probe.judge(ask(line, beat, &terms.probe.question()).await) {
            Ok(true) => {
                line.prove(connections.confirmed().map_or(sent, |confirmed| confirmed.min(sent)));
            }
            Ok(false) => {}
            Err(cause @ Cause::NotServing(_)) => return connections.fault.raise(cause),
            Err(_) => return gave_up(connections, line),
        }
        sleep_until((sent + beat.every).into()).await;
    }
}

async fn watch_durable(connections: &Connections, line: &Line, beat: Heartbeat) {
    loop {
        let sent = Instant::now();
        if ask(line, beat, &redis::cmd("PING")).await.is_err() {
            return gave_up(connections, line);
        }
        sleep_until((sent + beat.every).into()).await;
    }
}

async fn watch_write(connections: &Connections, terms: &Terms) {
    let line = &connections.write;
    let beat = terms.beat;
    loop {
        let sent = Instant::now();
        match timeout(beat.patience, role(&mut line.connection())).await {
            Ok(Ok(role)) => {
                let wants_durable = role == Role::Replicated || terms.require_replicas > 0;
                if wants_durable != connections.durable.is_some() {
                    connections.fault.wear();
                }
            }
            Ok(Err(cause @ (Cause::NotMaster(_) | Cause::NotServing(_)))) => {
                return connections.fault.raise(cause);
            }
            Ok(Err(_)) | Err(_) => return gave_up(connections, line),
        }
        sleep_until((sent + beat.every).into()).await;
    }
}

async fn watch_replicas(connections: &Connections, line: &Line, terms: &Terms) {
    let beat = terms.beat;
    loop {
        let asked = Instant::now();
        let ends = connections.confirmed().unwrap_or(connections.opened) + beat.lease;
        match timeout_at(ends.into(), confirm(line, terms)).await {
            Ok(Ok(sent)) => connections.confirm(sent),
            Ok(Err(Cause::Unconfirmed(_))) if Instant::now() < ends => {}
            Ok(Err(Cause::Unconfirmed(_))) | Err(_) => {
                return connections.fault.raise(Cause::Unconfirmed(terms.require_replicas));
            }
            Ok(Err(_)) => return gave_up(connections, line),
        }
        sleep_until((asked + beat.every).into()).await;
    }
}

/// Has the replicas confirm a small write, and so that this server still is their master. When it
/// was sent.
pub(super) async fn confirm(line: &Line, terms: &Terms) -> Result<Instant, Cause> {
    let sent = Instant::now();
    let (mut set, mut wait) = (redis::cmd("SET"), redis::cmd("WAIT"));
    set.arg(terms.probe.written(&terms.namespace)).arg(1).arg("PX").arg(millis(KEEP));
    wait.arg(terms.require_replicas).arg(millis(terms.beat.every.min(CONFIRM_MAX)));
    let (mut first, mut second) = (line.connection(), line.connection());
    let answers = tokio::try_join!(
        biased;
        set.exec_async(&mut first),
        wait.query_async::<u64>(&mut second),
    );
    let replicas = match answers {
        Ok(((), replicas)) => replicas,
        // In a cluster it may be that the key has just moved.
        Err(error) => terms.probe.judge(Err(error)).map(|_| 0)?,
    };
    if replicas < u64::from(terms.require_replicas) {
        return Err(Cause::Unconfirmed(terms.require_replicas));
    }
    Ok(sent)
}

async fn ask(line: &Line, beat: Heartbeat, question: &Cmd) -> RedisResult<()> {
    let mut connection = line.connection();
    let answer = timeout(beat.patience, async {
        let mut answer = std::pin::pin!(question.exec_async(&mut connection));
        if let Ok(answer) = timeout(SLOW, answer.as_mut()).await {
            return answer;
        }
        line.set_slow(true);
        answer.await
    });
    answer.await.unwrap_or_else(|_| Err(unanswered()))?;
    line.set_slow(false);
    Ok(())
}

fn unanswered() -> redis::RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// A connection does not answer. Where none is left, neither does the server.
fn gave_up(connections: &Connections, line: &Line) {
    line.break_off();
    if connections.works_for_nothing() {
        connections.fault.raise(Cause::Unresponsive);
    } else {
        connections.fault.wear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_four_beats_to_a_lease_within_bounds() {
        for (lease, every, kept) in
            [(0, 250, 1000), (1, 10, 1), (100, 25, 100), (1000, 250, 1000), (60_000, 250, 60_000)]
        {
            let beat = Heartbeat::of_lease(Duration::from_millis(lease));
            assert_eq!(beat.every, Duration::from_millis(every), "lease {lease}");
            assert_eq!(beat.lease, Duration::from_millis(kept), "lease {lease}");
        }
    }
}
