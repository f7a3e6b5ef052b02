//! What an authority is asked for: the part of RFC 8555 that goes over the network.
//!
//! Each call is a step of its own that can be repeated, so that whoever takes over from a node that died
//! goes on where that one was.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeStatus,
    ChallengeType, Error, ExternalAccountKey, Identifier, NewAccount, NewOrder, OrderStatus,
};
use rustls::pki_types::Der;
use rustls::pki_types::pem::PemObject;
use tokio::sync::Mutex;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};
use zeroize::Zeroizing;

use super::client::Web;
use super::state::{Proof, Window};
use super::trouble::Trouble;
use super::{AuthoritySettings, ChallengeKind};
use crate::clock::UnixMillis;
use crate::crypto::base64;

/// Where an order is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Names have to be proved.
    Pending,
    /// They are; it can be finalized.
    Ready,
    Processing,
    Valid,
    /// Nothing will become of it.
    Invalid,
}

/// When an authority suggests to renew, and when it may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suggestion {
    pub window: Window,
    pub ask_after: Duration,
}

/// An account as it is kept: credentials of the library's, in JSON. Never printed.
pub type Credentials = str;

/// An authority.
#[async_trait]
pub trait Authority: Send + Sync {
    /// Makes an account.
    async fn register(&self) -> Result<String, Trouble>;
    /// Places an order, perhaps in place of this certificate; where it is.
    async fn order(
        &self,
        account: &Credentials,
        names: &[String],
        replaces: Option<&str>,
    ) -> Result<String, Trouble>;
    async fn progress(&self, account: &Credentials, order: &str) -> Result<Progress, Trouble>;
    /// What has to be answered for the names that are not proved yet.
    async fn proofs(
        &self,
        account: &Credentials,
        order: &str,
        kind: ChallengeKind,
    ) -> Result<Vec<Proof>, Trouble>;
    /// Says that all of them are answered now.
    async fn validate(
        &self,
        account: &Credentials,
        order: &str,
        kind: ChallengeKind,
    ) -> Result<(), Trouble>;
    /// Why nothing became of an order.
    async fn complaint(&self, account: &Credentials, order: &str) -> Trouble;
    async fn finalize(&self, account: &Credentials, order: &str, csr: &[u8])
    -> Result<(), Trouble>;
    /// The chain of an order that is valid, in PEM.
    async fn chain(&self, account: &Credentials, order: &str) -> Result<String, Trouble>;
    /// None where the authority has no opinion.
    async fn suggestion(
        &self,
        account: &Credentials,
        chain: &str,
    ) -> Result<Option<Suggestion>, Trouble>;
    /// What the last answer said of when to ask again.
    fn retry_after(&self) -> Option<Duration>;
}

/// One that is asked over the network.
pub struct Acme {
    settings: AuthoritySettings,
    web: Web,
    /// The account that was used last, as it is kept, and ready for use.
    known: Mutex<Option<(String, Account)>>,
}

impl Acme {
    /// # Errors
    /// Says which file is wrong, and how.
    pub fn new(settings: AuthoritySettings) -> Result<Self, String> {
        let web = Web::new(settings.ca.as_ref())?;
        Ok(Self { settings, web, known: Mutex::default() })
    }

    async fn account(&self, credentials: &Credentials) -> Result<Account, Trouble> {
        let mut known = self.known.lock().await;
        if let Some((kept, account)) = &*known
            && kept == credentials
        {
            return Ok(account.clone());
        }
        let parsed: AccountCredentials = serde_json::from_str(credentials)
            .map_err(|error| Trouble::said("accountDoesNotExist", error, None))?;
        let builder = Account::builder_with_http(Box::new(self.web.clone()));
        let account =
            builder.from_credentials(parsed).await.map_err(|error| self.trouble(error))?;
        *known = Some((credentials.to_owned(), account.clone()));
        Ok(account)
    }

    async fn placed(
        &self,
        credentials: &Credentials,
        order: &str,
    ) -> Result<instant_acme::Order, Trouble> {
        let account = self.account(credentials).await?;
        account.order(order.to_owned()).await.map_err(|error| self.trouble(error))
    }

    fn trouble(&self, error: Error) -> Trouble {
        let trouble = match &error {
            Error::Api(problem) => {
                let kind = problem.r#type.as_deref().unwrap_or_default();
                Trouble::said(kind, problem, problem.status)
            }
            error => Trouble::unreachable(error),
        };
        trouble.after(self.web.retry_after())
    }
}

#[async_trait]
impl Authority for Acme {
    async fn register(&self) -> Result<String, Trouble> {
        let AuthoritySettings { directory, contact, external, .. } = &self.settings;
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let account = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external = match external {
            None => None,
            Some(external) => {
                let key = external.key.read().map_err(|error| {
                    Trouble::refused(error, "write the key that it gave you into `eab.key_file`")
                })?;
                let key = external_key(key.expose()).ok_or_else(|| {
                    let text = "the key of `eab` is not base64url";
                    Trouble::refused(text, "write it as the authority gave it to you")
                })?;
                Some(ExternalAccountKey::new(external.key_id.clone(), &key))
            }
        };
        let builder = Account::builder_with_http(Box::new(self.web.clone()));
        let (_, credentials) = builder
            .create(&account, directory.clone(), external.as_ref())
            .await
            .map_err(|error| self.trouble(error))?;
        serde_json::to_string(&credentials).map_err(Trouble::unreachable)
    }

    async fn order(
        &self,
        account: &Credentials,
        names: &[String],
        replaces: Option<&str>,
    ) -> Result<String, Trouble> {
        let account = self.account(account).await?;
        let names: Vec<_> = names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let order = NewOrder::new(&names);
        let order = match replaces.and_then(identifier) {
            Some(replaced) => order.replaces(replaced),
            None => order,
        };
        let placed = account.new_order(&order).await.map_err(|error| self.trouble(error))?;
        Ok(placed.url().to_owned())
    }

    async fn progress(&self, account: &Credentials, order: &str) -> Result<Progress, Trouble> {
        let mut order = self.placed(account, order).await?;
        Ok(match order.state().status {
            OrderStatus::Pending => Progress::Pending,
            OrderStatus::Ready => Progress::Ready,
            OrderStatus::Processing => Progress::Processing,
            OrderStatus::Valid => Progress::Valid,
            OrderStatus::Invalid => Progress::Invalid,
        })
    }

    async fn proofs(
        &self,
        account: &Credentials,
        order: &str,
        kind: ChallengeKind,
    ) -> Result<Vec<Proof>, Trouble> {
        let mut order = self.placed(account, order).await?;
        let mut authorizations = order.authorizations();
        let mut proofs = Vec::new();
        while let Some(next) = authorizations.next().await {
            let mut next = next.map_err(|error| self.trouble(error))?;
            if next.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = next.identifier().to_string();
            let challenge = next.challenge(kind.into()).ok_or_else(|| not_offered(&name, kind))?;
            proofs.push(Proof {
                name,
                token: challenge.token.clone(),
                key_authorization: challenge.key_authorization().as_str().to_owned(),
            });
        }
        Ok(proofs)
    }

    async fn validate(
        &self,
        account: &Credentials,
        order: &str,
        kind: ChallengeKind,
    ) -> Result<(), Trouble> {
        let mut order = self.placed(account, order).await?;
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut next = next.map_err(|error| self.trouble(error))?;
            if next.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = next.identifier().to_string();
            let mut challenge =
                next.challenge(kind.into()).ok_or_else(|| not_offered(&name, kind))?;
            if challenge.status == ChallengeStatus::Pending {
                challenge.set_ready().await.map_err(|error| self.trouble(error))?;
            }
        }
        Ok(())
    }

    async fn complaint(&self, account: &Credentials, order: &str) -> Trouble {
        let mut order = match self.placed(account, order).await {
            Ok(order) => order,
            Err(trouble) => return trouble,
        };
        let problem = order.state().error.clone();
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let Ok(next) = next else { break };
            let failed = next.challenges.iter().find_map(|challenge| challenge.error.as_ref());
            if let Some(problem) = failed {
                let name = next.identifier().to_string();
                let kind = problem.r#type.as_deref().unwrap_or_default();
                let detail = problem.detail.as_deref().unwrap_or_default();
                return Trouble::said(kind, format_args!("{name}: {detail} ({kind})"), None);
            }
        }
        match problem {
            Some(problem) => {
                let kind = problem.r#type.clone().unwrap_or_default();
                Trouble::said(&kind, problem, None)
            }
            None => Trouble::refused("the order has become invalid", "see what the authority logs"),
        }
    }

    async fn finalize(
        &self,
        account: &Credentials,
        order: &str,
        csr: &[u8],
    ) -> Result<(), Trouble> {
        let mut order = self.placed(account, order).await?;
        order.finalize_csr(csr).await.map_err(|error| self.trouble(error))
    }

    async fn chain(&self, account: &Credentials, order: &str) -> Result<String, Trouble> {
        let mut order = self.placed(account, order).await?;
        let chain = order.certificate().await.map_err(|error| self.trouble(error))?;
        chain.ok_or_else(|| Trouble::unreachable("the certificate is not there yet"))
    }

    async fn suggestion(
        &self,
        account: &Credentials,
        chain: &str,
    ) -> Result<Option<Suggestion>, Trouble> {
        let Some(identifier) = identifier(chain) else { return Ok(None) };
        let account = self.account(account).await?;
        match account.renewal_info(&identifier).await {
            Ok((info, ask_after)) => {
                let at = |secs: i64| {
                    UnixMillis(u64::try_from(secs).unwrap_or_default().saturating_mul(1000))
                };
                let window = Window {
                    begin: at(info.suggested_window.start.unix_timestamp()),
                    end: at(info.suggested_window.end.unix_timestamp()),
                };
                Ok(Some(Suggestion { window, ask_after }))
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(self.trouble(error)),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        self.web.retry_after()
    }
}

impl From<ChallengeKind> for ChallengeType {
    fn from(kind: ChallengeKind) -> Self {
        match kind {
            ChallengeKind::Http01 => Self::Http01,
            ChallengeKind::TlsAlpn01 => Self::TlsAlpn01,
        }
    }
}

fn not_offered(name: &str, kind: ChallengeKind) -> Trouble {
    Trouble::refused(
        format_args!("{name}: the authority does not offer {}", kind.name()),
        "choose another `challenge`, or another authority",
    )
}

/// What an authority calls a certificate of its own (RFC 9773 section 4.1).
fn identifier(chain: &str) -> Option<CertificateIdentifier<'static>> {
    let first = rustls::pki_types::CertificateDer::pem_slice_iter(chain.as_bytes()).next()?.ok()?;
    let (_, parsed) = X509Certificate::from_der(&first).ok()?;
    let issuer = parsed.iter_extensions().find_map(|one| match one.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.clone(),
        _ => None,
    })?;
    let serial = Der::from_slice(parsed.tbs_certificate.raw_serial());
    Some(CertificateIdentifier::new(Der::from_slice(issuer.0), serial).into_owned())
}

/// The key of an external account, as authorities write it: base64url, whose padding some leave out (RFC 8555
/// section 7.3.4).
pub fn external_key(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let canonical: Zeroizing<Vec<u8>> = Zeroizing::new(
        text.trim_end_matches('=')
            .bytes()
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                byte => byte,
            })
            .collect(),
    );
    let mut key = Zeroizing::new(vec![0; canonical.len()]);
    let length = base64::decode_canonical(&canonical, &mut key)?;
    key.truncate(length);
    (length > 0).then_some(key)
}

/// Shared by all certificates of one authority.
pub type SharedAuthority = Arc<dyn Authority>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_external_accounts_are_read_as_authorities_write_them() {
        for (text, expected) in [
            ("Zm9v", Some(&b"foo"[..])),
            ("Zm8=", Some(b"fo")),
            ("Zm8", Some(b"fo")),
            ("-_-_", Some(&[0xfb, 0xff, 0xbf])),
            ("+/+/", Some(&[0xfb, 0xff, 0xbf])),
            ("", None),
            ("Zm9v Zm9v", None),
        ] {
            assert_eq!(external_key(text).as_ref().map(|key| key.as_slice()), expected, "{text}");
        }
    }

    /// RFC 9773 section 4.1: the authority's key identifier and the serial number, each in base64url.
    #[test]
    fn a_certificate_is_named_by_its_issuer_and_its_number() {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyIdMethod, KeyPair};
        let key = || KeyPair::generate().expect("entropy");
        let mut issuer = CertificateParams::default();
        issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        issuer.key_identifier_method = KeyIdMethod::PreSpecified(vec![0xc0, 0xff, 0xee]);
        let issuer = Issuer::new(issuer, key());
        let mut params = CertificateParams::new(["a.example".to_owned()]).expect("a name");
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0xca, 0xfe]));
        let named = |params: &CertificateParams| {
            let chain = params.signed_by(&key(), &issuer).expect("signed").pem();
            identifier(&chain).map(|identifier| identifier.to_string())
        };
        assert_eq!(named(&params), None, "nobody says who has issued it");
        params.use_authority_key_identifier_extension = true;
        // A number that begins with a set bit has a zero before it in DER.
        assert_eq!(named(&params).as_deref(), Some("wP_u.AMr-"));
    }

    #[test]
    fn what_is_no_chain_has_no_identifier() {
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(identifier(text), None, "{text}");
        }
    }
}
