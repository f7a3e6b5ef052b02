//! Finding the master through Redis Sentinel ("Guidelines for Redis clients with support for Redis
//! Sentinel").
//!
//! Every Sentinel is asked, and the one that knows of the latest failover is believed: among
//! themselves too the configuration with the higher epoch wins. One that was cut off and says what
//! was true once is so outvoted; where it is the only one that answers, the server that it names
//! must still call itself the master (`connection`), and where `require_replicas` is set still have
//! its replicas.
//!
//! While connected, each runtime listens to one live Sentinel for `+switch-master`, and asks it
//! every second, which finds out whether it still lives, and what a lost message would have said.
//! Whatever it says leads to asking them all.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, PushInfo, ServerErrorKind, Value};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::cause::Cause;
use super::endpoint::{Client, Endpoint};
use super::url::Address;

/// For connecting to a Sentinel and one answer.
const ASK_DEADLINE: Duration = Duration::from_millis(500);
/// How often the Sentinel that is listened to is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Between attempts to find one that can be listened to.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest name of a host (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 255;
const SWITCHED: &str = "+switch-master";

/// The Sentinels of a master.
#[derive(Debug)]
pub(super) struct Sentinels {
    endpoint: Endpoint,
    master_name: String,
}

/// What a Sentinel says of the master.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    host: String,
    port: u16,
    /// Of the failover that made it the master; 0 where the Sentinel does not tell.
    epoch: u64,
}

impl Sentinels {
    pub(super) fn new(endpoint: Endpoint, master_name: &str) -> Self {
        Self { endpoint, master_name: master_name.to_owned() }
    }

    /// Where the master is, by all Sentinels that answer in time.
    pub(super) async fn locate(&self) -> Result<Client, Cause> {
        let mut asked = JoinSet::new();
        for (place, (host, port)) in self.endpoint.addresses().iter().enumerate() {
            let (client, name) = (self.endpoint.sentinel(host, *port), self.master_name.clone());
            asked.spawn(async move {
                let told = timeout(ASK_DEADLINE, async {
                    let mut connection = client.open(AsyncConnectionConfig::new()).await?;
                    ask(&mut connection, &name).await
                });
                let told = told.await.unwrap_or(Err(Cause::Unresponsive));
                (place, told.map_err(|cause| (client.address(), cause)))
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        let told: Vec<_> =
            answers.iter().filter_map(|(_, answer)| answer.as_ref().ok().cloned()).collect();
        if let Some(master) = choose(&told) {
            return Ok(self.endpoint.client(&master.host, master.port));
        }
        let failed = answers.into_iter().find_map(|(_, answer)| answer.err());
        Err(Cause::Failed(match failed {
            Some((address, cause)) => format!("no Sentinel tells the master: {address}: {cause}"),
            None => "no Sentinel tells the master".to_owned(),
        }))
    }

    /// Waits until the master is another than this, and says which.
    pub(super) async fn moved(&self, from: &Client) -> Cause {
        let sentinels = self.endpoint.addresses();
        // The nodes of a fleet do not all listen to the same one.
        let first = rand::random_range(0..sentinels.len().max(1));
        let mut in_turn = sentinels.iter().cycle().skip(first);
        loop {
            if let Some((host, port)) = in_turn.next() {
                let sentinel = self.endpoint.sentinel(host, *port);
                match self.listen(&sentinel, from).await {
                    Ok(to) => return Cause::Moved(to),
                    Err(cause) => {
                        tracing::debug!(sentinel = sentinel.address(), %cause, "sentinel lost");
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Listens to a Sentinel until the master is another, or the Sentinel no longer answers.
    async fn listen(&self, sentinel: &Client, from: &Client) -> Result<String, Cause> {
        let heard = Arc::new(Notify::new());
        let wake = heard.clone();
        let on_push = move |_: PushInfo| {
            wake.notify_one();
            Ok::<(), std::convert::Infallible>(())
        };
        let config = AsyncConnectionConfig::new().set_push_sender(on_push);
        let mut connection = in_time(sentinel.open(config)).await?;
        let subscribed = in_time(async {
            connection.subscribe(SWITCHED).await.map_err(|error| Cause::of(&error))
        });
        if let Err(cause) = subscribed.await {
            // An access list may forbid it. Then there are the questions.
            tracing::debug!(sentinel = sentinel.address(), %cause, "sentinel not listened to");
        }
        loop {
            let told = in_time(ask(&mut connection, &self.master_name)).await?;
            if Address(&told.host, told.port).to_string() != from.address()
                && let Ok(master) = self.locate().await
                && master.address() != from.address()
            {
                return Ok(master.address());
            }
            // By a message, or the loss of the connection; both are looked into.
            let _ = timeout(ASK_EVERY, heard.notified()).await;
        }
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, Cause>>) -> Result<T, Cause> {
    timeout(ASK_DEADLINE, asked).await.unwrap_or(Err(Cause::Unresponsive))
}

/// The master by the latest failover; by most, where that leaves several; then by the first.
fn choose(told: &[Told]) -> Option<&Told> {
    let votes = |one: &Told| told.iter().filter(|other| *other == one).count();
    told.iter().rev().max_by_key(|one| (one.epoch, votes(one)))
}

async fn ask(connection: &mut MultiplexedConnection, master_name: &str) -> Result<Told, Cause> {
    let (mut address, mut state) = (redis::cmd("SENTINEL"), redis::cmd("SENTINEL"));
    address.arg("GET-MASTER-ADDR-BY-NAME").arg(master_name);
    state.arg("MASTER").arg(master_name);
    let mut other = connection.clone();
    // Behind one another on one connection, so that no old address comes with a new epoch.
    let (state, address) = tokio::join!(
        biased;
        state.query_async::<Value>(connection),
        address.query_async::<Option<(String, u16)>>(&mut other),
    );
    let Some((host, port)) = address.map_err(|error| Cause::of(&error))? else {
        return Err(Cause::Failed(format!("it knows no master `{master_name}`")));
    };
    if host.is_empty() || host.len() > HOST_BYTES_MAX || port == 0 {
        return Err(Cause::Failed("it names no address".to_owned()));
    }
    let epoch = match state {
        Ok(state) => epoch(&state).unwrap_or(0),
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => 0,
        Err(error) => return Err(Cause::of(&error)),
    };
    Ok(Told { host, port, epoch })
}

/// The `config-epoch` in the state of a master: a map, or a list of names and values.
fn epoch(state: &Value) -> Option<u64> {
    let pairs: Vec<(&Value, &Value)> = match state {
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
        Value::Array(values) => values.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
        _ => return None,
    };
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let (_, epoch) =
        pairs.into_iter().find(|(name, _)| text(name).as_deref() == Some("config-epoch"))?;
    text(epoch)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_failover_is_believed_then_most_then_the_first() {
        let told = |answers: &[(&str, u64)]| -> Vec<Told> {
            let told = |(host, epoch): &(&str, u64)| Told {
                host: (*host).to_owned(),
                port: 6379,
                epoch: *epoch,
            };
            answers.iter().map(told).collect()
        };
        for (answers, expected) in [
            (&[][..], None),
            (&[("a", 0)], Some("a")),
            (&[("a", 1), ("a", 1), ("b", 2)], Some("b")),
            (&[("b", 2), ("a", 1), ("a", 1)], Some("b")),
            (&[("a", 1), ("b", 1), ("b", 1)], Some("b")),
            (&[("b", 1), ("b", 1), ("a", 1)], Some("b")),
            (&[("a", 0), ("b", 0)], Some("a")),
            (&[("b", 0), ("a", 0), ("c", 0)], Some("b")),
        ] {
            let told = told(answers);
            assert_eq!(choose(&told).map(|told| &told.host[..]), expected, "{answers:?}");
        }
    }

    #[test]
    fn the_epoch_is_read_from_a_map_and_from_a_list() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let pairs = || [("name", "main"), ("config-epoch", "7"), ("num-slaves", "2")];
        let map = Value::Map(pairs().map(|(name, value)| (text(name), text(value))).into());
        let list = Value::Array(pairs().iter().flat_map(|(n, v)| [text(n), text(v)]).collect());
        for (state, expected) in [
            (map, Some(7)),
            (list, Some(7)),
            (Value::Map(vec![(text("config-epoch"), text("x"))]), None),
            (Value::Map(vec![(text("config-epoch"), Value::Nil)]), None),
            (Value::Array(vec![text("config-epoch")]), None),
            (Value::Map(vec![]), None),
            (Value::Okay, None),
        ] {
            assert_eq!(epoch(&state), expected, "{state:?}");
        }
    }
}
