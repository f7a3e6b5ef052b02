//! `cloakroom keys`: makes, lists and rolls the keys of a ring (PROTOCOL 3, 4).
//!
//! Each step says what comes next, since a roll-out is done when every node has it. Which have it a
//! running process knows; without one, the metrics of every node say so.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Subcommand;

use super::ask::Place;
use super::fleet_keys::FleetKeys;
use crate::clock::Clock;
use crate::crypto::keyring::{Description, KeyId, Keyring, KeyringError};

/// `cloakroom keys …`
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Keys {
    /// Make a key ring with one fresh key; never overwrites a file
    New { file: PathBuf },
    /// List a ring's keys by id and role, without their values
    Show { file: PathBuf },
    /// Add a fresh key that only opens: the first step of a roll-out
    Rotate { file: PathBuf },
    /// List the live nodes, and which keys each of them has
    Nodes {
        #[command(flatten)]
        place: Place,
    },
    /// Let an accepted key seal, once every node accepts it: the second step
    Promote {
        file: PathBuf,
        /// Eight hex digits, as `keys show` lists them
        #[arg(value_parser = key_id)]
        key: KeyId,
        /// Also where live nodes lack the key: they will not be ready, nor open what it seals
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Take a key out of use, once nothing needs it any more: the last step
    Retire {
        file: PathBuf,
        /// Eight hex digits, as `keys show` lists them
        #[arg(value_parser = key_id)]
        key: KeyId,
    },
    /// Make another index key: this ends every session
    ReplaceIndex {
        file: PathBuf,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

fn key_id(text: &str) -> Result<KeyId, String> {
    KeyId::parse(text).ok_or_else(|| "a key is named by eight hex digits".to_owned())
}

impl Keys {
    /// Does what is asked for, and returns what is to be printed.
    ///
    /// # Errors
    /// A text with the remedy. The file is then as it was.
    pub fn run(&self, clock: &Clock, config: &Path) -> Result<String, String> {
        let now = clock.now();
        let file = self.file();
        let known = match self {
            Self::Promote { key, force, place, .. } => {
                asked_before(file, *key, *force, place, config)?
            }
            _ => None,
        };
        let shown = file.display();
        let text = match self {
            Self::New { .. } => {
                Keyring::generate(now).and_then(|ring| ring.save_new(file)).map(|()| {
                    format!("{shown}: a new key ring; keep it secret, and give every node the same")
                })
            }
            Self::Nodes { place } => {
                return FleetKeys::of(place, config).map(|fleet| fleet.list());
            }
            Self::Show { .. } => Keyring::load(file).map(|ring| list(&ring)),
            Self::Rotate { .. } => Keyring::edit(file, |ring| ring.rotate(now)).map(|key| {
                format!(
                    "{shown}: added {key}, which opens and does not seal yet\n\
                     next: give every node this file and reload it (HUP); when no node lacks it in \
                     `cloakroom keys nodes`, or /metrics of every \
                     node has\n  cloakroom_keyring_key{{key=\"{key}\",status=\"accept\"}} 1\n\
                     then: cloakroom keys promote {shown} {key}"
                )
            }),
            Self::Promote { key, .. } => Keyring::edit(file, |ring| {
                let before = ring.sealing().id();
                ring.promote(*key)?;
                Ok(before)
            })
            .map(|before| {
                if before == *key {
                    return format!("{shown}: {key} is the key that seals; nothing was changed");
                }
                format!(
                    "{shown}: {key} seals, {before} only opens\n\
                     next: give every node this file and reload it (HUP); when /metrics of every \
                     node has\n  cloakroom_keyring_key{{key=\"{key}\",status=\"primary\"}} 1\n\
                     and, for as long as the longest `timeouts.idle`, none of them has added to\n  \
                     cloakroom_keyring_opened_total{{key=\"{before}\"}}\n\
                     then: cloakroom keys retire {shown} {before}"
                )
            }),
            Self::Retire { key, .. } => Keyring::edit(file, |ring| ring.retire(*key)).map(|()| {
                format!(
                    "{shown}: {key} is out of use; what it sealed no longer opens\n\
                     next: give every node this file and reload it (HUP)"
                )
            }),
            Self::ReplaceIndex { yes: false, .. } => {
                return Err(format!(
                    "{shown}: another index key ends every session of every node, at once and for \
                     good; nothing was changed. Where that is what you want: \
                     cloakroom keys replace-index --yes {shown}"
                ));
            }
            Self::ReplaceIndex { yes: true, .. } => {
                Keyring::edit(file, |ring| ring.replace_index(now)).map(|key| {
                    format!(
                        "{shown}: the index key is {key} now; every session ends as its node \
                         reads the file\nnext: give every node this file and reload it (HUP), all \
                         of them together: until then no node finds what another one has stored"
                    )
                })
            }
        };
        let text = text.map_err(|error| with_remedy(&error))?;
        let text = known.map_or(text.clone(), |known| format!("{text}\nnote: {known}"));
        Ok(warned(file, text))
    }

    /// The file; an empty name where it is about none.
    fn file(&self) -> &Path {
        match self {
            Self::Nodes { .. } => Path::new(""),
            Self::New { file }
            | Self::Show { file }
            | Self::Rotate { file }
            | Self::Promote { file, .. }
            | Self::Retire { file, .. }
            | Self::ReplaceIndex { file, .. } => file,
        }
    }
}

/// What is to be said about the nodes once a key seals; nothing where this step changes nothing, or is
/// refused anyway.
///
/// # Errors
/// Live nodes lack it, or nobody answers where somebody was named: nothing should be changed.
fn asked_before(
    file: &Path,
    key: KeyId,
    force: bool,
    place: &Place,
    config: &Path,
) -> Result<Option<String>, String> {
    let may_promote = |ring: &Keyring| ring.sealing().id() != key && ring.opening(key).is_some();
    if !Keyring::load(file).is_ok_and(|ring| may_promote(&ring)) {
        return Ok(None);
    }
    let unknown = |why: &str| {
        format!("which nodes have {key} is not known ({why}): look at /metrics of every node")
    };
    if place.admin.is_none() && !config.exists() {
        return Ok(Some(unknown("no running node was named with --admin")));
    }
    let fleet = match FleetKeys::of(place, config) {
        Ok(fleet) => fleet,
        Err(why) if place.admin.is_some() && !force => {
            return Err(format!("{why}; nothing was changed"));
        }
        Err(why) => return Ok(Some(unknown(why.lines().next().unwrap_or_default()))),
    };
    let without = fleet.without(key);
    match (fleet.doubt(), without.is_empty()) {
        (_, false) if !force => Err(format!(
            "{}: nothing was changed, since live nodes lack {key}: {}. They would not be ready, and \
             answer 503 for what it seals: give them this file and reload them (HUP) first, or add \
             --force",
            file.display(),
            without.join(", ")
        )),
        (_, false) => Ok(Some(format!("live nodes lack {key}: {}", without.join(", ")))),
        (Some(doubt), true) => Ok(Some(unknown(&doubt))),
        (None, true) => Ok(Some(format!(
            "it opens on all {} live nodes; those of a version before this one do not count",
            fleet.count()
        ))),
    }
}

fn list(ring: &Keyring) -> String {
    let lines: Vec<String> = ring.describe().iter().map(line).collect();
    lines.join("\n")
}

fn line(key: &Description) -> String {
    // What the file says may lie past the years that this form of a date can tell.
    let made = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(key.created))
        .filter(|_| key.created < 253_402_300_800)
        .map_or_else(|| key.created.to_string(), httpdate::fmt_http_date);
    let (kid, usage, status) = (key.kid, key.usage.as_str(), key.status.as_str());
    format!("{kid}  {usage:<5}  {status:<7}  made {made}")
}

fn warned(file: &Path, text: String) -> String {
    let mode = std::fs::metadata(file).map_or(0, |about| about.permissions().mode() & 0o7777);
    if mode & 0o007 == 0 {
        return text;
    }
    let file = file.display();
    format!(
        "{text}\nwarning: everybody on this machine can get at {file} (mode {mode:04o}): chmod o= {file}"
    )
}

fn with_remedy(error: &KeyringError) -> String {
    let remedy = match error {
        KeyringError::File { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "; run this as root or as the owner of the file and its directory"
            }
            io::ErrorKind::NotFound => "; `cloakroom keys new FILE` makes a key ring",
            io::ErrorKind::ReadOnlyFilesystem => {
                "; work on the file that this one is a copy of, and hand it out again"
            }
            _ => "",
        },
        _ => "",
    };
    format!("{error}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keyring::{Status, Usage};

    const NOWHERE: &str = "/nonexistent/config.yaml";

    struct Ring {
        _directory: tempfile::TempDir,
        file: PathBuf,
    }

    impl Ring {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let ring = Self { file: directory.path().join("ring.json"), _directory: directory };
            ring.ok(Keys::New { file: ring.file.clone() });
            ring
        }

        fn ok(&self, keys: Keys) -> String {
            keys.run(&Clock::System, Path::new(NOWHERE)).unwrap()
        }

        /// Runs what must be refused, and checks that the file stays as it was.
        fn refused(&self, keys: Keys, expected: &str) {
            let before = std::fs::read(&self.file).unwrap();
            let said = keys.run(&Clock::System, Path::new(NOWHERE)).unwrap_err();
            assert!(said.contains(expected), "{said}");
            assert_eq!(std::fs::read(&self.file).unwrap(), before);
        }

        fn rotate(&self) -> KeyId {
            self.ok(Keys::Rotate { file: self.file.clone() });
            self.of(Usage::Seal, Status::Accept).pop().unwrap()
        }

        fn promote(&self, key: KeyId) -> Keys {
            let (file, place) = (self.file.clone(), Place::default());
            Keys::Promote { file, key, force: false, place }
        }

        fn retire(&self, key: KeyId) -> Keys {
            Keys::Retire { file: self.file.clone(), key }
        }

        fn of(&self, usage: Usage, status: Status) -> Vec<KeyId> {
            let keys = Keyring::load(&self.file).unwrap().describe().into_iter();
            keys.filter(|key| key.usage == usage && key.status == status)
                .map(|key| key.kid)
                .collect()
        }

        fn primary(&self) -> KeyId {
            self.of(Usage::Seal, Status::Primary)[0]
        }
    }

    #[test]
    fn each_step_names_the_next() {
        let ring = Ring::new();
        let old = ring.primary();
        let said = ring.ok(Keys::Rotate { file: ring.file.clone() });
        let new = ring.of(Usage::Seal, Status::Accept)[0];
        let file = ring.file.display();
        assert!(said.contains(&format!("{{key=\"{new}\",status=\"accept\"}} 1")), "{said}");
        assert!(said.ends_with(&format!("cloakroom keys promote {file} {new}")), "{said}");
        let said = ring.ok(ring.promote(new));
        assert_eq!(ring.primary(), new);
        assert!(said.contains(&format!("{{key=\"{new}\",status=\"primary\"}} 1")), "{said}");
        let next =
            format!("cloakroom keys retire {file} {old}\nnote: which nodes have {new} is not");
        assert!(said.contains(&next), "{said}");
        let said = ring.ok(ring.retire(old));
        assert!(said.contains("reload"), "{said}");
        assert_eq!(ring.of(Usage::Seal, Status::Retired), [old]);
        assert!(ring.ok(ring.promote(new)).contains("nothing was changed"));
    }

    #[test]
    fn what_would_leave_sessions_without_a_key_is_refused() {
        let ring = Ring::new();
        let (primary, index) = (ring.primary(), ring.of(Usage::Index, Status::Primary)[0]);
        ring.refused(ring.retire(primary), "it seals: promote another key first");
        ring.refused(ring.retire(index), "`keys replace-index`");
        ring.refused(ring.promote(index), "the index key does not seal");
        let unknown = KeyId(primary.0.map(|byte| !byte));
        ring.refused(ring.promote(unknown), "`keys show` lists those that are");
        ring.refused(ring.retire(unknown), "not in the ring");
        let added = ring.rotate();
        ring.ok(ring.retire(added));
        ring.refused(ring.promote(added), "make a new one with `keys rotate`");
        ring.refused(Keys::New { file: ring.file.clone() }, "is not overwritten");
    }

    #[test]
    fn the_index_is_replaced_only_where_that_is_meant() {
        let ring = Ring::new();
        let index = ring.of(Usage::Index, Status::Primary);
        let replace = |yes| Keys::ReplaceIndex { file: ring.file.clone(), yes };
        ring.refused(replace(false), "ends every session");
        assert!(ring.ok(replace(true)).contains("every session ends"));
        assert_eq!(ring.of(Usage::Index, Status::Retired), index);
    }

    #[test]
    fn a_file_for_everybody_is_warned_of() {
        let ring = Ring::new();
        let show = || ring.ok(Keys::Show { file: ring.file.clone() });
        assert!(!show().contains("warning"));
        std::fs::set_permissions(&ring.file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(show().contains("(mode 0644): chmod o= "));
    }

    #[test]
    fn a_missing_file_is_told_with_its_remedy() {
        let file = PathBuf::from("/nonexistent/ring.json");
        let said = Keys::Rotate { file }.run(&Clock::System, Path::new(NOWHERE)).unwrap_err();
        assert!(said.ends_with("`cloakroom keys new FILE` makes a key ring"), "{said}");
    }

    #[test]
    fn dates_are_those_of_the_file() {
        let key = |created| Description {
            kid: KeyId([0, 0, 0, 10]),
            usage: Usage::Seal,
            status: Status::Accept,
            created,
        };
        assert_eq!(
            line(&key(1_760_000_000)),
            "0000000a  seal   accept   made Thu, 09 Oct 2025 08:53:20 GMT"
        );
        assert!(line(&key(u64::MAX)).ends_with("made 18446744073709551615"));
    }
}
