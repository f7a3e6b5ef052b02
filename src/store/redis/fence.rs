//! Refusing writes while Sentinels lead a failover away from a master that lives
//! (docs/adr/0023-fence.md).
//!
//! In a planned failover the old master is told last: for a second or two after another server was
//! promoted it takes writes, and its other replica confirms them. All of those are lost. The leader
//! of the failover says one to two tenths of a second before the promotion that it was elected; from
//! then on nothing is written to that master. What was written before is on its
//! way to the replica long before that.
//!
//! A fence never stands for ever: it ends when the Sentinel that leads says that it no longer does,
//! when it is silent, and when it takes too long. For connections to the new master there is none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::url::Address;

/// What is listened for. The second comes from the Sentinel that leads alone.
pub(super) const CHANNELS: [&str; 2] = ["+switch-master", BEGINS];
/// The promotion comes at the earliest with the second timer from now on, which are 50 to 100 ms
/// apart.
const BEGINS: &str = "+elected-leader";

/// How long a fence stands without a word of the Sentinel that leads, which is asked every second.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long it stands at all: what a replica that hangs while it is promoted may cost. A failover that
/// goes well takes two seconds.
const STANDS_MAX: Duration = Duration::from_secs(30);

/// A failover that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failover {
    /// The master that it leads away from: `host:port`.
    from: String,
    /// The number of the Sentinel that leads.
    leader: usize,
    began: Instant,
    /// When it was last heard of.
    heard: Instant,
}

impl Failover {
    fn stands(&self, now: Instant) -> bool {
        now < self.heard + SILENCE_MAX && now < self.began + STANDS_MAX
    }
}

/// What a Sentinel says of a failover.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word<'a> {
    /// It leads one away from this master.
    Leads(&'a str),
    /// It leads none, in answer to a question that was sent then.
    Rests { asked: Instant },
}

/// What is known after a word of a Sentinel.
fn next(
    known: Option<&Failover>,
    sentinel: usize,
    word: Word<'_>,
    now: Instant,
) -> Option<Failover> {
    let leads = |from: &str, began| {
        let from = from.to_owned();
        Some(Failover { from, leader: sentinel, began, heard: now })
    };
    match (word, known) {
        (Word::Leads(from), Some(known))
            if known.from == from && now < known.heard + SILENCE_MAX =>
        {
            leads(from, known.began)
        }
        (Word::Leads(from), _) => leads(from, now),
        // A question may be answered before the message comes that is read before its answer.
        (Word::Rests { asked }, known) => {
            known.filter(|known| known.leader != sentinel || asked <= known.heard).cloned()
        }
    }
}

/// The fence of a store. Without Sentinels there never is one.
#[derive(Debug, Default)]
pub(super) struct Fence {
    known: ArcSwapOption<Failover>,
    changing: Mutex<()>,
    is_told: AtomicBool,
}

impl Fence {
    /// Takes note of what a Sentinel says.
    pub(super) fn hear(&self, sentinel: usize, word: Word<'_>) {
        let now = Instant::now();
        {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let next = next(self.known.load().as_deref(), sentinel, word, now);
            self.known.store(next.map(std::sync::Arc::new));
        }
        self.tell(now);
    }

    /// Whether nothing may be written to this master now.
    pub(super) fn is_around(&self, master: &str) -> bool {
        let known = self.known.load();
        known.as_ref().is_some_and(|known| known.from == master && known.stands(Instant::now()))
    }

    /// Logs when a fence was put up, and when it is gone. To be called every now and then: silence
    /// ends one as well.
    pub(super) fn tell(&self, now: Instant) {
        let known = self.known.load();
        let standing = known.as_ref().filter(|known| known.stands(now));
        if self.is_told.swap(standing.is_some(), Ordering::SeqCst) == standing.is_some() {
            return;
        }
        match standing {
            Some(failover) => tracing::warn!(
                master = failover.from,
                "redis: a failover is under way, nothing is written to this master"
            ),
            None => tracing::info!("redis: the failover is over or given up"),
        }
    }
}

/// Whether a message says that a failover begins: the master that it leads away from, `host:port`.
/// It ends with the master's name and address: `master main 10.0.0.1 6379`.
pub(super) fn begins(channel: &[u8], message: &[u8], master_name: &str) -> Option<String> {
    if channel != BEGINS.as_bytes() {
        return None;
    }
    let mut words = std::str::from_utf8(message).ok()?.rsplit(' ');
    let (port, host, name) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    (name == master_name).then(|| Address(host, port).to_string())
}

/// Whether a Sentinel that is in this state of a failover, as `SENTINEL MASTER` has it, has set out
/// to promote a replica. Before that it waits to be elected, and may well not be.
pub(super) fn is_leading(state: &str) -> bool {
    !matches!(state, "none" | "wait_start")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leaders_first_message_about_our_master_begins() {
        for (channel, message, expected) in [
            (BEGINS, "master main 10.0.0.1 6379", Some("10.0.0.1:6379")),
            (BEGINS, "master main one.internal 6379", Some("one.internal:6379")),
            (BEGINS, "master main fd00::1 6379", Some("[fd00::1]:6379")),
            (
                BEGINS,
                "slave 10.0.0.2:6379 10.0.0.2 6379 @ main 10.0.0.1 6379",
                Some("10.0.0.1:6379"),
            ),
            (BEGINS, "master other 10.0.0.1 6379", None),
            (BEGINS, "master main 10.0.0.1 70000", None),
            (BEGINS, "main 10.0.0.1", None),
            (BEGINS, "", None),
            ("+try-failover", "master main 10.0.0.1 6379", None),
            ("+switch-master", "main 10.0.0.1 6379 10.0.0.2 6379", None),
        ] {
            let begins = begins(channel.as_bytes(), message.as_bytes(), "main");
            assert_eq!(begins.as_deref(), expected, "{channel} {message}");
        }
        assert_eq!(begins(BEGINS.as_bytes(), b"master main \xff 6379", "main"), None);
    }

    #[test]
    fn a_fence_stands_from_the_first_word_to_the_last() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let leads = |sentinel, millis| (sentinel, Word::Leads("a:1"), millis);
        let rests = |sentinel, asked, millis| (sentinel, Word::Rests { asked: at(asked) }, millis);
        let often = |until: u64| (0..=until / 1000).map(|n| leads(1, n * 1000)).collect::<Vec<_>>();
        for (what, words, millis, expected) in [
            ("nothing is known", vec![], 0, false),
            ("at once", vec![leads(1, 0)], 0, true),
            ("silence", vec![leads(1, 0)], 2999, true),
            ("a long silence", vec![leads(1, 0)], 3000, false),
            ("a further word", vec![leads(1, 0), leads(1, 2000)], 4999, true),
            ("the leader is done", vec![leads(1, 0), rests(1, 10, 20)], 20, false),
            ("it was asked before", vec![leads(1, 10), rests(1, 5, 20)], 20, true),
            ("others lead none", vec![leads(1, 0), rests(2, 10, 20)], 20, true),
            ("another leads", vec![leads(1, 0), leads(2, 50), rests(1, 60, 70)], 70, true),
            ("both are done", vec![leads(1, 0), leads(2, 50), rests(2, 60, 70)], 70, false),
            ("it takes long", often(29_000), 29_999, true),
            ("it takes too long", often(35_000), 35_001, false),
            ("a later one", [often(35_000), vec![leads(1, 40_000)]].concat(), 40_001, true),
        ] {
            let mut known = None;
            for (sentinel, word, millis) in words {
                known = next(known.as_ref(), sentinel, word, at(millis));
            }
            let stands = known.is_some_and(|known| known.stands(at(millis)));
            assert_eq!(stands, expected, "{what}");
        }
    }

    #[test]
    fn a_fence_is_around_one_master_only() {
        let fence = Fence::default();
        assert!(!fence.is_around("a:1"));
        fence.hear(0, Word::Leads("a:1"));
        assert!(fence.is_around("a:1") && !fence.is_around("b:1"));
        fence.hear(1, Word::Leads("b:1"));
        assert!(!fence.is_around("a:1") && fence.is_around("b:1"));
        fence.hear(1, Word::Rests { asked: Instant::now() });
        assert!(!fence.is_around("b:1"));
    }

    #[test]
    fn a_sentinel_leads_once_it_was_elected() {
        for (state, expected) in [
            ("none", false),
            ("wait_start", false),
            ("select_slave", true),
            ("send_slaveof_noone", true),
            ("wait_promotion", true),
            ("reconf_slaves", true),
            ("update_config", true),
        ] {
            assert_eq!(is_leading(state), expected, "{state}");
        }
    }
}
