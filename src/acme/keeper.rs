//! Looks after one certificate on this node: shows what is in its record, and where something is to be done
//! and no other node is at it, does it.
//!
//! Whoever works holds the lease beside the record and writes by compare-and-set: who has lost the lease
//! without noticing loses the next write too, and stops. Every step is written before the next one is taken.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::authority::SharedAuthority;
use super::challenges::Challenges;
use super::state::{State, Step, next_step};
use super::vault::{Held, Read, Vault};
use super::work::Work;
use super::{AuthoritySettings, OrderSettings};

use crate::clock::{Clock, UnixMillis};
use crate::listen::ordered::Ordered;
use crate::session::outcome::{Leased, RecordKey};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How much of that is random, so that the nodes of a fleet do not ask in step.
const JITTER: f64 = 0.2;
/// How long who works has the lease unless it is extended: so long after its death another takes over.
pub(super) const HOLD: Duration = Duration::from_secs(15);
/// Two extensions may fail.
const EXTEND_EVERY: Duration = Duration::from_secs(4);
const DAY_MS: u64 = 24 * 3600 * 1000;

/// What all keepers work with.
pub struct Parts {
    pub vault: Arc<Vault>,
    pub authority: SharedAuthority,
    pub slot: Arc<Ordered>,
    pub challenges: Arc<Challenges>,
    pub clock: Clock,
}

/// Looks after a certificate.
pub struct Keeper {
    pub(super) settings: OrderSettings,
    pub(super) key: RecordKey,
    pub(super) account: RecordKey,
    /// As whom this node has leases.
    pub(super) node: [u8; 16],
    pub(super) parts: Parts,
    seen: Mutex<Seen>,
}

/// What was seen of it last.
#[derive(Default)]
struct Seen {
    chain: Option<String>,
    standing: CertificateStanding,
    told_at: UnixMillis,
    is_unreadable: bool,
}

/// How a certificate stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateStanding {
    pub names: Vec<String>,
    /// None: there is none yet, and one of our own is shown.
    pub not_after: Option<UnixMillis>,
    pub renew_at: Option<UnixMillis>,
    /// In a row.
    pub failures: u32,
    pub complaint: Option<String>,
}

impl Keeper {
    /// Shows what there is a copy of.
    pub fn new(settings: OrderSettings, parts: Parts) -> Self {
        let certificate = &settings.certificate;
        let mut names: Vec<&str> = certificate.names.iter().map(String::as_str).collect();
        names.sort_unstable();
        let names = names.join(" ");
        let kind = format!("{:?}", certificate.key_type);
        let directory = certificate.directory.as_bytes();
        let key = parts.vault.key(&[b"certificate", directory, names.as_bytes(), kind.as_bytes()]);
        let account = account_key(&parts.vault, &settings.authority);
        let keeper =
            Self { settings, key, account, node: rand::random(), parts, seen: Mutex::default() };
        keeper.seen().standing.names.clone_from(&keeper.settings.certificate.names);
        if let Some(held) = keeper.parts.vault.copy_of::<State>(key) {
            keeper.show(&held.value);
        }
        keeper
    }

    pub fn settings(&self) -> &OrderSettings {
        &self.settings
    }

    /// Answers no challenges any more.
    pub fn forget(&self) {
        self.parts.challenges.set(self.key.id, &[]);
    }

    pub fn slot(&self) -> &Arc<Ordered> {
        &self.parts.slot
    }

    pub fn standing(&self) -> CertificateStanding {
        self.seen().standing.clone()
    }

    /// Looks again and again; never returns.
    pub async fn run(&self) -> Infallible {
        loop {
            self.look().await;
            sleep(LOOK_EVERY.mul_f64(1.0 + JITTER * rand::random::<f64>())).await;
        }
    }

    /// Shows what is there, and does what is to be done.
    pub async fn look(&self) {
        let Some(held) = self.read().await else { return };
        if !self.is_due(&held) {
            return;
        }
        let vault = &self.parts.vault;
        // Another node is at it, or nobody can be: without the store nothing is ordered.
        if vault.lease(self.key, self.node, HOLD).await != Leased::Taken {
            return;
        }
        let work = async {
            // It may have been done between.
            if let Some(held) = self.read().await.filter(|held| self.is_due(held)) {
                Work::new(self, held).run().await;
            }
        };
        tokio::select! {
            () = work => {}
            () = self.extend() => {
                let domains = self.domains();
                tracing::warn!(domains, "another node goes on with the order of a certificate");
            }
        }
        vault.release(self.key, self.node).await;
    }

    fn is_due(&self, held: &Held<State>) -> bool {
        let step = next_step(&held.value, self.parts.clock.now());
        held.is_stale && held.version > 0 || !matches!(step, Step::Wait(_))
    }

    /// Extends the lease for as long as this node has it.
    async fn extend(&self) {
        loop {
            sleep(EXTEND_EVERY).await;
            if self.parts.vault.lease(self.key, self.node, HOLD).await == Leased::Busy {
                return;
            }
        }
    }

    /// Reads the record, and shows what is in it. None where the store does not say, or what it says
    /// cannot be opened: a missing key is no missing certificate.
    pub async fn read(&self) -> Option<Held<State>> {
        let read = self.parts.vault.load::<State>(self.key, self.parts.clock.now()).await;
        let is_unreadable = matches!(read, Read::Unreadable);
        let was = std::mem::replace(&mut self.seen().is_unreadable, is_unreadable);
        match read {
            Read::Found(held) => {
                self.show(&held.value);
                Some(held)
            }
            Read::Nothing => Some(Held { value: State::default(), version: 0, is_stale: false }),
            Read::Unreadable if !was => {
                let domains = self.domains();
                tracing::error!(
                    domains,
                    "what the store has of this certificate does not open: give this node the fleet's \
                     key ring; it orders none meanwhile"
                );
                None
            }
            Read::Unreadable | Read::Unavailable => None,
        }
    }

    /// Shows the certificate of a record, and answers its challenges.
    pub(super) fn show(&self, state: &State) {
        let now = self.parts.clock.now();
        let proofs = state.order.as_ref().map_or(&[][..], |order| &order.proofs);
        self.parts.challenges.set(self.key.id, proofs);
        let mut seen = self.seen();
        seen.standing.failures = state.failures;
        seen.standing.complaint.clone_from(&state.complaint);
        let Some(issued) = &state.issued else { return };
        seen.standing.not_after = Some(issued.not_after);
        seen.standing.renew_at = Some(issued.renew_at);
        let is_new = seen.chain.as_ref() != Some(&issued.chain);
        if is_new {
            seen.chain = Some(issued.chain.clone());
            if let Err(error) = self.parts.slot.put(&issued.chain, &issued.key.0, now) {
                let domains = self.domains();
                tracing::error!(domains, %error, "a certificate that was issued cannot be shown");
                return;
            }
        }
        let is_time = now.0.abs_diff(seen.told_at.0) >= DAY_MS;
        if is_new || is_time {
            seen.told_at = now;
            tracing::info!(
                domains = self.domains(),
                days_left = issued.days_left(now),
                renewal_in_days = issued.renew_at.since(now).as_secs() / 86_400,
                "{}",
                if is_new { "a certificate is shown" } else { "a certificate is valid" }
            );
        }
    }

    /// Its names, for the log.
    pub(super) fn domains(&self) -> String {
        self.settings.certificate.names.join(", ")
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An account is an authority's, and one of a customer's where it has such.
fn account_key(vault: &Vault, authority: &AuthoritySettings) -> RecordKey {
    let customer = authority.external.as_ref().map_or("", |external| &external.key_id);
    vault.key(&[b"account", authority.directory.as_bytes(), customer.as_bytes()])
}
