//! `request_buffering`, `client_body_…`: how bodies of requests are taken in.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::schema::key;
use crate::config::value::unit::size;
use crate::config::value::{Flaw, Parsed, choice};
use crate::proxy::request_body::BodySettings;
use crate::proxy::temp_files::{Kept, TempFiles};

use super::Checker;
use super::cursor::RouteAt;

/// Digits of all directories, and of one (nginx).
const LEVELS_MAX: usize = 3;

impl Checker<'_> {
    /// How bodies of requests are taken in.
    pub(super) fn taken_in(&mut self, route: &RouteAt<'_>) -> BodySettings {
        const KEPT: [(&str, Kept); 3] =
            [("off", Kept::Nameless), ("clean", Kept::UntilEnd), ("on", Kept::Always)];
        let usual = BodySettings::default();
        let memory_max = self.inherited(route, &key::client_body_buffer_size, size);
        let kept = self.inherited(route, &key::client_body_in_file_only, |text| {
            choice(text, "way to keep bodies", &KEPT)
        });
        let kept = kept.unwrap_or_default();
        let path = self.inherited(route, &key::client_body_temp_path, temp_path);
        let files = match path {
            Some((directory, levels)) => Some(TempFiles { directory, levels, kept }),
            None if kept == Kept::Nameless => None,
            None => Some(TempFiles { directory: std::env::temp_dir(), levels: Vec::new(), kept }),
        };
        BodySettings {
            is_buffered: route.unless_off(&key::request_buffering),
            memory_max: memory_max
                .map_or(usual.memory_max, |size| usize::try_from(size).unwrap_or(usize::MAX)),
            files: files.map(Arc::new),
        }
    }
}

/// Reads a directory, and how many digits the directories inside it have.
fn temp_path(text: &str) -> Parsed<(PathBuf, Vec<usize>)> {
    let mut words = text.split_whitespace();
    let directory = words.next().unwrap_or_default();
    let levels: Vec<Option<usize>> = words
        .map(|word| word.parse().ok().filter(|digits| (1..=LEVELS_MAX).contains(digits)))
        .collect();
    let (all, levels) = (levels.len(), levels.into_iter().flatten().collect::<Vec<_>>());
    if directory.is_empty() || levels.len() < all || all > LEVELS_MAX {
        return Err(Flaw::new(
            format!("`{text}` is no directory for files"),
            "write a path, and if need be one to three numbers from 1 to 3, such as `/var/spool/bodies 1 2`",
        ));
    }
    Ok((directory.into(), levels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read_as_nginx_reads_them() {
        let check = |text: &str, expected: Option<(&str, &[usize])>| {
            let read = temp_path(text).ok();
            assert_eq!(
                read,
                expected.map(|(path, levels)| (path.into(), levels.to_vec())),
                "{text}"
            );
        };
        check("/var/spool", Some(("/var/spool", &[])));
        check("/var/spool 1 2 3", Some(("/var/spool", &[1, 2, 3])));
        for text in ["", "/x 0", "/x 4", "/x a", "/x 1 1 1 1"] {
            check(text, None);
        }
    }
}
