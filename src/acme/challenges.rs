//! Answers to challenges, on every node: of its own orders, and of those that another node is at.
//!
//! An authority asks within milliseconds, and it may ask any node. So a node that does not know the answer
//! reads the store before it says so: at most once in [`READ_EVERY`] however many ask, and only where
//! what is asked for looks like a challenge.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::ChallengeKind;
use super::state::Proof;
use crate::listen::ordered::Prover;

/// Between two readings for those who ask.
pub const READ_EVERY: Duration = Duration::from_millis(200);
/// How long somebody waits for one.
const PATIENCE: Duration = Duration::from_secs(3);
/// A token has 128 bits of entropy at least (RFC 8555 section 8.1), and is base64url.
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 22..=128;

/// What is known of challenges on this node.
#[derive(Default)]
pub struct Challenges {
    /// By the record of the certificate.
    known: Mutex<HashMap<[u8; 16], Vec<Proof>>>,
    /// Names that are proved over TLS.
    over_tls: ArcSwap<Vec<String>>,
    /// Somebody asks for what is not known.
    wanted: Notify,
    /// Readings that have begun, and those that are over.
    begun: AtomicU64,
    over: watch::Sender<u64>,
}

impl Challenges {
    /// Says which names there are, and how each is proved.
    pub fn set_names<'a>(&self, names: impl IntoIterator<Item = (&'a str, ChallengeKind)>) {
        let over_tls = names.into_iter().filter(|(_, kind)| *kind == ChallengeKind::TlsAlpn01);
        self.over_tls.store(Arc::new(over_tls.map(|(name, _)| name.to_owned()).collect()));
    }

    /// What is to be answered for a token over HTTP (RFC 8555 section 8.3); none where it is not ours.
    pub async fn key_authorization(&self, token: &str) -> Option<String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !TOKEN_CHARS.contains(&token.len()) || !token.bytes().all(fits) {
            return None;
        }
        let find = || self.find(|proof| proof.token == token);
        match find() {
            Some(found) => Some(found),
            None => {
                self.read_again().await;
                find()
            }
        }
    }

    /// Notes the answers that belong to a certificate now.
    pub fn set(&self, certificate: [u8; 16], proofs: &[Proof]) {
        let mut known = self.known();
        match proofs.is_empty() {
            true => known.remove(&certificate),
            false => known.insert(certificate, proofs.to_vec()),
        };
    }

    /// Waits until everything was read that was there when this was called.
    async fn read_again(&self) {
        let mut over = self.over.subscribe();
        let least = self.begun.load(Ordering::SeqCst) + 1;
        self.wanted.notify_one();
        // Who does not get an answer in time gets none.
        let _ = timeout(PATIENCE, over.wait_for(|over| *over >= least)).await;
    }

    /// Waits until somebody asks for what is not known; the number of the reading that begins then.
    pub async fn wanted(&self) -> u64 {
        self.wanted.notified().await;
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Says that a reading is over. The next one may begin after [`READ_EVERY`].
    pub fn were_read(&self, reading: u64) {
        self.over.send_replace(reading);
    }

    fn find(&self, is_it: impl Fn(&Proof) -> bool) -> Option<String> {
        let known = self.known();
        let found = known.values().flatten().find(|proof| is_it(proof))?;
        Some(found.key_authorization.clone())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 16], Vec<Proof>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Challenges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenges").field("over_tls", &self.over_tls).finish_non_exhaustive()
    }
}

impl Prover for Challenges {
    /// Names are asked for again with each order, so what is known may be of an earlier one.
    fn digest<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Option<[u8; 32]>> + Send + 'a>> {
        Box::pin(async move {
            if !self.over_tls.load().iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
                return None;
            }
            self.read_again().await;
            let found = self.find(|proof| proof.name.eq_ignore_ascii_case(name))?;
            Some(Sha256::digest(found.as_bytes()).into())
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    fn proof(name: &str, token: &str) -> Proof {
        Proof {
            name: name.to_owned(),
            token: token.to_owned(),
            key_authorization: format!("{token}.thumb"),
        }
    }

    const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf";

    fn challenges() -> Arc<Challenges> {
        let challenges = Challenges::default();
        challenges.set_names([
            ("a.example", ChallengeKind::Http01),
            ("b.example", ChallengeKind::TlsAlpn01),
        ]);
        Arc::new(challenges)
    }

    /// A node that reads, each time, what is in the store; how often.
    fn reads(challenges: &Arc<Challenges>, proofs: Vec<Proof>) -> Arc<AtomicU64> {
        let count = Arc::new(AtomicU64::new(0));
        let (challenges, counted) = (challenges.clone(), count.clone());
        tokio::spawn(async move {
            loop {
                let reading = challenges.wanted().await;
                counted.fetch_add(1, Ordering::SeqCst);
                challenges.set([0; 16], &proofs);
                challenges.were_read(reading);
                sleep(READ_EVERY).await;
            }
        });
        count
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_node_has_put_there_is_read_when_it_is_asked_for() {
        let challenges = challenges();
        let reads = reads(&challenges, vec![proof("a.example", TOKEN), proof("b.example", "x")]);
        let expected = format!("{TOKEN}.thumb");
        assert_eq!(challenges.key_authorization(TOKEN).await.as_ref(), Some(&expected));
        assert_eq!(challenges.key_authorization(TOKEN).await.as_ref(), Some(&expected));
        assert_eq!(reads.load(Ordering::SeqCst), 1, "it is known now");
        let digest = Sha256::digest(b"x.thumb");
        assert_eq!(challenges.digest("B.example").await, Some(digest.into()));
        assert_eq!(challenges.digest("a.example").await, None, "that one is proved otherwise");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_tokens_reads_no_more_often_than_one_does() {
        let challenges = challenges();
        let reads = reads(&challenges, Vec::new());
        let mut flood = tokio::task::JoinSet::new();
        for number in 0..500 {
            let challenges = challenges.clone();
            flood.spawn(async move {
                let token = format!("{TOKEN}{number}");
                assert_eq!(challenges.key_authorization(&token).await, None);
            });
        }
        flood.join_all().await;
        assert!(reads.load(Ordering::SeqCst) <= 2, "{reads:?}");
        let long = "x".repeat(200);
        for token in ["", "short", "evaGxfADs6pSRb2LAv9I/f", &long] {
            assert_eq!(challenges.key_authorization(token).await, None, "{token}");
        }
        assert!(reads.load(Ordering::SeqCst) <= 2, "those are no tokens");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let challenges = challenges();
        assert_eq!(challenges.key_authorization(TOKEN).await, None, "nobody reads");
        challenges.set([3; 16], &[proof("a.example", TOKEN)]);
        assert!(challenges.key_authorization(TOKEN).await.is_some());
        challenges.set([3; 16], &[]);
        assert!(challenges.known().is_empty());
    }
}
