//! The command line: sub-commands, and nginx's switches beside them (`-t -T -c -q -v -V`).
//!
//! Arguments become a [`Command`]; `main` acts on it. Usage mistakes end with code 2, everything
//! else that fails with code 1, as nginx's do.

pub mod adoption;
pub mod ask;
pub mod check;
pub mod demo;
pub mod first_look;
mod fleet_keys;
pub mod import;
pub mod keys;
pub mod nginx;
pub mod papers;
mod probe;
pub mod sessions;
pub mod switches;
pub mod upstreams;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use self::adoption::{Learn, Report};
use self::first_look::FirstLook;
use self::keys::Keys;
use self::papers::{Completions, Manual};
use self::sessions::Sessions;
use self::upstreams::Upstreams;

/// Where the configuration is looked for.
pub const CONFIG_FILE: &str = "/etc/cloakroom/cloakroom.yaml";

/// What [`switches`] takes before anything is parsed here.
const SWITCHES: &str = "Before any command, as nginx has them:
  -s <SIGNAL>      Tell the running process: stop, quit, reopen, reload
  -p <PREFIX>      What relative paths of the command line count from
  -e <FILE>        The error log, where the configuration names none
  -g <DIRECTIVES>  daemon on|off; master_process on|off; pid PATH; error_log PATH;";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve, until a signal ends it.
    Run {
        config: PathBuf,
    },
    /// The same, as arguments say it.
    FirstLook(FirstLook),
    /// Say whether such arguments are good, and perhaps what they come to.
    CheckFirstLook {
        look: FirstLook,
        prints: bool,
    },
    /// Say whether a configuration is good.
    Check(check::Check),
    /// Work on a key ring, or ask a running process about those of all nodes; it is found by its
    /// configuration.
    Keys {
        keys: Keys,
        config: PathBuf,
    },
    /// Ask a running process about sessions; it is found by its configuration.
    Sessions {
        sessions: Sessions,
        config: PathBuf,
    },
    /// Ask a running process about its upstreams, or change them; it is found by its configuration.
    Upstreams {
        upstreams: Upstreams,
        config: PathBuf,
    },
    /// Translate nginx's configuration.
    Import {
        import: import::Import,
        config: PathBuf,
        quiet: bool,
    },
    /// Show the protocol at work, with an application of its own.
    Demo(Demo),
    /// Print the configuration's JSON Schema.
    Schema,
    Report(Report),
    Learn(Learn),
    Completions(Completions),
    Manual(Manual),
    /// Print what [`version`] says.
    Version(Detail),
}

/// `cloakroom demo`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Demo {
    /// Where the demonstration listens, on the loopback interface
    #[arg(long, default_value_t = 8443)]
    pub port: u16,
}

/// How much a version says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// nginx's `-v`.
    Short,
    /// nginx's `-V`.
    Long,
}

/// Reads the words of a command line. Prints help and usage mistakes, and ends the process then.
pub fn parse(words: Vec<OsString>) -> Command {
    parse_from(words).unwrap_or_else(|error| error.exit())
}

/// Reads arguments; the first is the program's own name.
///
/// # Errors
/// clap's, which carry their text: also where help was asked for.
pub fn parse_from(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Command, clap::Error> {
    let Arguments { config, look, test, dump, quiet, version, long_version, command } =
        Arguments::try_parse_from(arguments)?;
    if look.is_asked_for() && (config.is_some() || command.is_some()) {
        return Err(Arguments::command().error(
            ErrorKind::ArgumentConflict,
            "--listen, --upstream and --session stand for a file and for `run`: keep them, or `-c` and a command",
        ));
    }
    let config = config.unwrap_or_else(|| PathBuf::from(CONFIG_FILE));
    let Some(command) = command else {
        return Ok(if long_version {
            Command::Version(Detail::Long)
        } else if version {
            Command::Version(Detail::Short)
        } else if look.is_asked_for() {
            match test || dump {
                true => Command::CheckFirstLook { look, prints: dump },
                false => Command::FirstLook(look),
            }
        } else if test || dump {
            let style = check::Style::Nginx;
            let check = check::Check { config, style, dump, quiet, deny_warnings: false };
            Command::Check(check)
        } else {
            Command::Run { config }
        });
    };
    if test || dump || version || long_version {
        return Err(Arguments::command().error(
            ErrorKind::ArgumentConflict,
            "-t, -T, -v and -V stand alone, without a sub-command",
        ));
    }
    Ok(match command {
        Sub::Run => Command::Run { config },
        Sub::Check { deny_warnings, dump } => {
            let style = check::Style::Own;
            Command::Check(check::Check { config, style, dump, quiet, deny_warnings })
        }
        Sub::Keys(keys) => Command::Keys { keys, config },
        Sub::Sessions(sessions) => Command::Sessions { sessions, config },
        Sub::Upstreams(upstreams) => Command::Upstreams { upstreams, config },
        Sub::Import(import) => Command::Import { import, config, quiet },
        Sub::Schema => Command::Schema,
        Sub::Report(report) => Command::Report(report),
        Sub::Learn(learn) => Command::Learn(learn),
        Sub::Completions(completions) => Command::Completions(completions),
        Sub::Man(manual) => Command::Manual(manual),
        Sub::Demo(demo) => Command::Demo(demo),
    })
}

/// The version, with or without what the program was built for.
pub fn version(detail: Detail) -> String {
    let short = format!("cloakroom version: cloakroom/{}", env!("CARGO_PKG_VERSION"));
    match detail {
        Detail::Short => short,
        Detail::Long => {
            let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
            let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
            let nginx = format!("{}\n{}", nginx::short(), nginx::configure());
            format!("{short}\nbuilt for {arch}-{os} ({profile})\n{nginx}")
        }
    }
}

/// A session-aware reverse proxy: session cookies of the application stay behind the counter.
#[derive(Parser)]
#[command(name = "cloakroom", disable_version_flag = true, after_help = SWITCHES)]
struct Arguments {
    /// The configuration [default: /etc/cloakroom/cloakroom.yaml]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    look: FirstLook,
    /// Test the configuration and leave (nginx)
    #[arg(short)]
    test: bool,
    /// Test the configuration, print it and leave (nginx)
    #[arg(short = 'T')]
    dump: bool,
    /// Say nothing but errors while a configuration is tested
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print the version
    #[arg(short = 'v', long)]
    version: bool,
    /// Print the version and how it was built
    #[arg(short = 'V')]
    long_version: bool,
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Subcommand)]
enum Sub {
    /// Serve (also without any sub-command)
    Run,
    /// Say whether the configuration is good, with all that is wrong with it
    Check {
        /// Warnings fail too
        #[arg(long)]
        deny_warnings: bool,
        /// Print the configuration, passwords masked
        #[arg(long)]
        dump: bool,
    },
    /// Work on a key ring
    #[command(subcommand)]
    Keys(Keys),
    /// List and revoke sessions of a running process
    #[command(subcommand)]
    Sessions(Sessions),
    /// List, drain, enable, weigh, add and remove endpoints of a running process
    #[command(subcommand)]
    Upstreams(Upstreams),
    /// Translate nginx's configuration into this program's
    Import(import::Import),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Gather from the log what is wrong with cookies and logins
    Report(Report),
    /// Propose a session policy and login rules by what the log shows
    Learn(Learn),
    /// Print what a shell completes this program's arguments by
    Completions(Completions),
    /// Print the manual page
    Man(Manual),
    /// Show the protocol at work, with an application of its own
    Demo(Demo),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ask::Place;
    use crate::cli::upstreams::Which;
    use crate::crypto::keyring::KeyId;

    fn check(line: &str, expected: Result<Command, ErrorKind>) {
        let parsed = parse_from(line.split(' ')).map_err(|error| error.kind());
        assert_eq!(parsed, expected, "{line}");
    }

    fn checking(style: check::Style, dump: bool, quiet: bool, deny_warnings: bool) -> Command {
        let config = PathBuf::from("a.yaml");
        Command::Check(check::Check { config, style, dump, quiet, deny_warnings })
    }

    #[test]
    fn sub_commands_take_the_configuration_on_either_side() {
        let run = || Ok(Command::Run { config: PathBuf::from("a.yaml") });
        check("cloakroom run -c a.yaml", run());
        check("cloakroom -c a.yaml run", run());
        check("cloakroom schema", Ok(Command::Schema));
        check("cloakroom run", Ok(Command::Run { config: PathBuf::from(CONFIG_FILE) }));
        let own = check::Style::Own;
        check("cloakroom check -c a.yaml", Ok(checking(own, false, false, false)));
        check("cloakroom check --deny-warnings -c a.yaml", Ok(checking(own, false, false, true)));
        check("cloakroom check -q --dump -c a.yaml", Ok(checking(own, true, true, false)));
    }

    #[test]
    fn the_switches_of_nginx_are_understood() {
        let nginx = check::Style::Nginx;
        check("cloakroom -t -c a.yaml", Ok(checking(nginx, false, false, false)));
        check("cloakroom -t -q -c a.yaml", Ok(checking(nginx, false, true, false)));
        check("cloakroom -tqc a.yaml", Ok(checking(nginx, false, true, false)));
        check("cloakroom -T -c a.yaml", Ok(checking(nginx, true, false, false)));
        check("cloakroom -v", Ok(Command::Version(Detail::Short)));
        check("cloakroom --version", Ok(Command::Version(Detail::Short)));
        check("cloakroom -V", Ok(Command::Version(Detail::Long)));
        check("cloakroom -c a.yaml", Ok(Command::Run { config: PathBuf::from("a.yaml") }));
        check("cloakroom", Ok(Command::Run { config: PathBuf::from(CONFIG_FILE) }));
    }

    #[test]
    fn key_rings_and_the_demonstration_have_their_arguments() {
        let file = PathBuf::from("ring.json");
        let asked = |keys| Ok(Command::Keys { keys, config: PathBuf::from(CONFIG_FILE) });
        check("cloakroom keys new ring.json", asked(Keys::New { file: file.clone() }));
        check("cloakroom keys show ring.json", asked(Keys::Show { file: file.clone() }));
        let key = KeyId([0xa, 0, 0, 0x1f]);
        let promote = |force, admin: Option<&str>| {
            let place = Place { admin: admin.map(str::to_owned), ..Place::default() };
            asked(Keys::Promote { file: file.clone(), key, force, place })
        };
        check("cloakroom keys promote ring.json 0A00001f", promote(false, None));
        check(
            "cloakroom keys promote --force ring.json 0A00001f --admin unix:/a",
            promote(true, Some("unix:/a")),
        );
        check("cloakroom keys nodes", asked(Keys::Nodes { place: Place::default() }));
        check(
            "cloakroom keys retire ring.json 0a00001f",
            asked(Keys::Retire { file: file.clone(), key }),
        );
        check("cloakroom keys retire ring.json 0a00001", Err(ErrorKind::ValueValidation));
        let replace = Keys::ReplaceIndex { file: file.clone(), yes: true };
        check("cloakroom keys replace-index ring.json --yes", asked(replace));
        let demo = |port: u16| Ok(Command::Demo(Demo { port }));
        check("cloakroom demo", demo(8443));
        check("cloakroom demo --port 9", demo(9));
    }

    #[test]
    fn sessions_are_listed_by_user_and_revoked_one_way_at_a_time() {
        let place = Place::default;
        let asked = |sessions, config: &str| {
            Ok(Command::Sessions { sessions, config: PathBuf::from(config) })
        };
        let list = Sessions::List { subject: "alice".to_owned(), users: None, place: place() };
        check("cloakroom sessions list --subject alice -c a.yaml", asked(list, "a.yaml"));
        let all = |place| Sessions::Revoke {
            subject: None,
            users: None,
            session: None,
            all: true,
            place,
        };
        check("cloakroom sessions revoke --all", asked(all(place()), CONFIG_FILE));
        let admin = Place { admin: Some("unix:/a".to_owned()), ..Place::default() };
        check("cloakroom sessions revoke --all --admin unix:/a", asked(all(admin), CONFIG_FILE));
        let missing = ErrorKind::MissingRequiredArgument;
        check("cloakroom sessions list", Err(missing));
        check("cloakroom sessions revoke", Err(missing));
        let both = "cloakroom sessions revoke --all --subject alice";
        check(both, Err(ErrorKind::ArgumentConflict));
        let all_of_one = "cloakroom sessions revoke --all --users shop";
        check(all_of_one, Err(ErrorKind::ArgumentConflict));
        check("cloakroom sessions revoke --users shop", Err(missing));
    }

    #[test]
    fn a_first_look_needs_no_file_and_takes_none() {
        let look = FirstLook {
            listen: vec!["8443".to_owned()],
            upstream: vec!["7001".to_owned(), "7002".to_owned()],
            session: vec!["EGG_SESS".to_owned()],
        };
        let line = "cloakroom --listen 8443 --upstream 7001 --session EGG_SESS --upstream 7002";
        check(line, Ok(Command::FirstLook(look.clone())));
        let commas = "cloakroom --listen 8443 --upstream 7001,7002 --session EGG_SESS";
        check(commas, Ok(Command::FirstLook(look.clone())));
        let printed = |prints| Ok(Command::CheckFirstLook { look: look.clone(), prints });
        check(&format!("{line} -t"), printed(false));
        check(&format!("{line} -T"), printed(true));
        for other in ["-c a.yaml", "run", "check", "demo"] {
            check(&format!("{line} {other}"), Err(ErrorKind::ArgumentConflict));
        }
    }

    #[test]
    fn a_package_has_its_papers_from_the_program() {
        let shell = clap_complete::Shell::Zsh;
        check("cloakroom completions zsh", Ok(Command::Completions(Completions { shell })));
        check("cloakroom completions csh", Err(ErrorKind::InvalidValue));
        check("cloakroom man", Ok(Command::Manual(Manual { directory: None })));
        let directory = Some(PathBuf::from("a"));
        check("cloakroom man --directory a", Ok(Command::Manual(Manual { directory })));
    }

    #[test]
    fn endpoints_are_named_by_upstream_and_address() {
        let which = |token: Option<&str>| Which {
            upstream: "shop".to_owned(),
            endpoint: "127.0.0.1:7001".to_owned(),
            place: Place { token_file: token.map(PathBuf::from), ..Place::default() },
        };
        let asked =
            |upstreams| Ok(Command::Upstreams { upstreams, config: PathBuf::from(CONFIG_FILE) });
        let list = |upstream: Option<&str>| Upstreams::List {
            upstream: upstream.map(str::to_owned),
            place: Place::default(),
        };
        check("cloakroom upstreams list", asked(list(None)));
        check("cloakroom upstreams list shop", asked(list(Some("shop"))));
        let drain = Upstreams::Drain(which(Some("t")));
        check("cloakroom upstreams drain shop 127.0.0.1:7001 --token-file t", asked(drain));
        let enable = Upstreams::Enable(which(None));
        check("cloakroom upstreams enable shop 127.0.0.1:7001", asked(enable));
        let weight = Upstreams::Weight { which: which(None), weight: 3 };
        check("cloakroom upstreams weight shop 127.0.0.1:7001 3", asked(weight));
        let (weight, max_conns) = (Some(3), None);
        let add = Upstreams::Add { which: which(None), weight, backup: true, max_conns };
        check("cloakroom upstreams add shop 127.0.0.1:7001 --weight 3 --backup", asked(add));
        let remove = Upstreams::Remove(which(None));
        check("cloakroom upstreams remove shop 127.0.0.1:7001", asked(remove));
        let missing = Err(ErrorKind::MissingRequiredArgument);
        check("cloakroom upstreams drain shop", missing);
    }

    #[test]
    fn mistakes_of_usage_are_told() {
        check("cloakroom -t run", Err(ErrorKind::ArgumentConflict));
        check("cloakroom serve", Err(ErrorKind::InvalidSubcommand));
        check("cloakroom run --deny-warnings", Err(ErrorKind::UnknownArgument));
        check("cloakroom keys", Err(ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand));
        check("cloakroom keys new", Err(ErrorKind::MissingRequiredArgument));
        check("cloakroom -c", Err(ErrorKind::InvalidValue));
        check("cloakroom --help", Err(ErrorKind::DisplayHelp));
    }

    #[test]
    fn the_version_names_the_program() {
        assert!(version(Detail::Short).starts_with("cloakroom version: cloakroom/"));
        assert!(version(Detail::Long).starts_with(&version(Detail::Short)));
        Arguments::command().debug_assert();
    }
}
