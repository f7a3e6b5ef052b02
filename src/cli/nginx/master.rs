//! The master: holds sockets and the pid file, starts workers, and turns signals into what they are told.
//!
//! A worker is a process that serves with all its threads. A reload starts another one beside it, on the
//! same sockets; when that one serves, the first is told to finish. Where the new file is no good, or the
//! new worker does not come up, the old one goes on as if nothing had been asked.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::fchown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::file::Read;
use super::handing::{self, Work};
use super::options::Options;
use super::privileges;
use super::signals::{Signals, Told};
use super::speaker::Speaker;
use super::{WORKER, daemon, open_speaker, read_file};
use crate::listen::succession::{self, Predecessor};
use crate::listen::{Bound, Inherited, bind};
use crate::telemetry::error_log::{Severity, system_error};

/// A worker that ends sooner than this after its start is not started again at once.
const STEADY: Duration = Duration::from_secs(1);
/// How long a worker may take until it serves.
const COMES_UP: Duration = Duration::from_secs(60);
/// How long workers have that were told to end at once.
const STOP: Duration = Duration::from_secs(1);
/// Variables that a worker gets; all others stay outside, as in nginx.
const KEPT: [&str; 3] = ["TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Serves a file with workers, until told otherwise.
///
/// # Errors
/// What kept it from serving has been said.
pub fn run(options: Options, speaker: Speaker, read: Read) -> Result<(), ()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| speaker.say(Severity::Emerg, &format!("a runtime: {error}")))?;
    let pid = read.globals.pid.clone();
    let handed = Predecessor::of_this_process();
    let handed = handed
        .map_err(|error| speaker.say(Severity::Emerg, &format!("inherited sockets: {error}")))?;
    let (predecessor, inherited) = match handed {
        Some((predecessor, inherited)) => (Some(predecessor), inherited),
        None => (None, Inherited::from_environment()),
    };
    let mut master = Master {
        options,
        speaker,
        inherited,
        predecessor,
        successors: JoinSet::new(),
        successor: None,
        sockets: Vec::new(),
        workers: JoinSet::new(),
        running: Vec::new(),
        current: None,
        pid,
        is_daemon: read.globals.daemon,
        ending: None,
    };
    runtime.block_on(async {
        let signals = Signals::hear();
        let signals = signals.map_err(|error| master.fail(&format!("signals: {error}")))?;
        master.begin(read).await?;
        master.obey(signals).await;
        Ok(())
    })
}

struct Master {
    options: Options,
    speaker: Speaker,
    /// What was bound before this process began, until it has its own.
    inherited: Inherited,
    /// Whose place this process takes.
    predecessor: Option<Predecessor>,
    /// Who takes this one's place, and how it ends.
    successors: JoinSet<(u32, io::Result<ExitStatus>)>,
    successor: Option<u32>,
    sockets: Vec<Bound>,
    /// All that have not ended: each ends with its status.
    workers: JoinSet<(u32, io::Result<ExitStatus>)>,
    running: Vec<u32>,
    /// The one that takes new connections.
    current: Option<Worker>,
    pid: PathBuf,
    is_daemon: bool,
    ending: Option<Told>,
}

/// A worker, and what it serves.
struct Worker {
    id: u32,
    begun: Instant,
    read: Read,
    /// The worker ends where this closes.
    line: Option<UnixStream>,
}

impl Master {
    /// The first worker, and everything that others may see once it serves.
    async fn begin(&mut self, read: Read) -> Result<(), ()> {
        self.bind(&read)?;
        self.note("using the \"epoll\" event method");
        self.note(&format!("{} master {}", super::version::short(), std::process::id()));
        let goes_away = read.globals.daemon && daemon::is_copy();
        let worker = self.start(read).await?;
        self.current = Some(worker);
        if let Err(error) = write_pid(&self.pid) {
            self.fail(&error);
            return Err(());
        }
        // What nobody listens on any more is closed.
        self.inherited = Inherited::default();
        if let Some(predecessor) = &self.predecessor {
            predecessor.relieve();
        }
        if goes_away && let Err(error) = daemon::leave() {
            self.fail(&format!("daemon() failed {}", system_error(&error)));
            return Err(());
        }
        self.speaker.detach();
        Ok(())
    }

    /// Binds what no worker has yet. Nothing that is bound is given up here.
    fn bind(&mut self, read: &Read) -> Result<(), ()> {
        let mut bound = Vec::new();
        for listener in &read.config.listeners {
            let is_there = |one: &Bound| one.address == listener.address;
            if self.sockets.iter().any(is_there) || bound.iter().any(is_there) {
                continue;
            }
            let one = bind::bind(&listener.address, &listener.socket, &mut self.inherited);
            bound.push(one.map_err(|error| self.fail(&error.in_nginx_words()))?);
        }
        self.sockets.extend(bound);
        Ok(())
    }

    /// Closes what the current worker does not listen on.
    fn give_up(&mut self) {
        let removes = self.removes_files();
        let Some(worker) = &self.current else { return };
        let listeners = &worker.read.config.listeners;
        self.sockets.retain(|one| {
            let is_kept = listeners.iter().any(|other| other.address == one.address);
            if !is_kept && removes {
                one.remove_file();
            }
            is_kept
        });
    }

    /// Closes everything.
    fn close(&mut self) {
        let removes = self.removes_files();
        self.sockets.drain(..).filter(|_| removes).for_each(|one| one.remove_file());
    }

    /// Whether nobody else has the sockets: files go with them then.
    fn removes_files(&self) -> bool {
        self.successor.is_none() && !self.predecessor.as_ref().is_some_and(Predecessor::is_there)
    }

    /// Starts a worker, and waits until it serves.
    async fn start(&mut self, read: Read) -> Result<Worker, ()> {
        let globals = &read.globals;
        let account = privileges::account(globals.user.as_ref());
        let account = account.map_err(|error| self.fail(&error))?;
        let work = Work {
            name: read.name.clone(),
            yaml: read.yaml.clone(),
            account,
            open_files: globals.open_files,
            working_directory: globals.working_directory.as_ref().map(PathBuf::from),
            detaches: globals.daemon && daemon::is_copy(),
        };
        let spawned = spawn(&read);
        let (line, mut child) = spawned
            .map_err(|error| self.fail(&format!("fork() failed {}", system_error(&error))))?;
        let id = child.id().unwrap_or_default();
        self.note(&format!("start worker process {id}"));
        self.running.push(id);
        self.workers.spawn(async move { (id, child.wait().await) });
        let wanted = |one: &&Bound| {
            read.config.listeners.iter().any(|listener| listener.address == one.address)
        };
        let sockets: Result<Vec<OwnedFd>, _> = self
            .sockets
            .iter()
            .filter(wanted)
            .map(|bound| bound.socket.as_fd().try_clone_to_owned())
            .collect();
        let handed = tokio::task::spawn_blocking(move || {
            let sockets = sockets?;
            let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
            handing::give(&line, &sockets, &work)?;
            handing::hear_serving(&line)?;
            Ok::<_, io::Error>(line)
        });
        let line = match timeout(COMES_UP, handed).await {
            Ok(Ok(Ok(line))) => line,
            Ok(_) => return Err(()), // it has said why
            Err(_) => {
                self.fail(&format!("worker process {id} does not come up"));
                tell(id, Signal::KILL);
                return Err(());
            }
        };
        Ok(Worker { id, begun: Instant::now(), read, line: Some(line) })
    }

    async fn obey(&mut self, mut signals: Signals) {
        loop {
            tokio::select! {
                told = signals.next() => self.told(told).await,
                Some(Ok((id, status))) = self.successors.join_next() => {
                    self.stays(id, status).await;
                }
                Some(ended) = self.workers.join_next() => {
                    if let Ok((id, status)) = ended {
                        self.ended(id, status).await;
                    }
                }
            }
            if self.ending.is_some() && self.running.is_empty() {
                self.note("exit");
                succession::remove_own(&self.pid);
                return;
            }
        }
    }

    async fn told(&mut self, told: Told) {
        self.note(&format!("{told} received"));
        match told {
            Told::Quit => {
                self.ending = Some(Told::Quit);
                self.close();
                self.tell_all(Signal::QUIT);
            }
            Told::Stop(_) => self.stop().await,
            Told::Reload => self.reload().await,
            Told::Reopen => {
                self.note("reopening logs");
                self.speaker.reopen();
                self.make_logs();
                self.tell_all(Signal::USR1);
            }
            Told::Upgrade => self.upgrade(),
            // A terminal sends it, too.
            Told::Drain => {
                let is_apart = self.successor.is_some() || self.is_daemon;
                if is_apart && let Some(worker) = self.current.take() {
                    tell(worker.id, Signal::QUIT);
                    self.keep(worker);
                }
            }
        }
    }

    /// Starts the new binary with all sockets. It takes the name of the pid file.
    fn upgrade(&mut self) {
        if self.successor.is_some() || self.ending.is_some() {
            return;
        }
        self.note("changing binary");
        let aside = succession::old(&self.pid);
        if let Err(error) = fs::rename(&self.pid, &aside) {
            self.fail(&format!("rename() failed {}", system_error(&error)));
            return;
        }
        match self.start_successor() {
            Ok(id) => {
                self.note(&format!("start new binary process {id}"));
                self.successor = Some(id);
            }
            Err(error) => {
                self.fail(&format!("execve() failed {}", system_error(&error)));
                let _ = fs::rename(&aside, &self.pid);
            }
        }
    }

    fn start_successor(&mut self) -> io::Result<u32> {
        let sockets = self.sockets.iter();
        let sockets = sockets.map(|one| Ok((one.socket.as_fd().try_clone_to_owned()?, one.is_own)));
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        let (command, line) = succession::command(&[daemon::MARK])?;
        let mut child = Command::from(command).spawn()?;
        let id = child.id().unwrap_or_default();
        self.successors.spawn(async move { (id, child.wait().await) });
        // Where it ends before, that is told by its end.
        std::thread::spawn(move || {
            let given = succession::give(&line, &sockets);
            given.and_then(|()| handing::hear_serving(&line))
        });
        Ok(id)
    }

    /// The new binary has ended: this one goes on alone.
    async fn stays(&mut self, id: u32, status: io::Result<ExitStatus>) {
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        self.speaker.say(Severity::Alert, &format!("new binary process {id} ended: {how}"));
        self.successor = None;
        if self.ending.is_some() {
            return;
        }
        let _ = fs::rename(succession::old(&self.pid), &self.pid);
        if self.current.is_none() {
            self.reload().await;
        }
    }

    async fn stop(&mut self) {
        self.ending = Some(Told::Stop("SIGTERM"));
        self.close();
        self.tell_all(Signal::TERM);
        let ended = timeout(STOP, async { while self.workers.join_next().await.is_some() {} });
        if ended.await.is_err() {
            self.tell_all(Signal::KILL);
        }
        self.running.clear();
    }

    /// The new file in place of the old one, where it is good.
    async fn reload(&mut self) {
        if self.ending.is_some() {
            return;
        }
        self.note("reconfiguring");
        let Ok(read) = read_file(&self.options, &self.speaker) else { return };
        let Ok(speaker) = open_speaker(&read, &self.speaker) else { return };
        let before = self.sockets.len();
        if self.bind(&read).is_err() {
            return;
        }
        let pid = read.globals.pid.clone();
        let Ok(worker) = self.start(read).await else {
            self.sockets.drain(before..).for_each(|one| one.remove_file());
            return;
        };
        self.speaker = speaker;
        self.speaker.detach();
        if pid != self.pid && write_pid(&pid).is_ok() {
            let _ = fs::remove_file(std::mem::replace(&mut self.pid, pid));
        }
        let old = self.current.replace(worker);
        self.give_up();
        if let Some(old) = old {
            tell(old.id, Signal::QUIT);
            self.keep(old);
        }
    }

    /// Makes the files of logs that are not there, and gives them to whom workers run as: they may not be
    /// able to.
    fn make_logs(&self) {
        let Some(Worker { read, .. }) = &self.current else { return };
        let account = privileges::account(read.globals.user.as_ref()).ok().flatten();
        for path in read.logs() {
            let made = fs::OpenOptions::new().append(true).create(true).open(path);
            let given = made.and_then(|file| match &account {
                Some(account) => fchown(file, Some(account.user), None),
                None => Ok(()),
            });
            if let Err(error) = given {
                let error = system_error(&error);
                self.fail(&format!("open() \"{}\" failed {error}", path.display()));
            }
        }
    }

    /// The line to a worker that finishes stays open: it is told by signals alone.
    fn keep(&mut self, mut worker: Worker) {
        let (id, line) = (worker.id, worker.line.take());
        self.workers.spawn(async move {
            let _line = line;
            // A worker that ends closes its side.
            let gone = || !std::path::Path::new(&format!("/proc/{id}")).exists();
            while !gone() {
                sleep(STEADY).await;
            }
            (0, Ok(ExitStatus::from_raw(0)))
        });
    }

    async fn ended(&mut self, id: u32, status: io::Result<ExitStatus>) {
        let known = self.running.len();
        self.running.retain(|other| *other != id);
        if self.running.len() == known {
            return;
        }
        let (severity, how) = match status.as_ref().ok().map(|s| (s.code(), s.signal())) {
            Some((Some(code), _)) => (Severity::Notice, format!("exited with code {code}")),
            Some((None, Some(signal))) => (Severity::Alert, format!("exited on signal {signal}")),
            _ => (Severity::Notice, "exited".to_owned()),
        };
        self.speaker.say(severity, &format!("worker process {id} {how}"));
        // Nobody has told it to end: another one takes its place.
        let Some(worker) = self.current.take_if(|worker| worker.id == id) else { return };
        if self.ending.is_some() {
            return;
        }
        if worker.begun.elapsed() < STEADY {
            sleep(STEADY).await;
        }
        self.current = self.start(worker.read).await.ok();
    }

    fn tell_all(&self, signal: Signal) {
        self.running.iter().for_each(|id| tell(*id, signal));
    }

    fn note(&self, text: &str) {
        self.speaker.say(Severity::Notice, text);
    }

    fn fail(&self, text: &str) {
        self.speaker.say(Severity::Emerg, text);
    }
}

/// Starts the program once more, as a worker.
fn spawn(read: &Read) -> io::Result<(UnixStream, tokio::process::Child)> {
    let (ours, its) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("nginx: worker process").arg(WORKER).env_clear();
    let kept = KEPT.iter().map(|name| ((*name).to_owned(), None));
    for (name, value) in kept.chain(read.globals.environment.iter().cloned()) {
        let value = value.map(Into::into).or_else(|| std::env::var_os(&name));
        command.envs(value.map(|value| (name, value)));
    }
    let child = command.stdin(Stdio::from(OwnedFd::from(its))).spawn()?;
    Ok((ours, child))
}

/// It may have ended already.
fn tell(worker: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(worker).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Writes the number of this process.
///
/// # Errors
/// nginx's message.
pub fn write_pid(path: &std::path::Path) -> Result<(), String> {
    fs::write(path, format!("{}\n", std::process::id()))
        .map_err(|error| format!("open() \"{}\" failed {}", path.display(), system_error(&error)))
}
