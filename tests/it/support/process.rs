//! Child processes that a test starts, and that never outlive it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A child in a process group of its own. Dropping it ends the whole group.
///
/// Its stdin stays open as long as this value lives, so that a child that watches it ends even
/// if the test is killed.
pub struct Process {
    name: String,
    child: Child,
    /// Set once the child was waited for: its number may then belong to somebody else.
    reaped: bool,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts a command. `name` appears in the messages of failed tests.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        Self::spawn_on(name, Stdio::piped(), command)
    }

    /// As [`Process::spawn`], on another stdin: a socket to be inherited.
    pub fn spawn_on(name: &str, stdin: Stdio, command: &mut Command) -> Self {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|problem| panic!("cannot start {name}: {problem}"));
        let (sender, lines) = channel();
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("stdout is piped"), sender.clone(), log.clone());
        collect(child.stderr.take().expect("stderr is piped"), sender, log.clone());
        let stdin = child.stdin.take();
        Self { name: name.to_owned(), child, reaped: false, stdin, lines, log }
    }

    /// The process identifier, which is the group's as well.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that was written to stdout and stderr until now.
    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panics").clone()
    }

    /// Waits for a line of stdout or stderr that starts with `prefix` and returns what follows.
    ///
    /// # Errors
    /// The output so far, if the child closed both or took too long.
    pub fn wait_line(&mut self, prefix: &str) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(prefix) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("{} ended without `{prefix}`:\n{}", self.name, self.log()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("{} never said `{prefix}`:\n{}", self.name, self.log()));
                }
            }
        }
    }

    /// Sends a signal (`TERM`, `HUP`, `KILL` …) to the child alone.
    pub fn signal(&self, signal: &str) {
        assert!(!self.reaped, "{} has ended already", self.name);
        kill(signal, &self.child.id().to_string());
    }

    /// Closes the child's stdin, as the death of its parent would.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The status if the child has ended.
    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("a child can be waited for");
        self.reaped |= status.is_some();
        status
    }

    /// Waits for the child's end, and for what it said until then.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        self.wait_until("its end", |process| {
            status = process.try_exit();
            status.is_some()
        });
        // Its last words are read a moment later; who it left behind may hold its output open.
        let deadline = Instant::now() + Duration::from_secs(1);
        while Arc::strong_count(&self.log) > 1 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        status.expect("waited for")
    }

    /// Waits until no process of the group is left.
    pub fn wait_group_gone(&mut self) {
        let group = self.id();
        self.wait_until("the end of its group", |process| {
            process.try_exit();
            members(group).is_empty()
        });
    }

    fn wait_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {}: {what}\n{}",
                self.name,
                self.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stdin = None;
        if self.reaped {
            // The number may be another's by now; members still running are found by themselves.
            for process in members(self.id()) {
                kill("KILL", &process.to_string());
            }
            return;
        }
        kill("KILL", &format!("-{}", self.id()));
        // Nothing to be done about a failure while a test unwinds.
        let _ = self.child.wait();
    }
}

/// Sends a signal through the shell, which has `kill` built in. Targets that are gone are fine.
fn kill(signal: &str, target: &str) {
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"$2\" 2>/dev/null || true", "kill", signal, target])
        .status()
        .expect("there is a shell");
    assert!(status.success(), "kill -s {signal} -- {target}");
}

/// The living processes of a group, zombies aside, from `/proc/PID/stat`:
/// `pid (comm) state ppid pgrp …`.
fn members(group: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| {
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
                return false;
            };
            // The command may hold blanks and brackets; the last `)` ends it.
            let Some((_, rest)) = stat.rsplit_once(')') else { return false };
            let mut fields = rest.split_whitespace();
            let state = fields.next();
            let pgrp = fields.nth(1).and_then(|text| text.parse::<u32>().ok());
            state != Some("Z") && pgrp == Some(group)
        })
        .collect()
}

fn collect(stream: impl Read + Send + 'static, lines: Sender<String>, log: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            log.lock().expect("no reader panics").push_str(&text);
            // Nobody may be listening any more; the log is kept all the same.
            let _ = lines.send(text.trim_end().to_owned());
            line.clear();
        }
    });
}
