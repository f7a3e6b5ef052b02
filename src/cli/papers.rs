//! `cloakroom completions` and `cloakroom man`: what a package brings along, made from the arguments themselves.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Arguments;

/// `cloakroom completions`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Completions {
    /// The shell that completes
    pub shell: Shell,
}

/// `cloakroom man`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Manual {
    /// Write a page for the program and for each of its commands into this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}

impl Completions {
    /// Prints what the shell reads.
    ///
    /// # Errors
    /// Standard output's.
    pub fn run(&self) -> Result<(), String> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "cloakroom", &mut script);
        io::stdout().write_all(&script).map_err(|error| error.to_string())
    }
}

impl Manual {
    /// Prints the page of the program, or writes all pages.
    ///
    /// # Errors
    /// The writer's.
    pub fn run(&self) -> Result<(), String> {
        match &self.directory {
            None => page()
                .and_then(|page| io::stdout().write_all(&page))
                .map_err(|error| error.to_string()),
            Some(directory) => {
                write_all(directory).map_err(|error| format!("{}: {error}", directory.display()))
            }
        }
    }
}

fn write_all(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Arguments::command(), directory)?;
    // Over the one that knows the arguments alone.
    std::fs::write(directory.join("cloakroom.1"), page()?)
}

/// The page of the program: arguments, and what no argument says.
fn page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(Arguments::command());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    for (title, entries) in SECTIONS {
        let mut section = Roff::new();
        section.control("SH", [title]);
        for (term, text) in entries {
            section.control("TP", []);
            section.text([bold(*term)]);
            section.text([roman(*text)]);
        }
        section.to_writer(&mut page)?;
    }
    Ok(page)
}

const SECTIONS: [(&str, &[(&str, &str)]); 5] = [
    (
        "SIGNALS",
        &[
            (
                "QUIT",
                "Drains: listeners close, requests are finished, what is left after drain_timeout is cut.",
            ),
            ("TERM, INT", "Stops at once."),
            (
                "HUP",
                "Reads the configuration, keys and certificates again; after a mistake the old ones stay.",
            ),
            ("USR1", "Opens the files of access logs anew."),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "It ended as asked; the configuration is good."),
            ("1", "Something failed: configuration, port, key ring, certificate, store."),
            ("2", "A mistake of usage."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            (
                "STATE_DIRECTORY",
                "Where key ring, sessions and certificate are kept, where no key says so.",
            ),
            (
                "CREDENTIALS_DIRECTORY",
                "Where a credential keyring.json and password files are looked for first.",
            ),
            (
                "LISTEN_FDS",
                "Sockets that a socket unit passes on, matched to listeners by their address.",
            ),
        ],
    ),
    (
        "FILES",
        &[
            ("/etc/cloakroom/cloakroom.yaml", "The configuration; cloakroom schema describes it."),
            (
                "/etc/cloakroom/keyring.json",
                "The key ring of the fleet, made once by cloakroom keys new.",
            ),
            ("/var/lib/cloakroom", "State: readable by the service's user alone."),
        ],
    ),
    (
        "EXAMPLES",
        &[
            (
                "cloakroom --listen 8443 --upstream 127.0.0.1:7001 --session EGG_SESS",
                "A first look, without any file.",
            ),
            (
                "cloakroom check -c cloakroom.yaml",
                "All that is wrong with a configuration, with places and remedies.",
            ),
            ("cloakroom import /etc/nginx/nginx.conf", "The same configuration in YAML."),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_command_signal_and_option() {
        let page = String::from_utf8(page().expect("a vector takes all")).expect("text");
        let page = page.replace('\\', "");
        for command in Arguments::command().get_subcommands() {
            assert!(
                page.contains(&format!("cloakroom-{}(1)", command.get_name())),
                "{}",
                command.get_name()
            );
        }
        for part in [".SH SIGNALS", "--listen", "USR1", "/etc/cloakroom/cloakroom.yaml"] {
            assert!(page.contains(part), "{part} is missing from\n{page}");
        }
    }

    #[test]
    fn every_command_has_a_page_of_its_own() {
        let directory = tempfile::tempdir().expect("a directory");
        write_all(directory.path()).expect("it can be written");
        for name in ["cloakroom.1", "cloakroom-keys.1", "cloakroom-keys-rotate.1"] {
            assert!(directory.path().join(name).is_file(), "{name}");
        }
    }

    #[test]
    fn shells_complete_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "cloakroom", &mut script);
            let script = String::from_utf8(script).expect("text");
            for word in ["sessions", "import", "upstream"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
