//! The contract on real servers, and what only a server does: be stopped, hang, come back, be set
//! up in another way, tell of what others have changed.

mod harness;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use self::harness::Server;
use super::args::{NewEpoch, NewVersion};
use super::operations::{Replace, Revoke};
use super::server::ServerKind;
use super::*;
use crate::session::outcome::{Created, Epoch, Leased, Lookup, RecordKey, Removed, Replaced};
use crate::store::SessionStore;
use crate::store::changes::Link;
use crate::store::contract::{self, Bench, Elapse, count_up, counted, key};
use crate::store::credentials::Secret;
use crate::store::health::Signal;

const HOUR: Duration = Duration::from_secs(3600);
const LEASE: Duration = Duration::from_secs(1);
/// For a busy machine.
const PATIENT: Deadlines = Deadlines {
    lookup: Duration::from_secs(20),
    write: Duration::from_secs(20),
    heartbeat: Duration::from_secs(20),
};

async fn open(settings: &server::ServerSettings, deadlines: Deadlines) -> SharedStore {
    let store =
        open_within(settings, LEASE, Clock::System, deadlines).await.expect("a usable server");
    store.start().await;
    becomes(&store, Health::Up).await;
    store
}

async fn becomes(store: &SharedStore, wanted: Health) {
    let mut health = store.health();
    let became = timeout(Duration::from_secs(30), health.wait_for(|health| *health == wanted));
    became.await.unwrap_or_else(|_| panic!("not {wanted:?}")).expect("open");
}

impl Server {
    /// An empty database on a server that all properties share.
    async fn bench(&self) -> Bench {
        let settings = self.settings(&self.database());
        let store = open(&settings, PATIENT).await;
        Bench { store, elapse: Elapse::Really, keep_alive: Box::new(()) }
    }
}

async fn postgres() -> Server {
    Server::start(ServerKind::Postgres)
}

async fn mysql() -> Server {
    Server::start(ServerKind::MySql)
}

contract::suite!(in turn: the_contract_holds_on_postgres, postgres);
contract::suite!(in turn: the_contract_holds_on_mysql, mysql);

/// Makes a test of each kind of server from an `async fn(ServerKind)`.
macro_rules! both {
    ($($name:ident),+ $(,)?) => {
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::ServerKind::Postgres).await;
            })+
        }
        mod on_mysql {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::ServerKind::MySql).await;
            })+
        }
    };
}

both!(
    a_server_may_end_hang_and_come_back,
    a_server_is_made_ready_or_its_operator_told_why_not,
    what_one_process_changes_another_hears_of,
    no_replacement_lands_after_a_revocation_was_acknowledged,
    a_server_that_takes_no_writes_is_left_for_the_one_that_took_its_address,
    a_node_with_a_wrong_clock_ends_nothing,
);

const HOUR_MS: i64 = 3_600_000;

/// What replaces a version, for operations on a connection of the test's own.
fn new_version(key: RecordKey, version: i64) -> NewVersion {
    NewVersion {
        tag: key.tag,
        id: key.id,
        version,
        epoch: [0; 16],
        sealed: Vec::new(),
        keep: HOUR_MS,
        place: 0,
        now: 0,
    }
}

fn subject(n: u8) -> RecordKey {
    RecordKey { has_subject: true, ..key(n) }
}

async fn replace(store: &SharedStore, key: RecordKey, version: u64, sealed: &[u8]) -> Replaced {
    store.replace(key, version, None, sealed, HOUR.into(), Durability::Master).await
}

/// Waits for what is bound to come.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(30), "still not: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn a_server_may_end_hang_and_come_back(kind: ServerKind) {
    let mut server = Server::start(kind);
    let settings = server.settings(&server.database());
    let deadlines = Deadlines { heartbeat: Duration::from_secs(3), ..PATIENT };
    let store = open(&settings, deadlines).await;
    assert_eq!(store.create(key(1), &[0; 16], HOUR).await, Created::Created);

    // Connections that the server closed cost no request.
    match kind {
        ServerKind::Postgres => {
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                          WHERE application_name = 'cloakroom'";
            server.sql("postgres", others);
        }
        ServerKind::MySql => {
            let ids = "SELECT id FROM information_schema.processlist WHERE user = 'cloakroom'";
            for id in server.sql("", ids).lines() {
                server.try_sql("", &format!("KILL {id}"));
            }
        }
    }
    // The supervisor's own connection went as well: for a moment the server counts as down.
    until("a record after connections were closed", async || {
        matches!(store.load(key(1)).await, Lookup::Found(_))
    })
    .await;

    // What was acknowledged outlives the server's end.
    becomes(&store, Health::Up).await;
    let counting = tokio::spawn({
        let store = store.clone();
        async move {
            let mut acknowledged = 0_u64;
            loop {
                let Lookup::Found(there) = store.load(key(1)).await else { return acknowledged };
                let next = (acknowledged + 1).to_be_bytes();
                let sealed = [next, rand::random::<u64>().to_be_bytes()].concat();
                match replace(&store, key(1), there.version, &sealed).await {
                    Replaced::Replaced => acknowledged += 1,
                    Replaced::Conflict | Replaced::Gone | Replaced::Unavailable => {
                        return acknowledged;
                    }
                }
            }
        }
    });
    sleep(Duration::from_millis(300)).await;
    let server = tokio::task::spawn_blocking(move || {
        server.kill();
        server
    });
    let mut server = server.await.expect("killed");
    let acknowledged = counting.await.expect("no panic");
    assert!(acknowledged > 0);
    becomes(&store, Health::Down).await;
    let began = Instant::now();
    assert_eq!(store.load(key(1)).await, Lookup::Unavailable);
    assert_eq!(replace(&store, key(1), 1, b"x").await, Replaced::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(1), "at once while it is known to be down");
    server.restart();
    becomes(&store, Health::Up).await;
    let counted = counted(&store).await;
    assert!(counted == acknowledged || counted == acknowledged + 1, "{counted}, {acknowledged}");

    // A server that hangs.
    let mut link = None;
    until("a proved link", async || {
        link = store.load_watched(key(1)).await.1;
        link.as_ref().is_some_and(|link| link.is_proved(LEASE, Instant::now()))
    })
    .await;
    let link = link.expect("proved");
    server.signal("-STOP");
    until("unproved", async || !link.is_proved(LEASE, Instant::now())).await;
    becomes(&store, Health::Down).await;
    assert_eq!(store.load(key(1)).await, Lookup::Unavailable);
    server.signal("-CONT");
    becomes(&store, Health::Up).await;
    count_up(&store).await;
}

async fn a_server_is_made_ready_or_its_operator_told_why_not(kind: ServerKind) {
    let mut server = Server::start(kind);
    let refusal = async |database: &str| -> String {
        let refused = open_within(&server.settings(database), LEASE, Clock::System, PATIENT).await;
        match refused {
            Err(StoreError::Server { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    };
    // A database of another program, or of a newer version.
    let foreign = server.database();
    server.sql(&foreign, "CREATE TABLE cloakroom_meta (name varchar(32), colour varchar(32))");
    assert!(refusal(&foreign).await.contains("another program"));
    let newer = server.database();
    drop(open(&server.settings(&newer), PATIENT).await);
    server.sql(&newer, "UPDATE cloakroom_meta SET value = 9 WHERE name = 'schema'");
    assert!(refusal(&newer).await.contains("newer version"));
    // No rights.
    let closed = server.database();
    match kind {
        ServerKind::Postgres => {
            server.sql(&closed, "REVOKE ALL ON SCHEMA public FROM public");
            server.sql(&closed, "ALTER SCHEMA public OWNER TO postgres");
            server.sql(&closed, "GRANT USAGE ON SCHEMA public TO cloakroom");
        }
        ServerKind::MySql => {
            server.sql("", &format!("REVOKE CREATE ON {closed}.* FROM cloakroom"));
        }
    }
    assert!(refusal(&closed).await.contains("GRANT"));

    // With an authority the server must show a certificate of it, whatever the URL says.
    let database = server.database();
    drop(open(&server.tls_settings(&database, "ca.pem"), PATIENT).await);
    let stranger = server.tls_settings(&database, "other.pem");
    let stranger = open_within(&stranger, LEASE, Clock::System, PATIENT).await;
    let stranger = stranger.expect("it may become right");
    becomes(&stranger, Health::Down).await;
    assert_eq!(stranger.load(key(1)).await, Lookup::Unavailable);
    drop(stranger);

    // Nodes that start at once.
    let shared = server.settings(&server.database());
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let shared = shared.clone();
        opening.spawn(async move { open(&shared, PATIENT).await });
    }
    for (n, store) in opening.join_all().await.into_iter().enumerate() {
        let n = u8::try_from(n).expect("few");
        assert_eq!(store.create(key(n), b"one", HOUR).await, Created::Created);
    }

    // A server that is down at first, and a password that is put right.
    server.demand_passwords();
    let directory = tempfile::tempdir().expect("a directory");
    let password = directory.path().join("password");
    std::fs::write(&password, "wrong\n").expect("our directory");
    let mut settings = shared;
    settings.login.password = Some(Secret::File(password.clone()));
    server.kill();
    let store = open_within(&settings, LEASE, Clock::System, PATIENT).await.expect("no error yet");
    store.start().await;
    assert_eq!(store.load(key(1)).await, Lookup::Unavailable);
    becomes(&store, Health::Down).await;
    server.restart();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(store.load(key(1)).await, Lookup::Unavailable, "the password is wrong");
    std::fs::write(&password, harness::PASSWORD).expect("our directory");
    becomes(&store, Health::Up).await;
    assert!(matches!(store.load(key(1)).await, Lookup::Found(_)));
}

/// Two stores of one database, and the link of the second once it is proved.
async fn pair(settings: &server::ServerSettings) -> (SharedStore, SharedStore) {
    let (here, there) = (open(settings, PATIENT).await, open(settings, PATIENT).await);
    hears(&there).await;
    (here, there)
}

async fn hears(store: &SharedStore) -> Arc<Link> {
    let mut link = None;
    until("a proved link", async || {
        link = store.load_watched(key(9)).await.1;
        link.as_ref().is_some_and(|link| link.is_proved(LEASE, Instant::now()))
    })
    .await;
    link.expect("proved")
}

/// Sees that a write of one store makes what another has read no longer current, before the other
/// may have relied on it for longer than a lease.
async fn is_heard(
    there: &SharedStore,
    what: &str,
    key: RecordKey,
    write: impl Future<Output = bool>,
) {
    let changes = there.changes().expect("they are counted");
    let (mark, link) = (changes.mark(key), hears(there).await);
    assert!(write.await, "{what}");
    let acknowledged = Instant::now();
    loop {
        // In this order: what was proved when it was still current was proved by then.
        let silence = link.silence(Instant::now()).expect("proved once");
        let proved = Instant::now() - silence;
        if !changes.is_current(key, mark) {
            return;
        }
        assert!(proved <= acknowledged, "{what}: proved after a write that was not heard of");
        assert!(acknowledged.elapsed() < Duration::from_secs(30), "{what}: not heard of at all");
        sleep(Duration::from_millis(2)).await;
    }
}

/// What every engine that counts changes must do, on two stores that share their records.
pub(super) async fn changes_are_heard(here: &SharedStore, there: &SharedStore) {
    let key = subject(1);
    assert_eq!(here.create(key, b"one", HOUR).await, Created::Created);
    let epoch = Epoch([1; 16]);
    assert_eq!(here.epoch(key.tag, epoch, HOUR).await, Lookup::Found(epoch));
    for version in 1..=20 {
        let durability = if version % 2 == 0 { Durability::Master } else { Durability::Replica };
        let sealed = [version];
        let epoch = (version % 3 == 0).then_some(epoch);
        let write = here.replace(key, u64::from(version), epoch, &sealed, HOUR.into(), durability);
        is_heard(there, "a replacement", key, async { write.await == Replaced::Replaced }).await;
    }
    let revocation = here.revoke(key.tag, Epoch([2; 16]), HOUR);
    let before = Lookup::Found(Some(epoch));
    is_heard(there, "a revocation", key, async { revocation.await == before }).await;
    let removal = here.remove(key);
    is_heard(there, "a removal", key, async { removal.await == Removed::Removed }).await;
    let changes = there.changes().expect("they are counted");
    let mark = changes.mark(super::tests::key(7));
    hears(there).await;
    assert!(changes.is_current(super::tests::key(7), mark), "nobody wrote that one");
    // A process knows of its own writes when they are answered.
    let changes = here.changes().expect("they are counted");
    let mark = changes.mark(key);
    assert_eq!(here.create(key, b"again", HOUR).await, Created::Created);
    assert!(!changes.is_current(key, mark));
}

async fn what_one_process_changes_another_hears_of(kind: ServerKind) {
    let mut server = Server::start(kind);
    let database = server.database();
    let (here, there) = pair(&server.settings(&database)).await;
    changes_are_heard(&here, &there).await;

    if kind == ServerKind::MySql {
        // A transaction that took its number first and commits last.
        let key = subject(2);
        assert_eq!(here.create(key, b"one", HOUR).await, Created::Created);
        let engine = MySql::new(&server.settings(&database));
        let mut slow = engine.connect(engine::Role::Write).await.expect("a connection");
        engine::Driver::run(&mut slow, "START TRANSACTION").await.expect("begun");
        let operation = Replace { new: new_version(key, 1), is_fenced: false };
        let replaced = operation.perform::<MySql>(&mut slow).await.expect("no error");
        assert_eq!(replaced, Replaced::Replaced);
        let other = subject(3);
        assert_eq!(here.create(other, b"one", HOUR).await, Created::Created);
        let quick = async { replace(&here, other, 1, b"two").await == Replaced::Replaced };
        is_heard(&there, "a later number", other, quick).await;
        let slow = async { engine::Driver::run(&mut slow, "COMMIT").await.is_ok() };
        is_heard(&there, "an earlier number", key, slow).await;
    }

    let link = hears(&there).await;
    server.kill();
    until("unproved", async || !link.is_proved(LEASE, Instant::now())).await;
    server.restart();
    let other = hears(&there).await;
    assert!(!Arc::ptr_eq(&link, &other), "what was read over the old link is no longer good");
}

async fn no_replacement_lands_after_a_revocation_was_acknowledged(kind: ServerKind) {
    let server = Server::start(kind);
    let settings = server.settings(&server.database());
    match kind {
        ServerKind::Postgres => fence(Postgres::new(&settings), &settings).await,
        ServerKind::MySql => fence(MySql::new(&settings), &settings).await,
    }
}

async fn fence<E: Engine>(engine: E, settings: &server::ServerSettings) {
    let store = open(settings, PATIENT).await;
    let (key, old, new) = (subject(1), Epoch([1; 16]), Epoch([2; 16]));
    assert_eq!(store.create(key, b"one", HOUR).await, Created::Created);
    assert_eq!(store.epoch(key.tag, old, HOUR).await, Lookup::Found(old));
    let mut other = engine.connect(engine::Role::Write).await.expect("a connection");
    let begin = E::STATEMENTS.begin.unwrap_or("BEGIN");
    let version = |version| NewVersion { epoch: old.0, ..new_version(key, version) };
    let revoked = NewEpoch { tag: key.tag, epoch: new.0, over: old.0, keep: HOUR_MS, now: 0 };
    let fenced = move |store: SharedStore, version, sealed: &'static [u8]| async move {
        store.replace(key, version, Some(old), sealed, HOUR.into(), Durability::Master).await
    };

    // The replacement first: the revocation waits for it.
    engine::Driver::run(&mut other, begin).await.expect("begun");
    let operation = Replace { new: version(1), is_fenced: true };
    let replaced = operation.perform::<E>(&mut other).await.expect("no error");
    assert_eq!(replaced, Replaced::Replaced);
    let revocation = tokio::spawn({
        let store = store.clone();
        async move { store.revoke(key.tag, new, HOUR).await }
    });
    sleep(Duration::from_millis(300)).await;
    assert!(!revocation.is_finished(), "it was acknowledged before the replacement was over");
    engine::Driver::run(&mut other, "COMMIT").await.expect("committed");
    assert_eq!(revocation.await.expect("no panic"), Lookup::Found(Some(old)));
    assert_eq!(fenced(store.clone(), 2, b"late").await, Replaced::Gone);

    // The revocation first: the replacement waits for it, and finds another epoch.
    assert_eq!(store.revoke(key.tag, old, HOUR).await, Lookup::Found(Some(new)));
    engine::Driver::run(&mut other, begin).await.expect("begun");
    let operation = Revoke(revoked.clone());
    assert_eq!(operation.perform::<E>(&mut other).await.expect("no error"), Some(old));
    let replacement = tokio::spawn(fenced(store.clone(), 2, b"late"));
    sleep(Duration::from_millis(300)).await;
    engine::Driver::run(&mut other, "COMMIT").await.expect("committed");
    assert_eq!(replacement.await.expect("no panic"), Replaced::Gone);

    // Two that wait for each other: the server ends one, which is tried again.
    assert_eq!(store.revoke(key.tag, old, HOUR).await, Lookup::Found(Some(new)));
    engine::Driver::run(&mut other, begin).await.expect("begun");
    let operation = Replace { new: version(2), is_fenced: false };
    let replaced = operation.perform::<E>(&mut other).await.expect("no error");
    assert_eq!(replaced, Replaced::Replaced);
    let replacement = tokio::spawn(fenced(store.clone(), 2, b"new"));
    sleep(Duration::from_millis(300)).await;
    let operation = Revoke(revoked);
    match operation.perform::<E>(&mut other).await {
        Ok(_) => engine::Driver::run(&mut other, "COMMIT").await.expect("committed"),
        // It was this one that the server ended.
        Err(_) => drop(other),
    }
    let outcome = replacement.await.expect("no panic");
    assert_ne!(outcome, Replaced::Unavailable);
}

/// What PgBouncer gives to each transaction is another connection: nothing is heard on it, and what
/// was prepared on one is there or not on the next.
#[tokio::test]
async fn a_pooler_that_gives_each_transaction_a_connection_is_named() {
    let server = Server::start(ServerKind::Postgres);
    let database = server.database();
    let pooler = harness::Pooler::start(&server, &database, "transaction");
    let engine = Postgres::new(&pooler.settings(&database));
    let signal = Arc::new(Signal::new("test".to_owned(), Health::Starting));
    let clock = StoreClock::new(Clock::System, "test");
    let hearing = Hearing::new(signal, clock, LEASE, Duration::from_secs(2));
    for attempt in 0..3 {
        let said = match supervisor::reach(&engine).await {
            Ok(connection) => engine.watch(connection, &hearing).await,
            Err(Cause::Refused(said) | Cause::Failed(said)) => said,
        };
        assert!(said.contains("PgBouncer") && said.contains("session"), "{attempt}: {said}");
    }
    drop(pooler);
    let pooler = harness::Pooler::start(&server, &database, "session");
    let store = open(&pooler.settings(&database), PATIENT).await;
    hears(&store).await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
}

/// After a failover the old server lives on and answers whatever it is asked; its address is now
/// another's, which connections that are kept do not notice.
async fn a_server_that_takes_no_writes_is_left_for_the_one_that_took_its_address(kind: ServerKind) {
    let (old, new) = (Server::start(kind), Server::start(kind));
    let (database, same) = (old.database(), new.database());
    assert_eq!(database, same);
    let way = harness::Way::to(&old).await;
    let store = open(&way.settings(&old.settings(&database)), PATIENT).await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    let link = hears(&store).await;

    old.takes_no_writes();
    until("the link of a server that takes no writes", async || {
        !link.is_proved(LEASE, Instant::now())
    })
    .await;
    becomes(&store, Health::Down).await;
    assert_eq!(store.load(key(1)).await, Lookup::Unavailable);

    way.leads_to(&new);
    becomes(&store, Health::Up).await;
    assert_eq!(store.load(key(1)).await, Lookup::NotFound, "the new server was asked");
    assert_eq!(store.create(key(1), b"two", HOUR).await, Created::Created);
}

async fn a_node_with_a_wrong_clock_ends_nothing(kind: ServerKind) {
    let server = Server::start(kind);
    let settings = server.settings(&server.database());
    match kind {
        ServerKind::Postgres => wrong_clock(Postgres::new(&settings), &settings).await,
        ServerKind::MySql => wrong_clock(MySql::new(&settings), &settings).await,
    }
}

async fn wrong_clock<E: Engine>(engine: E, settings: &server::ServerSettings) {
    let right: SharedStore = open(settings, PATIENT).await;
    let ahead = Clock::Shifted(Arc::new(AtomicU64::new(2 * HOUR_MS.unsigned_abs())));
    let wrong = start(engine, settings, LEASE, ahead, PATIENT).await.expect("a usable server");
    goes_by_the_stores_clock(&right, &wrong).await;
}

/// What holds on every engine between a node whose clock is right and one that is two hours ahead.
pub(super) async fn goes_by_the_stores_clock<E: Engine>(right: &SharedStore, wrong: &SqlStore<E>) {
    let minute = Duration::from_secs(60);
    let (key, mine, other) = (subject(1), [1; 16], [2; 16]);
    let epoch = Epoch([1; 16]);
    assert_eq!(right.create(key, b"one", minute).await, Created::Created);
    assert_eq!(right.epoch(key.tag, epoch, minute).await, Lookup::Found(epoch));
    assert_eq!(right.lease(key, mine, minute).await, Leased::Taken);
    until("both are up", async || wrong.ping().await).await;
    let ahead = wrong.clock_ahead_ms().expect("just read");
    assert!((2 * HOUR_MS - 5_000..=2 * HOUR_MS + 5_000).contains(&ahead), "{ahead}");
    assert!(right.clock_ahead_ms().is_some_and(|ahead| ahead.unsigned_abs() < 5_000));
    assert!(!wrong.inner.hearing.clock.may_destroy());

    assert_eq!(wrong.create(key, b"two", minute).await, Created::Taken);
    assert_eq!(wrong.lease(key, other, minute).await, Leased::Busy);
    assert_eq!(reaper::reap(&wrong.inner, wrong.inner.hearing.clock.now()).await.ok(), Some(0));
    let Lookup::Found(there) = wrong.load(key).await else { panic!("it is gone") };
    assert_eq!((there.version, there.epoch), (1, Some(epoch)));
    let later =
        wrong.replace(key, 1, Some(epoch), b"two", minute.into(), Durability::Replica).await;
    assert_eq!(later, Replaced::Replaced);
    // Nor does it hold up others for longer.
    right.release(key, mine).await;
    assert_eq!(wrong.lease(key, other, Duration::from_millis(200)).await, Leased::Taken);
    until("the lease is over", async || right.lease(key, mine, minute).await == Leased::Taken)
        .await;
    assert!(matches!(right.load(key).await, Lookup::Found(there) if there.version == 2));
}
