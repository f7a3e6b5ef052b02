//! A fleet of nodes, one store, and an authority that is no further away than this file.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use tokio::time::{sleep, timeout};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension};

use super::authority::{Authority, Credentials, Progress, Suggestion};
use super::keeper::{HOLD, Keeper, Parts};
use super::state::{Proof, Window};
use super::trouble::{Kind, Trouble};
use super::vault::{Vault, tests::ring};
use super::{AuthoritySettings, ChallengeKind, Challenges, OrderSettings};
use crate::clock::{Clock, UnixMillis};
use crate::crypto::ring_source::RingSource;
use crate::listen::ordered::{KeyType, Ordered, OrderedSettings};
use crate::store::memory::MemoryStore;
use crate::store::watched::Watched;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf";

/// An authority that believes everything.
struct Fake {
    clock: Clock,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    accounts: usize,
    /// What each was to replace.
    orders: Vec<Option<String>>,
    /// All questions.
    questions: usize,
    csr: Option<Vec<u8>>,
    is_validated: bool,
    /// It does not answer this any more.
    hangs_at: Option<&'static str>,
    fails_at: Option<(&'static str, Trouble)>,
    suggests: Option<Suggestion>,
}

impl Fake {
    fn said<T>(&self, look: impl FnOnce(&mut Said) -> T) -> T {
        look(&mut self.said.lock().expect("no holder panics"))
    }

    async fn hears(&self, what: &'static str) -> Result<(), Trouble> {
        let (hangs, fails) = self.said(|said| {
            said.questions += 1;
            (said.hangs_at == Some(what), said.fails_at.clone())
        });
        if hangs {
            std::future::pending::<()>().await;
        }
        match fails {
            Some((at, trouble)) if at == what => Err(trouble),
            _ => Ok(()),
        }
    }
}

struct Public(Vec<u8>);

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

#[async_trait]
impl Authority for Fake {
    async fn register(&self) -> Result<String, Trouble> {
        self.hears("register").await?;
        self.said(|said| said.accounts += 1);
        Ok("account".to_owned())
    }

    async fn order(
        &self,
        account: &Credentials,
        _: &[String],
        replaces: Option<&str>,
    ) -> Result<String, Trouble> {
        assert_eq!(account, "account");
        self.hears("order").await?;
        if replaces.is_some() {
            self.hears("replace").await?;
        }
        self.said(|said| {
            said.orders.push(replaces.map(str::to_owned));
            (said.csr, said.is_validated) = (None, false);
            Ok(format!("https://ca.example/order/{}", said.orders.len()))
        })
    }

    async fn progress(&self, _: &Credentials, order: &str) -> Result<Progress, Trouble> {
        self.hears("progress").await?;
        self.said(|said| {
            assert_eq!(order, format!("https://ca.example/order/{}", said.orders.len()));
            Ok(match (said.is_validated, &said.csr) {
                (false, _) => Progress::Pending,
                (true, None) => Progress::Ready,
                (true, Some(_)) => Progress::Valid,
            })
        })
    }

    async fn proofs(
        &self,
        _: &Credentials,
        _: &str,
        _: ChallengeKind,
    ) -> Result<Vec<Proof>, Trouble> {
        let key_authorization = format!("{TOKEN}.thumb");
        Ok(vec![Proof { name: "a.example".to_owned(), token: TOKEN.to_owned(), key_authorization }])
    }

    async fn validate(&self, _: &Credentials, _: &str, _: ChallengeKind) -> Result<(), Trouble> {
        self.hears("validate").await?;
        self.said(|said| said.is_validated = true);
        Ok(())
    }

    async fn complaint(&self, _: &Credentials, _: &str) -> Trouble {
        unreachable!("its orders are valid")
    }

    async fn finalize(&self, _: &Credentials, _: &str, csr: &[u8]) -> Result<(), Trouble> {
        self.hears("finalize").await?;
        self.said(|said| said.csr = Some(csr.to_vec()));
        Ok(())
    }

    async fn chain(&self, _: &Credentials, _: &str) -> Result<String, Trouble> {
        self.hears("chain").await?;
        let csr = self.said(|said| said.csr.clone()).expect("it was finalized");
        let (_, csr) = X509CertificationRequest::from_der(&csr).expect("a request");
        let names = csr.requested_extensions().expect("names").find_map(|one| match one {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        let names = names.expect("names").iter().map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            other => panic!("{other:?}"),
        });
        let mut params = CertificateParams::new(names.collect::<Vec<_>>()).expect("names");
        let now = std::time::UNIX_EPOCH + Duration::from_millis(self.clock.now().0);
        (params.not_before, params.not_after) = (now.into(), (now + DAY * 90).into());
        let key = csr.certification_request_info.subject_pki.subject_public_key.data.to_vec();
        let mut issuer = CertificateParams::default();
        issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(issuer, KeyPair::generate().expect("entropy"));
        Ok(params.signed_by(&Public(key), &issuer).expect("signed").pem())
    }

    async fn suggestion(&self, _: &Credentials, _: &str) -> Result<Option<Suggestion>, Trouble> {
        self.hears("suggestion").await?;
        Ok(self.said(|said| said.suggests))
    }

    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// An authority, a store, and the clock that all go by.
struct Scene {
    at: Arc<AtomicU64>,
    memory: Arc<MemoryStore>,
    authority: Arc<Fake>,
    ring: Arc<RingSource>,
}

/// A node, with a state directory of its own.
struct Node {
    keeper: Arc<Keeper>,
    challenges: Arc<Challenges>,
    store: Arc<Watched>,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let at = Arc::new(AtomicU64::new(NOW.0));
        let clock = Clock::Held(at.clone());
        let authority = Arc::new(Fake { clock: clock.clone(), said: Mutex::default() });
        Self { at, memory: Arc::new(MemoryStore::new(clock)), authority, ring: ring() }
    }

    fn pass(&self, duration: Duration) {
        self.at.fetch_add(u64::try_from(duration.as_millis()).expect("short"), Ordering::SeqCst);
    }

    fn node(&self) -> Node {
        self.node_of("a.example", self.ring.clone())
    }

    fn node_of(&self, name: &str, ring: Arc<RingSource>) -> Node {
        let (directory, clock) =
            (tempfile::tempdir().expect("temporary"), Clock::Held(self.at.clone()));
        let certificate = OrderedSettings {
            names: vec![name.to_owned()],
            directory: "https://ca.example/directory".to_owned(),
            key_type: KeyType::Ecdsa256,
        };
        let authority = AuthoritySettings {
            directory: certificate.directory.clone(),
            contact: Vec::new(),
            external: None,
            ca: None,
        };
        let challenge = ChallengeKind::Http01;
        let challenges = Arc::<Challenges>::default();
        let slot = Ordered::new(certificate.clone(), clock.now()).expect("a name");
        let store = Watched::over(&self.memory);
        let parts = Parts {
            vault: Arc::new(Vault::new(store.clone(), ring, directory.path().to_owned())),
            authority: self.authority.clone(),
            slot: Arc::new(slot),
            challenges: challenges.clone(),
            clock,
        };
        let settings = OrderSettings { certificate, authority, challenge };
        let keeper = Arc::new(Keeper::new(settings, parts));
        Node { keeper, challenges, store, _directory: directory }
    }

    fn orders(&self) -> usize {
        self.authority.said(|said| said.orders.len())
    }

    fn questions(&self) -> usize {
        self.authority.said(|said| said.questions)
    }
}

impl Node {
    fn not_after(&self) -> Option<UnixMillis> {
        self.keeper.standing().not_after
    }
}

/// All of them look, each as often.
async fn look(nodes: &[Node], times: usize) {
    let mut looking = tokio::task::JoinSet::new();
    for keeper in nodes.iter().map(|node| node.keeper.clone()) {
        looking.spawn(async move {
            for _ in 0..times {
                keeper.look().await;
                sleep(Duration::from_millis(10)).await;
            }
        });
    }
    looking.join_all().await;
    // Who was at it was the last one to look.
    for node in nodes {
        node.keeper.read().await;
    }
}

fn trouble(kind: Kind) -> Trouble {
    Trouble { kind, text: "because".to_owned(), remedy: "the remedy", retry_after: None }
}

#[tokio::test(start_paused = true)]
async fn a_fleet_orders_once_and_all_nodes_show_it() {
    let scene = Scene::new();
    let nodes = [scene.node(), scene.node(), scene.node()];
    assert!(nodes.iter().all(|node| node.not_after().is_none()));
    look(&nodes, 50).await;
    assert_eq!((scene.orders(), scene.authority.said(|said| said.accounts)), (1, 1));
    let over = NOW.plus(DAY * 90);
    assert!(nodes.iter().all(|node| node.not_after() == Some(over)));
    // A node that comes later finds it there, and one that starts again has it before it asks anybody.
    let late = [scene.node()];
    look(&late, 1).await;
    assert_eq!((late[0].not_after(), scene.orders()), (Some(over), 1));
}

#[tokio::test(start_paused = true)]
async fn certificates_of_one_authority_share_an_account() {
    let scene = Scene::new();
    // One after the other: this authority knows one order at a time.
    for name in ["a.example", "b.example"] {
        look(&[scene.node_of(name, scene.ring.clone())], 2).await;
    }
    assert_eq!((scene.orders(), scene.authority.said(|said| said.accounts)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_from_a_dead_node_goes_on_with_its_order() {
    for at in ["progress", "validate", "finalize", "chain"] {
        let scene = Scene::new();
        let (dies, lives) = (scene.node(), [scene.node()]);
        scene.authority.said(|said| said.hangs_at = Some(at));
        let died = timeout(Duration::from_secs(2), dies.keeper.look()).await;
        assert!(died.is_err(), "{at}: it was at it when it died");
        scene.authority.said(|said| said.hangs_at = None);
        look(&lives, 3).await;
        assert_eq!(lives[0].not_after(), None, "{at}: it still has the lease");
        if at == "validate" {
            let known = lives[0].challenges.key_authorization(TOKEN).await;
            assert!(known.is_some(), "the other one answers for it");
        }
        scene.pass(HOLD);
        look(&lives, 1).await;
        assert_eq!((scene.orders(), lives[0].not_after().is_some()), (1, true), "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_within_the_time_after_a_failure() {
    for (kind, wait) in
        [(Kind::Unreachable, 72), (Kind::Refused, 18 * 60), (Kind::Limited, 72 * 60)]
    {
        let scene = Scene::new();
        let nodes = [scene.node(), scene.node(), scene.node()];
        scene.authority.said(|said| said.fails_at = Some(("order", trouble(kind))));
        look(&nodes, 5).await;
        let asked = scene.questions();
        assert_eq!(asked, 2, "{kind:?}: an account, an order, and no more by anybody");
        scene.pass(Duration::from_secs(wait * 5 / 6 - 1));
        look(&nodes, 5).await;
        assert_eq!(scene.questions(), asked, "{kind:?}");
        let standing = nodes[2].keeper.standing();
        assert_eq!((standing.failures, standing.complaint.as_deref()), (1, Some("because")));
        scene.authority.said(|said| said.fails_at = None);
        scene.pass(Duration::from_secs(wait));
        look(&nodes, 5).await;
        assert_eq!(scene.orders(), 1, "{kind:?}");
        let standing = nodes[2].keeper.standing();
        assert_eq!((standing.failures, standing.complaint), (0, None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_the_authority_forgot_is_made_anew() {
    let scene = Scene::new();
    let nodes = [scene.node()];
    scene.authority.said(|said| said.fails_at = Some(("order", trouble(Kind::NoAccount))));
    look(&nodes, 2).await;
    scene.authority.said(|said| said.fails_at = None);
    scene.pass(Duration::from_secs(20 * 60));
    look(&nodes, 1).await;
    assert_eq!((scene.orders(), scene.authority.said(|said| said.accounts)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_at_two_thirds_of_its_life_and_shown_until_then() {
    let scene = Scene::new();
    let nodes = [scene.node(), scene.node()];
    look(&nodes, 5).await;
    let first = nodes[0].not_after();
    scene.pass(DAY * 55);
    look(&nodes, 5).await;
    assert_eq!((scene.orders(), nodes[1].not_after()), (1, first));
    scene.pass(DAY * 5);
    scene.authority.said(|said| said.fails_at = Some(("order", trouble(Kind::Unreachable))));
    look(&nodes, 5).await;
    assert_eq!((scene.orders(), nodes[1].not_after()), (1, first), "the old one is good");
    scene.authority.said(|said| said.fails_at = None);
    scene.pass(DAY);
    look(&nodes, 5).await;
    assert_eq!((scene.orders(), nodes[1].not_after()), (2, Some(NOW.plus(DAY * 151))));
}

#[tokio::test(start_paused = true)]
async fn the_authority_says_when_to_renew_and_is_told_what_is_replaced() {
    let scene = Scene::new();
    let nodes = [scene.node(), scene.node()];
    let window = Window { begin: NOW.plus(DAY * 9), end: NOW.plus(DAY * 10) };
    let suggests = Suggestion { window, ask_after: Duration::from_secs(6 * 3600) };
    scene.authority.said(|said| said.suggests = Some(suggests));
    look(&nodes, 10).await;
    let renew_at = nodes[0].keeper.standing().renew_at.expect("a time");
    assert!((window.begin..=window.end).contains(&renew_at));
    assert_eq!(nodes[1].keeper.standing().renew_at, Some(renew_at), "it is drawn once");
    let asked = scene.questions();
    look(&nodes, 10).await;
    assert_eq!(scene.questions(), asked, "it is not asked before it wants to be");
    scene.pass(DAY * 10);
    // It was replaced already, says the authority: then it is ordered as any other.
    scene.authority.said(|said| said.fails_at = Some(("replace", trouble(Kind::Refused))));
    look(&nodes, 5).await;
    assert_eq!(scene.authority.said(|said| said.orders.clone()), [None, None]);
    scene.authority.said(|said| said.fails_at = None);
    let window = Window { begin: NOW, end: NOW };
    scene.authority.said(|said| said.suggests = Some(Suggestion { window, ..suggests }));
    scene.pass(DAY);
    look(&nodes, 5).await;
    let replaced = scene.authority.said(|said| said.orders[2].clone());
    assert!(replaced.is_some_and(|chain| chain.contains("BEGIN CERTIFICATE")));
}

#[tokio::test(start_paused = true)]
async fn without_the_store_nothing_is_ordered() {
    let scene = Scene::new();
    let node = scene.node();
    node.store.goes_down(true);
    for _ in 0..5 {
        node.keeper.look().await;
    }
    assert_eq!(scene.questions(), 0);
    node.store.goes_down(false);
    node.keeper.look().await;
    assert_eq!(scene.orders(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_with_another_ring_orders_nothing_for_a_certificate_that_is_there() {
    let scene = Scene::new();
    look(&[scene.node()], 1).await;
    // By an index key of its own it would not even find the record.
    let mut keys =
        crate::crypto::keyring::Keyring::parse(&scene.ring.current().to_json()).expect("a ring");
    let fresh = keys.rotate(NOW).expect("randomness");
    keys.promote(fresh).expect("it is there");
    let newer = Arc::new(RingSource::unsaved(keys));
    let ahead = scene.node_of("a.example", newer);
    ahead.keeper.look().await;
    scene.pass(DAY);
    let behind = [scene.node()];
    look(&behind, 3).await;
    assert_eq!(
        (scene.orders(), behind[0].not_after()),
        (1, None),
        "it cannot open what was sealed anew"
    );
    assert!(ahead.not_after().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_an_error_line_with_the_domain_and_the_remedy() {
    let directory = tempfile::tempdir().expect("temporary");
    let path = directory.path().join("log");
    let file = Arc::new(std::fs::File::create(&path).expect("created"));
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(file).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let scene = Scene::new();
    let node = scene.node();
    scene.authority.said(|said| said.fails_at = Some(("validate", trouble(Kind::Refused))));
    node.keeper.look().await;
    scene.authority.said(|said| said.fails_at = None);
    scene.pass(DAY);
    node.keeper.look().await;
    let log = std::fs::read_to_string(&path).expect("text");
    let has = |parts: &[&str]| log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(&["ERROR", "a.example", "because", "the remedy", "again_in"]), "{log}");
    assert!(has(&["INFO", "a certificate is shown", "a.example", "days_left=90"]), "{log}");
    assert!(!log.contains("PRIVATE KEY") && !log.contains(TOKEN), "{log}");
}
