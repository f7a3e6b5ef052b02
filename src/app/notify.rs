//! What the service manager is told (sd_notify(3)).

use std::time::Duration;

use tokio::time::sleep;

use super::in_force::InForce;

/// Worker runtimes that say nothing for so long hang.
const SILENT: Duration = Duration::from_secs(5);

pub(super) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// Says that the process is well, for as long as every worker runtime is (`WatchdogSec`).
pub(super) async fn watchdog(in_force: std::sync::Arc<InForce>) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    loop {
        if in_force.is_alive(period.max(SILENT)).await {
            notify(&[sd_notify::NotifyState::Watchdog]);
        } else {
            tracing::error!("a worker runtime does nothing any more: the watchdog is not told");
        }
        sleep(period / 3).await;
    }
}
