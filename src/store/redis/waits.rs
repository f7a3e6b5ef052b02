//! One WAIT for all who wait: it covers whatever was written on its connection before it.
//!
//! With one for each, logins that come together stand in line for as many round trips to a replica.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::RedisResult;
use tokio::sync::Mutex;

/// Those of one connection.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// How many were begun.
    begun: AtomicU64,
    /// Held during one: whoever comes behind one that failed learns that before its own.
    last: Mutex<Last>,
}

/// The last that was answered.
#[derive(Debug, Default)]
struct Last {
    number: u64,
    confirmed: u64,
}

impl Waits {
    /// How many replicas confirm what the caller wrote, which was answered: what another one's WAIT
    /// says that began since, or the caller's own.
    pub(super) async fn covered(
        &self,
        wait: impl Future<Output = RedisResult<u64>>,
    ) -> RedisResult<u64> {
        let seen = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.number <= seen {
            // Where the caller gives up meanwhile, the next one in line asks by itself.
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            *last = Last { confirmed: wait.await?, number };
        }
        Ok(last.confirmed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn one_covers_all_that_came_before_it_began_and_no_other() {
        let waits = Arc::new(Waits::default());
        let (answer, answered) = oneshot::channel();
        let first = tokio::spawn({
            let waits = waits.clone();
            async move { waits.covered(async { Ok(answered.await.expect("answered")) }).await }
        });
        yield_now().await;
        // These were written while the first one was under way.
        let asked = Arc::new(AtomicU64::new(0));
        let others: Vec<_> = (0..10)
            .map(|_| {
                let (waits, asked) = (waits.clone(), asked.clone());
                tokio::spawn(async move {
                    waits.covered(async { Ok(10 + asked.fetch_add(1, Ordering::SeqCst)) }).await
                })
            })
            .collect();
        yield_now().await;
        answer.send(1).expect("it waits");
        assert_eq!(first.await.expect("no panic").expect("an answer"), 1);
        for other in others {
            assert_eq!(other.await.expect("no panic").expect("an answer"), 10);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn one_that_was_given_up_covers_nobody() {
        let waits = Arc::new(Waits::default());
        let first = tokio::spawn({
            let waits = waits.clone();
            async move { waits.covered(std::future::pending()).await }
        });
        yield_now().await;
        let second = tokio::spawn({
            let waits = waits.clone();
            async move { waits.covered(async { Ok(2) }).await }
        });
        yield_now().await;
        first.abort();
        assert_eq!(second.await.expect("no panic").expect("an answer"), 2);
    }
}
