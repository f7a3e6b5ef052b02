//! Names with `*`, `?` and `[…]`, as `glob(3)` finds them.
//!
//! Names come sorted by their bytes. A wildcard matches neither a slash nor a dot at the beginning of a
//! name; a backslash takes the next character as it is; a bracket that is not closed is one of its own.

use std::io;

use super::files::Files;

/// How many names one pattern may find.
const NAMES_MAX: usize = 4096;

/// Whether nginx takes the name for a pattern.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// The names that match, sorted; none, where nothing does.
///
/// # Errors
/// Where more than a few thousand match.
pub fn find(files: &impl Files, pattern: &str) -> io::Result<Vec<String>> {
    let (root, rest) = match pattern.strip_prefix('/') {
        Some(rest) => ("/", rest),
        None => ("", pattern),
    };
    let mut found = vec![root.to_owned()];
    for (index, segment) in rest.split('/').enumerate() {
        let mut next = Vec::new();
        for folder in &found {
            let prefix = if index == 0 { folder.clone() } else { format!("{folder}/") };
            if segment.is_empty() {
                next.push(prefix);
            } else if is_pattern(segment) {
                let Ok(names) = files.names(if prefix.is_empty() { "." } else { &prefix }) else {
                    continue;
                };
                let segment: Vec<char> = segment.chars().collect();
                let names = names.iter().filter(|name| matches(&segment, name));
                next.extend(names.map(|name| format!("{prefix}{name}")));
            } else {
                next.push(format!("{prefix}{}", literal(segment)));
            }
        }
        if next.len() > NAMES_MAX {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        found = next;
    }
    found.retain(|name| files.exists(name));
    found.sort_by(|one, other| super::text::bytes(one).cmp(&super::text::bytes(other)));
    Ok(found)
}

/// A segment without wildcards, its escapes resolved.
fn literal(segment: &str) -> String {
    let mut chars = segment.chars();
    let mut text = String::new();
    while let Some(next) = chars.next() {
        text.push(if next == '\\' { chars.next().unwrap_or('\\') } else { next });
    }
    text
}

/// Whether a name matches a segment of a pattern, in time of length times length at most.
fn matches(pattern: &[char], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let wild = matches!(pattern.first(), Some('*' | '?' | '['));
    if name.first() == Some(&'.') && wild {
        return false;
    }
    let (mut at, mut of) = (0, 0);
    // Where to go on when the last star takes one more character.
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, of));
            at += 1;
            continue;
        }
        if let Some(length) = one(&pattern[at..], name[of]) {
            at += length;
            of += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (at, of) = (after, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|next| *next == '*')
}

/// The length of what matches one character at the pattern's beginning.
fn one(pattern: &[char], of: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', escaped, ..] => (*escaped == of).then_some(2),
        ['[', rest @ ..] => match bracket(rest, of) {
            Some((hit, length)) => hit.then_some(length + 1),
            None => (of == '[').then_some(1),
        },
        [next, ..] => (*next == of).then_some(1),
        [] => None,
    }
}

/// Whether a bracket's list has the character, and the list's length with its `]`; nothing, where there
/// is no `]`.
fn bracket(list: &[char], of: char) -> Option<(bool, usize)> {
    let negated = matches!(list.first(), Some('!' | '^'));
    let first = usize::from(negated);
    let mut at = first;
    let mut hit = false;
    loop {
        let mut low = *list.get(at)?;
        if low == ']' && at > first {
            return Some((hit != negated, at + 1));
        }
        if low == '\\' {
            at += 1;
            low = *list.get(at)?;
        }
        let mut high = low;
        if list.get(at + 1) == Some(&'-') && list.get(at + 2).is_some_and(|next| *next != ']') {
            at += 2;
            high = *list.get(at)?;
        }
        hit |= (low..=high).contains(&of);
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::find;

    #[track_caller]
    fn check(pattern: &str, expected: &[&str]) {
        let names = [
            "/etc/n/b.conf",
            "/etc/n/a.conf",
            "/etc/n/B.conf",
            "/etc/n/.hidden.conf",
            "/etc/n/x[1",
            "/etc/n/x1",
            "/etc/n/x-",
            "/etc/n/sites/one/c.conf",
            "/etc/n/sites/two/c.conf",
            "/etc/n/*",
        ];
        let files: BTreeMap<String, Vec<u8>> =
            names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        assert_eq!(find(&files, pattern).expect("few names"), expected, "{pattern}");
    }

    #[test]
    fn names_are_found_as_by_glob() {
        check("/etc/n/*.conf", &["/etc/n/B.conf", "/etc/n/a.conf", "/etc/n/b.conf"]);
        check("/etc/n/[ab].conf", &["/etc/n/a.conf", "/etc/n/b.conf"]);
        check("/etc/n/[!a-z].conf", &["/etc/n/B.conf"]);
        check("/etc/n/[^a-z].conf", &["/etc/n/B.conf"]);
        check("/etc/n/?.conf", &["/etc/n/B.conf", "/etc/n/a.conf", "/etc/n/b.conf"]);
        check("/etc/n/.*.conf", &["/etc/n/.hidden.conf"]);
        check("/etc/n/a[.]conf", &["/etc/n/a.conf"]);
        check("/etc/n/x[1", &["/etc/n/x[1"]);
        check("/etc/n/x[1]", &["/etc/n/x1"]);
        check("/etc/n/x[]1]", &["/etc/n/x1"]);
        check("/etc/n/x[a-]", &["/etc/n/x-"]);
        check("/etc/n/\\*", &["/etc/n/*"]);
        check("/etc/n/sites/*/c.conf", &["/etc/n/sites/one/c.conf", "/etc/n/sites/two/c.conf"]);
        check("/etc/n/sites/*/d.conf", &[]);
        check("/etc/*/a.conf", &["/etc/n/a.conf"]);
        check("/nowhere/*.conf", &[]);
    }

    #[test]
    fn many_stars_take_no_time() {
        let files = BTreeMap::from([(format!("/{}", "a".repeat(200)), Vec::new())]);
        let pattern = format!("/{}b", "*a".repeat(100));
        assert_eq!(find(&files, &pattern).expect("few names"), Vec::<String>::new());
    }
}
