//! What every engine must do with what nodes say of themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::metadata::until;
use super::{Bench, HOUR, SHORT, key};
use crate::session::outcome::{Created, Lookup, RecordKey};
use crate::store::{ANNOUNCED_MAX, ANNOUNCEMENT_BYTES_MAX, ANNOUNCEMENT_KEEP_MAX, Announcement};

/// Longer than any test takes.
const LONG: Duration = ANNOUNCEMENT_KEEP_MAX;

async fn announce(bench: &Bench, node: u8, text: &[u8], keep: Duration) -> Lookup<u64> {
    let announcement = Announcement { node: [node; 16], text: text.to_vec() };
    match bench.store.announce(&announcement, keep).await {
        Lookup::Found(time) => Lookup::Found(time.0),
        Lookup::Unavailable => Lookup::Unavailable,
        other => panic!("{other:?}"),
    }
}

async fn announced(bench: &Bench) -> BTreeMap<u8, Vec<u8>> {
    let Lookup::Found(announced) = bench.store.announced().await else { panic!("no answer") };
    let count = announced.len();
    let by_node: BTreeMap<_, _> =
        announced.into_iter().map(|one| (one.node[0], one.text)).collect();
    assert_eq!(by_node.len(), count, "each node once");
    by_node
}

fn said(said: &[(u8, &[u8])]) -> BTreeMap<u8, Vec<u8>> {
    said.iter().map(|(node, text)| (*node, text.to_vec())).collect()
}

pub(in crate::store) async fn what_a_node_announces_is_read_by_all(bench: &Bench) {
    assert_eq!(announced(bench).await, said(&[]));
    let all: Vec<u8> = (0..=255).collect();
    for (node, text) in [(1, &all[..]), (2, b""), (0, b"\0"), (255, b"\r\n$-1\r\n")] {
        assert!(matches!(announce(bench, node, text, LONG).await, Lookup::Found(_)));
    }
    let expected = said(&[(1, &all), (2, b""), (0, b"\0"), (255, b"\r\n$-1\r\n")]);
    assert_eq!(announced(bench).await, expected);
    // It is no record of anybody's.
    for tag in [[0; 8], [1; 8]] {
        assert_eq!(bench.store.list(tag).await, Lookup::Found(crate::store::Listed::default()));
    }
    assert_eq!(bench.store.create(key(1), b"one", HOUR).await, Created::Created);
    let other = RecordKey { tag: [9; 8], id: [1; 16], has_subject: true };
    assert_eq!(bench.store.create(other, b"one", HOUR).await, Created::Created);
    assert_eq!(announced(bench).await, expected, "and no record is an announcement");
}

pub(in crate::store) async fn an_announcement_takes_the_place_of_the_node_s_earlier_one(
    bench: &Bench,
) {
    announce(bench, 2, b"other", LONG).await;
    for text in [&b"one"[..], b"two", b"two", b"one"] {
        // A repeat, after an answer that was lost.
        for _ in 0..2 {
            assert!(matches!(announce(bench, 1, text, LONG).await, Lookup::Found(_)));
        }
        assert_eq!(announced(bench).await, said(&[(1, text), (2, b"other")]));
    }
    for _ in 0..2 {
        assert!(matches!(announce(bench, 1, b"one", Duration::ZERO).await, Lookup::Found(_)));
        assert_eq!(announced(bench).await, said(&[(2, b"other")]), "taken back");
    }
    announce(bench, 1, b"again", LONG).await;
    assert_eq!(announced(bench).await, said(&[(1, b"again"), (2, b"other")]));
}

pub(in crate::store) async fn of_announcements_at_once_none_is_lost(bench: &Bench) {
    for round in 0..3_u8 {
        let mut tries = tokio::task::JoinSet::new();
        for node in 0..16_u8 {
            let store = bench.store.clone();
            tries.spawn(async move {
                let announcement = Announcement { node: [node; 16], text: vec![round, node] };
                store.announce(&announcement, LONG).await
            });
        }
        let times = tries.join_all().await;
        assert!(times.iter().all(|time| matches!(time, Lookup::Found(_))), "{times:?}");
        let all: BTreeMap<_, _> = (0..16).map(|node| (node, vec![round, node])).collect();
        assert_eq!(announced(bench).await, all);
    }
}

/// Whose node died is no longer told of, by the store's clock; whose node lives is.
pub(in crate::store) async fn an_announcement_is_over_with_its_time(bench: &Bench) {
    let Lookup::Found(before) = announce(bench, 1, b"dies", SHORT).await else { panic!("no time") };
    announce(bench, 2, b"lives", SHORT).await;
    announce(bench, 3, b"lives", LONG).await;
    assert_eq!(announced(bench).await.len(), 3);
    announce(bench, 2, b"lives", LONG).await;
    let live = said(&[(2, b"lives"), (3, b"lives")]);
    until(bench, "over", async || announced(bench).await == live).await;
    let Lookup::Found(after) = announce(bench, 1, b"back", LONG).await else { panic!("no time") };
    let passed = after.saturating_sub(before);
    let short = u64::try_from(SHORT.as_millis()).expect("short");
    assert!((short..60_000).contains(&passed), "the store's time moved on by {passed} ms");
    assert_eq!(announced(bench).await.len(), 3);
}

pub(in crate::store) async fn an_announcement_is_bounded(bench: &Bench) {
    let most = vec![0xff; ANNOUNCEMENT_BYTES_MAX];
    assert!(matches!(announce(bench, 1, &most, Duration::MAX).await, Lookup::Found(_)));
    let more = vec![0xff; ANNOUNCEMENT_BYTES_MAX + 1];
    assert_eq!(announce(bench, 1, &more, LONG).await, Lookup::Unavailable);
    assert_eq!(announce(bench, 2, &more, LONG).await, Lookup::Unavailable);
    assert_eq!(announced(bench).await, said(&[(1, &most)]), "the earlier one stands");
}

pub(in crate::store) async fn more_nodes_than_are_told_of_harm_nobody(bench: &Bench) {
    for n in 0..=u16::try_from(ANNOUNCED_MAX).expect("few") {
        let mut announcement = Announcement { node: [0; 16], text: b"one of many".to_vec() };
        announcement.node[..2].copy_from_slice(&n.to_be_bytes());
        // One more than are told of: it is left out, or not taken.
        bench.store.announce(&announcement, LONG).await;
    }
    let Lookup::Found(told) = bench.store.announced().await else { panic!("no answer") };
    assert_eq!(told.len(), ANNOUNCED_MAX);
}
