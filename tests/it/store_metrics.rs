//! What a node counts of the store and of the cache in front of it.

use std::time::{Duration, Instant};

use crate::support::apps::App;
use crate::support::counts::{ADMIN, count, total};
use crate::support::redis::Redis;
use crate::support::shop::{ALICE, Shop, browser, whoami};

/// What the cache answers is no call to the store, and is not timed as one.
#[tokio::test]
async fn a_hit_is_no_call() {
    let (app, redis) = (App::egg(), Redis::start());
    let node = [Shop::at(app.address).store(&redis).top(ADMIN).start()];
    let mut alice = browser(&node);
    alice.post_form("/login", ALICE).await.expect(302);
    // The first request with a new ticket is written down, which takes it out of the cache.
    for _ in 0..3 {
        assert_eq!(whoami(&mut alice).await.as_deref(), Some("alice"));
    }
    let begun = Instant::now();
    loop {
        let hits = count(&node[0], "cloakroom_cache_hits_total").await;
        let calls = total(&node[0], "cloakroom_store_calls_total").await;
        whoami(&mut alice).await;
        let hit = count(&node[0], "cloakroom_cache_hits_total").await - hits;
        let called = total(&node[0], "cloakroom_store_calls_total").await - calls;
        if (hit, called) == (1, 0) {
            return;
        }
        // A node that had no time for its link for a whole lease asks again.
        assert!(begun.elapsed() < Duration::from_secs(20), "{hit} hits, {called} calls");
    }
}

#[tokio::test]
async fn what_is_in_the_cache_is_shown() {
    let (app, redis) = (App::egg(), Redis::start());
    let node = [Shop::at(app.address).store(&redis).top(ADMIN).start()];
    let mut alice = browser(&node);
    alice.post_form("/login", ALICE).await.expect(302);
    whoami(&mut alice).await;
    whoami(&mut alice).await;
    assert!(count(&node[0], "cloakroom_cache_entries").await >= 1);
    assert!(count(&node[0], "cloakroom_cache_bytes").await >= 100);
}
