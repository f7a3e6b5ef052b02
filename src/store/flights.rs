//! One look-up for all who miss the same record at the same time.
//!
//! Who comes first leads and asks the store; who comes meanwhile follows and gets the answer too.
//! A leader that is dropped, because its client left, wakes those who follow: one of them leads.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::store::cache::{Landed, Slot};

/// A leader has an answer within the deadline of a look-up, a quarter of a second at most. One that
/// has none after this stands still with its whole thread: those who follow go their own way.
const PATIENCE: Duration = Duration::from_secs(1);

type Sender = watch::Sender<Option<Landed>>;
type Receiver = watch::Receiver<Option<Landed>>;
type Shard = HashMap<Slot, Receiver>;

/// Look-ups under way.
pub(super) struct Flights {
    shards: [Mutex<Shard>; 64],
}

impl Default for Flights {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

/// What to do about a record that is not known.
pub(super) enum Seat<'a> {
    Lead(Lead<'a>),
    Follow(Follow),
}

impl Flights {
    /// Leads a look-up, or follows the one that is under way.
    pub(super) fn board(&self, slot: Slot) -> Seat<'_> {
        let mut shard = self.lock(slot);
        if let Some(receiver) = shard.get(&slot) {
            return Seat::Follow(Follow(receiver.clone()));
        }
        let (sender, receiver) = watch::channel(None);
        shard.insert(slot, receiver);
        Seat::Lead(Lead { flights: self, slot, sender, landed: None })
    }

    /// Held for a moment, never across an `await`. Each change is whole, so a panic elsewhere did
    /// no harm.
    pub(super) fn lock(&self, slot: Slot) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[slot.byte() % self.shards.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks the store. Dropping it without an answer leaves the place to who follows.
pub(super) struct Lead<'a> {
    flights: &'a Flights,
    slot: Slot,
    sender: Sender,
    landed: Option<Landed>,
}

impl Lead<'_> {
    /// Hands the answer to all who follow.
    pub(super) fn land(mut self, landed: Landed) {
        self.landed = Some(landed);
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // First nobody can follow any more: whoever finds another look-up under way after hearing
        // the end of this one knows that it began later.
        self.flights.lock(self.slot).remove(&self.slot);
        if let Some(landed) = self.landed.take() {
            self.sender.send_replace(Some(landed));
        }
    }
}

/// Who waits for another one's answer.
pub(super) struct Follow(Receiver);

/// How waiting for another one's look-up ended.
pub(super) enum Followed {
    Landed(Landed),
    /// The leader was dropped.
    Lost,
    /// The leader does not answer.
    Stuck,
}

impl Follow {
    pub(super) async fn landed(mut self) -> Followed {
        match timeout(PATIENCE, self.0.wait_for(Option::is_some)).await {
            Ok(Ok(landed)) => landed.clone().map_or(Followed::Lost, Followed::Landed),
            Ok(Err(_)) => Followed::Lost,
            Err(_) => Followed::Stuck,
        }
    }
}
