//! The contract on a file, and what only a file has: permissions, foreign and newer files, other
//! processes, and being killed.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sqlx::{ConnectOptions, Connection};

use super::*;
use crate::clock::{Clock, UnixMillis};
use crate::session::outcome::{
    Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced,
};
use crate::store::contract::{self, Bench, Elapse, count_up, counted, key};
use crate::store::health::Health;
use crate::store::sql::{open_sqlite, reaper};
use crate::store::{Announcement, SessionStore, SharedStore, StoreError, Stored};

const HOUR: Duration = Duration::from_secs(3600);
const LEASE: Duration = Duration::from_secs(1);

async fn bench() -> Bench {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("a/records.db")).await;
    Bench { store, elapse: Elapse::Really, keep_alive: Box::new(directory) }
}

contract::suite!(bench);

async fn open(path: &Path) -> SharedStore {
    Arc::new(open_sqlite(path, LEASE, Clock::System).await.expect("a usable file"))
}

fn sqlite3(path: &Path, sql: &str) -> String {
    let output = Command::new("sqlite3").arg(path).arg(sql).output().expect("sqlite3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("a file").permissions().mode() & 0o777
}

#[tokio::test]
async fn file_and_directory_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state/deep/records.db");
    let store = open(&path).await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    assert_eq!(mode(&directory.path().join("state")), 0o700);
    assert_eq!(mode(path.parent().expect("a directory")), 0o700);
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(mode(&path.with_file_name(format!("records.db{suffix}"))), 0o600, "{suffix}");
    }
    drop(store);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("our file");
    let _again = open(&path).await;
    assert_eq!(mode(&path), 0o600, "permissions that others were given are withdrawn");
}

#[tokio::test]
async fn records_survive_a_restart_of_the_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    for version in 1..=3 {
        let store = open(&path).await;
        let outcome = match version {
            1 => store.create(key(1), b"1", HOUR).await == Created::Created,
            _ => {
                let sealed = format!("{version}");
                store
                    .replace(
                        key(1),
                        version - 1,
                        None,
                        sealed.as_bytes(),
                        HOUR.into(),
                        Durability::Master,
                    )
                    .await
                    == Replaced::Replaced
            }
        };
        assert!(outcome, "version {version}");
    }
    let sealed = b"3".to_vec();
    assert_eq!(
        open(&path).await.load(key(1)).await,
        Lookup::Found(Stored { version: 3, sealed, epoch: None })
    );
}

#[tokio::test]
async fn the_file_is_in_wal_mode_and_only_durable_writes_sync_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let store = open_sqlite(&path, LEASE, Clock::System).await.expect("a new file");
    assert_eq!(sqlite3(&path, "PRAGMA journal_mode; PRAGMA user_version"), "wal\n5");
    let pools = &store.inner.pools;
    for (pool, normal_or_full) in [(&pools.read, 1), (&pools.write, 1), (&pools.durable, 2)] {
        let (mut connection, _) = pool.take().await.expect("a connection");
        let mut setting = async |pragma| -> i64 {
            let setting = sqlx::query_scalar(pragma).fetch_one(&mut connection).await;
            setting.expect("a setting")
        };
        assert_eq!(setting("PRAGMA synchronous").await, normal_or_full);
        assert_eq!(setting("PRAGMA busy_timeout").await, 500);
    }
    let (mut reader, _) = pools.read.take().await.expect("a connection");
    let written = sqlx::query("DELETE FROM records").execute(&mut reader).await;
    written.expect_err("readers cannot write");
}

#[tokio::test]
async fn files_that_are_not_ours_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("other.db");
    sqlite3(&path, "CREATE TABLE orders (id)");
    let before = std::fs::read(&path).expect("a file");
    let refused = open_sqlite(&path, LEASE, Clock::System).await;
    assert!(matches!(refused, Err(StoreError::Foreign { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&path).expect("a file"), before);

    let path = directory.path().join("newer.db");
    drop(open(&path).await);
    sqlite3(&path, "PRAGMA user_version = 9");
    let refused = open_sqlite(&path, LEASE, Clock::System).await;
    assert!(matches!(refused, Err(StoreError::Newer { found: 9, known: 5, .. })), "{refused:?}");

    let path = directory.path().join("text.db");
    std::fs::write(&path, "not a database, but long enough to have a header ".repeat(40))
        .expect("a directory of ours");
    let refused = open_sqlite(&path, LEASE, Clock::System).await;
    assert!(matches!(refused, Err(StoreError::Database { .. })), "{refused:?}");

    let refused = open_sqlite(directory.path(), LEASE, Clock::System).await;
    assert!(matches!(refused, Err(StoreError::File { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_locked_file_answers_unavailable_within_the_deadline_and_recovers() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let store = open(&path).await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    let mut other = schema::options(&path).connect().await.expect("a second connection");
    let lock = other.begin_with("BEGIN IMMEDIATE").await.expect("the lock");

    let began = std::time::Instant::now();
    let outcome = store.replace(key(1), 1, None, b"two", HOUR.into(), Durability::Master).await;
    assert_eq!(outcome, Replaced::Unavailable, "a lock is not a conflict");
    assert!(began.elapsed() < Sqlite::DEADLINES.write + Duration::from_millis(500));
    assert_eq!(store.create(key(2), b"x", HOUR).await, Created::Unavailable);
    assert_eq!(store.remove(key(1)).await, Removed::Unavailable);
    assert_eq!(store.epoch([1; 8], Epoch([1; 16]), HOUR).await, Lookup::Unavailable);
    assert_eq!(store.revoke([1; 8], Epoch([1; 16]), HOUR).await, Lookup::Unavailable);
    assert_eq!(store.lease(key(1), [1; 16], HOUR).await, Leased::Unavailable);
    assert_eq!(store.next_era(0).await, Lookup::Unavailable);
    store.era().await;
    assert_eq!(*store.health().borrow(), Health::Down, "the era is read in the background");
    let sealed = b"one".to_vec();
    let found = Lookup::Found(Stored { version: 1, sealed, epoch: None });
    assert_eq!(store.load(key(1)).await, found, "readers do not wait for a writer");

    drop(lock);
    assert_eq!(
        store.replace(key(1), 1, None, b"two", HOUR.into(), Durability::Master).await,
        Replaced::Replaced
    );
    assert_eq!(*store.health().borrow(), Health::Up);
}

#[tokio::test]
async fn a_damaged_table_is_unavailable_not_empty() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let store = open(&path).await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    sqlite3(&path, "DROP TABLE records");
    assert_eq!(store.load(key(1)).await, Lookup::Unavailable);
    assert_eq!(store.create(key(2), b"x", HOUR).await, Created::Unavailable);
    assert_eq!(
        store.replace(key(1), 1, None, b"two", HOUR.into(), Durability::Replica).await,
        Replaced::Unavailable
    );
    assert_eq!(store.remove(key(1)).await, Removed::Unavailable);
    assert!(!store.ping().await);
    assert_eq!(*store.health().borrow(), Health::Down);
}

#[tokio::test]
async fn damaged_tables_beside_records_are_unavailable_not_empty() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let store = open(&path).await;
    let key = RecordKey { has_subject: true, ..key(1) };
    assert_eq!(store.create(key, b"one", HOUR).await, Created::Created);
    sqlite3(&path, "INSERT INTO epochs VALUES (zeroblob(8), x'01', 1 << 60, NULL)");
    assert_eq!(store.epoch([0; 8], Epoch([1; 16]), HOUR).await, Lookup::Unavailable, "too short");
    sqlite3(&path, "DROP TABLE epochs; DROP TABLE leases; DROP TABLE meta");
    assert_eq!(store.load(key).await, Lookup::Unavailable);
    assert_eq!(store.epoch([1; 8], Epoch([1; 16]), HOUR).await, Lookup::Unavailable);
    assert_eq!(store.revoke([1; 8], Epoch([1; 16]), HOUR).await, Lookup::Unavailable);
    assert_eq!(store.lease(key, [1; 16], HOUR).await, Leased::Unavailable);
    store.release(key, [1; 16]).await;
    assert_eq!(store.era().await, Lookup::Unavailable);
    assert_eq!(store.next_era(0).await, Lookup::Unavailable);
    assert_eq!(store.raise_era(1).await, Lookup::Unavailable);
}

#[tokio::test]
async fn a_file_of_the_version_before_is_brought_up_to_date() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let store = open(&path).await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    drop(store);
    sqlite3(
        &path,
        "DROP TABLE epochs; DROP TABLE leases; DROP TABLE meta; DROP TABLE changes; \
         DROP TRIGGER records_replaced; DROP TRIGGER records_removed; \
         DROP INDEX records_listed; ALTER TABLE records DROP COLUMN place; \
         PRAGMA user_version = 1",
    );
    let store = open(&path).await;
    let there = Stored { version: 1, sealed: b"one".to_vec(), epoch: None };
    assert_eq!(store.load(key(1)).await, Lookup::Found(there));
    assert_eq!(store.next_era(0).await, Lookup::Found(1));
    assert_eq!(sqlite3(&path, "PRAGMA user_version"), "5");
}

#[tokio::test]
async fn epochs_and_the_era_survive_a_restart_of_the_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let store = open(&path).await;
    assert_eq!(store.revoke([1; 8], Epoch([1; 16]), HOUR).await, Lookup::Found(None));
    assert_eq!(store.next_era(6).await, Lookup::Found(7));
    drop(store);
    let store = open(&path).await;
    assert_eq!(store.epoch([1; 8], Epoch([2; 16]), HOUR).await, Lookup::Found(Epoch([1; 16])));
    assert_eq!(store.era().await, Lookup::Found(7));
}

#[tokio::test]
async fn garbage_is_removed_in_batches_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let store = open_sqlite(&path, LEASE, Clock::System).await.expect("a new file");
    // More than two batches, made at one go.
    sqlite3(
        &path,
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1200) \
         INSERT INTO records SELECT randomblob(8), randomblob(16), 1, x'00', 1000 + n, 0 FROM n",
    );
    sqlite3(
        &path,
        "INSERT INTO epochs (tag, epoch, keep_until) \
         VALUES (x'01', zeroblob(16), 1100), (x'02', zeroblob(16), 1101); \
         INSERT INTO leases VALUES (x'01', x'01', x'01', 1100), (x'01', x'02', x'01', 1101)",
    );
    let epoch = Epoch([1; 16]);
    assert_eq!(store.epoch([1; 8], epoch, HOUR).await, Lookup::Found(epoch));
    assert_eq!(store.lease(key(1), [1; 16], HOUR).await, Leased::Taken);
    assert_eq!(store.create(key(1), b"live", HOUR).await, Created::Created);
    // An hour late.
    let reap = async |at: u64| reaper::reap(&store.inner, UnixMillis(at)).await.expect("done");
    assert_eq!(reap(3_601_100).await, 102);
    let now = store.inner.hearing.clock.now().0;
    assert_eq!((reap(now).await, reap(now).await), (1102, 0));
    assert!(matches!(store.load(key(1)).await, Lookup::Found(_)));
    for table in ["records", "epochs", "leases"] {
        assert_eq!(sqlite3(&path, &format!("SELECT count(*) FROM {table}")), "1", "{table}");
    }
}

#[tokio::test]
async fn a_node_with_a_wrong_clock_ends_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let right = open(&path).await;
    let ahead = Clock::Shifted(Arc::new((2 * 3_600_000).into()));
    let wrong = open_sqlite(&path, LEASE, ahead).await.expect("a file of ours");
    crate::store::sql::tests::goes_by_the_stores_clock(&right, &wrong).await;
}

#[tokio::test]
async fn the_control_runtimes_end_makes_the_store_unavailable_not_stuck() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let store = std::thread::spawn(move || {
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build();
        control.expect("a runtime").block_on(open(&path))
    })
    .join()
    .expect("opened");
    assert_eq!(store.load(key(1)).await, Lookup::Unavailable);
    assert_eq!(store.remove(key(1)).await, Removed::Unavailable);
}

/// Names the file that a second process is to use; see [`second_process`].
const FILE_VARIABLE: &str = "CLOAKROOM_TEST_SQLITE_FILE";
const COUNTS: u64 = 50;

/// What the second process of the next test runs: this very test, started with a file to use.
#[tokio::test]
async fn second_process() {
    let Some(path) = std::env::var_os(FILE_VARIABLE) else { return };
    let store = open(Path::new(&path)).await;
    for _ in 0..COUNTS {
        count_up(&store).await;
    }
    // No destructor, no checkpoint: as if it were killed. What was acknowledged must be there.
    std::process::abort();
}

#[tokio::test]
async fn two_processes_share_a_file_and_what_one_wrote_outlives_its_being_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let store = open(&path).await;
    assert_eq!(store.create(key(1), &[0; 16], HOUR).await, Created::Created);
    let mut child = Command::new(std::env::current_exe().expect("a test binary"))
        .args(["--exact", "store::sql::sqlite::tests::second_process"])
        .env(FILE_VARIABLE, &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a second process");
    for _ in 0..COUNTS {
        count_up(&store).await;
    }
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic");
    assert!(!ended.expect("a status").success(), "it was to abort after its last count");
    assert_eq!(counted(&store).await, 2 * COUNTS);
    drop(store);
    assert_eq!(counted(&open(&path).await).await, 2 * COUNTS);
}

#[tokio::test]
async fn several_stores_may_prepare_one_new_file_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let path = path.clone();
        opening.spawn(async move { open(&path).await });
    }
    for (n, store) in opening.join_all().await.into_iter().enumerate() {
        let n = u8::try_from(n).expect("few");
        assert_eq!(store.create(key(n), b"one", HOUR).await, Created::Created);
    }
    assert_eq!(sqlite3(&path, "SELECT count(*) FROM records"), "6");
}

#[tokio::test]
async fn what_one_process_changes_another_hears_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let (here, there) = (open(&path).await, open(&path).await);
    crate::store::sql::tests::changes_are_heard(&here, &there).await;
}

/// Writes that come at once share a commit, and each is told its own outcome.
#[tokio::test]
async fn replacements_that_wait_for_each_other_are_written_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("records.db")).await;
    for n in 0..40 {
        assert_eq!(store.create(key(n), b"one", HOUR).await, Created::Created);
    }
    let mut writes = tokio::task::JoinSet::new();
    for n in 0..200_u8 {
        let store = store.clone();
        // Of five writers to a record one wins; forty more find none.
        writes.spawn(async move {
            let key = key(if n < 160 { n % 40 } else { n });
            let sealed = [n, 1];
            (n, store.replace(key, 1, None, &sealed, HOUR.into(), Durability::Master).await)
        });
    }
    let outcomes = writes.join_all().await;
    let count = |wanted| outcomes.iter().filter(|(_, outcome)| *outcome == wanted).count();
    let counts = (count(Replaced::Replaced), count(Replaced::Conflict), count(Replaced::Gone));
    assert_eq!(counts, (40, 120, 40));
    for (n, outcome) in outcomes {
        if outcome == Replaced::Replaced {
            let there = Stored { version: 2, sealed: vec![n, 1], epoch: None };
            assert_eq!(store.load(key(n % 40)).await, Lookup::Found(there));
        }
    }

    // What it is for; no limit that a busy machine could miss.
    const EACH: u64 = 10;
    let touch = |store: SharedStore, n: u8| async move {
        for version in 2..2 + EACH {
            let outcome = store
                .replace(key(n), version, None, b"three", HOUR.into(), Durability::Master)
                .await;
            assert_eq!(outcome, Replaced::Replaced);
        }
    };
    let began = std::time::Instant::now();
    for n in 0..20 {
        touch(store.clone(), n).await;
    }
    let one_by_one = began.elapsed();
    let began = std::time::Instant::now();
    let at_once = (20..40).map(|n| tokio::spawn(touch(store.clone(), n)));
    for touches in at_once.collect::<Vec<_>>() {
        touches.await.expect("no panic");
    }
    let rate = |elapsed: Duration| 20.0 * EACH as f64 / elapsed.as_secs_f64();
    println!(
        "writes a second: {:.0} alone, {:.0} together",
        rate(one_by_one),
        rate(began.elapsed())
    );
}

/// Who can write to the file can say anything; what no node says is nobody's.
#[tokio::test]
async fn what_no_node_announces_is_left_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.db");
    let store = open(&path).await;
    let own = Announcement { node: [7; 16], text: b"own".to_vec() };
    let keep = Duration::from_secs(60);
    let Lookup::Found(now) = store.announce(&own, keep).await else { panic!("not taken") };
    let row = |id: &str, text: &str, keep: u64| {
        let until = now.0 + keep;
        sqlite3(
            &path,
            &format!("INSERT INTO records VALUES (zeroblob(8), {id}, 1, {text}, {until}, -1)"),
        );
    };
    row("x'0102'", "x'00'", 30_000);
    row("randomblob(16)", "zeroblob(513)", 30_000);
    row("randomblob(16)", "x'00'", 3_600_000);
    assert_eq!(store.announced().await, Lookup::Found(vec![own.clone()]));
    assert!(matches!(store.announce(&own, keep).await, Lookup::Found(_)));
    assert_eq!(sqlite3(&path, "SELECT count(*) FROM changes"), "0", "nobody has to hear of it");
}
