//! The servers of `tests/apps/garden`, and where each of them has its own way.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::apps::App;

/// How a server is told from others.
pub struct Manner {
    kind: &'static str,
    /// Stand in what it logs of a message that it cannot read.
    complaints: &'static [&'static str],
    ways: &'static [Way],
}

/// What a server makes of messages that are sent as they must be, and that its application never sees.
struct Way {
    what: &'static [&'static str],
    own: Own,
}

#[derive(Clone, Copy)]
pub enum Own {
    Answers(u16),
    /// What it does depends on chance.
    IsNotAsked,
}

const STAR: &[&str] = &["target OPTIONS '*'", "OPTIONS *"];
const METHODS: &[&str] = &["a method in small letters", "a method with all a method may have"];
const LONG_METHOD: &[&str] = &["a long method"];
const BEYOND_ASCII: &[&str] = &["bytes beyond ASCII in a path", "bytes beyond ASCII in a query"];
const BRACKETS: &[&str] = &["quotes and brackets in a path", "quotes and brackets in a query"];

pub const NODE: Manner = Manner {
    kind: "node",
    complaints: &["UNREADABLE"],
    ways: &[
        // It has a list of methods.
        Way { what: METHODS, own: Own::Answers(400) },
        Way { what: LONG_METHOD, own: Own::Answers(400) },
        Way { what: BEYOND_ASCII, own: Own::Answers(400) },
    ],
};

pub const GUNICORN: Manner = Manner {
    kind: "gunicorn",
    complaints: &["Invalid request"],
    ways: &[
        // Its methods have three to twenty letters, all of them capitals.
        Way { what: METHODS, own: Own::Answers(400) },
        Way { what: LONG_METHOD, own: Own::Answers(400) },
    ],
};

pub const PHP: Manner = Manner {
    kind: "php",
    complaints: &["Invalid request (Malformed"],
    ways: &[
        // It has a list of methods.
        Way { what: &["a method with all a method may have"], own: Own::Answers(501) },
        Way { what: LONG_METHOD, own: Own::Answers(501) },
        // It closes without a word.
        Way { what: &["a method in small letters"], own: Own::Answers(502) },
        Way { what: BEYOND_ASCII, own: Own::Answers(502) },
    ],
};

pub const PUMA: Manner = Manner {
    kind: "puma",
    complaints: &["HTTP parse error"],
    ways: &[
        // It refuses them: with 400, or behind another request without a word, for twenty seconds.
        Way { what: METHODS, own: Own::IsNotAsked },
        Way { what: LONG_METHOD, own: Own::IsNotAsked },
        Way { what: BRACKETS, own: Own::IsNotAsked },
    ],
};

pub const NGINX: Manner = Manner {
    kind: "nginx",
    complaints: &["client sent"],
    ways: &[
        // A target begins with a slash.
        Way { what: STAR, own: Own::Answers(400) },
        // Methods have capitals, `-` and `_`.
        Way { what: METHODS, own: Own::Answers(400) },
    ],
};

pub const APACHE: Manner = Manner {
    kind: "apache",
    complaints: &["protocol.c(", "AH01590"],
    ways: &[
        // It answers for itself, as it should.
        Way { what: STAR, own: Own::Answers(200) },
    ],
};

/// A worker that writes down what it sees.
pub struct Worker {
    app: App,
    manner: &'static Manner,
    file: PathBuf,
    read: usize,
    _directory: TempDir,
}

impl Worker {
    pub fn start(manner: &'static Manner) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let file = directory.path().join("seen");
        std::fs::write(&file, "").expect("the directory can be written");
        let app = App::garden(manner.kind, &file);
        Self { app, manner, file, read: 0, _directory: directory }
    }

    pub fn address(&self) -> SocketAddr {
        self.app.address
    }

    pub fn log(&self) -> String {
        self.app.process.log()
    }

    /// What it makes of a message without its application.
    pub fn own(&self, what: &str) -> Option<Own> {
        self.manner.ways.iter().find(|way| way.what.contains(&what)).map(|way| way.own)
    }

    /// What it logged of a message that it could not read.
    pub fn complaint(&self) -> Option<String> {
        let log = self.log();
        let is_one = |line: &&str| self.manner.complaints.iter().any(|part| line.contains(part));
        log.lines().find(is_one).map(|line| format!("it said: {line}"))
    }

    /// What it saw since it was last asked: as many lines, once they are written, or more.
    pub fn seen(&mut self, lines: usize) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let bytes = std::fs::read(&self.file).expect("the file is there");
            let new = &bytes[self.read..];
            let is_there = new.iter().filter(|byte| **byte == b'\n').count() >= lines;
            // nginx writes when the answer is on its way.
            if is_there || begun.elapsed() > PATIENCE / 10 {
                let new = new.iter().map(|byte| char::from(*byte)).collect::<String>();
                self.read = bytes.len();
                return new.lines().map(plain).collect();
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A line, or what stands for it: in JSON (nginx), or in hexadecimal (Apache).
fn plain(line: &str) -> String {
    if let Ok((begin, body)) = serde_json::from_str::<(String, String)>(line) {
        return body.chars().fold(begin, |line, byte| format!("{line}{:02x}", u32::from(byte)));
    }
    let digits = line.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or("-"));
    let bytes: Result<Vec<u8>, _> = digits.map(|pair| u8::from_str_radix(pair, 16)).collect();
    bytes.map_or(line.to_owned(), |bytes| bytes.into_iter().map(char::from).collect())
}
