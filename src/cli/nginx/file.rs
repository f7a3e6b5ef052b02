//! nginx's file, made to be served: read, translated, checked.

use std::path::Path;

use super::globals::{Globals, Places};
use super::options::Options;
use crate::clock::Clock;
use crate::config::diagnostic::{Diagnostics, Severity};
use crate::config::environment::Environment;
use crate::config::{self, Config};
use crate::import::translate::{Folders, Matter, Note, translate};
use crate::import::tree::Tree;
use crate::import::{Disk, nginx};
use crate::listen;
use crate::telemetry::error_log::{Destination, ErrorLog};
use crate::telemetry::log_writer::SinkSettings;

/// A file that can be served.
#[derive(Debug)]
pub struct Read {
    /// Of the main file.
    pub name: String,
    pub tree: Tree,
    pub globals: Globals,
    pub yaml: String,
    pub config: Config,
    /// What of the file is not in force.
    pub left: Vec<String>,
}

impl Read {
    /// The files of its logs.
    pub fn logs(&self) -> impl Iterator<Item = &Path> {
        let errors = self.config.log.error_logs.iter().filter_map(|log| match &log.to {
            Destination::File(path) => Some(path.as_path()),
            Destination::Stderr | Destination::Syslog(_) => None,
        });
        let requests = self.config.log_sinks.iter().filter_map(|sink| match sink {
            SinkSettings::File(file) => Some(file.path.as_path()),
            SinkSettings::Paths | SinkSettings::Stderr | SinkSettings::Syslog(_) => None,
        });
        errors.chain(requests)
    }
}

/// Reads a file with all that it includes, behind the directives of `-g`.
///
/// # Errors
/// What is wrong, each as nginx would say it.
pub fn read(places: &Places, options: &Options) -> Result<Read, Vec<String>> {
    let tree = nginx(&Disk, &places.conf, &options.directives);
    let tree = tree.map_err(|wrong| vec![wrong.to_string()])?;
    let globals = Globals::of(&tree, places);
    let (prefix, conf) = (&places.prefix, places.conf_folder());
    let folders = Folders { prefix, conf, as_nginx: true };
    let translation = translate(&tree, &folders);
    let mut yaml = translation.yaml;
    if !yaml.lines().any(|line| line.starts_with("error_log:")) {
        let path = places.error_log(options);
        yaml.insert_str(0, &format!("error_log: {}\n", serde_json::json!([path])));
    }
    let parsed = config::parse(&yaml, &places.conf, &Environment::of_process());
    let config = parsed.map_err(|found| refused(&found, &yaml))?;
    let left = translation.notes.iter().filter(|note| note.matter == Matter::Left);
    let told = |note: &Note| {
        format!("\"{}\" is not taken: {} in {}", note.directive, note.text, tree.at(note.place))
    };
    let left = left.map(told).collect();
    Ok(Read { name: places.conf.clone(), left, tree, globals, yaml, config })
}

/// Tests what a configuration names: certificates, keys, logs.
///
/// # Errors
/// What is wrong.
pub fn test(read: &Read) -> Result<(), Vec<String>> {
    let logs = ErrorLog::open(&read.config.log.error_logs).err();
    let tls = listen::check(&read.config.listeners, Clock::System.now()).err().unwrap_or_default();
    let wrong: Vec<String> = logs.into_iter().chain(tls.iter().map(ToString::to_string)).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// What our own checks refuse, with the place in nginx's file that it was made from.
fn refused(found: &Diagnostics, yaml: &str) -> Vec<String> {
    let errors = found.iter().filter(|found| found.severity == Severity::Error);
    let told = errors.map(|found| {
        let line = found.place.map_or(0, |place| place.line);
        let above = yaml.lines().take(line).filter_map(|line| line.split_once("# from "));
        let place = above.last().map(|(_, place)| format!(" in {}", place.trim()));
        format!("{}: {}{}", found.path, found.message, place.unwrap_or_default())
    });
    told.collect()
}
