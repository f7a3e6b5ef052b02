//! What is shown of the process, as JSON.

use serde_json::{Value, json};

use crate::admin::{Process, Readiness};
use crate::clock::UnixMillis;
use crate::telemetry::metrics::{Metrics, Snapshot};
use crate::upstream::Balance;
use crate::upstream::group::{Group, Standing};

/// All of it, for the status page.
pub(super) fn all(
    process: &dyn Process,
    metrics: &Metrics,
    readiness: &Readiness,
    history: Value,
) -> Value {
    let now = process.now();
    let snapshot = metrics.snapshot();
    let rejected: serde_json::Map<String, Value> = snapshot
        .rejected
        .iter()
        .map(|(reason, number)| ((*reason).to_owned(), Value::from(*number)))
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "node": process.node(),
        "now": now.as_secs(),
        "uptime_seconds": now.since(process.started()).as_secs(),
        "ready": readiness.ready,
        "reasons": readiness.reasons,
        "requests": {
            "total": snapshot.requests,
            "client_errors": snapshot.client_errors,
            "server_errors": snapshot.server_errors,
            "under_way": snapshot.requests_now,
            "connections": snapshot.connections_now,
        },
        "sessions": {
            "active": active(process)["active"],
            "created": snapshot.sessions_created,
            "ended": snapshot.sessions_ended,
            "logins": snapshot.logins,
            "logins_failed": snapshot.logins_failed,
            "logouts": snapshot.logouts,
            "streams": snapshot.streams_now,
            "tickets_rejected": rejected,
        },
        "store": store(process, &snapshot),
        "upstreams": upstreams(process)["upstreams"],
        "certificates": certificates(process)["certificates"],
        "history": history,
        "events": metrics.recent_events(),
    })
}

/// Every upstream with its endpoints.
pub(super) fn upstreams(process: &dyn Process) -> Value {
    let now = process.now();
    let all = process.upstreams();
    let all: Vec<Value> = all.iter().map(|group| upstream(group, now)).collect();
    json!({ "upstreams": all })
}

/// One upstream with its endpoints.
pub(super) fn upstream(group: &Group, now: UnixMillis) -> Value {
    let settings = group.settings();
    let status = group.status(now);
    let takes_requests =
        status.iter().any(|one| matches!(one.standing, Standing::Up | Standing::Failed));
    let endpoints = status.into_iter().map(|one| {
        json!({
            "address": one.address,
            "server": one.server,
            "state": one.standing.name(),
            "weight": one.weight,
            "backup": one.is_backup,
            "requests": one.active,
            "max_conns": one.max_conns,
            "fails": one.fails,
        })
    });
    json!({
        "name": settings.name,
        "balance": balance(settings.balance),
        "checked": settings.check.is_some(),
        "takes_requests": takes_requests,
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

/// nginx's word.
fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "round_robin",
        Balance::Session => "session",
        Balance::LeastConn => "least_conn",
        Balance::IpHash => "ip_hash",
        Balance::Hash { consistent: false } => "hash",
        Balance::Hash { consistent: true } => "hash consistent",
        Balance::Random { two: false } => "random",
        Balance::Random { two: true } => "random two",
        Balance::LeastTime { .. } => "least_time",
    }
}

/// Certificates; those that end first come first.
pub(super) fn certificates(process: &dyn Process) -> Value {
    let now = process.now();
    let mut all = process.certificates();
    all.sort_by_key(|certificate| certificate.not_after);
    let shown = all.iter().map(|certificate| {
        json!({
            "listener": certificate.listener,
            "names": certificate.names,
            "not_after": certificate.not_after.as_secs(),
            "days_left": certificate.days_left(now),
        })
    });
    json!({ "certificates": shown.collect::<Vec<_>>() })
}

/// The store, and the cache in front of it.
pub(super) fn store(process: &dyn Process, snapshot: &Snapshot) -> Value {
    let state = process.store();
    let millis = |share| {
        snapshot.store_latency.quantile(share).map(|it| (it * 1_000_000.0).round() / 1000.0)
    };
    let asked = snapshot.cache_hits + snapshot.cache_misses;
    let ratio = (asked > 0).then(|| snapshot.cache_hits as f64 / asked as f64);
    json!({
        "engine": state.engine,
        "answers": state.answers,
        "clock_ahead_ms": state.clock_ahead_ms,
        "calls": snapshot.store_latency.counts.iter().sum::<u64>(),
        "unavailable": snapshot.store_unavailable,
        "latency_p50_ms": millis(0.5),
        "latency_p99_ms": millis(0.99),
        "cache": {
            "hits": snapshot.cache_hits,
            "misses": snapshot.cache_misses,
            "entries": snapshot.cache_entries_now,
            "hit_ratio": ratio.map(|it| (it * 10_000.0).round() / 10_000.0),
        },
    })
}

/// Sessions that this node has seen lately.
pub(super) fn active(process: &dyn Process) -> Value {
    let policies: serde_json::Map<String, Value> = process
        .active_sessions()
        .into_iter()
        .map(|(policy, number)| (policy, Value::from(number)))
        .collect();
    json!({ "active": policies })
}
