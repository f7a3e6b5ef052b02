//! `balance: session`: who is kept where, and what happens when that place is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::admin::{ADMIN, metric};
use crate::support::apps::App;
use crate::support::browser::Browser;
use crate::support::in_process::TestClock;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{Shop, browser};

/// The worker that answers, by its process identifier.
async fn worker(visitor: &mut Browser) -> u64 {
    let page = visitor.get("/?touch=1").await.expect(200).json();
    page["worker"].as_u64().expect("a process identifier")
}

async fn failovers(nodes: &[Proxy]) -> u64 {
    let mut sum = 0;
    for node in nodes {
        let series = "cloakroom_upstream_failovers_total{upstream=\"shop\"}";
        sum += metric(node, series).await.expect("counted");
    }
    sum
}

/// A worker dies: its session goes to the other one, on every node, and stays there when the first
/// is back; new ones are shared out again.
#[tokio::test]
async fn a_session_leaves_a_dead_worker_once_and_for_all() {
    let mut workers = vec![App::naive(), App::naive()];
    let addresses: Vec<_> = workers.iter().map(|worker| worker.address).collect();
    let (redis, keys) = (Redis::start(), tempfile::tempdir().expect("a directory"));
    let clock = TestClock::default();
    let nodes = Shop::over(&addresses)
        .store(&redis)
        .balance("session")
        .top(ADMIN)
        .start_nodes_at(&clock, 2, &keys);
    let mut visitor = browser(&nodes);
    let home = worker(&mut visitor).await;
    assert_eq!(worker(visitor.node(1)).await, home);
    assert_eq!(failovers(&nodes).await, 0);

    let at = workers.iter().position(|app| u64::from(app.process.id()) == home).expect("ours");
    let mut dead = workers.remove(at);
    dead.kill();
    let refuge = u64::from(workers[0].process.id());
    for request in 0..10 {
        assert_eq!(worker(visitor.node(request % 2)).await, refuge, "request {request}");
    }
    assert_eq!(failovers(&nodes).await, 1);

    let back = App::naive_at(dead.address);
    // Past the time for which a failed endpoint is left out.
    clock.advance(Duration::from_secs(11));
    for request in 0..10 {
        assert_eq!(worker(visitor.node(request % 2)).await, refuge, "request {request}");
    }
    assert_eq!(failovers(&nodes).await, 1);
    let mut homes = BTreeSet::new();
    for number in 0..8 {
        homes.insert(worker(browser(&nodes).node(number % 2)).await);
    }
    assert_eq!(homes, BTreeSet::from([refuge, u64::from(back.process.id())]), "new ones");
}
