//! The directives that concern the process: read here, since no request knows of them.

use std::path::PathBuf;
use std::time::Duration;

use super::options::Options;
use super::version;
use crate::import::tree::{Directive, Tree};
use crate::import::value::number::number;
use crate::import::value::time::millis;

/// Where relative paths begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// With its slash.
    pub prefix: String,
    pub conf: String,
}

impl Places {
    /// From `-p` and `-c`.
    pub fn of(prefix: Option<&str>, conf: Option<&str>) -> Self {
        let prefix = match prefix {
            None => version::PREFIX.to_owned(),
            Some(given) if given.ends_with('/') => given.to_owned(),
            Some(given) => format!("{given}/"),
        };
        let conf = below(&prefix, conf.unwrap_or(version::CONF));
        Self { prefix, conf }
    }

    /// Where errors are told before a file says where, and where it does not.
    pub fn error_log(&self, options: &Options) -> String {
        match options.error_log.as_deref() {
            Some("stderr") => "stderr".to_owned(),
            given => self.path(given.unwrap_or(version::ERROR_LOG)),
        }
    }

    /// A path below the prefix.
    pub fn path(&self, text: &str) -> String {
        below(&self.prefix, text)
    }

    /// The folder of the file, where certificates and what is included are looked for.
    pub fn conf_folder(&self) -> &str {
        self.conf.rfind('/').map_or("", |slash| &self.conf[..=slash])
    }
}

fn below(prefix: &str, text: &str) -> String {
    if text.starts_with('/') { text.to_owned() } else { format!("{prefix}{text}") }
}

/// What the main level of a file says of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    pub daemon: bool,
    pub master_process: bool,
    pub pid: PathBuf,
    /// Its name, and the group's where that is said too.
    pub user: Option<(String, Option<String>)>,
    pub open_files: Option<u64>,
    pub working_directory: Option<String>,
    /// Names that are kept, and such with values of their own.
    pub environment: Vec<(String, Option<String>)>,
    pub shutdown_timeout: Option<Duration>,
}

impl Globals {
    pub fn of(tree: &Tree, places: &Places) -> Self {
        let all = |name: &'static str| {
            tree.directives.iter().filter(move |directive| directive.name.text == name)
        };
        let value = |name: &'static str| all(name).next().and_then(Directive::first);
        let is_on = |name| value(name).is_none_or(|word| word.eq_ignore_ascii_case("on"));
        let user = all("user").next().and_then(|directive| {
            Some((directive.first()?.to_owned(), directive.arg(1).map(str::to_owned)))
        });
        let variable = |directive: &Directive| {
            let word = directive.first()?;
            Some(match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            })
        };
        Self {
            daemon: is_on("daemon"),
            master_process: is_on("master_process"),
            pid: places.path(value("pid").unwrap_or(version::PID)).into(),
            user,
            open_files: value("worker_rlimit_nofile").and_then(number),
            working_directory: value("working_directory").map(str::to_owned),
            environment: all("env").filter_map(variable).collect(),
            shutdown_timeout: value("worker_shutdown_timeout")
                .and_then(millis)
                .map(Duration::from_millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::import::nginx;

    #[test]
    fn relative_paths_begin_at_the_prefix() {
        let places = Places::of(Some("/p"), Some("conf/nginx.conf"));
        assert_eq!((&*places.prefix, &*places.conf), ("/p/", "/p/conf/nginx.conf"));
        assert_eq!(places.path("logs/x"), "/p/logs/x");
        assert_eq!(places.path("/x"), "/x");
        assert_eq!(places.conf_folder(), "/p/conf/");
        assert_eq!(Places::of(None, None).conf, "/etc/nginx/nginx.conf");
    }

    #[test]
    fn what_the_main_level_says_is_read() {
        let conf = "daemon off; pid logs/x.pid; user www-data staff; worker_rlimit_nofile 64;\n\
                    env A; env B=c; working_directory /w; worker_shutdown_timeout 1s; events {}";
        let files = BTreeMap::from([("/p/nginx.conf".to_owned(), conf.as_bytes().to_vec())]);
        let places = Places::of(Some("/p/"), Some("nginx.conf"));
        let tree = nginx(&files, &places.conf, "master_process off;").expect("it is good");
        let text = str::to_owned;
        let expected = Globals {
            daemon: false,
            master_process: false,
            pid: "/p/logs/x.pid".into(),
            user: Some((text("www-data"), Some(text("staff")))),
            open_files: Some(64),
            working_directory: Some(text("/w")),
            environment: vec![(text("A"), None), (text("B"), Some(text("c")))],
            shutdown_timeout: Some(Duration::from_secs(1)),
        };
        assert_eq!(Globals::of(&tree, &places), expected);
    }
}
