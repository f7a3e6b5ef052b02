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

use std::path::PathBuf;
use std::sync::Arc;

use self::authority::{Acme, SharedAuthority};
pub use self::challenges::Challenges;
use self::challenges::READ_EVERY;
use self::keeper::{Keeper, Standing};
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

/// All certificates that are ordered.
pub struct Orders {
    keepers: Vec<Arc<Keeper>>,
    challenges: Arc<Challenges>,
}

impl Orders {
    /// Nothing is asked of anybody yet; what there is a copy of is shown already.
    ///
    /// # Errors
    /// A name is none, or the file with an authority's authorities cannot be used.
    pub fn new(all: &[OrderSettings], vault: Vault, clock: &Clock) -> Result<Self, String> {
        let names = all.iter().flat_map(|one| {
            one.certificate.names.iter().map(|name| (name.as_str(), one.challenge))
        });
        let challenges = Arc::new(Challenges::new(names));
        let vault = Arc::new(vault);
        let mut authorities: Vec<(&AuthoritySettings, SharedAuthority)> = Vec::new();
        let mut keepers = Vec::new();
        for (place, one) in all.iter().enumerate() {
            let known = authorities.iter().find(|(settings, _)| *settings == &one.authority);
            let authority = match known {
                Some((_, authority)) => authority.clone(),
                None => {
                    let made: SharedAuthority = Arc::new(Acme::new(one.authority.clone())?);
                    authorities.push((&one.authority, made.clone()));
                    made
                }
            };
            let slot = Ordered::new(one.certificate.clone(), clock.now());
            let slot = Arc::new(slot.map_err(|error| error.to_string())?);
            let (vault, challenges) = (vault.clone(), challenges.clone());
            let parts = keeper::Parts { vault, authority, slot, challenges, clock: clock.clone() };
            keepers.push(Arc::new(Keeper::new(place, one.clone(), parts)));
        }
        Ok(Self { keepers, challenges })
    }

    /// What handshakes show.
    pub fn book(&self) -> OrderBook {
        let slots = self.keepers.iter().map(|keeper| keeper.slot().clone());
        let prover = self.challenges.clone();
        let prover = self.challenges.are_over_tls().then_some(prover as Arc<dyn Prover>);
        OrderBook::new(slots, prover)
    }

    /// What proves names, where any are to be proved.
    pub fn challenges(&self) -> Option<Arc<Challenges>> {
        (!self.keepers.is_empty()).then(|| self.challenges.clone())
    }

    /// How each of them stands.
    pub fn standings(&self) -> Vec<Standing> {
        self.keepers.iter().map(|keeper| keeper.standing()).collect()
    }

    /// Looks after all of them, on the runtime that this is called on.
    pub fn begin(&self) {
        if self.keepers.is_empty() {
            return;
        }
        for keeper in &self.keepers {
            let keeper = keeper.clone();
            tokio::spawn(async move { keeper.run().await });
        }
        let (challenges, keepers) = (self.challenges.clone(), self.keepers.clone());
        tokio::spawn(async move {
            loop {
                let reading = challenges.wanted().await;
                for keeper in &keepers {
                    keeper.read().await;
                }
                challenges.were_read(reading);
                tokio::time::sleep(READ_EVERY).await;
            }
        });
    }
}

impl std::fmt::Debug for Orders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orders").field("certificates", &self.keepers.len()).finish_non_exhaustive()
    }
}
