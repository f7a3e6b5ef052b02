//! Finding the master through Redis Sentinel ("Guidelines for Redis clients with support for Redis
//! Sentinel").
//!
//! Every Sentinel is asked, and the one that knows of the latest failover is believed: among
//! themselves too the configuration with the higher epoch wins. One that was cut off and says what
//! was true once is so outvoted; where it is the only one that answers, the server that it names
//! must still call itself the master (`connection`), and where `require_replicas` is set still have
//! its replicas.
//!
//! One runtime listens to all of them, since only the one that leads a failover tells of it before
//! it is over (`fence`), and asks each every second, which finds out whether it still lives, and
//! what a lost message would have said. Where one names another master all are asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, PushInfo, PushKind, ServerErrorKind, Value};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::cause::Cause;
use super::endpoint::{Dialer, Endpoint};
use super::fence::{self, Fence, Word};
use super::url::Address;

/// For connecting to a Sentinel and one answer.
const ASK_DEADLINE: Duration = Duration::from_millis(500);
/// How often each Sentinel is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Between attempts to listen to one.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest name of a host (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// The Sentinels of a master.
#[derive(Debug)]
pub(super) struct Sentinels {
    endpoint: Endpoint,
    master_name: String,
    fence: Arc<Fence>,
    /// Held by the runtime that listens.
    listening: Mutex<()>,
    /// The address of the master, by each Sentinel that is listened to.
    told: watch::Sender<Vec<Option<String>>>,
    /// Whether it was said already that one may not be listened to.
    refused: AtomicBool,
}

/// What a Sentinel says of the master.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    host: String,
    port: u16,
    /// Of the failover that made it the master; 0 where the Sentinel does not tell.
    epoch: u64,
    /// Which master the Sentinel leads a failover away from, `host:port`.
    leaves: Option<String>,
}

impl Sentinels {
    pub(super) fn new(endpoint: Endpoint, master_name: &str, fence: Arc<Fence>) -> Self {
        let told = watch::Sender::new(vec![None; endpoint.addresses().len()]);
        Self {
            endpoint,
            master_name: master_name.to_owned(),
            fence,
            listening: Mutex::default(),
            told,
            refused: AtomicBool::new(false),
        }
    }

    /// Where the master is, by all Sentinels that answer in time.
    pub(super) async fn locate(&self) -> Result<Dialer, Cause> {
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
    pub(super) async fn moved(&self, from: &Dialer) -> Cause {
        let (from, mut told) = (from.address(), self.told.subscribe());
        loop {
            let is_elsewhere =
                told.borrow_and_update().iter().flatten().any(|master| *master != from);
            if is_elsewhere
                && let Ok(master) = self.locate().await
                && master.address() != from
            {
                return Cause::Moved(master.address());
            }
            // The one that names another may be behind the times.
            let _ = timeout(ASK_EVERY, told.changed()).await;
        }
    }

    /// Listens to all Sentinels, unless another runtime does.
    pub(super) async fn watch(self: &Arc<Self>) -> Infallible {
        let _listening = self.listening.lock().await;
        let mut listeners = JoinSet::new();
        for number in 0..self.endpoint.addresses().len() {
            listeners.spawn(self.clone().keep_listening(number));
        }
        while listeners.join_next().await.is_some() {}
        std::future::pending().await
    }

    async fn keep_listening(self: Arc<Self>, number: usize) {
        let Some((host, port)) = self.endpoint.addresses().get(number) else { return };
        let sentinel = self.endpoint.sentinel(host, *port);
        loop {
            let Err(cause) = self.listen(number, &sentinel).await;
            tracing::debug!(sentinel = sentinel.address(), %cause, "sentinel lost");
            self.note(number, None);
            sleep(PAUSE).await;
            self.fence.tell(Instant::now());
        }
    }

    /// Listens to a Sentinel until it no longer answers.
    async fn listen(&self, number: usize, sentinel: &Dialer) -> Result<Infallible, Cause> {
        let heard = Arc::new(Notify::new());
        let (wake, fence, master_name) =
            (heard.clone(), self.fence.clone(), self.master_name.clone());
        // Called by the connection's driver, as soon as the message is there.
        let on_push = move |push: PushInfo| {
            if let (PushKind::Message, [Value::BulkString(channel), Value::BulkString(message)]) =
                (&push.kind, &push.data[..])
                && let Some(from) = fence::begins(channel, message, &master_name)
            {
                fence.hear(number, Word::Leads(&from));
            }
            wake.notify_one();
            Ok::<(), Infallible>(())
        };
        let config = AsyncConnectionConfig::new().set_push_sender(on_push);
        let mut connection = in_time(sentinel.open(config)).await?;
        for channel in fence::CHANNELS {
            let subscribed = timeout(ASK_DEADLINE, connection.subscribe(channel)).await;
            let Err(error) = subscribed.map_err(|_elapsed| Cause::Unresponsive)? else { continue };
            if let Some(cause) = Cause::of_command(&error) {
                return Err(cause);
            }
            // An access list may forbid it. Then there are the questions.
            if !self.refused.swap(true, Ordering::Relaxed) {
                let sentinel = sentinel.address();
                tracing::warn!(
                    sentinel,
                    channel,
                    %error,
                    "redis: a Sentinel refuses SUBSCRIBE: a planned failover may lose writes"
                );
            }
        }
        loop {
            let asked = Instant::now();
            let told = in_time(ask(&mut connection, &self.master_name)).await?;
            self.fence
                .hear(number, told.leaves.as_deref().map_or(Word::Rests { asked }, Word::Leads));
            self.note(number, Some(Address(&told.host, told.port).to_string()));
            // By a message, or the loss of the connection; both are looked into.
            let _ = timeout(ASK_EVERY, heard.notified()).await;
        }
    }

    fn note(&self, number: usize, master: Option<String>) {
        self.told.send_if_modified(|told| match told.get_mut(number) {
            Some(known) if *known != master => {
                *known = master;
                true
            }
            Some(_) | None => false,
        });
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
    let state = match state {
        Ok(state) => fields(&state),
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => HashMap::new(),
        Err(error) => return Err(Cause::of(&error)),
    };
    Ok(Told { host, port, epoch: epoch(&state), leaves: leaves(&state) })
}

/// The state of a master, which comes as a map or as a list of names and values.
fn fields(state: &Value) -> HashMap<String, String> {
    let pairs: Vec<(&Value, &Value)> = match state {
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
        Value::Array(values) => values.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
        _ => return HashMap::new(),
    };
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    pairs.into_iter().filter_map(|(name, value)| text(name).zip(text(value))).collect()
}

fn epoch(state: &HashMap<String, String>) -> u64 {
    state.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
}

/// The master, while the Sentinel leads a failover away from it.
fn leaves(state: &HashMap<String, String>) -> Option<String> {
    state.get("failover-state").filter(|state| fence::is_leading(state))?;
    Some(Address(state.get("ip")?, state.get("port")?.parse().ok()?).to_string())
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
                leaves: None,
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
    fn epoch_and_failover_are_read_from_a_map_and_from_a_list() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let pairs = |state| {
            [("ip", "::1"), ("port", "1"), ("config-epoch", "7"), ("failover-state", state)]
        };
        let map =
            |state| Value::Map(pairs(state).map(|(name, value)| (text(name), text(value))).into());
        let list = |state| {
            Value::Array(pairs(state).iter().flat_map(|(n, v)| [text(n), text(v)]).collect())
        };
        for (state, expected) in [
            (map("select_slave"), (7, Some("[::1]:1"))),
            (list("wait_promotion"), (7, Some("[::1]:1"))),
            (map("wait_start"), (7, None)),
            (list("none"), (7, None)),
            (Value::Map(vec![(text("config-epoch"), text("x"))]), (0, None)),
            (Value::Map(vec![(text("config-epoch"), Value::Nil)]), (0, None)),
            (Value::Map(vec![(text("failover-state"), text("select_slave"))]), (0, None)),
            (Value::Array(vec![text("config-epoch")]), (0, None)),
            (Value::Map(vec![]), (0, None)),
            (Value::Okay, (0, None)),
        ] {
            let read = fields(&state);
            assert_eq!((epoch(&read), leaves(&read).as_deref()), expected, "{state:?}");
        }
    }
}
