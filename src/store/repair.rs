//! Writing an end again that the store has lost: so that nodes which never heard of it learn it too
//! (PROTOCOL.md 26). Whoever remembers the end (`remembered_ends`) does so when it meets what should be over.

use std::time::Duration;

use tokio::sync::Mutex;

use super::SessionStore;
use super::records::random_epoch;
use super::remembered_ends::Lost;
use crate::session::outcome::{Lookup, RecordKey, Removed};

/// One at a time: what is left out is met again.
#[derive(Debug, Default)]
pub(super) struct Repair {
    busy: Mutex<()>,
}

impl Repair {
    /// Ends it again, if it is still what was read, of this version. `kept` is how long an epoch is
    /// kept. What fails is tried the next time.
    pub(super) async fn write_again(
        &self,
        store: &dyn SessionStore,
        (key, version): (RecordKey, u64),
        lost: Lost,
        kept: Duration,
    ) {
        let Ok(_busy) = self.busy.try_lock() else { return };
        // What was read may be older than the end: asked now, a store that has it says so.
        let Lookup::Found(now) = store.load(key).await else { return };
        let is_mended = match lost {
            // Nobody needs it: no key is used twice.
            Lost::End if now.version == version => store.remove(key).await == Removed::Removed,
            Lost::Revocation(over) if now.epoch.is_some_and(|current| over.is(current)) => {
                let Some(replacement) = random_epoch() else { return };
                matches!(store.revoke(key.tag, replacement, kept).await, Lookup::Found(_))
            }
            Lost::End | Lost::Revocation(_) => return,
        };
        if is_mended {
            tracing::warn!(session = ?key, ?lost, "the store has lost the end of a session; written again");
        }
    }
}
