//! What every engine must do with what lies beside records: epochs, lists, leases, the era.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Bench, HOUR, SHORT, found, key};
use crate::session::outcome::{
    Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced,
};
use crate::store::{LISTED_MAX, Stored};

const ALICE: Epoch = Epoch([0xa1; 16]);
const BOB: Epoch = Epoch([0xb0; 16]);
const ME: [u8; 16] = [1; 16];
const STRANGER: [u8; 16] = [2; 16];

/// The key of a subject's record.
fn of_subject(tag: u8, id: u8) -> RecordKey {
    RecordKey { tag: [tag; 8], id: [id; 16], has_subject: true }
}

fn of_epoch(version: u64, sealed: &[u8], epoch: Option<Epoch>) -> Lookup<Stored> {
    Lookup::Found(Stored { version, sealed: sealed.to_vec(), epoch })
}

async fn make(bench: &Bench, key: RecordKey, keep: Duration) {
    assert_eq!(bench.store.create(key, &key.id, keep).await, Created::Created);
}

async fn listed(bench: &Bench, tag: u8) -> BTreeSet<u8> {
    let Lookup::Found(ids) = bench.store.list([tag; 8]).await else { panic!("no list") };
    let count = ids.len();
    let set: BTreeSet<u8> = ids.iter().map(|id| id[0]).collect();
    assert_eq!(set.len(), count, "nothing is listed twice");
    set
}

/// Lets [`SHORT`] pass, and waits until that shows.
async fn until(bench: &Bench, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    bench.elapse.pass(SHORT);
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < 20 * SHORT, "still not {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(in crate::store) async fn an_epoch_that_was_never_made_reads_as_none(bench: &Bench) {
    let key = of_subject(1, 1);
    assert_eq!(bench.store.load(key).await, Lookup::NotFound);
    make(bench, key, HOUR).await;
    assert_eq!(bench.store.load(key).await, of_epoch(1, &key.id, None));
    assert_eq!(bench.store.epoch([1; 8], ALICE, HOUR).await, Lookup::Found(ALICE));
    assert_eq!(bench.store.load(key).await, of_epoch(1, &key.id, Some(ALICE)));
    let without = RecordKey { has_subject: false, ..key };
    assert_eq!(bench.store.load(without).await, found(1, &key.id), "nobody asked for it");
    assert_eq!(bench.store.load(of_subject(1, 2)).await, Lookup::NotFound, "an epoch alone");
    let other = of_subject(2, 1);
    make(bench, other, HOUR).await;
    assert_eq!(bench.store.load(other).await, of_epoch(1, &other.id, None), "another subject's");
}

pub(in crate::store) async fn an_epoch_that_is_there_wins_over_a_proposal(bench: &Bench) {
    for proposal in [ALICE, BOB, ALICE] {
        assert_eq!(bench.store.epoch([1; 8], proposal, HOUR).await, Lookup::Found(ALICE));
    }
    assert_eq!(bench.store.epoch([2; 8], BOB, HOUR).await, Lookup::Found(BOB));
    assert_eq!(bench.store.epoch([3; 8], BOB, Duration::MAX).await, Lookup::Found(BOB));
}

pub(in crate::store) async fn of_many_proposals_at_once_all_are_told_the_same(bench: &Bench) {
    let mut tries = tokio::task::JoinSet::new();
    for n in 0..16_u8 {
        let store = bench.store.clone();
        tries.spawn(async move { store.epoch([1; 8], Epoch([n; 16]), HOUR).await });
    }
    let told = tries.join_all().await;
    assert!(matches!(told[0], Lookup::Found(_)), "{told:?}");
    assert!(told.iter().all(|epoch| epoch == &told[0]), "one value for all");
}

pub(in crate::store) async fn a_revoked_epoch_is_another_at_once(bench: &Bench) {
    let key = of_subject(1, 1);
    make(bench, key, HOUR).await;
    assert_eq!(bench.store.epoch([1; 8], ALICE, HOUR).await, Lookup::Found(ALICE));
    // A repeat meets its own.
    for replaced in [Some(ALICE), None] {
        assert_eq!(bench.store.revoke([1; 8], BOB, HOUR).await, Lookup::Found(replaced));
        assert_eq!(bench.store.load(key).await, of_epoch(1, &key.id, Some(BOB)));
        assert_eq!(bench.store.epoch([1; 8], ALICE, HOUR).await, Lookup::Found(BOB));
    }
    let none_was_there = bench.store.revoke([2; 8], BOB, HOUR).await;
    assert_eq!(none_was_there, Lookup::Found(None));
    assert_eq!(bench.store.epoch([2; 8], ALICE, HOUR).await, Lookup::Found(BOB));
}

/// PROTOCOL 25: a write to a record that was revoked since it was read changes nothing.
pub(in crate::store) async fn a_replacement_under_an_epoch_that_is_over_is_gone(bench: &Bench) {
    let key = of_subject(1, 1);
    make(bench, key, HOUR).await;
    let replace = async |version, epoch, durability| {
        bench.store.replace(key, version, epoch, b"new", HOUR, durability).await
    };
    assert_eq!(replace(1, Some(ALICE), Durability::Master).await, Replaced::Gone, "there is none");
    assert_eq!(bench.store.epoch([1; 8], ALICE, HOUR).await, Lookup::Found(ALICE));
    assert_eq!(replace(1, Some(BOB), Durability::Master).await, Replaced::Gone);
    assert_eq!(replace(7, Some(ALICE), Durability::Master).await, Replaced::Conflict);
    assert_eq!(bench.store.load(key).await, of_epoch(1, &key.id, Some(ALICE)), "nothing changed");
    for durability in [Durability::Master, Durability::Replica] {
        // Its repeat as well.
        assert_eq!(replace(1, Some(ALICE), durability).await, Replaced::Replaced);
    }
    assert_eq!(bench.store.revoke([1; 8], BOB, HOUR).await, Lookup::Found(Some(ALICE)));
    assert_eq!(replace(2, Some(ALICE), Durability::Replica).await, Replaced::Gone);
    assert_eq!(bench.store.load(key).await, of_epoch(2, b"new", Some(BOB)));
}

pub(in crate::store) async fn an_epoch_is_garbage_once_its_time_has_passed(bench: &Bench) {
    let key = of_subject(1, 1);
    make(bench, key, HOUR).await;
    assert_eq!(bench.store.epoch([1; 8], ALICE, SHORT).await, Lookup::Found(ALICE));
    assert_eq!(bench.store.load(key).await, of_epoch(1, &key.id, Some(ALICE)));
    let gone = of_epoch(1, &key.id, None);
    until(bench, "gone", async || bench.store.load(key).await == gone).await;
    assert_eq!(bench.store.epoch([1; 8], BOB, HOUR).await, Lookup::Found(BOB));
}

/// PROTOCOL 27: the life of an epoch is the longest of the policies that share it.
pub(in crate::store) async fn the_time_of_an_epoch_only_grows(bench: &Bench) {
    // By a later proposal, by a revocation; not cut by either.
    for (tag, first, second, is_revoked) in [
        (1, SHORT, HOUR, false),
        (2, HOUR, SHORT, false),
        (3, SHORT, HOUR, true),
        (4, HOUR, SHORT, true),
    ] {
        assert_eq!(bench.store.epoch([tag; 8], ALICE, first).await, Lookup::Found(ALICE));
        if is_revoked {
            assert_eq!(bench.store.revoke([tag; 8], ALICE, second).await, Lookup::Found(None));
        } else {
            assert_eq!(bench.store.epoch([tag; 8], BOB, second).await, Lookup::Found(ALICE));
        }
        make(bench, of_subject(tag, 1), HOUR).await;
    }
    // A witness that the time has passed.
    let witness = of_subject(9, 1);
    make(bench, witness, HOUR).await;
    assert_eq!(bench.store.epoch([9; 8], ALICE, SHORT).await, Lookup::Found(ALICE));
    let gone = of_epoch(1, &witness.id, None);
    until(bench, "gone", async || bench.store.load(witness).await == gone).await;
    for tag in 1..=4 {
        let key = of_subject(tag, 1);
        let there = of_epoch(1, &key.id, Some(ALICE));
        assert_eq!(bench.store.load(key).await, there, "tag {tag}");
    }
}

pub(in crate::store) async fn a_list_holds_what_was_created_and_not_removed(bench: &Bench) {
    assert_eq!(bench.store.list([1; 8]).await, Lookup::Found(vec![]));
    for id in 1..=4 {
        make(bench, of_subject(1, id), HOUR).await;
    }
    make(bench, of_subject(1, 4), HOUR).await;
    make(bench, of_subject(2, 9), HOUR).await;
    assert_eq!(listed(bench, 1).await, BTreeSet::from([1, 2, 3, 4]));
    let replaced =
        bench.store.replace(of_subject(1, 1), 1, None, b"new", HOUR, Durability::Replica).await;
    assert_eq!(replaced, Replaced::Replaced);
    let gone =
        bench.store.replace(of_subject(1, 7), 1, None, b"new", HOUR, Durability::Master).await;
    assert_eq!(gone, Replaced::Gone);
    for _ in 0..2 {
        assert_eq!(bench.store.remove(of_subject(1, 2)).await, Removed::Removed);
        assert_eq!(listed(bench, 1).await, BTreeSet::from([1, 3, 4]));
    }
    assert_eq!(listed(bench, 2).await, BTreeSet::from([9]));
    assert_eq!(bench.store.revoke([1; 8], BOB, HOUR).await, Lookup::Found(None));
    assert_eq!(listed(bench, 1).await, BTreeSet::from([1, 3, 4]), "it is no matter of epochs");
}

pub(in crate::store) async fn a_list_has_no_garbage_and_follows_replacements(bench: &Bench) {
    for (id, keep) in [(1, SHORT), (2, HOUR), (3, SHORT)] {
        make(bench, of_subject(1, id), keep).await;
    }
    assert_eq!(listed(bench, 1).await, BTreeSet::from([1, 2, 3]));
    let extended =
        bench.store.replace(of_subject(1, 3), 1, None, b"new", HOUR, Durability::Master).await;
    assert_eq!(extended, Replaced::Replaced);
    let left = BTreeSet::from([2, 3]);
    until(bench, "swept", async || listed(bench, 1).await == left).await;
    make(bench, of_subject(1, 4), HOUR).await;
    assert_eq!(listed(bench, 1).await, BTreeSet::from([2, 3, 4]));
}

pub(in crate::store) async fn a_list_is_bounded(bench: &Bench) {
    for n in 0..=u16::try_from(LISTED_MAX).expect("far fewer") {
        let mut key = of_subject(1, 0);
        key.id[..2].copy_from_slice(&n.to_be_bytes());
        make(bench, key, HOUR).await;
    }
    let Lookup::Found(ids) = bench.store.list([1; 8]).await else { panic!("no list") };
    assert_eq!(ids.len(), LISTED_MAX);
}

pub(in crate::store) async fn a_lease_has_one_owner_at_a_time(bench: &Bench) {
    let key = key(1);
    let take = |owner| bench.store.lease(key, owner, HOUR);
    for _ in 0..2 {
        assert_eq!(take(ME).await, Leased::Taken, "it is extended by its owner");
        assert_eq!(take(STRANGER).await, Leased::Busy);
    }
    bench.store.release(key, STRANGER).await;
    assert_eq!(take(STRANGER).await, Leased::Busy, "a stranger releases nothing");
    bench.store.release(key, ME).await;
    bench.store.release(key, ME).await;
    assert_eq!(take(STRANGER).await, Leased::Taken);
    assert_eq!(take(ME).await, Leased::Busy);
    let other = of_subject(1, 2);
    assert_eq!(bench.store.lease(other, ME, HOUR).await, Leased::Taken, "another record's");
    assert_eq!(bench.store.load(key).await, Lookup::NotFound, "a lease is no record");
}

pub(in crate::store) async fn of_many_that_want_a_lease_exactly_one_has_it(bench: &Bench) {
    let mut tries = tokio::task::JoinSet::new();
    for n in 0..16_u8 {
        let store = bench.store.clone();
        tries.spawn(async move { store.lease(key(1), [n; 16], HOUR).await });
    }
    let outcomes = tries.join_all().await;
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!((count(Leased::Taken), count(Leased::Busy)), (1, 15));
}

pub(in crate::store) async fn a_lease_ends_with_its_time_unless_it_is_extended(bench: &Bench) {
    for n in [1, 2] {
        assert_eq!(bench.store.lease(key(n), ME, SHORT).await, Leased::Taken);
    }
    assert_eq!(bench.store.lease(key(2), ME, HOUR).await, Leased::Taken);
    until(bench, "free", async || bench.store.lease(key(1), STRANGER, HOUR).await == Leased::Taken)
        .await;
    assert_eq!(bench.store.lease(key(1), ME, HOUR).await, Leased::Busy);
    bench.store.release(key(1), ME).await;
    assert_eq!(bench.store.lease(key(1), ME, HOUR).await, Leased::Busy, "its time had passed");
    assert_eq!(bench.store.lease(key(2), STRANGER, HOUR).await, Leased::Busy, "it was extended");
}

pub(in crate::store) async fn the_era_only_grows(bench: &Bench) {
    assert_eq!(bench.store.era().await, Lookup::Found(0));
    assert_eq!(bench.store.next_era(0).await, Lookup::Found(1));
    assert_eq!(bench.store.next_era(0).await, Lookup::Found(2), "another's, or a repeat");
    assert_eq!(bench.store.era().await, Lookup::Found(2));
    assert_eq!(bench.store.next_era(40).await, Lookup::Found(41), "a store that lost its own");
    assert_eq!(bench.store.next_era(7).await, Lookup::Found(42));
    assert_eq!(bench.store.era().await, Lookup::Found(42));
    for (least, era) in [(0, 42), (42, 42), (50, 50), (50, 50), (49, 50)] {
        assert_eq!(bench.store.raise_era(least).await, Lookup::Found(era));
        assert_eq!(bench.store.era().await, Lookup::Found(era));
    }
    assert_eq!(bench.store.next_era(u32::MAX).await, Lookup::Found(u32::MAX), "and ends there");
    assert_eq!(bench.store.era().await, Lookup::Found(u32::MAX));
}

pub(in crate::store) async fn eras_made_at_once_are_all_different(bench: &Bench) {
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = bench.store.clone();
        tries.spawn(async move { store.next_era(0).await });
    }
    let made: BTreeSet<u32> = tries
        .join_all()
        .await
        .into_iter()
        .map(|era| match era {
            Lookup::Found(era) => era,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(made, (1..=16).collect());
    assert_eq!(bench.store.era().await, Lookup::Found(16));
}
