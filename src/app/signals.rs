//! Signals, with nginx's meaning where there is one.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::in_force::InForce;
use super::notify::notify;
use super::upgrade;
use crate::listen::Shutdown;
use crate::telemetry::error_log;

/// The signals that mean something.
const SIGNALS: [fn() -> SignalKind; 7] = [
    SignalKind::quit,
    SignalKind::terminate,
    SignalKind::interrupt,
    SignalKind::hangup,
    SignalKind::user_defined1,
    SignalKind::user_defined2,
    SignalKind::window_change,
];

/// A file would grow beyond what the process may write (SIGXFSZ): whoever writes is told that anyway.
const FILE_TOO_LARGE: i32 = 25;

/// Takes the signals over. From here on none of them ends the process by itself, so this comes
/// before anybody is told that it is ready.
pub(super) fn hear() -> std::io::Result<Vec<Signal>> {
    // What is heard once never ends the process again.
    drop(signal(SignalKind::from_raw(FILE_TOO_LARGE))?);
    SIGNALS.iter().map(|kind| signal(kind())).collect()
}

/// Turns signals into orders: QUIT drains, TERM and INT stop at once, HUP reloads, USR1 opens logs anew,
/// USR2 starts the new binary, and WINCH leaves it to that to accept.
pub(super) async fn obey(
    mut heard: Vec<Signal>,
    orders: watch::Sender<Shutdown>,
    in_force: Arc<InForce>,
) {
    let [quit, terminate, interrupt, hangup, user1, user2, window] = &mut heard[..] else {
        unreachable!("one stream for each of SIGNALS")
    };
    loop {
        tokio::select! {
            _ = quit.recv() => order(&orders, Shutdown::Draining),
            _ = terminate.recv() => order(&orders, Shutdown::Stopped),
            _ = interrupt.recv() => order(&orders, Shutdown::Stopped),
            _ = hangup.recv() => {
                // What came of it has been said.
                drop(tokio::spawn(reload(in_force.clone())));
            }
            _ = user1.recv() => {
                tracing::info!("reopening logs");
                error_log::reopen();
                in_force.reopen_logs().await;
            }
            _ = user2.recv() => {
                tokio::spawn(upgrade::run(in_force.clone()));
            }
            // A terminal sends it, too.
            _ = window.recv() => if in_force.is_succeeded() {
                tracing::info!("nothing is accepted any more");
                in_force.rest().await;
            },
        }
    }
}

/// Reloads, and says what came of it. Keys of what stays what it was are returned.
///
/// # Errors
/// What is wrong: nothing has changed.
pub(super) async fn reload(in_force: Arc<InForce>) -> Result<Vec<&'static str>, String> {
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        notify(&[sd_notify::NotifyState::Reloading, now]);
    }
    let outcome = in_force.reload().await;
    in_force.pid.report(&outcome);
    notify(&[sd_notify::NotifyState::Ready]);
    match &outcome {
        Ok(stays) => {
            for key in stays {
                tracing::warn!(key, "this stays what it was until the process is started again");
            }
            tracing::info!("reloaded");
        }
        Err(error) => {
            tracing::error!("the configuration was not read again, the old one stays: {error}");
        }
    }
    outcome
}

/// Orders it, if it goes further than what was ordered before: of two signals that arrive together
/// the later may be read first.
fn order(orders: &watch::Sender<Shutdown>, wanted: Shutdown) {
    orders.send_if_modified(|ordered| {
        let goes_further = *ordered < wanted;
        if goes_further {
            *ordered = wanted;
        }
        goes_further
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_order_is_taken_back() {
        use Shutdown::{Draining, Running, Stopped};
        for (wanted, expected) in [
            (&[Draining][..], Draining),
            (&[Draining, Draining], Draining),
            (&[Draining, Stopped], Stopped),
            (&[Stopped, Draining], Stopped),
        ] {
            let orders = watch::Sender::new(Running);
            wanted.iter().for_each(|wanted| order(&orders, *wanted));
            assert_eq!(*orders.borrow(), expected, "{wanted:?}");
        }
    }
}
