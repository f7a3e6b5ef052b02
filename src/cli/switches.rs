//! nginx's switches that stand before any sub-command and say where things are, or what a running process
//! shall do: `-s`, `-p`, `-e` and `-g`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::nginx::options::Order;
use crate::app::Report;
use crate::config::{self, Config};
use crate::telemetry::error_log::{Destination, ErrorLogSettings, Severity};

/// Where the number of a process is that nobody says another place for.
const PID: &str = "/run/cloakroom.pid";
/// How long a reload may take.
const RELOADS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// What a running process shall do.
    pub order: Option<Order>,
    /// What relative paths of the command line count from.
    prefix: Option<PathBuf>,
    error_log: Option<PathBuf>,
    /// Goes into the background.
    pub daemon: bool,
    pid: Option<PathBuf>,
}

impl Switches {
    /// Takes them out of the words of a command line; the others are returned.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn take(
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<(Self, Vec<OsString>), String> {
        let (mut switches, mut others) = (Self::default(), Vec::new());
        let mut words = words.into_iter();
        others.extend(words.next());
        while let Some(word) = words.next() {
            let letter = match word.as_bytes() {
                [b'-', letter @ (b's' | b'p' | b'e' | b'g'), ..] => *letter,
                [b'-', b'c'] => {
                    others.push(word);
                    others.extend(words.next());
                    continue;
                }
                [b'-', ..] => {
                    others.push(word);
                    continue;
                }
                // A sub-command, which has switches of its own.
                _ => {
                    others.push(word);
                    others.extend(words);
                    break;
                }
            };
            let value = match &word.as_bytes()[2..] {
                [] => words.next(),
                value => Some(OsStr::from_bytes(value).to_owned()),
            };
            let letter = char::from(letter);
            let value = value.ok_or_else(|| format!("option \"-{letter}\" requires a value"))?;
            switches.set(letter, &value)?;
        }
        Ok((switches, others))
    }

    fn set(&mut self, letter: char, value: &OsStr) -> Result<(), String> {
        match letter {
            's' => {
                let name = value.to_string_lossy();
                let order = Order::named(&name);
                self.order = Some(order.ok_or_else(|| format!("invalid option: \"-s {name}\""))?);
            }
            'p' => self.prefix = Some(value.into()),
            'e' => self.error_log = Some(value.into()),
            _ => self.directives(&value.to_string_lossy())?,
        }
        Ok(())
    }

    /// Those of nginx's main level that a unit file gives (`-g "daemon on; master_process on;"`).
    fn directives(&mut self, text: &str) -> Result<(), String> {
        for directive in text.split(';').map(str::trim).filter(|directive| !directive.is_empty()) {
            let mut words = directive.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
            match (words.next(), words.next(), words.next()) {
                (Some("daemon"), Some(switch @ ("on" | "off")), None) => {
                    self.daemon = switch == "on"
                }
                // One process serves, whatever is said.
                (Some("master_process"), Some("on" | "off"), None) => {}
                (Some("pid"), Some(path), None) => self.pid = Some(path.into()),
                (Some("error_log"), Some(path), _) => self.error_log = Some(path.into()),
                _ => {
                    return Err(format!(
                        "-g: \"{directive}\" is not taken here: daemon, master_process, pid and error_log \
                         are; write everything else into the file"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Where a path of the command line leads.
    pub fn path(&self, path: PathBuf) -> PathBuf {
        match &self.prefix {
            Some(prefix) => prefix.join(path),
            None => path,
        }
    }

    /// Reads a file, and puts what the switches say in the place of what it says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(&self, file: &Path) -> Result<Config, String> {
        let mut config = config::load(file).map_err(|found| found.to_string())?;
        if let Some(pid) = self.pid(&config) {
            config.pid = Some(pid);
        }
        if let Some(path) = self.error_log.clone().filter(|_| config.log.error_logs.is_empty()) {
            let to = match path.as_os_str().as_bytes() {
                b"stderr" => Destination::Stderr,
                _ => Destination::File(self.path(path)),
            };
            config.log.error_logs = vec![ErrorLogSettings { to, severity: Severity::Error }];
        }
        Ok(config)
    }

    fn pid(&self, config: &Config) -> Option<PathBuf> {
        let given = self.pid.clone().map(|pid| self.path(pid)).or_else(|| config.pid.clone());
        given.or_else(|| self.daemon.then(|| PID.into()))
    }

    /// Tells the process that serves a file what is asked of it. What stays what it was after a reload is
    /// returned, a line each.
    ///
    /// # Errors
    /// It is not there, the file is wrong, or the process could not put it in force.
    pub fn send(&self, order: Order, file: &Path) -> Result<Vec<String>, String> {
        let config = self.load(file)?;
        let pid = self.pid(&config).unwrap_or_else(|| PID.into());
        let text = fs::read_to_string(&pid).map_err(|error| {
            format!(
                "{}: {error}; `pid:` in the configuration says where a process writes its number",
                pid.display()
            )
        })?;
        let line = text.trim();
        // Of 0 and negative numbers the system makes groups.
        let number = line.parse::<i32>().ok().filter(|number| *number > 0);
        let process = number.and_then(Pid::from_raw);
        let process = process
            .ok_or_else(|| format!("invalid PID number \"{line}\" in \"{}\"", pid.display()))?;
        let before = Report::read(&pid).map_or(0, |report| report.reloads);
        let signal = match order {
            Order::Stop => Signal::TERM,
            Order::Quit => Signal::QUIT,
            Order::Reopen => Signal::USR1,
            Order::Reload => Signal::HUP,
        };
        kill_process(process, signal)
            .map_err(|error| format!("the process {line} cannot be told: {error}"))?;
        if order != Order::Reload {
            return Ok(Vec::new());
        }
        let report = reported(&pid, before).ok_or("the process does not say what came of it")?;
        match report.error {
            Some(error) => Err(error),
            None => Ok(report.stays.iter().map(|key| told(key)).collect()),
        }
    }
}

/// What a user is told of a key that stays what it was.
fn told(key: &str) -> String {
    format!("{key}: stays what it was until the process is started again")
}

/// Waits for the word about a reload that comes after so many.
fn reported(pid: &Path, before: u64) -> Option<Report> {
    let begun = Instant::now();
    while begun.elapsed() < RELOADS_WITHIN {
        if let Some(report) = Report::read(pid).filter(|report| report.reloads > before) {
            return Some(report);
        }
        sleep(LOOK_EVERY);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[&str], expected: Result<(Switches, &[&str]), &str>) {
        let words = line.iter().map(OsString::from);
        let taken = Switches::take(words);
        let expected = expected
            .map(|(switches, others)| (switches, others.iter().map(OsString::from).collect()))
            .map_err(str::to_owned);
        assert_eq!(taken, expected, "{line:?}");
    }

    #[test]
    fn they_are_taken_wherever_they_stand_before_a_sub_command() {
        let reload = Switches { order: Some(Order::Reload), ..Switches::default() };
        check(&["x", "-s", "reload"], Ok((reload.clone(), &["x"])));
        check(&["x", "-c", "-s", "-sreload"], Ok((reload, &["x", "-c", "-s"])));
        let daemon = Switches {
            daemon: true,
            pid: Some("/run/a.pid".into()),
            prefix: Some("/p".into()),
            ..Switches::default()
        };
        let given = "daemon on; master_process on; pid /run/a.pid;";
        check(&["x", "-t", "-q", "-g", given, "-p", "/p"], Ok((daemon, &["x", "-t", "-q"])));
        let none = Switches::default();
        check(&["x", "demo", "-p", "1"], Ok((none, &["x", "demo", "-p", "1"])));
    }

    #[test]
    fn mistakes_are_told() {
        check(&["x", "-s"], Err("option \"-s\" requires a value"));
        check(&["x", "-s", "end"], Err("invalid option: \"-s end\""));
        let wrong = Switches::take(["x", "-g", "user a;"].map(OsString::from));
        assert!(wrong.expect_err("not here").starts_with("-g: \"user a\" is not taken here"));
    }

    #[test]
    fn paths_count_from_the_prefix() {
        let switches = Switches { prefix: Some("/p".into()), ..Switches::default() };
        assert_eq!(switches.path("a".into()), PathBuf::from("/p/a"));
        assert_eq!(switches.path("/a".into()), PathBuf::from("/a"));
    }
}
