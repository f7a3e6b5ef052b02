//! Looks at how the server is set up, and says what would cost sessions, with the remedy.
//!
//! `ask` does the asking, whatever the server is willing to tell; `advise` judges what it told.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, InfoDict, RedisResult};

use super::cause::Cause;
use super::connection::Terms;
use super::layout::Namespace;
use super::probe::Probe;
use super::rights::{self, Refused};

const DEADLINE: Duration = Duration::from_secs(5);
/// More than this between clocks changes what users see (PROTOCOL 33).
const SKEW_MAX: Duration = Duration::from_secs(5);
/// With a smaller table the server forgets what is cached here, and caches are of little use.
const TRACKED_KEYS_MIN: u64 = 100_000;
const CLUSTER_SLOTS: u32 = 16_384;

/// What we want of a server.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) namespace: Namespace,
    /// A key that this server has the slot of, and nobody writes.
    pub(super) key: String,
    pub(super) require_replicas: u32,
    /// Whether the URL says that it is a cluster.
    pub(super) is_cluster: bool,
}

/// Logs what [`advise`] finds. A server that does not tell, or not to us, is left alone.
pub(super) async fn log(connection: MultiplexedConnection, terms: Terms) {
    let wanted = Wanted {
        key: format!("{}:never", terms.probe.written(&terms.namespace)),
        namespace: terms.namespace,
        require_replicas: terms.require_replicas,
        is_cluster: matches!(*terms.probe, Probe::Master(_)),
    };
    match tokio::time::timeout(DEADLINE, ask(&connection, &wanted)).await {
        Ok(Ok(server)) => {
            for advice in advise(&server, &wanted) {
                tracing::warn!("redis: {advice}");
            }
        }
        Ok(Err(error)) => tracing::info!(%error, "redis: its settings could not be checked"),
        Err(_elapsed) => tracing::info!("redis: its settings were not told in time"),
    }
}

/// What a server says of itself; nothing where it does not say.
#[derive(Debug, Default, Clone)]
pub(super) struct Server {
    version: Option<String>,
    mode: Option<String>,
    maxmemory_policy: Option<String>,
    aof_enabled: Option<bool>,
    /// The `save` setting; empty where no snapshots are made.
    save: Option<String>,
    replicas: Option<u32>,
    /// `tracking-table-max-keys`; 0 is without an end.
    tracked_keys: Option<u64>,
    /// How far its clock is from ours, either way.
    skew: Option<Duration>,
    cluster: Option<Cluster>,
    refused: Refused,
}

/// What CLUSTER INFO says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Cluster {
    is_ok: bool,
    slots_assigned: u32,
}

/// # Errors
/// The connection's, not the server's.
pub(super) async fn ask(
    connection: &MultiplexedConnection,
    wanted: &Wanted,
) -> RedisResult<Server> {
    let refused = rights::refused(connection, &wanted.key, wanted.is_cluster).await;
    let info: Option<InfoDict> = told(connection, &["INFO"]).await?;
    // Hosted servers and access lists often forbid CONFIG, and note in a log that it was tried.
    let save: Option<HashMap<String, String>> =
        told(connection, &["CONFIG", "GET", "save"]).await?;
    let tracked: Option<HashMap<String, String>> = match save {
        Some(_) => told(connection, &["CONFIG", "GET", "tracking-table-max-keys"]).await?,
        None => None,
    };
    let skew = skew(connection).await?;
    let cluster: Option<String> = match wanted.is_cluster {
        true => told(connection, &["CLUSTER", "INFO"]).await?,
        false => None,
    };
    let info = info.as_ref();
    let field = |name: &str| info.and_then(|info| info.get::<String>(name));
    Ok(Server {
        version: field("redis_version"),
        mode: field("redis_mode"),
        maxmemory_policy: field("maxmemory_policy"),
        aof_enabled: field("aof_enabled").map(|enabled| enabled != "0"),
        save: save.and_then(|config| config.get("save").cloned()),
        replicas: field("connected_slaves").and_then(|number| number.parse().ok()),
        tracked_keys: tracked
            .and_then(|config| config.get("tracking-table-max-keys")?.parse().ok()),
        skew,
        cluster: cluster.as_deref().and_then(read_cluster),
        refused,
    })
}

/// An answer; none where the server refuses or does not know the question.
async fn told<T: FromRedisValue>(
    connection: &MultiplexedConnection,
    question: &[&str],
) -> RedisResult<Option<T>> {
    let mut command = redis::cmd(question[0]);
    command.arg(&question[1..]);
    match command.query_async(&mut connection.clone()).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if Cause::of_command(&error).is_some() => Err(error),
        Err(_refused) => Ok(None),
    }
}

/// How far apart the clocks are for certain: what the answer's way took is no difference.
async fn skew(connection: &MultiplexedConnection) -> RedisResult<Option<Duration>> {
    let ours = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = ours();
    let time: Option<(u64, u32)> = told(connection, &["TIME"]).await?;
    let after = ours();
    Ok(time.map(|(seconds, micros)| {
        let theirs = Duration::from_secs(seconds) + Duration::from_micros(micros.into());
        before.saturating_sub(theirs).max(theirs.saturating_sub(after))
    }))
}

fn read_cluster(info: &str) -> Option<Cluster> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    };
    Some(Cluster {
        is_ok: field("cluster_state")? == "ok",
        slots_assigned: field("cluster_slots_assigned")?.parse().ok()?,
    })
}

pub(super) fn advise(server: &Server, wanted: &Wanted) -> Vec<String> {
    let mut advice = Vec::new();
    advice.extend(on_rights(&server.refused, &wanted.namespace));
    if let Some(version) = &server.version
        && number(version).is_some_and(|number| number < (6, 2))
    {
        advice.push(format!("version {version} is too old; use Redis 6.2 or newer, or Valkey"));
    }
    advice.extend(on_topology(server, wanted));
    if let Some(policy) = &server.maxmemory_policy
        && policy != "noeviction"
    {
        advice.push(format!(
            "maxmemory-policy is {policy}: a full server logs users out; set it to noeviction \
             and watch its memory"
        ));
    }
    if server.aof_enabled == Some(false) && server.save.as_deref() == Some("") {
        advice.push(
            "nothing is written to disk: a restart logs every user out; set `appendonly yes`"
                .to_owned(),
        );
    }
    if let Some(keys) = server.tracked_keys
        && (1..TRACKED_KEYS_MIN).contains(&keys)
    {
        advice.push(format!(
            "tracking-table-max-keys is {keys}: with more sessions in use than that they are asked \
             for over and over; set it to 1000000, or more than the caches of all nodes hold"
        ));
    }
    if let Some(skew) = server.skew.filter(|skew| *skew > SKEW_MAX) {
        advice.push(format!(
            "its clock and this machine's are {} s apart: let both follow a time server",
            skew.as_secs()
        ));
    }
    advice
}

fn on_rights(refused: &Refused, namespace: &Namespace) -> Vec<String> {
    let mut advice = Vec::new();
    if !refused.commands.is_empty() {
        let missing: Vec<_> = refused.commands.iter().map(|rule| format!("+{rule}")).collect();
        advice.push(format!(
            "the user lacks {}: what needs it fails; the whole line is ACL SETUSER NAME {}",
            missing.join(" "),
            rights::acl_rules(namespace).join(" ")
        ));
    }
    if refused.keys {
        advice.push(format!(
            "the user may not read and write the keys of store_namespace: sessions can be neither \
             made nor found; allow ~{}",
            namespace.pattern()
        ));
    }
    advice
}

fn on_topology(server: &Server, wanted: &Wanted) -> Vec<String> {
    let mut advice = Vec::new();
    let is_part = server.mode.as_deref() == Some("cluster");
    if is_part && !wanted.is_cluster {
        advice.push(
            "the server is part of a cluster: records of other nodes cannot be reached; write \
             redis+cluster:// in place of redis://"
                .to_owned(),
        );
    }
    if let Some(cluster) = &server.cluster {
        if !cluster.is_ok {
            advice.push(
                "the cluster says cluster_state:fail: some sessions are out of reach; look at \
                 CLUSTER NODES for masters that are down"
                    .to_owned(),
            );
        }
        if cluster.slots_assigned < CLUSTER_SLOTS {
            advice.push(format!(
                "{} of {CLUSTER_SLOTS} slots of the cluster belong to no node: sessions in them can \
                 be neither made nor found; redis-cli --cluster fix",
                CLUSTER_SLOTS - cluster.slots_assigned
            ));
        }
    }
    if let Some(replicas) = server.replicas {
        let required = wanted.require_replicas;
        if replicas < required {
            advice.push(format!(
                "require_replicas is {required}, but the server has {replicas}: logins and logouts \
                 fail; attach replicas, or require fewer"
            ));
        } else if required > 0 && replicas == required {
            advice.push(format!(
                "require_replicas is {required}, and the server has no replica more: one that is \
                 restarted is an outage; attach another"
            ));
        }
    }
    advice
}

/// Major and minor.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    let major = parts.next()?.ok()?;
    Some((major, parts.next().and_then(Result::ok).unwrap_or(0)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn wanted() -> Wanted {
        Wanted {
            key: "test:never".to_owned(),
            namespace: Namespace::parse("test").expect("a valid namespace"),
            require_replicas: 0,
            is_cluster: false,
        }
    }

    fn check(server: Server, wanted: &Wanted, expected: &[&str]) {
        let advice = advise(&server, wanted);
        assert_eq!(advice.len(), expected.len(), "{server:?}: {advice:?}");
        for (advice, expected) in advice.iter().zip(expected) {
            assert!(advice.contains(expected), "{server:?}: {advice}");
        }
    }

    fn good() -> Server {
        Server {
            version: Some("7.0.15".to_owned()),
            mode: Some("standalone".to_owned()),
            maxmemory_policy: Some("noeviction".to_owned()),
            aof_enabled: Some(true),
            save: Some(String::new()),
            replicas: Some(0),
            tracked_keys: Some(1_000_000),
            skew: Some(Duration::from_secs(5)),
            cluster: None,
            refused: Refused::default(),
        }
    }

    #[test]
    fn what_would_cost_sessions_is_said_with_its_remedy() {
        let check = |server, expected: &[&str]| check(server, &wanted(), expected);
        check(good(), &[]);
        check(Server::default(), &[]);
        let version = |version: &str| Server { version: Some(version.to_owned()), ..good() };
        check(version("5.0.7"), &["version 5.0.7 is too old; use Redis 6.2"]);
        check(version("6.0.16"), &["or Valkey"]);
        check(version("6.2.0"), &[]);
        check(version("10.0"), &[]);
        check(version("unstable"), &[]);
        check(
            Server { maxmemory_policy: Some("volatile-lru".to_owned()), ..good() },
            &["set it to noeviction"],
        );
        let unwritten = Server { aof_enabled: Some(false), ..good() };
        check(unwritten.clone(), &["appendonly yes"]);
        check(Server { save: Some("3600 1".to_owned()), ..unwritten.clone() }, &[]);
        check(Server { save: None, ..unwritten }, &[]);
        check(Server { tracked_keys: Some(0), ..good() }, &[]);
        check(
            Server { tracked_keys: Some(99_999), ..good() },
            &["tracking-table-max-keys is 99999"],
        );
        check(Server { skew: Some(Duration::from_secs(6)), ..good() }, &["6 s apart"]);
    }

    #[test]
    fn what_a_user_lacks_is_named_with_the_line_that_gives_it() {
        let refused = Refused { commands: vec!["get", "client|tracking"], keys: false };
        check(
            Server { refused, ..good() },
            &wanted(),
            &[
                "lacks +get +client|tracking: what needs it fails; the whole line is ACL SETUSER NAME \
               resetkeys ~test:* ",
            ],
        );
        let refused = Refused { commands: vec![], keys: true };
        check(Server { refused, ..good() }, &wanted(), &["allow ~test:*"]);
    }

    #[test]
    fn replicas_are_compared_with_those_that_must_confirm() {
        let wanted = Wanted { require_replicas: 2, ..wanted() };
        for (replicas, expected) in [
            (1, &["require_replicas is 2, but the server has 1"][..]),
            (2, &["no replica more"]),
            (3, &[]),
        ] {
            check(Server { replicas: Some(replicas), ..good() }, &wanted, expected);
        }
    }

    #[test]
    fn a_cluster_is_looked_at_as_one() {
        let in_cluster = Server { mode: Some("cluster".to_owned()), ..good() };
        check(in_cluster.clone(), &wanted(), &["write redis+cluster://"]);
        let wanted = Wanted { is_cluster: true, ..wanted() };
        check(in_cluster.clone(), &wanted, &[]);
        let told = |info: &str| Server { cluster: read_cluster(info), ..in_cluster.clone() };
        let ok = "cluster_enabled:1\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\n";
        check(told(ok), &wanted, &[]);
        check(told(&ok.replace(":ok", ":fail")), &wanted, &["cluster_state:fail"]);
        check(
            told(&ok.replace("ok", "fail").replace("16384", "16380")),
            &wanted,
            &["cluster_state:fail", "4 of 16384 slots"],
        );
        assert_eq!(read_cluster("nonsense"), None);
    }
}
