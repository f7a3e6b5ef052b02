//! `cloakroom import`: nginx's configuration as ours, with all that has to be said of it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::import::translate::{Matter, Translation, translate};
use crate::import::{Disk, nginx, text};

/// `cloakroom import`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Import {
    /// nginx's configuration
    #[arg(default_value = "/etc/nginx/nginx.conf")]
    pub file: PathBuf,
    /// Where the translation is written; standard output without it
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Fail where anything of the file is left out
    #[arg(long)]
    pub strict: bool,
    /// Say nothing of what has no meaning here
    #[arg(short, long)]
    pub quiet: bool,
}

/// Translates a file. Notes and mistakes go to standard error.
pub fn run(import: &Import) -> ExitCode {
    let file = absolute(&import.file);
    let name = text::text(file.as_os_str().as_encoded_bytes());
    let tree = match nginx(&Disk, &name, "") {
        Ok(tree) => tree,
        Err(mistake) => {
            eprintln!("cloakroom: {mistake}");
            return ExitCode::FAILURE;
        }
    };
    let folder = file.parent().unwrap_or(Path::new("/"));
    let translation = translate(&tree, &folder.to_string_lossy());
    for note in &translation.notes {
        if note.matter != Matter::Meaningless || !import.quiet {
            eprintln!("{}", note.line(&tree));
        }
    }
    if let Err(error) = write(import, &translation) {
        eprintln!("cloakroom: the translation cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    if import.strict && translation.leaves_anything() {
        eprintln!("cloakroom: not all of {name} is in the translation");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn write(import: &Import, translation: &Translation) -> std::io::Result<()> {
    match &import.output {
        Some(path) => std::fs::write(path, &translation.yaml),
        None => std::io::stdout().lock().write_all(translation.yaml.as_bytes()),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
