//! Runs groups on both sides.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::compare::{Outcome, Place};
use super::group::{Case, Group};
use crate::support::client::{Connection, Dial, Response};
use crate::support::dns::Dns;
use crate::support::http::{Broken, show};
use crate::support::nginx::Nginx;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Binary;
use crate::support::tls::{BOTH, client_config};
use crate::support::{free_port, loopback};

/// Files were changed at this time.
const MODIFIED: Duration = Duration::from_secs(784_111_777);

/// Runs all of them, and says everything that is not alike at once.
pub async fn all(groups: Vec<Group>) {
    let mut differences = Vec::new();
    for group in &groups {
        differences.extend(run(group).await);
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

async fn run(group: &Group) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    for (name, content) in &group.files {
        write(&directory.path().join(name), content);
    }
    let workers = Workers::start(group).await;
    let others = (free_port(), free_port());
    let http = |other: u16| {
        let http = group.http.replace("{other}", &other.to_string());
        workers.fill(&http).replace("{dir}", &directory.path().display().to_string())
    };
    let nginx = Nginx::serving(&http(others.0));
    // Its own configuration is a copy of what nginx has, so that both read the same text.
    let conf = format!("events {{}}\nhttp {{\naccess_log off;\n{}\n}}\n", http(others.1));
    let ours = Binary::serve(&conf, &["import", "--run", "-q"]);

    let theirs = Side::new(nginx.address.port(), others.0, &directory, &workers);
    let ours = Side::new(ours.port, others.1, &directory, &workers).with(ours);
    let mut differences = Vec::new();
    for case in &group.cases {
        let expected = theirs.outcome(case, group).await;
        let outcome = ours.outcome(case, group).await;
        if (expected == outcome) == case.differs.is_some() {
            differences.push(format!(
                "== {}: {}\n-- nginx\n{expected}-- ours\n{outcome}",
                group.name,
                show(&case.raw)
            ));
        }
    }
    differences
}

struct Side<'a> {
    ports: (u16, u16),
    names: Vec<(String, &'static str)>,
    workers: &'a Workers,
    /// Lives as long as it is asked.
    _process: Option<Binary>,
}

impl<'a> Side<'a> {
    fn new(port: u16, other: u16, directory: &tempfile::TempDir, workers: &'a Workers) -> Self {
        let names = vec![
            (port.to_string(), "PORT"),
            (other.to_string(), "OTHER"),
            (workers.first.address.to_string(), "ORIGIN"),
            (workers.second.address.to_string(), "SECOND"),
            (workers.closed.to_string(), "CLOSED"),
            (directory.path().display().to_string(), "DIR"),
        ];
        Self { ports: (port, other), names, workers, _process: None }
    }

    fn with(mut self, process: Binary) -> Self {
        self._process = Some(process);
        self
    }

    async fn outcome(&self, case: &Case, group: &Group) -> Outcome {
        let before = self.workers.counts();
        let port = if case.is_elsewhere { self.ports.1 } else { self.ports.0 };
        let mut dial = Dial::to(loopback(port));
        if let Some(name) = case.tls {
            dial = dial.tls(name);
        }
        let versions = case.versions.unwrap_or(BOTH);
        if let Some(identity) = &case.shows {
            dial = dial.config(identity.client_of(versions));
        } else if case.tls.is_some() {
            dial = dial.config(client_config(&[], versions));
        }
        if case.again {
            let mut connection = dial.connect().await;
            exchange(&mut connection, &case.raw).await;
        }
        let Ok(mut connection) = dial.try_connect().await else {
            return Outcome::refused();
        };
        let (answers, end) = exchange(&mut connection, &case.raw).await;
        let seen = self.workers.seen(before);
        Outcome::new(&answers, &end, &seen, &Place { names: &self.names, ignored: group.ignored })
    }
}

/// Everything that is said up to the end of the connection.
async fn exchange(connection: &mut Connection, raw: &[u8]) -> (Vec<Response>, Broken) {
    // A server that has closed meanwhile takes no more.
    let _ = connection.try_send(raw).await;
    let mut answers = Vec::new();
    loop {
        let next = match raw.starts_with(b"HEAD ") {
            true => connection.try_response_head().await,
            false => connection.try_response().await,
        };
        match next {
            Ok(answer) => answers.push(answer),
            Err(end) => return (answers, end),
        }
    }
}

struct Workers {
    first: Responder,
    second: Responder,
    closed: SocketAddr,
    dns: Dns,
}

impl Workers {
    async fn start(group: &Group) -> Self {
        Self {
            dns: Self::names().await,
            first: Responder::start(group.worker).await,
            second: Responder::start(group.second).await,
            closed: loopback(free_port()),
        }
    }

    /// Knows `app.test`, and as its other names `alias.test` and, asked for by itself,
    /// `elsewhere.alias.test`; `half.test` has another address where nobody listens.
    async fn names() -> Dns {
        let dns = Dns::start().await;
        let [own, nobody] = [1, 99].map(|last| Ipv4Addr::new(127, 0, 0, last));
        dns.has("app.test", 60, &[own]);
        dns.has("half.test", 60, &[nobody, own]);
        dns.has("nobody.test", 60, &[nobody]);
        dns.has_alias("alias.test", 60, "app.test");
        dns.has_alias("far.test", 60, "elsewhere.alias.test");
        dns.has_alias("elsewhere.alias.test", 60, "app.test");
        dns.says("text.test", 16, 60, b"\x04text");
        dns
    }

    fn fill(&self, http: &str) -> String {
        http.replace("{origin}", &self.first.address.to_string())
            .replace("{second}", &self.second.address.to_string())
            .replace("{closed}", &self.closed.to_string())
            .replace("{dns}", &self.dns.address.to_string())
            .replace("{origin_port}", &self.first.address.port().to_string())
    }

    fn counts(&self) -> [usize; 2] {
        [&self.first, &self.second].map(|worker| worker.seen().len())
    }

    fn seen(&self, before: [usize; 2]) -> Vec<(usize, Request)> {
        let workers = [&self.first, &self.second].into_iter().zip(before).enumerate();
        workers
            .flat_map(|(number, (worker, count))| {
                worker.seen().split_off(count).into_iter().map(move |request| (number, request))
            })
            .collect()
    }
}

fn write(path: &Path, content: &[u8]) {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).expect("the directory can be made");
    }
    fs::write(path, content).expect("the file can be written");
    let file = File::options().write(true).open(path).expect("it was just written");
    file.set_modified(UNIX_EPOCH + MODIFIED).expect("its time can be set");
}
