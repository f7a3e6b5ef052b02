//! Certificates that are ordered from an authority by ACME (RFC 8555), for all nodes of a fleet by one.
//!
//! What is known of each is one sealed record of the store ([`vault`]), what follows from that a pure
//! function ([`state`]). A [`keeper`] on every node looks at the record, shows the certificate that is in it,
//! and does what is to be done where it gets the lease beside the record. The library of ACME is named in
//! here alone.

pub mod authority;
pub mod challenges;
mod client;
pub mod keeper;
pub mod state;
#[cfg(test)]
mod tests;
pub mod trouble;
pub mod vault;
mod work;

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

use self::authority::{Acme, SharedAuthority};
pub use self::challenges::Challenges;
use self::challenges::READ_EVERY;
use self::keeper::{CertificateStanding, Keeper, Parts};
use self::vault::Vault;
use crate::clock::Clock;
use crate::listen::ordered::{OrderBook, Ordered, OrderedSettings, Prover};
use crate::store::credentials::Secret;

/// A certificate that is to be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderSettings {
    pub certificate: OrderedSettings,
    pub authority: AuthoritySettings,
    pub challenge: ChallengeKind,
}

/// Whom it is ordered from, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritySettings {
    /// The URL of its directory (RFC 8555 section 7.1.1).
    pub directory: String,
    /// `mailto:` addresses.
    pub contact: Vec<String>,
    pub external: Option<ExternalAccount>,
    /// Who vouches for it, in PEM, where not those whom the system trusts.
    pub ca: Option<PathBuf>,
}

/// An account that the authority knows already (RFC 8555 section 7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    pub key_id: String,
    /// In base64url.
    pub key: Secret,
}

/// How names are proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeKind {
    /// Over plain HTTP at port 80 (RFC 8555 section 8.3).
    Http01,
    /// In a handshake at port 443 (RFC 8737).
    TlsAlpn01,
}

impl ChallengeKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// What certificates are ordered with, whatever the configuration is: it outlives a reload.
pub struct Desk {
    vault: Arc<Vault>,
    challenges: Arc<Challenges>,
    clock: Clock,
    /// Of the configuration in force.
    keepers: Mutex<Vec<Arc<Keeper>>>,
    has_any: AtomicBool,
}

impl Desk {
    pub fn new(vault: Vault, clock: Clock) -> Self {
        Self {
            vault: Arc::new(vault),
            challenges: Arc::default(),
            clock,
            keepers: Mutex::default(),
            has_any: AtomicBool::new(false),
        }
    }

    /// What proves names, where any are to be proved.
    pub fn challenges(&self) -> Option<&Challenges> {
        self.has_any.load(Relaxed).then_some(&*self.challenges)
    }

    /// How each certificate stands.
    pub fn standings(&self) -> Vec<CertificateStanding> {
        self.keepers().iter().map(|keeper| keeper.standing()).collect()
    }

    /// Reads the records for those who ask for what is not known; never returns.
    pub async fn follow(&self) -> Infallible {
        loop {
            let reading = self.challenges.wanted().await;
            for keeper in self.keepers() {
                keeper.read().await;
            }
            self.challenges.were_read(reading);
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    fn keepers(&self) -> Vec<Arc<Keeper>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// All certificates that a configuration orders.
pub struct Orders(Vec<Arc<Kept>>);

/// A certificate that is looked after for as long as a configuration orders it.
struct Kept {
    keeper: Arc<Keeper>,
    task: Mutex<Option<AbortHandle>>,
}

impl Orders {
    /// Nothing is asked of anybody yet; what there is a copy of is shown already. What was ordered alike
    /// `before` goes on.
    ///
    /// # Errors
    /// A name is none, or the file with an authority's authorities cannot be used.
    pub fn new(all: &[OrderSettings], desk: &Desk, before: Option<&Self>) -> Result<Self, String> {
        let before = before.map(|before| &before.0[..]).unwrap_or_default();
        let mut authorities: Vec<(&AuthoritySettings, SharedAuthority)> = Vec::new();
        let mut kept = Vec::new();
        for one in all {
            let certificate = &one.certificate;
            let known = before.iter().find(|known| known.keeper.slot().settings() == certificate);
            if let Some(same) = known.filter(|known| known.keeper.settings() == one) {
                kept.push(same.clone());
                continue;
            }
            let asked = authorities.iter().find(|(settings, _)| *settings == &one.authority);
            let authority = match asked {
                Some((_, authority)) => authority.clone(),
                None => {
                    let made: SharedAuthority = Arc::new(Acme::new(one.authority.clone())?);
                    authorities.push((&one.authority, made.clone()));
                    made
                }
            };
            let slot = match known {
                Some(known) => known.keeper.slot().clone(),
                None => slot(certificate, before, &desk.clock)?,
            };
            let (vault, challenges) = (desk.vault.clone(), desk.challenges.clone());
            let parts = Parts { vault, authority, slot, challenges, clock: desk.clock.clone() };
            let keeper = Arc::new(Keeper::new(one.clone(), parts));
            kept.push(Arc::new(Kept { keeper, task: Mutex::default() }));
        }
        Ok(Self(kept))
    }

    /// What handshakes show.
    pub fn book(&self, desk: &Desk) -> OrderBook {
        let over_tls =
            |kept: &Arc<Kept>| kept.keeper.settings().challenge == ChallengeKind::TlsAlpn01;
        let prover = desk.challenges.clone();
        let prover = self.0.iter().any(over_tls).then_some(prover as Arc<dyn Prover>);
        OrderBook::new(self.0.iter().map(|kept| kept.keeper.slot().clone()), prover)
    }

    /// Looks after all of them, on the runtime that this is called on, and after no others.
    pub fn begin(&self, desk: &Desk) {
        let keepers: Vec<_> = self.0.iter().map(|kept| kept.keeper.clone()).collect();
        let names = keepers.iter().flat_map(|keeper| {
            let OrderSettings { certificate, challenge, .. } = keeper.settings();
            certificate.names.iter().map(|name| (name.as_str(), *challenge))
        });
        desk.challenges.set_names(names);
        desk.has_any.store(!keepers.is_empty(), Relaxed);
        *desk.keepers.lock().unwrap_or_else(PoisonError::into_inner) = keepers;
        for kept in &self.0 {
            let mut task = kept.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.get_or_insert_with(|| {
                let keeper = kept.keeper.clone();
                tokio::spawn(async move { keeper.run().await }).abort_handle()
            });
        }
    }
}

/// What handshakes are to show until the certificate is there: one before that is for some of its names, or
/// one of our own.
fn slot(
    certificate: &OrderedSettings,
    before: &[Arc<Kept>],
    clock: &Clock,
) -> Result<Arc<Ordered>, String> {
    let count = |kept: &&Arc<Kept>| kept.keeper.slot().covers(&certificate.names);
    let best = before.iter().max_by_key(count).filter(|best| count(best) > 0);
    Ok(Arc::new(match best {
        Some(best) => Ordered::in_place_of(best.keeper.slot(), certificate.clone()),
        None => {
            let own = Ordered::new(certificate.clone(), clock.now());
            own.map_err(|error| error.to_string())?
        }
    }))
}

impl Drop for Kept {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
            self.keeper.forget();
        }
    }
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders").field("certificates", &self.0.len()).finish_non_exhaustive()
    }
}
