//! Reads the table of a cluster's slots: at the start, when a call or a heartbeat says that it may
//! be out of date, when a master went, and every few seconds.
//!
//! Several nodes are asked at once, over connections of their own. Of those that answer, the one
//! is believed that serves and has heard of the latest epoch: a node that was cut off from the rest
//! has missed what happened since.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::cause::Cause;
use super::cluster::Cluster;
use super::endpoint::Dialer;
use super::slots::{Address, Standing, View};

/// How often the table is read without a reason; half of that is random.
const EVERY: Duration = Duration::from_secs(5);
/// How often while something is amiss.
const WHILE_UNSETTLED: Duration = Duration::from_millis(250);
/// The least between two readings, however many reasons there are.
const PAUSE: Duration = Duration::from_millis(20);
/// To connect and answer.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long other answers are waited for after the first.
const OTHERS: Duration = Duration::from_millis(50);
const MASTERS_ASKED_MAX: usize = 4;
const ASKED_MAX: usize = 6;

/// Reads the table again and again.
pub(super) async fn follow(cluster: &Arc<Cluster>) -> Infallible {
    let mut lines = HashMap::new();
    let mut is_afresh = true;
    loop {
        let view = read(cluster, &mut lines, is_afresh).await;
        is_afresh = view.is_err();
        match view {
            Ok(view) => {
                if let Err(reason) = cluster.adopt(view) {
                    tracing::error!(reason, "redis: the cluster's slots cannot be used");
                }
            }
            Err(cause) => {
                tracing::debug!(%cause, "no node tells of the cluster's slots");
                if !cluster.is_known() {
                    cluster.health.down(&cause);
                }
            }
        }
        cluster.note_read();
        let pause = if cluster.is_settled() { EVERY } else { WHILE_UNSETTLED };
        let pause = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        tokio::time::sleep(PAUSE).await;
        // A reason that came up meanwhile is kept.
        is_afresh |= timeout(pause, cluster.doubts.notified()).await.is_err();
    }
}

/// Connections to nodes that answered.
type Lines = HashMap<Address, MultiplexedConnection>;

/// `is_afresh` asks any nodes, else those that were asked before as far as they answered.
async fn read(cluster: &Arc<Cluster>, lines: &mut Lines, is_afresh: bool) -> Result<View, Cause> {
    let asked = choose(cluster, |address| !is_afresh && lines.contains_key(address));
    lines.retain(|address, _| asked.contains(address));
    let mut answers = JoinSet::new();
    for address in asked {
        let line = lines.remove(&address);
        let client = cluster.endpoint.client(&address.host, address.port);
        answers.spawn(async move {
            let answer = timeout(DEADLINE, ask(&client, &address.host, line)).await;
            (address, answer.unwrap_or(Err(Cause::Unresponsive)))
        });
    }
    let mut best: Option<(Standing, View)> = None;
    let mut failed = Cause::Unresponsive;
    loop {
        let next = match &best {
            None => answers.join_next().await,
            // Whoever is late is not waited for: it may be gone. Its connection is given up.
            Some(_) => timeout(OTHERS, answers.join_next()).await.unwrap_or(None),
        };
        let Some(answer) = next else { break };
        let Ok((address, answer)) = answer else { continue };
        match answer {
            Ok((line, standing, view)) => {
                lines.insert(address, line);
                let rank = |standing: &Standing| (standing.is_ok, standing.epoch);
                if best.as_ref().is_none_or(|(known, _)| rank(known) < rank(&standing)) {
                    best = Some((standing, view));
                }
            }
            Err(cause) => {
                tracing::debug!(node = %address, %cause, "redis: a node was asked in vain");
                failed = cause;
            }
        }
    }
    best.map(|(_, view)| view).ok_or(failed)
}

/// Some masters, and some others: if all masters that are known are gone the others are left.
fn choose(cluster: &Cluster, is_preferred: impl Fn(&Address) -> bool) -> Vec<Address> {
    let (mut masters, mut others) = cluster.addresses();
    masters.shuffle(&mut rand::rng());
    others.shuffle(&mut rand::rng());
    for addresses in [&mut masters, &mut others] {
        addresses.sort_by_key(|address| !is_preferred(address));
    }
    let masters = masters.into_iter().take(MASTERS_ASKED_MAX);
    masters.chain(others).take(ASKED_MAX).collect()
}

async fn ask(
    client: &Dialer,
    host: &str,
    line: Option<MultiplexedConnection>,
) -> Result<(MultiplexedConnection, Standing, View), Cause> {
    let line = match line {
        Some(line) => line,
        None => client.open(AsyncConnectionConfig::new()).await?,
    };
    let (mut info, mut slots) = (redis::cmd("CLUSTER"), redis::cmd("CLUSTER"));
    info.arg("INFO");
    slots.arg("SLOTS");
    let (mut first, mut second) = (line.clone(), line.clone());
    let (standing, slots) = tokio::try_join!(
        info.query_async::<String>(&mut first),
        slots.query_async::<Value>(&mut second),
    )
    .map_err(|error| match error.detail() {
        Some(detail) if detail.contains("cluster support disabled") => {
            Cause::Failed("the server is not part of a cluster: name it as redis://".to_owned())
        }
        _ => Cause::of(&error),
    })?;
    let malformed = |reason: &str| Cause::Failed(format!("CLUSTER was answered with {reason}"));
    let standing = Standing::parse(&standing).ok_or_else(|| malformed("no state"))?;
    let view = View::parse(&slots, host).map_err(malformed)?;
    if view.nodes.is_empty() {
        return Err(malformed("no slots"));
    }
    Ok((line, standing, view))
}
