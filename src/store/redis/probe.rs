//! What a heartbeat asks on a connection for look-ups, so that its answer proves what it should.
//!
//! A single server is asked for a PONG. The master of a part of a cluster is asked for a key of a
//! slot of its own: one that was demoted, or was cut off from the majority, still says PONG, but
//! MOVED or CLUSTERDOWN to this. Nothing is ever written to that key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use redis::{Cmd, RedisResult};
use tokio::sync::Notify;

use super::cause::Cause;
use super::layout::Namespace;
use super::slots::{Redirect, slot_of};

/// What is asked of one server.
#[derive(Debug)]
pub(super) enum Probe {
    /// Any server.
    Server,
    Master(Master),
}

/// A master in a cluster.
#[derive(Debug)]
pub(super) struct Master {
    /// A key of one of its slots; none while it has none.
    keys: ArcSwapOption<Keys>,
    /// The slot is no longer its own, or is about to be.
    is_doubted: AtomicBool,
    /// Told when it begins to be.
    doubts: Arc<Notify>,
}

#[derive(Debug)]
struct Keys {
    slot: u16,
    /// What is read.
    read: String,
    /// What is written where replicas must confirm.
    written: String,
}

impl Probe {
    /// For a master whose slots are not known yet. `doubts` is told when they may have changed.
    pub(super) fn of_master(doubts: Arc<Notify>) -> Self {
        let is_doubted = AtomicBool::new(false);
        Self::Master(Master { keys: ArcSwapOption::empty(), is_doubted, doubts })
    }

    pub(super) fn question(&self) -> Cmd {
        let keys = match self {
            Self::Server => None,
            Self::Master(master) => master.keys.load_full(),
        };
        match keys {
            None => redis::cmd("PING"),
            Some(keys) => {
                let mut get = redis::cmd("GET");
                get.arg(&keys.read);
                get
            }
        }
    }

    /// Whether an answer proves that the server serves what we want of it. `false` where it is alive.
    ///
    /// # Errors
    /// Where it is of no use at all.
    pub(super) fn judge(&self, answer: RedisResult<()>) -> Result<bool, Cause> {
        let Self::Master(master) = self else {
            return answer.map(|()| true).map_err(|error| Cause::of(&error));
        };
        let Err(error) = answer else { return Ok(master.keys.load().is_some()) };
        match Redirect::of(&error, "") {
            // It has the slot, and gives it away: the key, which does not exist, would be there.
            Some(Redirect::Ask(_)) => {
                master.doubt();
                Ok(true)
            }
            Some(Redirect::Moved(..) | Redirect::TryAgain) => {
                master.doubt();
                Ok(false)
            }
            Some(Redirect::Down) => Err(Cause::NotServing("CLUSTERDOWN".to_owned())),
            None => Err(Cause::of(&error)),
        }
    }

    /// The key that is written where replicas must confirm.
    pub(super) fn written(&self, namespace: &Namespace) -> String {
        match self {
            Self::Server => namespace.beat(),
            Self::Master(master) => {
                master.keys.load().as_ref().map_or_else(|| namespace.beat(), |k| k.written.clone())
            }
        }
    }
}

impl Master {
    fn doubt(&self) {
        if !self.is_doubted.swap(true, Ordering::SeqCst) {
            self.doubts.notify_one();
        }
    }

    /// Says which slots it has. Another one is taken where the one that was is not among them, or
    /// is doubted.
    pub(super) fn choose(&self, namespace: &Namespace, owns: impl Fn(u16) -> bool) {
        let is_doubted = self.is_doubted.swap(false, Ordering::SeqCst);
        let current = self.keys.load().as_ref().map(|keys| keys.slot);
        if !is_doubted && current.is_some_and(&owns) {
            return;
        }
        // Anywhere: which one goes next nobody knows.
        let other = Keys::find(namespace, |slot| owns(slot) && Some(slot) != current);
        let same = || current.filter(|slot| owns(*slot)).and_then(|_| self.keys.load_full());
        self.keys.store(other.map(Arc::new).or_else(same));
    }

    /// Says that it has no slots.
    pub(super) fn choose_none(&self) {
        self.keys.store(None);
    }
}

impl Keys {
    /// So many that one of them lies in a slot, even where there is a single one, all but certainly.
    const TRIES: u32 = 300_000;

    /// Tries tags until one lies in a slot that will do: three, where a third of the slots does. Each is
    /// chosen anew, since tags that follow one another leave some slots out.
    fn find(namespace: &Namespace, will_do: impl Fn(u16) -> bool) -> Option<Self> {
        let tag = (0..Self::TRIES)
            .map(|_| format!("{:x}", rand::random::<u64>()))
            .find(|tag| will_do(slot_of(tag.as_bytes())))?;
        let slot = slot_of(tag.as_bytes());
        Some(Self { slot, read: namespace.probe(&tag), written: namespace.beat_in(&tag) })
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    fn namespace() -> Namespace {
        Namespace::parse("test").expect("a valid namespace")
    }

    fn answer(line: &str) -> RedisResult<()> {
        let value = redis::parse_redis_value(format!("{line}\r\n").as_bytes());
        value.and_then(Value::extract_error).map(drop)
    }

    #[test]
    fn a_master_proves_itself_by_a_key_of_its_own_and_others_by_any_answer() {
        let moved = "-MOVED 1 a:1";
        let (ask, down) = ("-ASK 1 a:1", "-CLUSTERDOWN The cluster is down");
        let serving = |code: &str| Err(Cause::NotServing(code.to_owned()));
        let with_slots = Probe::of_master(Arc::default());
        let Probe::Master(master) = &with_slots else { panic!("a master") };
        master.choose(&namespace(), |slot| slot < 9000);
        let without = Probe::of_master(Arc::default());
        for (probe, line, expected) in [
            (&Probe::Server, "+PONG", Ok(true)),
            (&Probe::Server, "-LOADING data", serving("LOADING")),
            (&with_slots, "$-1", Ok(true)),
            (&with_slots, ask, Ok(true)),
            (&with_slots, moved, Ok(false)),
            (&with_slots, down, serving("CLUSTERDOWN")),
            (&with_slots, "-LOADING data", serving("LOADING")),
            (&without, "+PONG", Ok(false)),
        ] {
            assert_eq!(probe.judge(answer(line)), expected, "{probe:?}: {line}");
        }
        let Probe::Master(master) = &with_slots else { panic!("a master") };
        assert!(master.is_doubted.load(Ordering::SeqCst));
    }

    #[test]
    fn a_slot_is_kept_while_the_master_has_it_and_nothing_speaks_against_it() {
        let probe = Probe::of_master(Arc::default());
        let Probe::Master(master) = &probe else { panic!("a master") };
        let slot = || master.keys.load().as_ref().map(|keys| keys.slot);
        let names = namespace();
        assert_eq!(probe.written(&names), "test:beat");
        master.choose(&names, |_| true);
        let (first, anything) = (slot().expect("a slot"), |_: u16| true);
        master.choose(&names, anything);
        assert_eq!(slot(), Some(first), "kept");
        master.doubt();
        master.choose(&names, anything);
        let second = slot().expect("a slot");
        assert_ne!(second, first, "doubted");
        master.choose(&names, |slot| slot != second);
        let third = slot().expect("a slot");
        assert_ne!(third, second, "taken away");
        master.doubt();
        master.choose(&names, |slot| slot == third);
        assert_eq!(slot(), Some(third), "it has no other");
        master.choose_none();
        assert_eq!(slot(), None);
        master.choose(&names, |slot| slot == 16_383);
        let keys = master.keys.load_full().expect("a slot");
        for key in [&keys.read, &keys.written] {
            assert_eq!(slot_of(key.as_bytes()), 16_383, "{key}");
            assert!(key.starts_with("test:{"), "{key}");
        }
    }
}
