//! What every engine must do with what lies beside records: epochs, lists, leases, the era.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Bench, HOUR, SHORT, found, key};
use crate::clock::UnixMillis;
use crate::session::outcome::{
    Carried, Created, Durability, Epoch, Leased, Listing, Lookup, RecordKey, Removed, Replaced,
    Room, Surplus,
};
use crate::store::{BEYOND_MAX, Carry, Keep, LISTED_MAX, Listed, Stored};

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
    let Lookup::Found(Listed { ids, total }) = bench.store.list([tag; 8]).await else {
        panic!("no list")
    };
    let count = ids.len();
    assert_eq!(total, count, "it is not cut");
    let set: BTreeSet<u8> = ids.iter().map(|id| id[0]).collect();
    assert_eq!(set.len(), count, "nothing is listed twice");
    set
}

/// Lets [`SHORT`] pass, and waits until that shows.
pub(super) async fn until(bench: &Bench, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
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
        bench.store.replace(key, version, epoch, b"new", HOUR.into(), durability).await
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
    assert_eq!(bench.store.list([1; 8]).await, Lookup::Found(Listed::default()));
    for id in 1..=4 {
        make(bench, of_subject(1, id), HOUR).await;
    }
    make(bench, of_subject(1, 4), HOUR).await;
    make(bench, of_subject(2, 9), HOUR).await;
    assert_eq!(listed(bench, 1).await, BTreeSet::from([1, 2, 3, 4]));
    let replaced = bench
        .store
        .replace(of_subject(1, 1), 1, None, b"new", HOUR.into(), Durability::Replica)
        .await;
    assert_eq!(replaced, Replaced::Replaced);
    let gone = bench
        .store
        .replace(of_subject(1, 7), 1, None, b"new", HOUR.into(), Durability::Master)
        .await;
    assert_eq!(gone, Replaced::Gone);
    for _ in 0..2 {
        assert_eq!(bench.store.remove(of_subject(1, 2)).await, Removed::Removed);
        assert_eq!(listed(bench, 1).await, BTreeSet::from([1, 3, 4]));
    }
    assert_eq!(listed(bench, 2).await, BTreeSet::from([9]));
}

pub(in crate::store) async fn a_list_has_no_garbage_and_follows_replacements(bench: &Bench) {
    for (id, keep) in [(1, SHORT), (2, HOUR), (3, SHORT)] {
        make(bench, of_subject(1, id), keep).await;
    }
    assert_eq!(listed(bench, 1).await, BTreeSet::from([1, 2, 3]));
    let extended = bench
        .store
        .replace(of_subject(1, 3), 1, None, b"new", HOUR.into(), Durability::Master)
        .await;
    assert_eq!(extended, Replaced::Replaced);
    let left = BTreeSet::from([2, 3]);
    until(bench, "swept", async || listed(bench, 1).await == left).await;
    make(bench, of_subject(1, 4), HOUR).await;
    assert_eq!(listed(bench, 1).await, BTreeSet::from([2, 3, 4]));
}

pub(in crate::store) async fn a_list_is_bounded_and_says_so(bench: &Bench) {
    let with_id = |n: u16| {
        let mut key = of_subject(1, 0);
        key.id[..2].copy_from_slice(&n.to_be_bytes());
        key
    };
    for n in 0..=u16::try_from(LISTED_MAX).expect("far fewer") {
        let keep = if n == 500 { HOUR } else { 2 * HOUR };
        make(bench, with_id(n), keep).await;
    }
    let Lookup::Found(listed) = bench.store.list([1; 8]).await else { panic!("no list") };
    assert_eq!((listed.ids.len(), listed.total), (LISTED_MAX, LISTED_MAX + 1));
    assert!(!listed.ids.contains(&with_id(500).id), "those that are kept longest are told");
}

/// Replaces a subject's record of version 1 so that it stands there in its list.
async fn place(bench: &Bench, id: u8, listing: Listing) {
    let (key, keep) = (of_subject(1, id), Keep { time: HOUR, listing });
    let Lookup::Found(Stored { version, .. }) = bench.store.load(key).await else { panic!("none") };
    let sealed = [version.to_be_bytes(), rand::random::<u64>().to_be_bytes()].concat();
    let replaced = bench.store.replace(key, version, None, &sealed, keep, Durability::Master).await;
    assert_eq!(replaced, Replaced::Replaced);
}

fn since(millis: u64) -> Listing {
    Listing::Counts(UnixMillis(1_795_462_335_000 + millis))
}

/// Which have no room, of those that count.
async fn beyond(bench: &Bench, sessions: usize, ends: Surplus, besides: Option<u8>) -> Vec<u8> {
    let room = Room { sessions, ends, besides: besides.map(|id| of_subject(1, id)) };
    let Lookup::Found(ids) = bench.store.beyond([1; 8], room).await else { panic!("no answer") };
    let mut ids: Vec<u8> = ids.iter().map(|id| id[0]).collect();
    ids.sort_unstable();
    ids
}

/// PROTOCOL 27.
pub(in crate::store) async fn what_is_over_leaves_the_list(bench: &Bench) {
    for id in 1..=4 {
        make(bench, of_subject(1, id), HOUR).await;
        place(bench, id, since(u64::from(id))).await;
    }
    let over = Keep { time: HOUR, listing: Listing::Out };
    for durability in [Durability::Replica, Durability::Replica] {
        // Its repeat as well.
        let moved = bench.store.replace(of_subject(1, 1), 2, None, b"moved", over, durability);
        assert_eq!(moved.await, Replaced::Replaced);
        assert_eq!(listed(bench, 1).await, BTreeSet::from([2, 3, 4]));
    }
    place(bench, 2, Listing::Listed).await;
    assert_eq!(bench.store.remove(of_subject(1, 3)).await, Removed::Removed);
    assert_eq!(listed(bench, 1).await, BTreeSet::from([2, 4]));
    assert_eq!(beyond(bench, 0, Surplus::Oldest, None).await, [4]);
    let there = bench.store.load(of_subject(1, 1)).await;
    assert_eq!(there, of_epoch(3, b"moved", None), "the record itself is kept");
}

pub(in crate::store) async fn those_beyond_a_limit_are_told_by_when_they_came(bench: &Bench) {
    assert_eq!(beyond(bench, 0, Surplus::Oldest, None).await, [0; 0]);
    // Not in the order of their names; two at the same time; one that does not count.
    for (id, listing) in [
        (1, since(30)),
        (2, since(10)),
        (3, since(20)),
        (4, since(40)),
        (5, since(40)),
        (6, Listing::Listed),
    ] {
        make(bench, of_subject(1, id), HOUR).await;
        place(bench, id, listing).await;
    }
    make(bench, of_subject(2, 9), HOUR).await;
    for (sessions, besides, oldest, newest) in [
        (0, None, &[1, 2, 3, 4, 5][..], &[1, 2, 3, 4, 5][..]),
        (2, None, &[1, 2, 3], &[1, 4, 5]),
        (4, None, &[2], &[5]),
        (5, None, &[], &[]),
        (50, None, &[], &[]),
        (4, Some(1), &[], &[]),
        (3, Some(2), &[3], &[5]),
        (3, Some(5), &[2], &[4]),
        (4, Some(6), &[2], &[5]),
        (4, Some(77), &[2], &[5]),
    ] {
        assert_eq!(beyond(bench, sessions, Surplus::Oldest, besides).await, oldest, "{sessions}");
        assert_eq!(beyond(bench, sessions, Surplus::Newest, besides).await, newest, "{sessions}");
    }
    for n in 0..BEYOND_MAX {
        let id = 100 + u8::try_from(n).expect("few");
        make(bench, of_subject(1, id), HOUR).await;
        place(bench, id, since(100)).await;
    }
    assert_eq!(beyond(bench, 1, Surplus::Oldest, None).await.len(), BEYOND_MAX);
}

pub(in crate::store) async fn a_record_counts_since_it_first_did(bench: &Bench) {
    for id in 1..=2 {
        make(bench, of_subject(1, id), HOUR).await;
        place(bench, id, since(u64::from(id))).await;
    }
    place(bench, 1, since(50)).await;
    assert_eq!(beyond(bench, 1, Surplus::Oldest, None).await, [1]);
    place(bench, 1, Listing::Listed).await;
    place(bench, 1, since(60)).await;
    assert_eq!(beyond(bench, 1, Surplus::Oldest, None).await, [2], "it had left");
    // What is garbage counts no more.
    let short = Keep { time: SHORT, listing: since(2) };
    let replaced =
        bench.store.replace(of_subject(1, 2), 2, None, b"short", short, Durability::Master).await;
    assert_eq!(replaced, Replaced::Replaced);
    until(bench, "garbage", async || beyond(bench, 0, Surplus::Oldest, None).await == [1]).await;
}

pub(in crate::store) async fn a_revocation_empties_the_list(bench: &Bench) {
    for id in 1..=3 {
        make(bench, of_subject(1, id), HOUR).await;
        place(bench, id, since(u64::from(id))).await;
    }
    make(bench, of_subject(2, 9), HOUR).await;
    assert_eq!(bench.store.revoke([1; 8], BOB, HOUR).await, Lookup::Found(None));
    assert_eq!(listed(bench, 1).await, BTreeSet::new());
    assert_eq!(beyond(bench, 0, Surplus::Newest, None).await, [0; 0]);
    assert_eq!(listed(bench, 2).await, BTreeSet::from([9]), "another subject's");
    assert!(matches!(bench.store.load(of_subject(1, 1)).await, Lookup::Found(_)));
    make(bench, of_subject(1, 4), HOUR).await;
    assert_eq!(listed(bench, 1).await, BTreeSet::from([4]), "made afterwards");
}

fn carry<'a>(expected: u64, over: Epoch, epoch: Epoch, sealed: &'a [u8]) -> Carry<'a> {
    let keep = Keep { time: HOUR, listing: since(90) };
    Carry { expected, over, epoch, sealed, keep, epoch_keep: HOUR }
}

/// PROTOCOL 27: what ends all others is one step.
pub(in crate::store) async fn a_record_goes_on_alone_in_a_new_epoch(bench: &Bench) {
    let (here, tag) = (of_subject(1, 1), [1; 8]);
    let attempt = async |expected, over, epoch, sealed: &'static [u8]| {
        bench.store.carry(here, carry(expected, over, epoch, sealed)).await
    };
    assert_eq!(attempt(1, ALICE, BOB, b"new").await, Carried::Gone, "there is nothing");
    for id in 1..=4 {
        make(bench, of_subject(1, id), HOUR).await;
        place(bench, id, since(u64::from(id))).await;
    }
    assert_eq!(attempt(2, ALICE, BOB, b"new").await, Carried::Gone, "there is no epoch");
    assert_eq!(bench.store.epoch(tag, ALICE, HOUR).await, Lookup::Found(ALICE));
    assert_eq!(attempt(2, BOB, Epoch([3; 16]), b"new").await, Carried::Gone, "it is another");
    for expected in [0, 1, 3, u64::MAX] {
        assert_eq!(attempt(expected, ALICE, BOB, b"new").await, Carried::Conflict, "{expected}");
    }
    assert_eq!(bench.store.epoch(tag, ALICE, HOUR).await, Lookup::Found(ALICE), "nothing changed");
    assert_eq!(listed(bench, 1).await, BTreeSet::from([1, 2, 3, 4]));

    assert_eq!(attempt(2, ALICE, BOB, b"new").await, Carried::Carried(3));
    for _ in 0..2 {
        assert_eq!(bench.store.load(here).await, of_epoch(3, b"new", Some(BOB)));
        assert_eq!(listed(bench, 1).await, BTreeSet::from([1]));
        assert_eq!(attempt(2, ALICE, BOB, b"new").await, Carried::Carried(0), "a repeat");
    }
    // Others of its kind come too late, and so do writes of those that are over.
    assert_eq!(attempt(2, ALICE, Epoch([3; 16]), b"late").await, Carried::Gone);
    for (id, version) in [(1, 3), (2, 2)] {
        let late = bench.store.replace(
            of_subject(1, id),
            version,
            Some(ALICE),
            b"late",
            HOUR.into(),
            Durability::Master,
        );
        assert_eq!(late.await, Replaced::Gone, "{id}");
    }
    // It keeps its place among those that come later.
    make(bench, of_subject(1, 5), HOUR).await;
    place(bench, 5, since(50)).await;
    assert_eq!(beyond(bench, 1, Surplus::Oldest, None).await, [1]);
    assert_eq!(attempt(3, BOB, ALICE, b"again").await, Carried::Carried(1));
    assert_eq!(bench.store.load(here).await, of_epoch(4, b"again", Some(ALICE)));
}

pub(in crate::store) async fn of_a_new_epoch_and_other_writes_at_once_all_are_whole(bench: &Bench) {
    let here = of_subject(1, 1);
    make(bench, here, HOUR).await;
    let mut epoch = ALICE;
    assert_eq!(bench.store.epoch([1; 8], epoch, HOUR).await, Lookup::Found(epoch));
    for round in 1..=8_u8 {
        let (before, next) = (epoch, Epoch([round; 16]));
        let Lookup::Found(Stored { version, .. }) = bench.store.load(here).await else {
            panic!("none")
        };
        let mut tries = tokio::task::JoinSet::new();
        for n in 0..4_u8 {
            let store = bench.store.clone();
            tries.spawn(async move {
                let sealed = [round, n, 0];
                let durability = Durability::Master;
                let keep = HOUR.into();
                store.replace(here, version, Some(before), &sealed, keep, durability).await;
            });
            let store = bench.store.clone();
            tries.spawn(async move {
                let sealed = [round, n, 1];
                store.carry(here, carry(version, before, next, &sealed)).await;
            });
        }
        tries.join_all().await;
        let Lookup::Found(there) = bench.store.load(here).await else { panic!("none") };
        assert_eq!(there.version, version + 1, "one of them won");
        // Who has written it has written the epoch, or left it.
        epoch = there.epoch.expect("an epoch");
        assert_eq!(epoch, if there.sealed[2] == 1 { next } else { before }, "round {round}");
    }
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
