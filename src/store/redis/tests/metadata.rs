//! Epochs, indexes, leases and the era on a real server.

use std::time::{Duration, Instant};

use super::replicas::attach;
use super::{HOUR, IN_MEMORY, RECOVERY, Server, answered, becomes};
use crate::clock::UnixMillis;
use crate::session::outcome::{
    Created, Durability, Epoch, Leased, Listing, Lookup, RecordKey, Removed, Replaced,
};
use crate::store::contract::key;
use crate::store::health::Health;
use crate::store::redis::RedisStore;
use crate::store::{ANNOUNCED_MAX, ANNOUNCEMENT_BYTES_MAX, Announcement, Keep, SessionStore};

const EPOCH: Epoch = Epoch([b'e'; 16]);
const OTHER: Epoch = Epoch([b'o'; 16]);
const ME: [u8; 16] = [1; 16];

fn of_subject(n: u8) -> RecordKey {
    RecordKey { has_subject: true, ..key(n) }
}

/// The calls that concern what lies beside records. What they take, all together.
async fn all_are_unavailable(store: &RedisStore) -> Duration {
    let tag = key(1).tag;
    let began = Instant::now();
    assert_eq!(store.load(of_subject(1)).await, Lookup::Unavailable);
    assert_eq!(store.epoch(tag, EPOCH, HOUR).await, Lookup::Unavailable);
    assert_eq!(store.revoke(tag, EPOCH, HOUR).await, Lookup::Unavailable);
    assert_eq!(store.list(tag).await, Lookup::Unavailable);
    assert_eq!(store.era().await, Lookup::Unavailable);
    assert_eq!(store.next_era(0).await, Lookup::Unavailable);
    assert_eq!(store.raise_era(1).await, Lookup::Unavailable);
    assert_eq!(store.lease(key(1), ME, HOUR).await, Leased::Unavailable);
    store.release(key(1), ME).await;
    began.elapsed()
}

/// The quicker of two rounds counts: a busy machine may take its time for one.
async fn all_are_unavailable_at_once(store: &RedisStore) {
    let took = all_are_unavailable(store).await.min(all_are_unavailable(store).await);
    assert!(took < Duration::from_millis(100), "took {took:?}");
}

#[tokio::test]
async fn a_server_that_hangs_or_is_gone_is_unavailable_within_the_deadlines() {
    let mut server = Server::start(IN_MEMORY);
    let store = server.store();
    store.start().await;
    let epoch = answered(Lookup::Unavailable, async || store.epoch(key(1).tag, EPOCH, HOUR).await);
    assert_eq!(epoch.await, Lookup::Found(EPOCH));
    server.signal("-STOP");
    // Three look-ups and six writes; most of them after the hang was noticed.
    let took = all_are_unavailable(&store).await;
    assert!(took < Duration::from_millis(3 * 200 + 6 * 600), "took {took:?}");
    becomes(&store, Health::Down, RECOVERY).await;
    all_are_unavailable_at_once(&store).await;
    server.signal("-CONT");
    becomes(&store, Health::Up, RECOVERY).await;
    server.kill();
    becomes(&store, Health::Down, RECOVERY).await;
    all_are_unavailable_at_once(&store).await;
}

#[tokio::test]
async fn a_revocation_is_on_a_replica_when_it_is_acknowledged() {
    let (master, replica) = (Server::start(IN_MEMORY), Server::start(IN_MEMORY));
    attach(&replica, &master);
    let store = master.store().patient();
    store.start().await;
    let (tag, epoch, era) = (key(1).tag, store.namespace.epoch(key(1).tag), store.namespace.era());
    assert_eq!(store.epoch(tag, EPOCH, HOUR).await, Lookup::Found(EPOCH));
    for n in 1..=20_u32 {
        let letter = b'a' + u8::try_from(n).expect("few");
        let revoked = store.revoke(tag, Epoch([letter; 16]), HOUR).await;
        assert!(matches!(revoked, Lookup::Found(_)));
        assert_eq!(replica.cli(&["GET", &epoch]), char::from(letter).to_string().repeat(16));
        assert_eq!(store.next_era(0).await, Lookup::Found(n));
        assert_eq!(replica.cli(&["GET", &era]), n.to_string());
    }
    assert_eq!(store.create(of_subject(1), b"one", HOUR).await, Created::Created);
    assert_eq!(store.remove(of_subject(1)).await, Removed::Removed);
    assert_eq!(replica.cli(&["EXISTS", &store.namespace.key(key(1))]), "0");
}

#[tokio::test]
async fn what_is_not_ours_is_unavailable_never_none() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    let (key, tag) = (of_subject(1), key(1).tag);
    assert_eq!(store.create(key, b"one", HOUR).await, Created::Created);
    let names = &store.namespace;
    let (epoch, index, lease, era) =
        (names.epoch(tag), names.index(tag), names.lease(key), names.era());
    for name in [&epoch, &index, &lease, &era] {
        server.cli(&["DEL", name]);
        server.cli(&["RPUSH", name, "x"]);
    }
    for what in ["a list", "a short string"] {
        assert_eq!(store.load(key).await, Lookup::Unavailable, "{what}");
        assert_eq!(store.epoch(tag, EPOCH, HOUR).await, Lookup::Unavailable, "{what}");
        assert_eq!(store.list(tag).await, Lookup::Unavailable, "{what}");
        assert_eq!(store.era().await, Lookup::Unavailable, "{what}");
        assert_eq!(store.next_era(0).await, Lookup::Unavailable, "{what}");
        assert_ne!(store.lease(key, ME, HOUR).await, Leased::Taken, "{what}");
        store.release(key, ME).await;
        assert_eq!(*store.health().borrow(), Health::Up, "{what} is no outage");
        for name in [&epoch, &index, &lease, &era] {
            server.cli(&["SET", name, "short"]);
        }
    }
    assert!(matches!(store.revoke(tag, OTHER, HOUR).await, Lookup::Found(_)), "whatever was there");
    assert!(matches!(store.load(key).await, Lookup::Found(_)));
}

#[tokio::test]
async fn what_lies_beside_records_does_not_stay_for_ever() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    let tag = key(1).tag;
    let with_id = |n| RecordKey { id: [n; 16], ..of_subject(1) };
    let left = |name: &str| server.cli(&["PTTL", name]).parse::<i64>().expect("a number");
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let about = |count: i64| (60_000 * count - 30_000)..=(60_000 * count);
    let (epoch, index) = (store.namespace.epoch(tag), store.namespace.index(tag));
    // The longest of all, whatever came last.
    for (keep, expected) in [(10, 10), (20, 20), (10, 20)] {
        assert_eq!(store.epoch(tag, EPOCH, minutes(keep)).await, Lookup::Found(EPOCH));
        assert!(about(expected).contains(&left(&epoch)), "{keep}: {}", left(&epoch));
        let id = with_id(u8::try_from(keep).expect("few"));
        assert_eq!(store.create(id, b"one", minutes(keep)).await, Created::Created);
        assert!(about(expected).contains(&left(&index)), "{keep}: {}", left(&index));
    }
    assert!(matches!(store.revoke(tag, OTHER, minutes(5)).await, Lookup::Found(_)));
    assert!(about(20).contains(&left(&epoch)));
    assert_eq!(store.lease(key(1), ME, minutes(2)).await, Leased::Taken);
    assert!(about(2).contains(&left(&store.namespace.lease(key(1)))));

    // What is garbage leaves the index with the next creation; an anonymous record has none.
    let counted = store.namespace.counted(tag);
    assert_eq!(server.cli(&["EXISTS", &index, &counted]), "0", "a revocation empties it");
    for name in [&index, &counted] {
        server.cli(&["ZADD", name, "1000", "garbage"]);
    }
    let keep = Keep { time: minutes(3), listing: Listing::Counts(UnixMillis(7)) };
    assert_eq!(store.create(with_id(30), b"one", minutes(1)).await, Created::Created);
    assert_eq!(server.cli(&["ZCARD", &index]), "1");
    let replaced = store.replace(with_id(30), 1, None, b"two", keep, Durability::Master).await;
    assert_eq!(replaced, Replaced::Replaced);
    for name in [&index, &counted] {
        assert_eq!(server.cli(&["ZCARD", name]), "1");
        assert!(about(3).contains(&left(name)), "{name}: {}", left(name));
    }
    assert_eq!(store.create(key(2), b"one", minutes(1)).await, Created::Created);
    assert_eq!(server.cli(&["EXISTS", &store.namespace.index(key(2).tag)]), "0");
}

#[tokio::test]
async fn a_look_up_is_one_get_and_a_second_only_for_a_subject() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    assert_eq!(store.create(of_subject(1), b"one", HOUR).await, Created::Created);
    let gets = || {
        let stats = server.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
        line.and_then(|line| line.split(',').next()).map_or(0, |n| n.parse().expect("a number"))
    };
    let before: u32 = gets();
    assert!(matches!(store.load(key(1)).await, Lookup::Found(_)));
    assert_eq!(gets(), before + 1);
    assert!(matches!(store.load(of_subject(1)).await, Lookup::Found(_)));
    assert_eq!(gets(), before + 3);
}

/// Who can write to the server can say anything; what no node says harms nobody for long.
#[tokio::test]
async fn what_no_node_announces_is_left_out_and_swept() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    let (nodes, long) = (store.namespace.nodes(), Duration::from_secs(60));
    let own = Announcement { node: *b"0123456789abcdef", text: b"own".to_vec() };
    server.cli(&["RPUSH", &nodes, "x"]);
    assert_eq!(store.announce(&own, long).await, Lookup::Unavailable);
    assert_eq!(store.announced().await, Lookup::Unavailable);
    assert_eq!(*store.health().borrow(), Health::Up, "that is no outage");
    server.cli(&["DEL", &nodes]);
    let Lookup::Found(now) = store.announce(&own, long).await else { panic!("not taken") };
    let soon = (now.0 + 30_000).to_string();
    let later = (now.0 + 3_600_000).to_string();
    let large = "x".repeat(16 + ANNOUNCEMENT_BYTES_MAX + 1);
    for (score, member) in [
        (&*soon, "too short"),
        (&soon, &large),
        (&later, "fedcba9876543210 in an hour"),
        ("+inf", "fedcba9876543210 never"),
        ("-inf", "fedcba9876543210 before"),
    ] {
        server.cli(&["ZADD", &nodes, score, member]);
    }
    assert_eq!(store.announced().await, Lookup::Found(vec![own.clone()]));
    assert!(matches!(store.announce(&own, long).await, Lookup::Found(_)));
    assert_eq!(server.cli(&["ZCARD", &nodes]), "3", "what ends soon ends by itself");
    // As many as somebody likes: no node is told of more than it can hold.
    let many: Vec<String> = (0..2 * ANNOUNCED_MAX).map(|n| format!("{n:016} of many")).collect();
    let scored = many.iter().flat_map(|member| [&*soon, member]);
    server.cli(&["ZADD", &nodes].into_iter().chain(scored).collect::<Vec<_>>());
    let Lookup::Found(told) = store.announced().await else { panic!("no answer") };
    assert!(told.len() <= ANNOUNCED_MAX && told.contains(&own), "{}", told.len());
    assert!(server.cli(&["PTTL", &nodes]).parse::<u64>().is_ok_and(|left| left <= 60_000));
}
