//! The signals that mean something to a master.

use std::fmt;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Quit,
    /// By this one.
    Stop(&'static str),
    Reload,
    Reopen,
    Upgrade,
    /// Take nothing new.
    Drain,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, name) = match self {
            Self::Quit => (3, "SIGQUIT"),
            Self::Stop("SIGINT") => (2, "SIGINT"),
            Self::Stop(_) => (15, "SIGTERM"),
            Self::Reload => (1, "SIGHUP"),
            Self::Reopen => (10, "SIGUSR1"),
            Self::Upgrade => (12, "SIGUSR2"),
            Self::Drain => (28, "SIGWINCH"),
        };
        write!(f, "signal {number} ({name})")
    }
}

/// Hears them.
pub struct Signals {
    quit: Signal,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    window: Signal,
}

impl Signals {
    /// Takes them over: from here on none of them ends the process by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn hear() -> io::Result<Self> {
        Ok(Self {
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            window: signal(SignalKind::window_change())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.quit.recv() => Told::Quit,
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
            _ = self.user1.recv() => Told::Reopen,
            _ = self.user2.recv() => Told::Upgrade,
            _ = self.window.recv() => Told::Drain,
        }
    }
}
