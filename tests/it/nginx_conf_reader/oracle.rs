//! What nginx says about a file, and what we say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cloakroom::import::{self, Disk};
use tempfile::TempDir;

/// How many nginxes are asked at the same time.
const THREADS: usize = 4;

/// A folder for files that nginx is asked about.
pub struct Oracle {
    folder: TempDir,
}

/// Both answers about a case: nothing, where there is no mistake.
pub struct Answers {
    pub nginx: String,
    pub ours: String,
}

impl Oracle {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    /// The answers about each case, in its order. A case is files; the first is the main one.
    pub fn ask<C: AsRef<[(&'static str, Vec<u8>)]> + Sync>(&self, cases: &[C]) -> Vec<Answers> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(index) else {
                    return done;
                };
                done.push((index, self.one(index, case.as_ref())));
            }
        };
        let mut done: Vec<(usize, Answers)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("it ends")).collect()
        });
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, answers)| answers).collect()
    }

    fn one(&self, index: usize, files: &[(&'static str, Vec<u8>)]) -> Answers {
        let folder = self.folder.path().join(index.to_string());
        fs::create_dir(&folder).expect("a folder can be made");
        for (name, text) in files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().expect("it has one")).expect("a folder can be made");
            fs::write(file, text).expect("a file can be written");
        }
        let main = folder.join(files[0].0);
        let answers = Answers { nginx: nginx(&folder, &main), ours: ours(&main) };
        fs::remove_dir_all(&folder).expect("the folder can be removed");
        let strip = |text: String| text.replace(&format!("{}/", folder.display()), "");
        Answers { nginx: strip(answers.nginx), ours: strip(answers.ours) }
    }
}

/// What nginx prints behind its first `[emerg] `, without its process's number.
fn nginx(folder: &Path, main: &Path) -> String {
    let mut command = Command::new("nginx");
    command.args(["-t", "-p"]).arg(folder).arg("-c").arg(main);
    // Debian's keeps itself in sbin, which is not on everybody's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = command.env("PATH", path).output().expect("nginx runs");
    let text = import::text::text(&output.stderr);
    let said = text.split_once("[emerg] ").map_or("", |(_, said)| said);
    // A word in it may have line breaks of its own.
    let said = said.split("\nnginx: configuration file ").next().unwrap_or_default();
    let number = said.find(|next: char| next != '#' && !next.is_ascii_digit()).unwrap_or(0);
    match said[number..].strip_prefix(": ") {
        Some(rest) if number > 0 => rest.to_owned(),
        _ => said.to_owned(),
    }
}

fn ours(main: &Path) -> String {
    let main = main.to_str().expect("a temporary folder's name is UTF-8");
    match import::nginx(&Disk, main, "") {
        Ok(_) => String::new(),
        Err(mistake) => import::text::text(&mistake.bytes()),
    }
}

/// The folder of modules that are not built into nginx.
pub fn modules() -> Option<PathBuf> {
    std::env::var_os("NGINX_MODULES").map(PathBuf::from)
}
