//! Another binary in this one's place (USR2): it is started beside this one and gets its sockets. Both
//! serve, until one of them is told to go. Where the new one ends first, this one goes on alone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::in_force::InForce;
use super::notify::notify;
use crate::listen::{handing, succession};

/// How long the new one may take until it serves.
const COMES_UP: Duration = Duration::from_secs(60);
/// What belongs to this process alone.
const OURS: [&str; 5] =
    ["CLOAKROOM_BACKGROUND", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Starts the new binary, and watches over it.
pub(super) async fn run(in_force: Arc<InForce>) {
    if in_force.ends() || !in_force.begins_succession() {
        tracing::warn!("the new binary has been started already");
        return;
    }
    in_force.pid.step_aside();
    match start(&in_force).await {
        Ok(mut child) => {
            let id = child.id().unwrap_or_default();
            notify(&[sd_notify::NotifyState::MainPid(id)]);
            tracing::info!(process = id, "the new binary serves; QUIT ends this one");
            let ended = child.wait().await;
            if in_force.ends() {
                return;
            }
            tracing::error!(
                process = id,
                ?ended,
                "the new binary has ended: this one goes on alone"
            );
            notify(&[sd_notify::NotifyState::MainPid(std::process::id())]);
        }
        Err(error) => {
            tracing::error!(%error, "the new binary does not serve: this one goes on alone")
        }
    }
    in_force.pid.step_back();
    in_force.goes_on_alone();
    in_force.accept_again().await;
}

async fn start(in_force: &InForce) -> io::Result<Child> {
    let sockets = in_force.sockets().await?;
    let (command, line) = succession::command(&OURS)?;
    let mut command = Command::from(command);
    let mut child = command.spawn()?;
    // It holds the other end of the line.
    drop(command);
    let handed = tokio::task::spawn_blocking(move || {
        succession::give(&line, &sockets)?;
        handing::hear_serving(&line)
    });
    let outcome = match timeout(COMES_UP, handed).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(io::Error::other("it could not be told")),
        Err(late) => Err(late.into()),
    };
    if let Err(error) = outcome {
        let _ = child.start_kill();
        let ended = child.wait().await?;
        return Err(io::Error::other(format!("{error}; {ended}")));
    }
    Ok(child)
}
