//! How far the tables of a server are, as their version says.

use super::engine::Unready;

/// What is said where a table of ours is not what it should be.
pub(super) const FOREIGN: &str = "its tables named cloakroom_… are of another program, or were \
                                  made in another way; name another database, or remove them";

/// How far the tables of a server are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// Of this version, counted from 1.
    Older(usize),
    Current,
}

/// What the row of the version says; none where there is no such row in a table that is there.
pub(super) fn found(version: Option<i64>, known: usize) -> Result<Found, Unready> {
    match version.map(usize::try_from) {
        Some(Ok(version)) if version == known => Ok(Found::Current),
        Some(Ok(version)) if (1..known).contains(&version) => Ok(Found::Older(version)),
        Some(Ok(version)) if version > known => Err(Unready::Refused(format!(
            "its tables were made by a newer version of this program (schema {version}, this one \
             knows {known}); start the newer version, or name another database"
        ))),
        Some(_) | None => Err(Unready::Refused(FOREIGN.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_current_older_newer_or_of_another_program() {
        for (version, expected) in [
            (Some(3), Ok(Found::Current)),
            (Some(1), Ok(Found::Older(1))),
            (Some(2), Ok(Found::Older(2))),
            (Some(4), Err("newer version")),
            (Some(0), Err("another program")),
            (Some(-1), Err("another program")),
            (None, Err("another program")),
        ] {
            match (found(version, 3), expected) {
                (Ok(found), expected) => assert_eq!(Ok(found), expected, "{version:?}"),
                (Err(Unready::Refused(reason)), Err(part)) => assert!(reason.contains(part)),
                (other, _) => panic!("{version:?}: {other:?}"),
            }
        }
    }
}
