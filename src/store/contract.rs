//! What every engine must do, as one suite that runs unchanged on each of them.
//!
//! `suite!(bench)` makes the tests; `bench` builds an engine with nothing in it.

pub(super) mod announced;
pub(super) mod metadata;

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Keep, SEALED_BYTES_MAX, SharedStore, Stored};
use crate::session::outcome::{Created, Durability, Listing, Lookup, RecordKey, Removed, Replaced};

/// An engine to try, and how time passes for it.
pub(crate) struct Bench {
    pub(crate) store: SharedStore,
    pub(super) elapse: Elapse,
    /// The server or directory that the engine needs.
    pub(crate) keep_alive: Box<dyn Any + Send>,
}

/// How time passes for an engine.
pub(crate) enum Elapse {
    /// By hand.
    Shift(Arc<AtomicU64>),
    /// By itself: the server has a clock of its own.
    Really,
}

impl Elapse {
    fn pass(&self, duration: Duration) {
        if let Self::Shift(by) = self {
            let millis = u64::try_from(duration.as_millis()).expect("tests pass short times");
            by.fetch_add(millis, Ordering::Relaxed);
        }
    }
}

/// Makes the suite's tests for an engine: `bench` is an `async fn() -> Bench`.
///
/// `suite!(in turn: name, start)` makes a single test instead, for an engine whose server takes long
/// to start: `start` is an `async fn` to something with an `async fn bench(&self) -> Bench`.
macro_rules! suite {
    (in turn: $name:ident, $start:path) => {
        #[tokio::test]
        async fn $name() {
            let started = $start().await;
            $crate::store::contract::suite!(@all turn (started));
        }
    };
    (@all $how:ident $on:tt) => {
        $crate::store::contract::suite!(@$how tests $on
            a_record_that_was_never_made_is_not_found,
            a_created_record_is_found_with_version_one,
            a_key_is_taken_once_a_record_has_it,
            creating_again_with_the_same_bytes_is_harmless,
            creating_again_after_a_replacement_is_taken,
            a_replacement_moves_the_version_by_one,
            replacing_another_version_is_a_conflict_and_changes_nothing,
            replacing_what_is_not_there_is_gone,
            replacing_again_with_the_same_bytes_is_harmless,
            replacing_again_after_another_write_is_a_conflict,
            durable_replacements_keep_the_same_rules,
            of_many_replacements_at_once_exactly_one_wins,
            of_many_creations_at_once_exactly_one_wins,
            a_removed_record_is_not_found_and_its_key_is_free,
            a_record_is_garbage_once_its_time_has_passed,
            a_replacement_extends_the_time_of_a_record,
            every_byte_value_survives,
            a_record_of_64_kib_survives_and_a_monstrous_one_is_refused,
            many_keys_do_not_get_in_each_others_way,
            two_runtimes_on_two_threads_share_one_store,
            a_store_that_answers_says_so
        );
        $crate::store::contract::suite!(@$how metadata $on
            an_epoch_that_was_never_made_reads_as_none,
            an_epoch_that_is_there_wins_over_a_proposal,
            of_many_proposals_at_once_all_are_told_the_same,
            a_revoked_epoch_is_another_at_once,
            a_replacement_under_an_epoch_that_is_over_is_gone,
            an_epoch_is_garbage_once_its_time_has_passed,
            the_time_of_an_epoch_only_grows,
            a_list_holds_what_was_created_and_not_removed,
            a_list_has_no_garbage_and_follows_replacements,
            a_list_is_bounded_and_says_so,
            what_is_over_leaves_the_list,
            those_beyond_a_limit_are_told_by_when_they_came,
            a_record_counts_since_it_first_did,
            a_revocation_empties_the_list,
            a_record_goes_on_alone_in_a_new_epoch,
            of_a_new_epoch_and_other_writes_at_once_all_are_whole,
            a_lease_has_one_owner_at_a_time,
            of_many_that_want_a_lease_exactly_one_has_it,
            a_lease_ends_with_its_time_unless_it_is_extended,
            the_era_only_grows,
            eras_made_at_once_are_all_different
        );
        $crate::store::contract::suite!(@$how announced $on
            what_a_node_announces_is_read_by_all,
            an_announcement_takes_the_place_of_the_node_s_earlier_one,
            of_announcements_at_once_none_is_lost,
            an_announcement_is_over_with_its_time,
            an_announcement_is_bounded,
            more_nodes_than_are_told_of_harm_nobody
        );
    };
    (@each tests ($bench:path) $($name:ident),+) => {
        $(
            #[tokio::test]
            async fn $name() {
                let bench = $bench().await;
                $crate::store::contract::$name(&bench).await;
                drop(bench.keep_alive);
            }
        )+
    };
    (@each metadata ($bench:path) $($name:ident),+) => {
        $(
            #[tokio::test]
            async fn $name() {
                let bench = $bench().await;
                $crate::store::contract::metadata::$name(&bench).await;
                drop(bench.keep_alive);
            }
        )+
    };
    (@each announced ($bench:path) $($name:ident),+) => {
        $(
            #[tokio::test]
            async fn $name() {
                let bench = $bench().await;
                $crate::store::contract::announced::$name(&bench).await;
                drop(bench.keep_alive);
            }
        )+
    };
    (@turn announced ($started:ident) $($name:ident),+) => {
        $(
            {
                println!("{}", stringify!($name));
                let bench = $started.bench().await;
                $crate::store::contract::announced::$name(&bench).await;
            }
        )+
    };
    (@turn tests ($started:ident) $($name:ident),+) => {
        $(
            {
                println!("{}", stringify!($name));
                let bench = $started.bench().await;
                $crate::store::contract::$name(&bench).await;
            }
        )+
    };
    (@turn metadata ($started:ident) $($name:ident),+) => {
        $(
            {
                println!("{}", stringify!($name));
                let bench = $started.bench().await;
                $crate::store::contract::metadata::$name(&bench).await;
            }
        )+
    };
    ($bench:path) => {
        $crate::store::contract::suite!(@all each ($bench));
    };
}
pub(super) use suite;

/// A record that goes on.
impl From<Duration> for Keep {
    fn from(time: Duration) -> Self {
        Self { time, listing: Listing::Listed }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
/// Short, yet longer than a busy machine needs for the few calls before it passes.
const SHORT: Duration = Duration::from_millis(600);

pub(super) fn key(n: u8) -> RecordKey {
    RecordKey { tag: [n; 8], id: [n; 16], has_subject: false }
}

fn found(version: u64, sealed: &[u8]) -> Lookup<Stored> {
    Lookup::Found(Stored { version, sealed: sealed.to_vec(), epoch: None })
}

async fn create(bench: &Bench, n: u8, sealed: &[u8]) {
    assert_eq!(bench.store.create(key(n), sealed, HOUR).await, Created::Created);
}

async fn replace(bench: &Bench, n: u8, expected: u64, sealed: &[u8]) -> Replaced {
    bench.store.replace(key(n), expected, None, sealed, HOUR.into(), Durability::Master).await
}

pub(super) async fn a_record_that_was_never_made_is_not_found(bench: &Bench) {
    assert_eq!(bench.store.load(key(1)).await, Lookup::NotFound);
}

pub(super) async fn a_created_record_is_found_with_version_one(bench: &Bench) {
    create(bench, 1, b"one").await;
    assert_eq!(bench.store.load(key(1)).await, found(1, b"one"));
    let same_id = RecordKey { tag: [9; 8], ..key(1) };
    assert_eq!(bench.store.load(same_id).await, Lookup::NotFound, "the tag is part of the key");
    let same_tag = RecordKey { id: [9; 16], ..key(1) };
    assert_eq!(bench.store.load(same_tag).await, Lookup::NotFound);
}

pub(super) async fn a_key_is_taken_once_a_record_has_it(bench: &Bench) {
    create(bench, 1, b"one").await;
    assert_eq!(bench.store.create(key(1), b"other", HOUR).await, Created::Taken);
    assert_eq!(bench.store.load(key(1)).await, found(1, b"one"));
}

pub(super) async fn creating_again_with_the_same_bytes_is_harmless(bench: &Bench) {
    create(bench, 1, b"one").await;
    create(bench, 1, b"one").await;
    assert_eq!(bench.store.load(key(1)).await, found(1, b"one"));
}

pub(super) async fn creating_again_after_a_replacement_is_taken(bench: &Bench) {
    create(bench, 1, b"one").await;
    // The same bytes at another version are another record.
    assert_eq!(replace(bench, 1, 1, b"one").await, Replaced::Replaced);
    assert_eq!(bench.store.create(key(1), b"one", HOUR).await, Created::Taken);
    assert_eq!(bench.store.load(key(1)).await, found(2, b"one"));
}

pub(super) async fn a_replacement_moves_the_version_by_one(bench: &Bench) {
    create(bench, 1, b"one").await;
    for expected in 1..=20_u64 {
        let sealed = format!("version {}", expected + 1);
        assert_eq!(replace(bench, 1, expected, sealed.as_bytes()).await, Replaced::Replaced);
        assert_eq!(bench.store.load(key(1)).await, found(expected + 1, sealed.as_bytes()));
    }
}

pub(super) async fn replacing_another_version_is_a_conflict_and_changes_nothing(bench: &Bench) {
    create(bench, 1, b"one").await;
    assert_eq!(replace(bench, 1, 1, b"two").await, Replaced::Replaced);
    for expected in [0, 1, 3, 1 << 40, i64::MAX as u64, u64::MAX] {
        assert_eq!(
            replace(bench, 1, expected, b"late").await,
            Replaced::Conflict,
            "expected {expected}"
        );
    }
    assert_eq!(bench.store.load(key(1)).await, found(2, b"two"));
}

pub(super) async fn replacing_what_is_not_there_is_gone(bench: &Bench) {
    assert_eq!(replace(bench, 1, 1, b"two").await, Replaced::Gone);
    assert_eq!(bench.store.load(key(1)).await, Lookup::NotFound, "nothing is made by replacing");
}

pub(super) async fn replacing_again_with_the_same_bytes_is_harmless(bench: &Bench) {
    create(bench, 1, b"one").await;
    for _ in 0..3 {
        assert_eq!(replace(bench, 1, 1, b"two").await, Replaced::Replaced);
        assert_eq!(bench.store.load(key(1)).await, found(2, b"two"));
    }
    assert_eq!(replace(bench, 1, 1, b"other").await, Replaced::Conflict);
}

pub(super) async fn replacing_again_after_another_write_is_a_conflict(bench: &Bench) {
    create(bench, 1, b"one").await;
    assert_eq!(replace(bench, 1, 1, b"two").await, Replaced::Replaced);
    assert_eq!(replace(bench, 1, 2, b"two").await, Replaced::Replaced);
    assert_eq!(replace(bench, 1, 1, b"two").await, Replaced::Conflict);
}

pub(super) async fn durable_replacements_keep_the_same_rules(bench: &Bench) {
    let replace = |expected, sealed: &'static [u8]| {
        bench.store.replace(key(1), expected, None, sealed, HOUR.into(), Durability::Replica)
    };
    assert_eq!(replace(1, b"two").await, Replaced::Gone);
    create(bench, 1, b"one").await;
    assert_eq!(replace(1, b"two").await, Replaced::Replaced);
    assert_eq!(replace(1, b"two").await, Replaced::Replaced);
    assert_eq!(replace(1, b"late").await, Replaced::Conflict);
    assert_eq!(bench.store.load(key(1)).await, found(2, b"two"));
}

pub(super) async fn of_many_replacements_at_once_exactly_one_wins(bench: &Bench) {
    create(bench, 1, b"one").await;
    for round in 1..=5_u64 {
        let mut tries = tokio::task::JoinSet::new();
        for n in 0..16_u64 {
            let store = bench.store.clone();
            let durability = if n % 4 == 0 { Durability::Replica } else { Durability::Master };
            tries.spawn(async move {
                let sealed = [round.to_be_bytes(), n.to_be_bytes()].concat();
                (store.replace(key(1), round, None, &sealed, HOUR.into(), durability).await, sealed)
            });
        }
        let outcomes = tries.join_all().await;
        let winners: Vec<_> =
            outcomes.iter().filter(|(outcome, _)| *outcome == Replaced::Replaced).collect();
        let losers = outcomes.iter().filter(|(outcome, _)| *outcome == Replaced::Conflict).count();
        assert_eq!((winners.len(), losers), (1, 15), "round {round}");
        assert_eq!(bench.store.load(key(1)).await, found(round + 1, &winners[0].1));
    }
}

pub(super) async fn of_many_creations_at_once_exactly_one_wins(bench: &Bench) {
    let mut tries = tokio::task::JoinSet::new();
    for n in 0..16_u8 {
        let store = bench.store.clone();
        tries.spawn(async move { store.create(key(1), &[n], HOUR).await });
    }
    let outcomes = tries.join_all().await;
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!((count(Created::Created), count(Created::Taken)), (1, 15));
}

pub(super) async fn a_removed_record_is_not_found_and_its_key_is_free(bench: &Bench) {
    create(bench, 1, b"one").await;
    create(bench, 2, b"neighbour").await;
    for _ in 0..2 {
        assert_eq!(bench.store.remove(key(1)).await, Removed::Removed);
        assert_eq!(bench.store.load(key(1)).await, Lookup::NotFound);
    }
    assert_eq!(replace(bench, 1, 1, b"two").await, Replaced::Gone);
    create(bench, 1, b"again").await;
    assert_eq!(bench.store.load(key(1)).await, found(1, b"again"));
    assert_eq!(bench.store.load(key(2)).await, found(1, b"neighbour"));
}

/// Waits until a record that is kept for [`SHORT`] is not found.
async fn until_not_found(bench: &Bench, n: u8) {
    bench.elapse.pass(SHORT);
    let began = Instant::now();
    loop {
        match bench.store.load(key(n)).await {
            Lookup::NotFound => return,
            other => assert!(began.elapsed() < 20 * SHORT, "still {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) async fn a_record_is_garbage_once_its_time_has_passed(bench: &Bench) {
    assert_eq!(bench.store.create(key(1), b"one", SHORT).await, Created::Created);
    assert_eq!(bench.store.load(key(1)).await, found(1, b"one"));
    until_not_found(bench, 1).await;
    assert_eq!(replace(bench, 1, 1, b"two").await, Replaced::Gone);
    assert_eq!(bench.store.create(key(1), b"one", Duration::MAX).await, Created::Created);
    assert_eq!(bench.store.load(key(1)).await, found(1, b"one"), "no time is too long to keep");
}

pub(super) async fn a_replacement_extends_the_time_of_a_record(bench: &Bench) {
    create(bench, 3, b"long").await;
    for n in [1, 2] {
        assert_eq!(bench.store.create(key(n), b"one", SHORT).await, Created::Created);
    }
    assert_eq!(replace(bench, 1, 1, b"two").await, Replaced::Replaced);
    let shorter =
        bench.store.replace(key(3), 1, None, b"short", SHORT.into(), Durability::Master).await;
    assert_eq!(shorter, Replaced::Replaced);
    // The second and the third are witnesses that the time has passed for the first as well.
    until_not_found(bench, 2).await;
    assert_eq!(bench.store.load(key(1)).await, found(2, b"two"));
    until_not_found(bench, 3).await;
}

pub(super) async fn every_byte_value_survives(bench: &Bench) {
    let all: Vec<u8> = (0..=255).cycle().take(1024).collect();
    for (n, sealed) in [&all[..], b"", b"\0", b"\r\n$-1\r\n", &[0xff; 9], "ü'\"; --".as_bytes()]
        .into_iter()
        .enumerate()
    {
        let key = RecordKey {
            tag: [0xff; 8],
            id: [u8::try_from(n).expect("few"); 16],
            has_subject: false,
        };
        assert_eq!(bench.store.create(key, sealed, HOUR).await, Created::Created);
        assert_eq!(bench.store.load(key).await, found(1, sealed));
        let replaced =
            bench.store.replace(key, 1, None, sealed, HOUR.into(), Durability::Replica).await;
        assert_eq!(replaced, Replaced::Replaced);
        assert_eq!(bench.store.load(key).await, found(2, sealed));
    }
    for key in [
        RecordKey { tag: [0; 8], id: [0; 16], has_subject: false },
        RecordKey { tag: *b"}\0{*?[]:", id: [b':'; 16], has_subject: false },
    ] {
        assert_eq!(bench.store.create(key, &all, HOUR).await, Created::Created);
        assert_eq!(bench.store.load(key).await, found(1, &all));
    }
}

pub(super) async fn a_record_of_64_kib_survives_and_a_monstrous_one_is_refused(bench: &Bench) {
    let large: Vec<u8> =
        (0..64 * 1024_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect();
    create(bench, 1, &large).await;
    assert_eq!(bench.store.load(key(1)).await, found(1, &large));
    assert_eq!(replace(bench, 1, 1, &large[1..]).await, Replaced::Replaced);
    assert_eq!(bench.store.load(key(1)).await, found(2, &large[1..]));

    let monstrous = vec![0; SEALED_BYTES_MAX + 1];
    assert_eq!(bench.store.create(key(2), &monstrous, HOUR).await, Created::Unavailable);
    assert_eq!(replace(bench, 1, 2, &monstrous).await, Replaced::Unavailable);
    assert_eq!(bench.store.load(key(2)).await, Lookup::NotFound);
    assert_eq!(bench.store.load(key(1)).await, found(2, &large[1..]));
}

pub(super) async fn many_keys_do_not_get_in_each_others_way(bench: &Bench) {
    let keys: BTreeSet<RecordKey> = (0..500_u16)
        .map(|n| {
            let mut key = key(7);
            // Neighbours differ in a single bit, of the tag or of the identifier.
            if n % 2 == 0 {
                key.tag[..2].copy_from_slice(&n.to_be_bytes());
            } else {
                key.id[14..].copy_from_slice(&n.to_be_bytes());
            }
            key
        })
        .collect();
    assert_eq!(keys.len(), 500);
    for key in &keys {
        let sealed = [&key.tag[..], &key.id[..]].concat();
        assert_eq!(bench.store.create(*key, &sealed, HOUR).await, Created::Created);
    }
    for (n, key) in keys.iter().enumerate() {
        let sealed = [&key.tag[..], &key.id[..]].concat();
        assert_eq!(bench.store.load(*key).await, found(1, &sealed));
        if n % 5 == 0 {
            assert_eq!(bench.store.remove(*key).await, Removed::Removed);
        }
    }
    for (n, key) in keys.iter().enumerate() {
        let is_found = matches!(bench.store.load(*key).await, Lookup::Found(_));
        assert_eq!(is_found, n % 5 != 0);
    }
}

/// As the proxy does: a control runtime, here the test's, and a `current_thread` runtime on each
/// worker thread.
pub(super) async fn two_runtimes_on_two_threads_share_one_store(bench: &Bench) {
    const ROUNDS: u64 = 40;
    create(bench, 1, &[0; 16]).await;
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let store = bench.store.clone();
            let (done, finished) = tokio::sync::oneshot::channel::<()>();
            let thread = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    store.start().await;
                    for _ in 0..ROUNDS {
                        count_up(&store).await;
                    }
                });
                drop(done);
            });
            (thread, finished)
        })
        .collect();
    for (thread, finished) in workers {
        // Awaited, not joined at once: the test's runtime is the control runtime.
        finished.await.expect_err("nothing is sent, the sender is dropped");
        thread.join().expect("a worker finished without a failed assertion");
    }
    assert_eq!(counted(&bench.store).await, 2 * ROUNDS);
}

/// Adds one to the number in record 1, however often another is faster. What is written differs
/// from try to try, as a sealed record does by its nonce: two writers of the same bytes would
/// take each other's write for their own.
pub(super) async fn count_up(store: &SharedStore) {
    loop {
        let Lookup::Found(stored) = store.load(key(1)).await else { panic!("not found") };
        let number = number(&stored.sealed) + 1;
        let next = [number.to_be_bytes(), rand::random::<u64>().to_be_bytes()].concat();
        let outcome = store
            .replace(key(1), stored.version, None, &next, HOUR.into(), Durability::Master)
            .await;
        match outcome {
            Replaced::Replaced => return,
            Replaced::Conflict => {}
            Replaced::Gone | Replaced::Unavailable => panic!("{outcome:?}"),
        }
    }
}

/// The number in record 1, after a check that every write moved the version by one.
pub(super) async fn counted(store: &SharedStore) -> u64 {
    let Lookup::Found(stored) = store.load(key(1)).await else { panic!("not found") };
    assert_eq!(stored.version, number(&stored.sealed) + 1);
    number(&stored.sealed)
}

fn number(sealed: &[u8]) -> u64 {
    u64::from_be_bytes(sealed[..8].try_into().expect("8 bytes"))
}

pub(super) async fn a_store_that_answers_says_so(bench: &Bench) {
    bench.store.start().await;
    assert!(bench.store.ping().await);
    assert_eq!(*bench.store.health().borrow(), super::health::Health::Up);
}
