//! Time, handed in.
//!
//! Whatever decides takes `now` as a value. Only the shell reads a [`Clock`], so that a test can
//! set the time instead of waiting for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A point in time, in milliseconds since the Unix epoch.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The same moment in whole seconds.
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// `self + duration`, at most the end of time.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to `self`; zero where `earlier` is the later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where the shell reads the time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's wall clock.
    #[default]
    System,
    /// The system's clock moved forward by so many milliseconds, which tests advance by hand.
    Shifted(Arc<AtomicU64>),
    /// These milliseconds since the Unix epoch, which only a test moves: nothing depends on how
    /// fast the machine is.
    #[cfg(test)]
    Held(Arc<AtomicU64>),
}

impl Clock {
    /// Reads the time, which moves in steps of a few milliseconds: the kernel's tick, as nginx has it.
    pub fn now(&self) -> UnixMillis {
        let system = system();
        match self {
            Self::System => UnixMillis(system),
            Self::Shifted(by) => UnixMillis(system.saturating_add(by.load(Ordering::Relaxed))),
            #[cfg(test)]
            Self::Held(at) => UnixMillis(at.load(Ordering::Relaxed)),
        }
    }
}

/// The system's clock as of its last tick: a quarter of what asking for the very moment costs.
fn system() -> u64 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    let since = Duration::try_from(now).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
