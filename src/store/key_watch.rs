//! Announces which keys this node has, and reads which ones the others have: in the background, once
//! a second, and never for a request.
//!
//! A store that does not answer changes nothing about what was concluded. An announcement that was
//! lost, or whose answer was, is made again a second later; one of a node that died is over with its
//! time, by the store's clock.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::time::{sleep, timeout};

use super::node_keys::{NodeKeys, Others, Standing};
use super::{Announcement, SharedStore};
use crate::clock::{Clock, UnixMillis};
use crate::crypto::ring_source::RingSource;
use crate::session::outcome::Lookup;

/// How often the others' announcements are read.
const READ_EVERY: Duration = Duration::from_secs(1);
/// How much of that is random, so that the nodes of a fleet do not ask in step.
const JITTER: f64 = 0.2;
/// How often this node's is made again; at once where it is another one, or was not acknowledged.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(5);
/// How long an announcement holds: two may be lost.
const KEEP: Duration = Duration::from_secs(15);
/// How often a node that lacks the fleet's key reads its ring again.
const REREAD_EVERY: Duration = Duration::from_secs(5);
/// How long the end of a process waits for its announcement to be taken back.
const WITHDRAW_PATIENCE: Duration = Duration::from_millis(250);
/// Of a node that has not heard the store's time: nobody is younger.
const UNKNOWN: u64 = u64::MAX;

/// What this node knows of the keys of the others.
pub struct KeyWatch {
    store: SharedStore,
    ring: Arc<RingSource>,
    clock: Clock,
    node: [u8; 16],
    machine: String,
    started: Instant,
    /// When this node began, by the store's clock.
    began: AtomicU64,
    known: ArcSwap<Known>,
}

#[derive(Default)]
struct Known {
    others: Others,
    read_at: Option<Instant>,
}

/// Where the watch is in its work.
#[derive(Default)]
pub struct Progress {
    /// What was acknowledged last, and when.
    announced: Option<(Announcement, Instant)>,
    reread_at: Option<Instant>,
    /// What the log says.
    told: Standing,
}

impl KeyWatch {
    /// Says and reads nothing yet.
    pub fn new(store: SharedStore, ring: Arc<RingSource>, clock: Clock) -> Self {
        Self {
            store,
            ring,
            clock,
            node: rand::random(),
            machine: machine(),
            started: Instant::now(),
            began: AtomicU64::new(UNKNOWN),
            known: ArcSwap::default(),
        }
    }

    /// This node with the ring that it has now.
    pub fn own(&self) -> NodeKeys {
        let began = UnixMillis(self.began.load(Ordering::Relaxed));
        NodeKeys::new(self.node, &self.machine, began, &self.ring.current())
    }

    /// The live nodes as they were read last, this one first.
    pub fn nodes(&self) -> Vec<NodeKeys> {
        std::iter::once(self.own()).chain(self.known.load().others.nodes.iter().cloned()).collect()
    }

    /// How the ring stands to those of the fleet.
    pub fn standing(&self) -> Standing {
        self.known.load().others.standing(&self.own())
    }

    /// How long ago the others were read; none where they never were.
    pub fn read_ago(&self) -> Option<Duration> {
        self.known.load().read_at.map(|at| at.elapsed())
    }

    /// Goes on from there; never returns.
    pub async fn run(&self, mut progress: Progress) -> Infallible {
        loop {
            sleep(READ_EVERY.mul_f64(1.0 + JITTER * rand::random::<f64>())).await;
            self.look(&mut progress).await;
        }
    }

    /// Announces what is to be announced, reads, and concludes.
    pub async fn look(&self, progress: &mut Progress) {
        self.announce(progress).await;
        if progress.announced.is_some() {
            // The first answer says what belongs into the announcement: the store's time.
            self.announce(progress).await;
        }
        if let Lookup::Found(announced) = self.store.announced().await {
            let others = self.known.load().others.next(&self.own(), &announced);
            self.known.store(Arc::new(Known { others, read_at: Some(Instant::now()) }));
        }
        if let Standing::Lacks(_) = self.standing() {
            let is_due = progress.reread_at.is_none_or(|at| at.elapsed() >= REREAD_EVERY);
            if is_due {
                progress.reread_at = Some(Instant::now());
                self.ring.reread(self.clock.now()).await;
            }
        }
        self.tell(progress);
    }

    async fn announce(&self, progress: &mut Progress) {
        let announcement = self.own().announcement();
        let stands = progress.announced.as_ref().is_some_and(|(announced, at)| {
            *announced == announcement && at.elapsed() < ANNOUNCE_EVERY
        });
        if stands {
            return;
        }
        let sent = Instant::now();
        progress.announced = match self.store.announce(&announcement, KEEP).await {
            Lookup::Found(now) => {
                let age = sent.duration_since(self.started);
                let began = now.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(0));
                // Once: an age that moved would decide ties now so, now so.
                let _ = self.began.compare_exchange(
                    UNKNOWN,
                    began,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                Some((announcement, sent))
            }
            Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => None,
        };
    }

    /// Takes the announcement back, as far as the store answers now: this node ends.
    pub async fn withdraw(&self) {
        let announcement = self.own().announcement();
        // What is left of it is over with its time.
        let _ =
            timeout(WITHDRAW_PATIENCE, self.store.announce(&announcement, Duration::ZERO)).await;
    }

    /// Writes a change to the log, once.
    fn tell(&self, progress: &mut Progress) {
        let standing = self.standing();
        if standing == progress.told {
            return;
        }
        progress.told = standing;
        let (own, nodes) = (self.ring.current().sealing().id(), self.nodes().len());
        match standing {
            Standing::Lacks(key) => tracing::error!(
                lacks = %key, seals = %own, nodes,
                "this node lacks the key that most nodes seal with, and is not ready: give it the \
                 fleet's key ring"
            ),
            Standing::SealsWithAnother(key) => tracing::warn!(
                fleet = %key, seals = %own, nodes,
                "this node seals with another key than most nodes: give all the same key ring"
            ),
            Standing::Agrees => {
                tracing::info!(seals = %own, nodes, "this node has the fleet's key, and seals with it");
            }
        }
    }
}

/// The machine's name, for people: nodes are told apart by numbers. A unit with `ProcSubset=pid` does
/// not see the first file.
fn machine() -> String {
    let names = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = names.iter().find_map(|file| std::fs::read_to_string(file).ok());
    name.as_deref().map(str::trim).filter(|name| !name.is_empty()).unwrap_or("node").to_owned()
}

impl fmt::Debug for KeyWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWatch").field("own", &self.own()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::crypto::keyring::{KeyId, Keyring};
    use crate::store::memory::MemoryStore;
    use crate::store::watched::Watched;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

    /// A store, and the clock that it and its nodes go by.
    struct Scene {
        memory: Arc<MemoryStore>,
        clock: Arc<AtomicU64>,
    }

    impl Scene {
        fn new() -> Self {
            let clock = Arc::new(AtomicU64::new(NOW.0));
            let memory = Arc::new(MemoryStore::new(Clock::Held(clock.clone())));
            Self { memory, clock }
        }

        fn pass(&self, duration: Duration) {
            let millis = u64::try_from(duration.as_millis()).unwrap();
            self.clock.fetch_add(millis, Ordering::Relaxed);
        }
    }

    /// A node with a ring file of its own.
    struct Node {
        store: Arc<Watched>,
        watch: KeyWatch,
        progress: Progress,
        file: PathBuf,
        _directory: tempfile::TempDir,
    }

    impl Node {
        fn over(scene: &Scene, ring: &Keyring) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("keyring.json");
            ring.save_new(&file).unwrap();
            let store = Watched::over(&scene.memory);
            let source = Arc::new(RingSource::open(file.clone()).unwrap());
            let watch = KeyWatch::new(store.clone(), source, Clock::Held(scene.clock.clone()));
            Self { store, watch, progress: Progress::default(), file, _directory: directory }
        }

        async fn look(&mut self) -> Standing {
            self.watch.look(&mut self.progress).await;
            self.watch.standing()
        }

        fn give(&self, ring: &Keyring) {
            ring.replace(&self.file).unwrap();
        }

        fn reload(&self, ring: &Keyring) {
            self.give(ring);
            self.watch.ring.reload().unwrap();
        }
    }

    fn rotated(ring: &Keyring) -> (Keyring, KeyId) {
        let mut ring = Keyring::parse(&ring.to_json()).unwrap();
        let key = ring.rotate(NOW).unwrap();
        ring.promote(key).unwrap();
        (ring, key)
    }

    #[tokio::test]
    async fn a_forgotten_node_lacks_the_key_until_its_file_has_it() {
        let (scene, old) = (Scene::new(), Keyring::generate(NOW).unwrap());
        let (new, key) = rotated(&old);
        let mut nodes = [&old, &old, &old].map(|ring| Node::over(&scene, ring));
        for node in &mut nodes {
            assert_eq!(node.look().await, Standing::Agrees);
        }
        let [one, two, forgotten] = &mut nodes;
        one.reload(&new);
        assert_eq!(one.look().await, Standing::SealsWithAnother(old.sealing().id()));
        two.reload(&new);
        assert_eq!(two.look().await, Standing::Agrees);
        for expected in [Standing::Agrees, Standing::Agrees, Standing::Lacks(key)] {
            assert_eq!(forgotten.look().await, expected);
        }
        // Nobody has to tell it to read the file.
        forgotten.give(&new);
        forgotten.progress.reread_at = None;
        scene.pass(Duration::from_secs(1));
        assert_eq!(forgotten.look().await, Standing::Agrees);
        assert_eq!(one.look().await, Standing::Agrees);
        assert_eq!(one.watch.nodes().len(), 3);
    }

    #[tokio::test]
    async fn a_node_that_begins_with_another_ring_is_told_so_at_once() {
        let (scene, old) = (Scene::new(), Keyring::generate(NOW).unwrap());
        let mut first = Node::over(&scene, &old);
        assert_eq!(first.look().await, Standing::Agrees, "it is alone");
        scene.pass(Duration::from_secs(60));
        first.progress.announced = None;
        first.look().await;
        let mut stranger = Node::over(&scene, &Keyring::generate(NOW).unwrap());
        assert_eq!(stranger.look().await, Standing::Lacks(old.sealing().id()));
        for _ in 0..5 {
            assert_eq!(first.look().await, Standing::Agrees);
            assert_eq!(stranger.look().await, Standing::Lacks(old.sealing().id()));
        }
        // It dies without a word.
        scene.pass(KEEP);
        assert_eq!(stranger.look().await, Standing::Agrees, "it is alone");
        first.progress.announced = None;
        first.look().await;
        first.watch.withdraw().await;
        assert_eq!(stranger.watch.store.announced().await, Lookup::Found(vec![]));
    }

    #[tokio::test]
    async fn the_log_says_each_change_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(Arc::new(std::fs::File::create(&path).unwrap()))
            .finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let (scene, old) = (Scene::new(), Keyring::generate(NOW).unwrap());
        let mut first = Node::over(&scene, &old);
        first.look().await;
        scene.pass(Duration::from_secs(1));
        let other = Keyring::generate(NOW).unwrap();
        let mut stranger = Node::over(&scene, &other);
        for ring in [&other, &old] {
            stranger.reload(ring);
            for is_down in [false, true, false, false] {
                stranger.store.goes_down(is_down);
                stranger.look().await;
            }
        }
        let log = std::fs::read_to_string(&path).unwrap();
        let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
        let lacks = format!("lacks={}", old.sealing().id());
        assert_eq!((lines(&lacks), lines("has the fleet's key")), (1, 1), "{log}");
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_changes_nothing() {
        let (scene, old) = (Scene::new(), Keyring::generate(NOW).unwrap());
        let mut first = Node::over(&scene, &old);
        first.look().await;
        scene.pass(Duration::from_secs(1));
        let mut stranger = Node::over(&scene, &Keyring::generate(NOW).unwrap());
        stranger.store.goes_down(true);
        assert_eq!(stranger.look().await, Standing::Agrees, "nothing was ever read");
        assert!(stranger.watch.read_ago().is_none());
        stranger.store.goes_down(false);
        let lacks = Standing::Lacks(old.sealing().id());
        assert_eq!(stranger.look().await, lacks);
        for node in [&first, &stranger] {
            node.store.goes_down(true);
        }
        assert_eq!((first.look().await, stranger.look().await), (Standing::Agrees, lacks));
        // What both have said is over meanwhile. Who comes back first is alone for a moment, and not
        // believed by the other.
        scene.pass(KEEP);
        stranger.progress.announced = None;
        stranger.store.goes_down(false);
        assert_eq!(stranger.look().await, Standing::Agrees);
        let _ = first.progress.announced.take();
        first.store.goes_down(false);
        assert_eq!(first.look().await, Standing::Agrees);
    }

    #[tokio::test]
    async fn what_was_announced_is_announced_again_only_when_it_is_time() {
        let (scene, ring) = (Scene::new(), Keyring::generate(NOW).unwrap());
        let mut node = Node::over(&scene, &ring);
        node.look().await;
        let announced = node.progress.announced.clone().unwrap();
        node.look().await;
        assert_eq!(node.progress.announced, Some(announced.clone()), "not yet");
        let (new, key) = rotated(&ring);
        node.reload(&new);
        node.look().await;
        assert_ne!(node.progress.announced.clone().unwrap().0, announced.0, "at once");
        assert_eq!(node.watch.own().seals, key);
    }
}
