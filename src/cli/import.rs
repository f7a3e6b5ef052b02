//! `cloakroom import`: nginx's configuration as ours, with all that has to be said of it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{CONFIG_FILE, probe};
use crate::config::environment::Environment;
use crate::config::{self, Config};
use crate::import::translate::{Folders, Matter, Translation, translate};
use crate::import::tree::Tree;
use crate::import::{Disk, nginx, text};

/// Where nginx's configuration is looked for.
const NGINX_CONF: &str = "/etc/nginx/nginx.conf";

/// `cloakroom import`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Import {
    /// nginx's configuration; else what `-c` names, else /etc/nginx/nginx.conf
    pub file: Option<PathBuf>,
    /// What relative paths count from; without it the folder of nginx's configuration
    #[arg(short, long, value_name = "FOLDER")]
    pub prefix: Option<PathBuf>,
    /// Where the translation is written; standard output without it
    #[arg(short, long, value_name = "FILE", conflicts_with = "run")]
    pub output: Option<PathBuf>,
    /// Fail where anything of the file is left out
    #[arg(long)]
    pub strict: bool,
    /// Ask this page of a worker, and propose a session policy, in comments, for the cookies that it sets
    #[arg(long, value_name = "URL", conflicts_with = "run")]
    pub probe: Option<String>,
    /// Serve the file at once, without writing anything
    #[arg(long)]
    pub run: bool,
}

impl Import {
    /// Translates the file, and writes the translation. Notes and mistakes go to standard error.
    pub fn write(&self, config: &Path, quiet: bool) -> ExitCode {
        let done = self.translation(config, quiet).and_then(|(_, mut translation)| {
            if let Some(url) = &self.probe {
                translation.yaml.push('\n');
                translation.yaml.push_str(&probe::proposal(url)?);
            }
            let written = match &self.output {
                Some(path) => std::fs::write(path, &translation.yaml),
                None => std::io::stdout().lock().write_all(translation.yaml.as_bytes()),
            };
            written.map_err(|error| format!("the translation cannot be written: {error}"))
        });
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                eprintln!("cloakroom: {problem}");
                ExitCode::FAILURE
            }
        }
    }

    /// The file as a configuration to be served.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn config(&self, config: &Path, quiet: bool) -> Result<Config, String> {
        let (name, translation) = self.translation(config, quiet)?;
        let environment = Environment::of_process();
        let parsed = config::parse(&translation.yaml, &name, &environment);
        parsed.map_err(|found| format!("the translation of {name} cannot be served:\n{found}"))
    }

    fn translation(&self, config: &Path, quiet: bool) -> Result<(String, Translation), String> {
        let file = self.file(config);
        let file = std::path::absolute(&file).unwrap_or(file);
        let name = text::text(file.as_os_str().as_encoded_bytes());
        let tree = nginx(&Disk, &name, "").map_err(|mistake| format!("[emerg] {mistake}"))?;
        let folder = file.parent().unwrap_or(Path::new("/")).to_string_lossy();
        let prefix = self.prefix.as_deref().map_or(folder.clone(), Path::to_string_lossy);
        let folders = Folders { prefix: &prefix, conf: &folder, as_nginx: self.run };
        let translation = translate(&tree, &folders);
        self.tell(&tree, &translation, quiet);
        if self.strict && translation.leaves_anything() {
            return Err(format!("not all of {name} is in the translation"));
        }
        Ok((name, translation))
    }

    fn file(&self, config: &Path) -> PathBuf {
        match &self.file {
            Some(file) => file.clone(),
            None if config == Path::new(CONFIG_FILE) => NGINX_CONF.into(),
            None => config.to_owned(),
        }
    }

    /// Says what became of the file's directives; `quiet`: only of those that are not in force as they
    /// stood.
    fn tell(&self, tree: &Tree, translation: &Translation, quiet: bool) {
        for note in &translation.notes {
            if note.matter != Matter::Meaningless || !quiet {
                eprintln!("{}", note.line(tree));
            }
        }
    }
}
