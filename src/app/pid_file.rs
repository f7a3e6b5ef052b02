//! The file with the number of this process, and what is told beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::listen::succession;

/// The file, where there is one.
#[derive(Debug, Default)]
pub(super) struct PidFile {
    path: Option<PathBuf>,
    reloads: AtomicU64,
}

/// What came of a reload, for whoever has asked for it by a signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How many there were so far.
    pub reloads: u64,
    /// Why the old configuration stays.
    pub error: Option<String>,
    /// What stays what it was.
    pub stays: Vec<String>,
}

impl Report {
    /// Where it lies.
    pub fn path(pid: &Path) -> PathBuf {
        let mut name = pid.as_os_str().to_owned();
        name.push(".reload");
        name.into()
    }

    /// The last one, where there is one.
    pub fn read(pid: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(pid)).ok()?).ok()
    }
}

impl PidFile {
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, ..Self::default() }
    }

    /// Writes the number.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn write(&self) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        // Whose place this process takes has counted so far.
        let reloads = Report::read(path).map_or(0, |report| report.reloads);
        self.reloads.store(reloads, Relaxed);
        fs::write(path, format!("{}\n", std::process::id()))
            .map_err(|error| format!("pid: {}: {error}", path.display()))
    }

    /// Gives the name to another process.
    pub fn step_aside(&self) {
        if let Some(path) = &self.path {
            tell(fs::rename(path, succession::old(path)), path);
        }
    }

    /// Takes the name back.
    pub fn step_back(&self) {
        let Some(path) = &self.path else { return };
        let old = succession::old(path);
        if succession::is_own(&old) {
            tell(fs::rename(old, path), path);
        }
    }

    /// Says what came of a reload.
    pub fn report(&self, outcome: &Result<Vec<&'static str>, String>) {
        let Some(path) = &self.path else { return };
        let reloads = self.reloads.fetch_add(1, Relaxed) + 1;
        let stays = outcome.iter().flatten().map(|key| (*key).to_owned()).collect();
        let report = Report { reloads, error: outcome.as_ref().err().cloned(), stays };
        let path = Report::path(path);
        let draft = path.with_extension("reload-draft");
        let written = serde_json::to_vec(&report).map_err(Into::into);
        let written = written.and_then(|text| fs::write(&draft, text));
        tell(written.and_then(|()| fs::rename(&draft, &path)), &path);
    }

    /// Takes the file away.
    pub fn remove(&self) {
        let Some(path) = &self.path else { return };
        if succession::is_own(path) {
            // There may have been no reload.
            let _ = fs::remove_file(Report::path(path));
        }
        succession::remove_own(path);
    }
}

fn tell(outcome: std::io::Result<()>, path: &Path) {
    if let Err(error) = outcome {
        tracing::error!(%error, path = %path.display(), "the pid file stays what it was");
    }
}
