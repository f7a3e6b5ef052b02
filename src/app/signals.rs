//! Signals, with nginx's meaning where there is one.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::listen::Shutdown;

/// The signals that mean something.
const SIGNALS: [fn() -> SignalKind; 6] = [
    SignalKind::quit,
    SignalKind::terminate,
    SignalKind::interrupt,
    SignalKind::hangup,
    SignalKind::user_defined1,
    SignalKind::user_defined2,
];

/// Takes the signals over. From here on none of them ends the process by itself, so this comes
/// before anybody is told that it is ready.
pub(super) fn hear() -> std::io::Result<Vec<Signal>> {
    SIGNALS.iter().map(|kind| signal(kind())).collect()
}

/// Turns signals into orders: QUIT drains, TERM and INT stop at once, HUP calls `reload`.
pub(super) async fn obey(
    mut heard: Vec<Signal>,
    orders: watch::Sender<Shutdown>,
    reload: impl Fn() + Send,
) {
    let [quit, terminate, interrupt, hangup, user1, user2] = &mut heard[..] else {
        unreachable!("one stream for each of SIGNALS")
    };
    loop {
        tokio::select! {
            _ = quit.recv() => { orders.send_replace(Shutdown::Draining); }
            _ = terminate.recv() => { orders.send_replace(Shutdown::Stopped); }
            _ = interrupt.recv() => { orders.send_replace(Shutdown::Stopped); }
            _ = hangup.recv() => reload(),
            _ = user1.recv() => tracing::warn!("USR1 ignored: logs go to standard error"),
            _ = user2.recv() => tracing::warn!("USR2 ignored: upgrade is not built yet"),
        }
    }
}
