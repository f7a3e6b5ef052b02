//! `-s`: tells the running process.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use super::globals::Globals;
use super::options::Order;
use super::speaker::Speaker;
use crate::telemetry::error_log::{Severity, system_error};

/// Sends what was asked for to whom the pid file names.
///
/// # Errors
/// What keeps it from being sent has been said.
pub fn send(order: Order, globals: &Globals, speaker: &Speaker) -> Result<(), ()> {
    speaker.say(Severity::Notice, "signal process started");
    let path = globals.pid.display();
    let text = fs::read_to_string(&globals.pid).map_err(|error| {
        let text = format!("open() \"{path}\" failed {}", system_error(&error));
        speaker.say(Severity::Error, &text);
    })?;
    let line = text.trim_end_matches(['\n', '\r']);
    // Of 0 and negative numbers the system makes groups.
    let number = line.parse::<i32>().ok().filter(|number| *number > 0);
    let Some(pid) = number.and_then(Pid::from_raw) else {
        speaker.say(Severity::Error, &format!("invalid PID number \"{line}\" in \"{path}\""));
        return Err(());
    };
    let signal = match order {
        Order::Stop => Signal::TERM,
        Order::Quit => Signal::QUIT,
        Order::Reopen => Signal::USR1,
        Order::Reload => Signal::HUP,
    };
    kill_process(pid, signal).map_err(|error| {
        let (number, error) = (signal.as_raw(), system_error(&error.into()));
        let pid = pid.as_raw_nonzero();
        speaker.say(Severity::Alert, &format!("kill({pid}, {number}) failed {error}"));
    })
}
