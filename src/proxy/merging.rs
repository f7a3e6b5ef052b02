//! Answers of one session that come at once are written at once (PROTOCOL.md 11).
//!
//! Whoever finds nobody writing a record writes it. Who comes meanwhile waits; the first of those
//! to go on takes the others along, each settled on top of the one before. So a compare-and-set
//! fails where another node has written, not where this one has. Nobody waits for a place at a gate
//! here, and every wait ends: a login that waits for these exchanges gets its turn.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::proxy::shared::Shared;
use crate::session::outcome::{Durability, Lookup, RecordKey, Replaced};
use crate::session::record::Record;
use crate::session::settle::Settle;
use crate::uniform::Uniform;

const SHARDS: usize = 32;
/// Longer than a store takes for a write. A writer that has not ended by then stands still with its
/// whole thread: the others go their own way.
const PATIENCE: Duration = Duration::from_secs(1);
/// A pause after a lost race is a random part of this, doubled with each …
const PAUSE: Duration = Duration::from_millis(2);
/// … so often.
const DOUBLED_MAX: u32 = 4;

/// A record as it was read, and its version.
type Read = (u64, Arc<Record>);

/// The records that are being written by settlements on this node.
#[derive(Debug, Default)]
pub struct Merges {
    shards: [Mutex<HashMap<RecordKey, Desk, Uniform>>; SHARDS],
}

/// One of them.
#[derive(Debug, Default)]
struct Desk {
    /// What is about to be written: others may still come along.
    gathers: Option<Read>,
    /// Those whose cookies are in it, or in what is being written.
    joined: Vec<oneshot::Sender<Written>>,
    /// Those that came too late for that, in the order of arrival.
    waiting: VecDeque<oneshot::Sender<Heard>>,
}

/// What became of a write.
#[derive(Clone, Debug)]
pub struct Written {
    pub replaced: Replaced,
    /// After a conflict: what was there instead, where somebody has looked.
    pub read: Option<Lookup<Read>>,
}

impl Written {
    /// Nobody knows: whoever hears this looks for himself.
    const UNKNOWN: Self = Self { replaced: Replaced::Conflict, read: None };

    fn conflict(read: Lookup<Read>) -> Self {
        Self { replaced: Replaced::Conflict, read: Some(read) }
    }
}

/// What an exchange is to do.
enum Part {
    Write(Writer),
    /// Another one writes its cookies.
    Join(oneshot::Receiver<Written>),
    Wait(oneshot::Receiver<Heard>),
}

/// What an exchange hears that waits.
#[derive(Debug)]
enum Heard {
    /// It is the next to write.
    Write(Writer),
    /// It may come along with the next.
    Join,
}

/// Writes `record` in place of the one with this version, with those of other answers that come at
/// the same time; or has it written with theirs.
pub async fn write(
    shared: &Shared,
    settle: &mut Settle<'_>,
    races: &mut Races,
    key: RecordKey,
    own: (u64, Box<Record>),
) -> Written {
    let (mut version, mut record): Read = (own.0, own.1.into());
    loop {
        match shared.merges.turn(settle, key) {
            Part::Write(writer) => return writer.write(shared, races, (version, record)).await,
            Part::Join(written) => {
                // The writer may be gone with its client.
                let written = timeout(PATIENCE, written).await;
                return written.ok().and_then(Result::ok).unwrap_or(Written::UNKNOWN);
            }
            Part::Wait(heard) => match timeout(PATIENCE, heard).await {
                Ok(Ok(Heard::Write(writer))) => {
                    if let Some((found, newest)) = writer.newest.clone() {
                        let Some((merged, both)) = settle.onto(found, &newest) else {
                            return Written::conflict(Lookup::Found((found, newest)));
                        };
                        *settle = merged;
                        (version, record) = (found, both.into());
                    }
                    let all = writer.gather((version, record)).await;
                    return writer.write(shared, races, all).await;
                }
                Ok(Ok(Heard::Join)) => {}
                Ok(Err(_)) | Err(_) => return Written::UNKNOWN,
            },
        }
    }
}

/// The races for a record that a settlement has lost.
#[derive(Debug, Default)]
pub struct Races(u32);

impl Races {
    /// Waits a little before the next one, so that those who lose together don't meet again. The
    /// first costs nothing: mostly there is no second.
    pub async fn lost(&mut self) {
        self.0 += 1;
        if self.0 > 1 {
            let most = PAUSE * 2_u32.pow((self.0 - 2).min(DOUBLED_MAX));
            sleep(most.mul_f64(rand::random())).await;
        }
    }
}

impl Merges {
    fn turn(self: &Arc<Self>, settle: &mut Settle<'_>, key: RecordKey) -> Part {
        let mut desks = self.lock(key);
        let Some(desk) = desks.get_mut(&key) else {
            desks.insert(key, Desk::default());
            return Part::Write(Writer { merges: self.clone(), key, newest: None, is_over: false });
        };
        if let Some((version, record)) = &mut desk.gathers
            && let Some((merged, both)) = settle.onto(*version, record)
        {
            *settle = merged;
            *record = both.into();
            let (joined, written) = oneshot::channel();
            desk.joined.push(joined);
            return Part::Join(written);
        }
        let (waiting, heard) = oneshot::channel();
        desk.waiting.push_back(waiting);
        Part::Wait(heard)
    }

    /// Each change is whole, so a panic elsewhere did no harm.
    fn lock(&self, key: RecordKey) -> MutexGuard<'_, HashMap<RecordKey, Desk, Uniform>> {
        let shard = &self.shards[usize::from(key.id[9]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who writes a record. Dropping it passes that on to the one who has waited longest.
#[derive(Debug)]
struct Writer {
    merges: Arc<Merges>,
    key: RecordKey,
    /// What the last one has left, as far as it knows.
    newest: Option<Read>,
    is_over: bool,
}

impl Writer {
    /// What is to be written, once others that wait had their chance to come along.
    async fn gather(&self, own: Read) -> Read {
        if let Some(desk) = self.merges.lock(self.key).get_mut(&self.key) {
            desk.gathers = Some(own.clone());
            for waiting in desk.waiting.drain(..) {
                // Its client may be gone by now.
                let _ = waiting.send(Heard::Join);
            }
        }
        yield_now().await;
        let mut desks = self.merges.lock(self.key);
        desks.get_mut(&self.key).and_then(|desk| desk.gathers.take()).unwrap_or(own)
    }

    async fn write(
        mut self,
        shared: &Shared,
        races: &mut Races,
        (version, record): Read,
    ) -> Written {
        let key = self.key;
        let replaced = shared.replace(key, version, &record, Durability::Master).await;
        let written = match replaced {
            Replaced::Conflict => {
                races.lost().await;
                Written::conflict(shared.reload(key).await)
            }
            Replaced::Replaced | Replaced::Gone | Replaced::Unavailable => {
                Written { replaced, read: None }
            }
        };
        self.newest = match (replaced, &written.read) {
            (Replaced::Replaced, _) => Some((version + 1, record)),
            (_, Some(Lookup::Found(read))) => Some(read.clone()),
            _ => None,
        };
        if let Some(desk) = self.merges.lock(key).get_mut(&key) {
            for joined in desk.joined.drain(..) {
                let _ = joined.send(written.clone());
            }
        }
        written
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut desks = self.merges.lock(self.key);
        let Some(desk) = desks.get_mut(&self.key) else { return };
        // Where it was broken off, those who had joined help themselves.
        (desk.gathers, desk.joined) = (None, Vec::new());
        while let Some(waiting) = desk.waiting.pop_front() {
            let (merges, newest) = (self.merges.clone(), self.newest.clone());
            let next = Self { merges, key: self.key, newest, is_over: false };
            match waiting.send(Heard::Write(next)) {
                Ok(()) => return,
                Err(Heard::Write(mut unheard)) => unheard.is_over = true,
                Err(Heard::Join) => {}
            }
        }
        desks.remove(&self.key);
    }
}
