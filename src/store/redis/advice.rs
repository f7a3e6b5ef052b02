//! Looks at how the server is set up, and says what would cost sessions, with the remedy.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{InfoDict, RedisResult};

const DEADLINE: Duration = Duration::from_secs(2);

/// Logs what [`advise`] finds. A server that does not tell, or not to us, is left alone.
pub(super) async fn log(mut connection: MultiplexedConnection) {
    match tokio::time::timeout(DEADLINE, ask(&mut connection)).await {
        Ok(Ok(server)) => {
            for advice in advise(&server) {
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
}

pub(super) async fn ask(connection: &mut MultiplexedConnection) -> RedisResult<Server> {
    let info: InfoDict = redis::cmd("INFO").query_async(connection).await?;
    // Hosted servers and access lists often forbid CONFIG.
    let config: HashMap<String, String> = redis::cmd("CONFIG")
        .arg("GET")
        .arg("save")
        .query_async(connection)
        .await
        .unwrap_or_default();
    Ok(Server {
        version: info.get("redis_version"),
        mode: info.get("redis_mode"),
        maxmemory_policy: info.get("maxmemory_policy"),
        aof_enabled: info.get::<u8>("aof_enabled").map(|enabled| enabled != 0),
        save: config.get("save").cloned(),
    })
}

pub(super) fn advise(server: &Server) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(version) = &server.version
        && major(version).is_some_and(|major| major < 6)
    {
        advice.push(format!("version {version} is too old; use Redis 6.2 or newer, or Valkey"));
    }
    if server.mode.as_deref() == Some("cluster") {
        advice.push(
            "the server is part of a cluster, which is not supported yet: records of other nodes \
             cannot be reached; name a server that is not"
                .to_owned(),
        );
    }
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
    advice
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(server: Server, expected: &[&str]) {
        let advice = advise(&server);
        assert_eq!(advice.len(), expected.len(), "{server:?}: {advice:?}");
        for (advice, expected) in advice.iter().zip(expected) {
            assert!(advice.contains(expected), "{server:?}: {advice}");
        }
    }

    #[test]
    fn what_would_cost_sessions_is_said_with_its_remedy() {
        let good = Server {
            version: Some("7.0.15".to_owned()),
            mode: Some("standalone".to_owned()),
            maxmemory_policy: Some("noeviction".to_owned()),
            aof_enabled: Some(true),
            save: Some(String::new()),
        };
        check(good.clone(), &[]);
        check(Server::default(), &[]);
        check(Server { version: Some("5.0.7".to_owned()), ..good.clone() }, &["Redis 6.2"]);
        check(Server { version: Some("10.0".to_owned()), ..good.clone() }, &[]);
        check(Server { mode: Some("cluster".to_owned()), ..good.clone() }, &["cluster"]);
        check(
            Server { maxmemory_policy: Some("volatile-lru".to_owned()), ..good.clone() },
            &["set it to noeviction"],
        );
        let unwritten = Server { aof_enabled: Some(false), ..good };
        check(unwritten.clone(), &["appendonly yes"]);
        check(Server { save: Some("3600 1".to_owned()), ..unwritten.clone() }, &[]);
        check(Server { save: None, ..unwritten }, &[]);
    }
}
