//! The work on one certificate, by the node that has its lease.

use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, RsaKeySize};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::authority::Progress;
use super::keeper::Keeper;
use super::state::{Issued, KeyPem, Order, State, Step, next_step};
use super::trouble::{Kind, Trouble};
use super::vault::{Held, Read, Wrote};
use crate::clock::UnixMillis;
use crate::listen::ordered::KeyType;
use crate::session::outcome::{Leased, Removed};

/// Between two questions about an order: at first, and at most.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));
/// What an authority says of that is heeded up to here.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);
/// So long an order is asked about before others get a chance, and it is another day's work.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long who makes an account has the lease for that: three requests, none of which takes longer than 30 s.
const ACCOUNT_HOLD: Duration = Duration::from_secs(120);

/// An account as it is kept.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(super) struct Account {
    credentials: String,
}

/// Why the work ends before its end.
enum Halt {
    Trouble(Trouble),
    /// Somebody else is at it, or the store does not answer: what was written stands.
    Over,
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// The work, and what is known so far.
pub(super) struct Work<'a> {
    keeper: &'a Keeper,
    state: State,
    version: u64,
}

impl<'a> Work<'a> {
    pub(super) fn new(keeper: &'a Keeper, held: Held<State>) -> Self {
        Self { keeper, state: held.value, version: held.version }
    }

    /// Does what is to be done now, as far as it goes.
    pub(super) async fn run(mut self) {
        let step = next_step(&self.state, self.now());
        let done = match step {
            // Sealed with an older key: again, with the one that is used now.
            Step::Wait(_) => self.write(self.state.clone()).await,
            Step::AskWhen => self.ask_when().await,
            Step::Order => self.order().await,
            Step::CarryOn => self.carry_on().await,
        };
        if let Err(Halt::Trouble(trouble)) = done {
            self.fail(trouble).await;
        }
    }

    /// Notes a failure, and says what is to be done about it.
    async fn fail(&mut self, trouble: Trouble) {
        let now = self.now();
        if trouble.kind == Kind::NoAccount {
            let removed = self.keeper.parts.vault.remove(self.keeper.account).await;
            if removed == Removed::Unavailable {
                return;
            }
        }
        let failed = self.state.clone().failed(&trouble, now, rand::random());
        let retry_in = failed.retry_at.since(now);
        tracing::error!(
            domains = self.keeper.domains(),
            authority = self.keeper.settings.authority.directory,
            error = %trouble,
            remedy = trouble.remedy,
            failures = failed.failures,
            again_in = ?Duration::from_secs(retry_in.as_secs()),
            days_left = failed.issued.as_ref().map(|issued| issued.days_left(now)),
            "no certificate could be ordered"
        );
        // Where it cannot be noted nothing can be ordered either.
        let _ = self.write(failed).await;
    }

    /// Begins an order: noted first, so that whoever takes over knows of it.
    async fn order(&mut self) -> Result<(), Halt> {
        let account = self.account().await?;
        let kind = self.keeper.settings.certificate.key_type;
        let key = tokio::task::spawn_blocking(move || private_key(kind)).await;
        let key = key
            .map_err(Trouble::unreachable)?
            .map_err(|error| Trouble::refused(error, "choose another `key_type`"))?;
        self.write(self.state.clone().ordering(key, self.now())).await?;
        self.place(&account).await?;
        self.go_on(&account).await
    }

    async fn carry_on(&mut self) -> Result<(), Halt> {
        let account = self.account().await?;
        if self.state.order.as_ref().is_some_and(|order| order.url.is_none()) {
            self.place(&account).await?;
        }
        self.go_on(&account).await
    }

    async fn place(&mut self, account: &Account) -> Result<(), Halt> {
        let authority = &self.keeper.parts.authority;
        let names = &self.keeper.settings.certificate.names;
        // Who says when to renew wants to know what is renewed (RFC 9773 section 5).
        let issued = self.state.issued.as_ref().filter(|issued| issued.window.is_some());
        let replaced = issued.map(|issued| issued.chain.as_str());
        let placed = authority.order(&account.credentials, names, replaced).await;
        let url = match placed {
            // It was replaced already, says the authority, or it does not know it any more.
            Err(trouble) if trouble.kind == Kind::Refused && replaced.is_some() => {
                authority.order(&account.credentials, names, None).await?
            }
            placed => placed?,
        };
        tracing::info!(domains = self.keeper.domains(), "a certificate was ordered");
        let mut state = self.state.clone();
        if let Some(order) = &mut state.order {
            order.url = Some(url);
        }
        self.write(state).await
    }

    /// From wherever the order is to the certificate.
    async fn go_on(&mut self, account: &Account) -> Result<(), Halt> {
        let authority = &self.keeper.parts.authority;
        let account = &*account.credentials;
        let kind = self.keeper.settings.challenge;
        let Some(Order { url: Some(url), key, .. }) = self.state.order.clone() else {
            return Err(Halt::Over);
        };
        let deadline = Instant::now() + PATIENCE;
        let (mut pause, mut is_asked) = (ASK_AGAIN.0, false);
        loop {
            match authority.progress(account, &url).await? {
                Progress::Pending if !is_asked => {
                    let mut state = self.state.clone();
                    if let Some(order) = &mut state.order {
                        order.proofs = authority.proofs(account, &url, kind).await?;
                    }
                    // Every node can answer before the authority asks any.
                    self.write(state).await?;
                    authority.validate(account, &url, kind).await?;
                    is_asked = true;
                }
                Progress::Pending | Progress::Processing => {}
                Progress::Ready => {
                    let csr = request(&key, &self.keeper.settings.certificate.names)
                        .map_err(|error| Trouble::refused(error, "look at `domains`"))?;
                    authority.finalize(account, &url, &csr).await?;
                }
                Progress::Valid => {
                    let chain = authority.chain(account, &url).await?;
                    return self.take(chain, key).await;
                }
                Progress::Invalid => return Err(authority.complaint(account, &url).await.into()),
            }
            if Instant::now() >= deadline {
                let text = format!("the order was not decided in {} s", PATIENCE.as_secs());
                return Err(Trouble::unreachable(text).into());
            }
            let said = authority.retry_after().unwrap_or_default().min(ASK_AGAIN_MAX);
            sleep(pause.max(said)).await;
            pause = (pause * 2).min(ASK_AGAIN.1);
        }
    }

    /// Takes what was issued, if it is what was ordered.
    async fn take(&mut self, chain: String, key: KeyPem) -> Result<(), Halt> {
        let now = self.now();
        let validity = self.keeper.slot().check(&chain, &key.0, now).map_err(|error| {
            Trouble::refused(error, "ask the authority why it issues what was not ordered")
        })?;
        let issued = Issued::new(chain, key, validity, now, rand::random());
        self.write(self.state.clone().issued(issued)).await
    }

    async fn ask_when(&mut self) -> Result<(), Halt> {
        let Some(issued) = self.state.issued.clone() else { return Err(Halt::Over) };
        let account = self.account().await?;
        let authority = &self.keeper.parts.authority;
        let asked = authority.suggestion(&account.credentials, &issued.chain).await;
        let now = self.now();
        let issued = match asked {
            Ok(Some(said)) => {
                let known = issued.window;
                let issued = issued.suggested(said.window, said.ask_after, now, rand::random());
                if issued.window != known {
                    let days = issued.renew_at.since(now).as_secs() / 86_400;
                    let domains = self.keeper.domains();
                    tracing::info!(
                        domains,
                        renewal_in_days = days,
                        "the authority says when to renew"
                    );
                }
                issued
            }
            Ok(None) => issued.without_suggestion(now),
            // It is asked again tomorrow; until then what was known counts.
            Err(trouble) => {
                let domains = self.keeper.domains();
                tracing::warn!(domains, error = %trouble, "the authority does not say when to renew");
                issued.without_suggestion(now)
            }
        };
        self.write(State { issued: Some(issued), ..self.state.clone() }).await
    }

    /// The fleet's account; whoever needs it first makes it.
    async fn account(&self) -> Result<Account, Halt> {
        let vault = &self.keeper.parts.vault;
        let key = self.keeper.account;
        if let Some(account) = self.known_account().await? {
            return Ok(account);
        }
        if vault.lease(key, self.keeper.node, ACCOUNT_HOLD).await != Leased::Taken {
            return Err(Halt::Over);
        }
        let made = match self.known_account().await {
            Ok(None) => self.register().await,
            Ok(Some(account)) => Ok(account),
            Err(halt) => Err(halt),
        };
        vault.release(key, self.keeper.node).await;
        made
    }

    async fn register(&self) -> Result<Account, Halt> {
        let credentials = self.keeper.parts.authority.register().await?;
        let account = Account { credentials };
        let directory = &self.keeper.settings.authority.directory;
        tracing::info!(authority = directory, "an account was made to order certificates with");
        match self.keeper.parts.vault.write(self.keeper.account, 0, &account).await {
            Wrote::Version(_) => Ok(account),
            Wrote::Lost | Wrote::Unavailable => Err(Halt::Over),
        }
    }

    async fn known_account(&self) -> Result<Option<Account>, Halt> {
        let (vault, key) = (&self.keeper.parts.vault, self.keeper.account);
        match vault.load::<Account>(key, self.now()).await {
            Read::Found(held) => {
                if held.is_stale {
                    // Whoever else does the same at once has done it.
                    let _ = vault.write(key, held.version, &held.value).await;
                }
                Ok(Some(held.value))
            }
            Read::Nothing => Ok(None),
            Read::Unreadable => {
                let text = "the account in the store does not open with this node's key ring";
                Err(Trouble::refused(text, "give this node the fleet's key ring").into())
            }
            Read::Unavailable => Err(Halt::Over),
        }
    }

    async fn write(&mut self, state: State) -> Result<(), Halt> {
        match self.keeper.parts.vault.write(self.keeper.key, self.version, &state).await {
            Wrote::Version(version) => {
                self.keeper.show(&state);
                (self.version, self.state) = (version, state);
                Ok(())
            }
            Wrote::Lost | Wrote::Unavailable => Err(Halt::Over),
        }
    }

    fn now(&self) -> UnixMillis {
        self.keeper.parts.clock.now()
    }
}

fn private_key(kind: KeyType) -> Result<KeyPem, String> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    let key = match kind {
        KeyType::Ecdsa256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyType::Ecdsa384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => rsa(RsaKeySize::_2048),
        KeyType::Rsa3072 => rsa(RsaKeySize::_3072),
        KeyType::Rsa4096 => rsa(RsaKeySize::_4096),
    };
    key.map(|key| KeyPem(key.serialize_pem())).map_err(|error| error.to_string())
}

/// A request for a certificate (RFC 2986), its names as subject alternative names alone.
fn request(key: &KeyPem, names: &[String]) -> Result<Vec<u8>, String> {
    let said = |error: rcgen::Error| error.to_string();
    let key = KeyPair::from_pem(&key.0).map_err(said)?;
    let mut params = CertificateParams::new(names).map_err(said)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(said)?.der().to_vec())
}
