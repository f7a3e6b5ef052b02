//! `cloakroom check` and nginx's `-t`: what is wrong with a configuration, and one verdict.
//!
//! Findings go to standard error, so that a dump on standard output stays clean.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::diagnostic::{Diagnostics, Severity, without_userinfo};
use crate::config::environment::Environment;
use crate::config::{Config, load_in};

/// What to check, and how to say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub config: PathBuf,
    pub style: Style,
    /// Print the file, passwords masked.
    pub dump: bool,
    /// Say nothing but errors.
    pub quiet: bool,
    /// Warnings fail too.
    pub deny_warnings: bool,
}

/// Whose words the verdict has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Own,
    /// nginx's, which scripts and people look for.
    Nginx,
}

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Bad,
}

impl From<Verdict> for ExitCode {
    /// 0, or 1 as from `nginx -t`.
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Good => Self::SUCCESS,
            Verdict::Bad => Self::FAILURE,
        }
    }
}

impl Check {
    /// Checks in the environment of this process and writes to its standard streams.
    pub fn run(&self) -> ExitCode {
        let environment = Environment::of_process();
        let written = self.write(&environment, &mut io::stdout().lock(), &mut io::stderr().lock());
        // Whoever closed the pipe has seen enough; that is no verdict on the file, but no success.
        written.map_or(ExitCode::FAILURE, ExitCode::from)
    }

    /// Checks, and writes findings and verdict.
    ///
    /// # Errors
    /// The writers'.
    pub fn write(
        &self,
        environment: &Environment,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> io::Result<Verdict> {
        let loaded = load_in(&self.config, environment);
        let found = match &loaded {
            Ok(config) => &config.warnings,
            Err(found) => found,
        };
        let verdict = self.verdict(&loaded);
        if verdict == Verdict::Bad || !self.quiet {
            write!(stderr, "{found}")?;
        }
        if self.dump && verdict == Verdict::Good {
            self.write_dump(environment, stdout)?;
        }
        match (verdict, self.quiet) {
            (Verdict::Good, true) => {}
            (Verdict::Good, false) => self.write_good(found, stdout, stderr)?,
            (Verdict::Bad, _) => self.write_bad(found, stderr)?,
        }
        Ok(verdict)
    }

    fn verdict(&self, loaded: &Result<Config, Diagnostics>) -> Verdict {
        match loaded {
            Ok(config) if self.deny_warnings && config.warnings.count(Severity::Warning) > 0 => {
                Verdict::Bad
            }
            Ok(_) => Verdict::Good,
            Err(_) => Verdict::Bad,
        }
    }

    fn write_good(
        &self,
        found: &Diagnostics,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> io::Result<()> {
        let file = self.config.display();
        match self.style {
            Style::Own => {
                let counted = counted(found);
                let counted = if counted.is_empty() { counted } else { format!(" ({counted})") };
                writeln!(stdout, "{file}: configuration is valid{counted}")
            }
            Style::Nginx => {
                writeln!(stderr, "cloakroom: the configuration file {file} syntax is ok")?;
                writeln!(stderr, "cloakroom: configuration file {file} test is successful")
            }
        }
    }

    fn write_bad(&self, found: &Diagnostics, stderr: &mut dyn Write) -> io::Result<()> {
        let file = self.config.display();
        match self.style {
            Style::Own => writeln!(stderr, "{file}: configuration is refused ({})", counted(found)),
            Style::Nginx => writeln!(stderr, "cloakroom: configuration file {file} test failed"),
        }
    }

    /// As nginx's `-T`, but fit to be shown to others: URLs lose their user and password.
    fn write_dump(&self, environment: &Environment, stdout: &mut dyn Write) -> io::Result<()> {
        let bytes = environment.system.read(&self.config)?;
        writeln!(stdout, "# configuration file {}:", self.config.display())?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            writeln!(stdout, "{}", without_userinfo(line))?;
        }
        writeln!(stdout)
    }
}

/// `2 errors, 1 warning`
fn counted(found: &Diagnostics) -> String {
    let counts = [Severity::Error, Severity::Warning, Severity::Notice].map(|severity| {
        let count = found.count(severity);
        let plural = if count == 1 { "" } else { "s" };
        (count, format!("{count} {}{plural}", severity.as_str()))
    });
    let some: Vec<String> =
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect();
    some.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::testing::Given;

    const GOOD: &str = "\
listeners: [{ address: 127.0.0.1:80 }]
upstreams: { app: { endpoints: [{ address: 127.0.0.1:7001 }] } }
servers: [{ routes: [{ path: /, upstream: app }] }]
";

    const GOOD_CHECK: Check = Check {
        config: PathBuf::new(),
        style: Style::Own,
        dump: false,
        quiet: false,
        deny_warnings: false,
    };

    fn check(extra: &str, how: Check, expected: (Verdict, &str, &str)) {
        let environment = Given::default().with("a.yaml", format!("{GOOD}{extra}"), 0o644);
        let how = Check { config: PathBuf::from("a.yaml"), ..how };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let verdict = how.write(&environment.environment(), &mut stdout, &mut stderr);
        let text = |bytes| String::from_utf8(bytes).expect("diagnostics are text");
        let written = (verdict.expect("a vector takes all"), text(stdout), text(stderr));
        let (verdict, stdout, stderr) = expected;
        assert_eq!(written, (verdict, stdout.to_owned(), stderr.to_owned()), "{how:?} {extra}");
    }

    const WARNING: &str = "\
a.yaml:4:8: warning: store: sessions end with the process, and several nodes do not share them
  |
4 | store: memory
  |        ^^^^^^
  = help: for development: leave `store` out for a SQLite file, or name a Redis server
";

    const ERROR: &str = "\
a.yaml:4:10: error: workers: `0` is no number of workers
  |
4 | workers: 0
  |          ^
  = help: write `auto` for one per core, or a number from 1 to 1024
";

    #[test]
    fn the_verdict_counts_what_was_found() {
        let valid = "a.yaml: configuration is valid\n";
        check("", GOOD_CHECK, (Verdict::Good, valid, ""));
        let warned = "a.yaml: configuration is valid (1 warning)\n";
        check("store: memory\n", GOOD_CHECK, (Verdict::Good, warned, WARNING));
        let refused = format!("{ERROR}a.yaml: configuration is refused (1 error)\n");
        check("workers: 0\n", GOOD_CHECK, (Verdict::Bad, "", &refused));
    }

    #[test]
    fn denied_warnings_fail() {
        let how = Check { deny_warnings: true, quiet: true, ..GOOD_CHECK };
        check("", how.clone(), (Verdict::Good, "", ""));
        let refused = format!("{WARNING}a.yaml: configuration is refused (1 warning)\n");
        check("store: memory\n", how, (Verdict::Bad, "", &refused));
    }

    #[test]
    fn nginx_words_are_kept_for_its_switches() {
        let how = Check { style: Style::Nginx, ..GOOD_CHECK };
        let good = "cloakroom: the configuration file a.yaml syntax is ok\n\
                    cloakroom: configuration file a.yaml test is successful\n";
        check("", how.clone(), (Verdict::Good, "", good));
        check("", Check { quiet: true, ..how.clone() }, (Verdict::Good, "", ""));
        let bad = format!("{ERROR}cloakroom: configuration file a.yaml test failed\n");
        check("workers: 0\n", Check { quiet: true, ..how }, (Verdict::Bad, "", &bad));
    }

    #[test]
    fn a_dump_masks_passwords() {
        let how = Check { dump: true, quiet: true, style: Style::Nginx, ..GOOD_CHECK };
        let expected =
            format!("# configuration file a.yaml:\n{GOOD}store: redis://********@127.0.0.1/0\n\n");
        check("store: redis://:s3cret!@127.0.0.1/0\n", how, (Verdict::Good, &expected, ""));
    }

    #[test]
    fn a_missing_file_is_told() {
        let how = Check { config: PathBuf::from("none.yaml"), ..GOOD_CHECK };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let verdict = how.write(&Given::default().environment(), &mut stdout, &mut stderr);
        assert_eq!(verdict.expect("a vector takes all"), Verdict::Bad);
        let expected = "none.yaml: error: cannot be read: entity not found\n\
                        none.yaml: configuration is refused (1 error)\n";
        assert_eq!(String::from_utf8_lossy(&stderr), expected);
    }
}
