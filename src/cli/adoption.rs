//! `cloakroom report` and `cloakroom learn`: what the log of a first time says.
//!
//! Both read log lines, text or JSON, from files or standard input, and change nothing. A policy with
//! `mode: harden, report_only: true` writes the lines that they need; for one with a vault `learn` reads the
//! access and audit lines.

mod html;
mod learned;
mod line;
mod report;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;

use clap::Args;

use self::learned::Learned;
use self::line::Line;

/// Longer lines are none of ours.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// `cloakroom report`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Report {
    /// One page for a browser
    #[arg(long, conflicts_with = "json")]
    pub html: bool,
    /// One object for a program
    #[arg(long)]
    pub json: bool,
    /// Logs; standard input without any
    pub files: Vec<PathBuf>,
}

/// `cloakroom learn`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Learn {
    /// Logs; standard input without any
    pub files: Vec<PathBuf>,
}

impl Report {
    /// Reads the logs and prints what they say of cookies and logins.
    ///
    /// # Errors
    /// A file's, or standard output's.
    pub fn run(&self) -> Result<(), String> {
        let mut gathered = report::Gathered::default();
        let mut learned = Learned::default();
        read(&self.files, |line| {
            gathered.add(line);
            learned.add(line);
        })?;
        let told = report::Told::new(&gathered, &learned);
        let text = match (self.html, self.json) {
            (true, _) => html::page(&told),
            (_, true) => format!("{:#}\n", told.json()),
            _ => told.text(),
        };
        print(&text)
    }
}

impl Learn {
    /// Reads the logs, says at once where an identifier begins to be answered differently without a login, and
    /// prints what policy and rules the traffic suggests.
    ///
    /// # Errors
    /// A file's, or standard output's.
    pub fn run(&self) -> Result<(), String> {
        let mut learned = Learned::default();
        read(&self.files, |line| {
            if let Some(said) = learned.add(line) {
                eprintln!("cloakroom: {said}");
            }
        })?;
        print(&learned.proposal())
    }
}

fn print(text: &str) -> Result<(), String> {
    io::stdout().lock().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

/// Hands every line of ours on. Standard input may be a log that is still being written.
fn read(files: &[PathBuf], mut each: impl FnMut(&Line)) -> Result<(), String> {
    if files.is_empty() {
        return lines(io::stdin().lock(), &mut each)
            .map_err(|error| format!("standard input: {error}"));
    }
    for path in files {
        let file = File::open(path).map(BufReader::new);
        file.and_then(|file| lines(file, &mut each))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn lines(mut reader: impl BufRead, each: &mut impl FnMut(&Line)) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        if let Some(line) = Line::read(&String::from_utf8_lossy(&bytes)) {
            each(&line);
        }
    }
}
