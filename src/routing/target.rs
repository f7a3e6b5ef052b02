//! A request's target: what came, how workers may read it, and what is forwarded.
//!
//! Decisions are made on a path, and workers differ in how they find it: some resolve `..`, some do
//! not; some see a slash in `%2F`, others a byte; some decode before they choose a handler, others
//! after. A decision on one reading is worth nothing where the worker acts on another. So:
//!
//! - What tells readers apart and nobody needs is refused: a backslash, however encoded; a segment of
//!   parameters alone (`/;x/`); `..;`; an encoded slash beside a dot segment.
//! - Dot segments and slashes at the beginning of a path are resolved *before* it is forwarded.
//! - What is left has at most five readings. Each is matched, and the strictest match counts: an
//!   escaped slash as slash and as byte; escaped letters decoded and not; doubled slashes merged and
//!   not; escapes of escapes decoded and not. It is forwarded as it came.
//!
//! RFC 3986 sections 3.3, 5.2.4 and 6.2.2; nginx's `merge_slashes`. docs/security.md tells operators.

use std::borrow::Cow;

use super::normalise::{Source, decode, resolve, resolve_unmerged};
use super::path::{BadPath, NormalPath};
use super::percent::{self, Part};
use super::reference::{Parts, parts_of_target};

/// A request target (RFC 9112 section 3.2), read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTarget {
    pub path: NormalPath,
    /// What a worker is asked for, where that is not what came.
    forwarded: Option<Box<[u8]>>,
}

impl RequestTarget {
    /// Reads a target in origin-form (`/p?q`), in absolute-form (`http://host/p?q`), or `*`, which
    /// asks about the server as a whole and counts as `/`. Query and fragment belong to no path.
    ///
    /// Neither looks at the authority nor at whether the method goes with the form.
    ///
    /// # Errors
    /// Every error means 400.
    ///
    /// # Examples
    /// ```
    /// use cloakroom::routing::path::BadPath;
    /// use cloakroom::routing::target::RequestTarget;
    ///
    /// let target = RequestTarget::read(b"/account/../b?x=1")?;
    /// assert_eq!(target.path.as_bytes(), b"/b");
    /// assert_eq!(target.forwarded(b"/account/../b?x=1"), b"/b?x=1");
    /// assert_eq!(RequestTarget::read(b"/a%5C..%5Cb"), Err(BadPath::Backslash));
    /// # Ok::<(), BadPath>(())
    /// ```
    pub fn read(target: &[u8]) -> Result<Self, BadPath> {
        if target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return Err(BadPath::Control);
        }
        if target == b"*" {
            return Ok(Self { path: NormalPath::plain(b"/"), forwarded: None });
        }
        let Parts { path, query, is_whole } = parts_of_target(target).ok_or(BadPath::Form)?;
        let (path, spelled) = read_path(path)?;
        let is_as_it_came = is_whole && matches!(spelled, Cow::Borrowed(_));
        let forwarded = (!is_as_it_came).then(|| [&spelled, query].concat().into());
        Ok(Self { path, forwarded })
    }

    /// What a worker is asked for: `came`, the target that was read, or what it was resolved to.
    pub fn forwarded<'a>(&'a self, came: &'a [u8]) -> &'a [u8] {
        self.forwarded.as_deref().unwrap_or(came)
    }
}

impl RequestTarget {
    /// A path that was made inside (`rewrite`), decoded, and its arguments. Workers are asked for it
    /// escaped, but for dot segments, so it is read as that will be; the path itself is the first of
    /// its readings.
    ///
    /// # Errors
    /// It does not begin with a slash, or is one that would be refused as a request's.
    pub fn inside(path: &[u8], args: &[u8]) -> Result<Self, BadPath> {
        if !path.starts_with(b"/") {
            return Err(BadPath::Form);
        }
        let mut escaped = Vec::with_capacity(path.len() + args.len() + 8);
        percent::escape(path, Part::Path, &mut escaped);
        let (read, spelled) = read_path(&escaped)?;
        let mut forwarded = spelled.into_owned();
        if !args.is_empty() {
            forwarded.push(b'?');
            forwarded.extend_from_slice(args);
        }
        let is_read_so = read.as_bytes() == path;
        let others = || read.readings().filter(|other| *other != path).map(Into::into).collect();
        let path = if is_read_so { read } else { NormalPath::with_readings(path, others()) };
        Ok(Self { path, forwarded: Some(forwarded.into()) })
    }
}

impl RequestTarget {
    /// Reads a target as [`read`](Self::read), but doubled slashes stay (nginx `merge_slashes off`). Whoever
    /// merges them still has a say: theirs is one of the other readings.
    ///
    /// # Errors
    /// As there.
    pub fn unmerged(target: &[u8]) -> Result<Self, BadPath> {
        let read = Self::read(target)?;
        let Some(Parts { path, query, .. }) = parts_of_target(target).filter(|_| target != b"*")
        else {
            return Ok(read);
        };
        let decoded = decode(path, Source::Request)?;
        if !decoded.windows(2).any(|pair| pair == b"//") {
            return Ok(read);
        }
        let own = resolve_unmerged(&decoded)?;
        if own != decoded {
            return Self::inside(&own, query.strip_prefix(b"?").unwrap_or_default());
        }
        let others = read.path.readings().filter(|other| *other != own);
        let path = NormalPath::with_readings(&own, others.map(Into::into).collect());
        Ok(Self { path, forwarded: read.forwarded })
    }
}

/// A target as it came, without the authority of an absolute-form: what logs say of it.
pub fn without_authority(came: &[u8]) -> Cow<'_, [u8]> {
    match parts_of_target(came) {
        Some(Parts { path, query, .. }) if !came.starts_with(b"/") => {
            Cow::Owned([path, query].concat())
        }
        _ => Cow::Borrowed(came),
    }
}

/// The path with its readings, and how it is spelled to a worker.
fn read_path(path: &[u8]) -> Result<(NormalPath, Cow<'_, [u8]>), BadPath> {
    if is_plain(path) {
        return Ok((NormalPath::plain(path), Cow::Borrowed(path)));
    }
    let decoded = decode(path, Source::Request)?;
    check(&decoded)?;
    let has_dots = decoded.split(|byte| *byte == b'/').any(is_dot);
    let count_slashes = |path: &[u8]| path.iter().filter(|byte| **byte == b'/').count();
    let has_escaped_slash = count_slashes(&decoded) > count_slashes(path);
    if has_dots && has_escaped_slash {
        return Err(BadPath::DotsBesideSlash);
    }
    let normal = resolve(&decoded, Source::Request)?;
    let spelled = if has_dots || path.starts_with(b"//") {
        Cow::Owned(resolve_spelled(path)?)
    } else {
        Cow::Borrowed(path)
    };
    let others = other_readings(&spelled, &normal)?;
    Ok((NormalPath::with_readings(&normal, others), spelled))
}

/// Whether nothing in a path is read in two ways. Dot files are sent the long way round: they are
/// rare.
fn is_plain(path: &[u8]) -> bool {
    !path.iter().any(|byte| matches!(byte, b'%' | b'\\'))
        && !path.windows(2).any(|pair| matches!(pair, [b'/', b'/' | b'.' | b';']))
}

/// Refuses what only an attack spells.
fn check(decoded: &[u8]) -> Result<(), BadPath> {
    if decoded.contains(&b'\\') {
        return Err(BadPath::Backslash);
    }
    // The last segment may be: `/;jsessionid=…` is how servlet containers write `/`.
    let mut inner = decoded.rsplit(|byte| *byte == b'/').skip(1);
    match inner.any(|segment| segment.starts_with(b";")) {
        true => Err(BadPath::EmptyParameters),
        false => Ok(()),
    }
}

fn is_dot(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// Removes empty and dot segments, however these are spelled, and leaves the spelling of the others.
fn resolve_spelled(path: &[u8]) -> Result<Vec<u8>, BadPath> {
    let plain: Vec<Cow<'_, [u8]>> = path
        .split(|byte| *byte == b'/')
        .skip(1)
        .map(|segment| match decode(segment, Source::Request)? {
            decoded if is_dot(&decoded) => Ok(Cow::Owned(decoded)),
            _ => Ok(Cow::Borrowed(segment)),
        })
        .collect::<Result<_, BadPath>>()?;
    let joined = plain.iter().fold(Vec::with_capacity(path.len()), |mut joined, segment| {
        joined.push(b'/');
        joined.extend_from_slice(segment);
        joined
    });
    resolve(&joined, Source::Request)
}

/// How else than as `normal` the path that a worker is asked for may be read.
fn other_readings(spelled: &[u8], normal: &[u8]) -> Result<Vec<Box<[u8]>>, BadPath> {
    let literal = decode_but(spelled, |byte| byte == b'/' || is_unreserved(byte));
    let escaped_slashes = resolve(&decode_but(spelled, |byte| byte == b'/'), Source::Request)?;
    let unmerged = decode(spelled, Source::Request)?;
    let mut all = vec![literal, escaped_slashes, unmerged];
    if normal.contains(&b'%') {
        all.push(decoded_again(normal)?);
    }
    let mut readings: Vec<Box<[u8]>> = Vec::new();
    for reading in all {
        if reading != normal && !readings.iter().any(|other| **other == *reading) {
            readings.push(reading.into());
        }
    }
    Ok(readings)
}

/// The path as somebody reads it who decodes what was decoded already.
fn decoded_again(normal: &[u8]) -> Result<Vec<u8>, BadPath> {
    let mut again = decode(normal, Source::Reference)?;
    again.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    match again.split(|byte| *byte == b'/').any(is_dot) {
        true => Err(BadPath::DotsEncodedTwice),
        false => resolve(&again, Source::Reference),
    }
}

/// Decodes all escapes but those of the bytes that `stays` names; the path was decoded before, so all
/// are good.
fn decode_but(path: &[u8], stays: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        let escape = tail.first_chunk::<2>().filter(|_| *byte == b'%');
        match escape
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
        {
            Some(escaped) if !stays(escaped) => {
                decoded.push(escaped);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*byte);
                rest = tail;
            }
        }
    }
    decoded
}

/// What nobody needs to escape (RFC 3986 section 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path, the other readings, and what is forwarded where it differs.
    type Read<'a> = (&'a str, &'a [&'a str], Option<&'a str>);

    #[track_caller]
    fn check(target: &str, expected: Result<Read<'_>, BadPath>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = RequestTarget::read(target.as_bytes()).map(|read| {
            let readings: Vec<String> = read.path.readings().map(text).collect();
            (readings, read.forwarded.as_deref().map(text))
        });
        let expected = expected.map(|(path, others, forwarded)| {
            let readings = [&[path], others].concat().into_iter().map(str::to_owned).collect();
            (readings, forwarded.map(str::to_owned))
        });
        assert_eq!(found, expected, "{target}");
    }

    #[test]
    fn slashes_may_stay_doubled() {
        let read = |target: &str| {
            let read = RequestTarget::unmerged(target.as_bytes()).expect(target);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let forwarded = text(read.forwarded(target.as_bytes()));
            (read.path.readings().map(text).collect::<Vec<_>>(), forwarded)
        };
        assert_eq!(read("/a/b"), (vec!["/a/b".to_owned()], "/a/b".to_owned()));
        let (readings, forwarded) = read("/a//b?c");
        assert_eq!(
            (&readings[..], &forwarded[..]),
            (&["/a//b".into(), "/a/b".into()][..], "/a//b?c")
        );
        assert_eq!(read("//a").0, ["//a", "/a"]);
        assert_eq!(read("/a//../b").0[0], "/a/b");
        assert_eq!(read("/a///../b?c").0[0], "/a//b");
        assert_eq!(read("/a//b/..").0[0], "/a//");
        assert_eq!(read("/a%2F/b").0[0], "/a//b");
        assert!(read("/admin//../x//y").0.contains(&"/admin/x/y".to_owned()));
        assert_eq!(RequestTarget::unmerged(b"//../.."), Err(BadPath::AboveRoot));
    }

    #[test]
    fn what_everybody_reads_the_same_is_forwarded_as_it_came() {
        for target in ["/", "/a/b/", "/a;v=1/b", "/a?b=/../c\\d", "/~a/b.c/..d"] {
            check(target, Ok((target.split('?').next().unwrap(), &[], None)));
        }
        check("*", Ok(("/", &[], None)));
        check("/a%20b", Ok(("/a b", &[], None)));
        check("/%E4%BD%A0", Ok(("/\u{4f60}", &[], None)));
        check("/.well-known/x", Ok(("/.well-known/x", &[], None)));
        check("/...", Ok(("/...", &[], None)));
        check("/a%252Fb", Ok(("/a%2Fb", &["/a/b"], None)));
        check("/100%25", Ok(("/100%", &[], None)));
        check("/list/;page=2", Ok(("/list/;page=2", &[], None)));
    }

    #[test]
    fn a_path_that_was_made_inside_is_read_as_workers_will() {
        let read = |path: &str, args: &str| {
            let read = RequestTarget::inside(path.as_bytes(), args.as_bytes())?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let readings: Vec<String> = read.path.readings().map(text).collect();
            Ok((readings.join(" | "), text(read.forwarded(b"/came"))))
        };
        for (path, args, readings, forwarded) in [
            ("/a", "", "/a", "/a"),
            ("/a b?c", "x=%20", "/a b?c", "/a%20b%3Fc?x=%20"),
            ("/a//b", "", "/a//b | /a/b", "/a//b"),
            ("//a", "", "//a | /a", "/a"),
            ("/a/../b", "", "/a/../b | /b", "/b"),
            ("/a%2Fb", "", "/a%2Fb | /a/b", "/a%252Fb"),
        ] {
            let expected = Ok((readings.to_owned(), forwarded.to_owned()));
            assert_eq!(read(path, args), expected, "{path}");
        }
        for (path, error) in [
            ("a", BadPath::Form),
            ("", BadPath::Form),
            ("/a\\b", BadPath::Backslash),
            ("/..", BadPath::AboveRoot),
            ("/a%2f..%2fb", BadPath::DotsEncodedTwice),
            ("/a\0", BadPath::Nul),
        ] {
            assert_eq!(read(path, ""), Err(error), "{path:?}");
        }
    }

    /// An absolute form or a fragment says no more than its path and query.
    #[test]
    fn a_worker_is_asked_for_a_path() {
        check("http://h/a?b", Ok(("/a", &[], Some("/a?b"))));
        check("HTTPS://h:1?q", Ok(("/", &[], Some("/?q"))));
        check("http://h", Ok(("/", &[], Some("/"))));
        assert_eq!(&*without_authority(b"http://h?q"), b"/?q");
        assert_eq!(&*without_authority(b"http://h:1/a/../b"), b"/a/../b");
        assert_eq!(&*without_authority(b"/a?b"), b"/a?b");
        assert_eq!(&*without_authority(b"*"), b"*");
        check("/a#f?x", Ok(("/a", &[], Some("/a"))));
        check("/a?b#f", Ok(("/a", &[], Some("/a?b"))));
    }

    #[test]
    fn dot_segments_are_resolved_before_anybody_else_can() {
        for (target, path) in [
            ("/account/..", "/"),
            ("/account/%2e%2e", "/"),
            ("/account/%2E./", "/"),
            ("/account/1/../../x?y", "/x"),
            ("/account/x//../../1", "/1"),
            ("/a/./b/.", "/a/b/"),
            ("/a//../b", "/b"),
            ("/a;x/../b;y", "/b;y"),
        ] {
            let query = target.find('?').map_or("", |at| &target[at..]);
            check(target, Ok((path, &[], Some(&format!("{path}{query}")))));
        }
        check("/a/../b%20c", Ok(("/b c", &[], Some("/b%20c"))));
        check("/x/../%62?c", Ok(("/b", &["/%62"], Some("/%62?c"))));
    }

    /// `new URL()` takes `//x/account` for a path on another host.
    #[test]
    fn slashes_at_the_beginning_are_one() {
        check("//x/account/1", Ok(("/x/account/1", &[], Some("/x/account/1"))));
        check("///a//b?c", Ok(("/a/b", &[], Some("/a/b?c"))));
        check("http://h//a", Ok(("/a", &[], Some("/a"))));
    }

    #[test]
    fn what_is_read_in_two_ways_has_two_readings() {
        check("/group%2Fproject", Ok(("/group/project", &["/group%2Fproject"], None)));
        check("/a//b", Ok(("/a/b", &["/a//b"], None)));
        check("/%61ccount", Ok(("/account", &["/%61ccount"], None)));
        let all = ["/a%2f%62//%20", "/a%2fb/ ", "/a/b// "];
        check("/a%2f%62//%20", Ok(("/a/b/ ", &["/a%2f%62// ", all[1], all[2]], None)));
        check("/a%2f%2fb", Ok(("/a/b", &["/a%2f%2fb", "/a//b"], None)));
    }

    #[test]
    fn what_only_an_attack_spells_is_refused() {
        for (target, error) in [
            ("/\\x/account/1", BadPath::Backslash),
            ("/x\\..\\account\\1", BadPath::Backslash),
            ("/account%5c1", BadPath::Backslash),
            ("/x/;/../account/1", BadPath::EmptyParameters),
            ("/;v/account", BadPath::EmptyParameters),
            ("/x/%3bv/account", BadPath::EmptyParameters),
            ("/x%2f;v/account", BadPath::EmptyParameters),
            ("/account/1%2F..%2F..%2Fx", BadPath::DotsBesideSlash),
            ("/x/%252e%252e/account/1", BadPath::DotsEncodedTwice),
            ("/x%255c.%252e%255caccount", BadPath::DotsEncodedTwice),
            ("/a%2fb/../c", BadPath::DotsBesideSlash),
            ("/a%2f.", BadPath::DotsBesideSlash),
            ("/a/..;/b", BadPath::DotParameters),
            ("/a/%2e.%3bx/b", BadPath::DotParameters),
            ("/a%00", BadPath::Nul),
            ("/%", BadPath::Escape),
            ("/../a", BadPath::AboveRoot),
            ("//..", BadPath::AboveRoot),
            ("/a b", BadPath::Control),
            ("a", BadPath::Form),
            ("http:///a", BadPath::Form),
        ] {
            check(target, Err(error));
        }
    }
}
