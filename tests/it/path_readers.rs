//! No reading of a known router reaches a guarded place that our decision did not see.
//!
//! `scripts/path-readers` has asked real readers what path they see in a target; the models here are
//! held against its table, and tried with random targets. Two readers are asked live.

use std::io::Write;
use std::process::{Command, Stdio};

use cloakroom::routing::host::Host;
use cloakroom::routing::table::{Ambiguous, Outcome, Restricts, RouteEntry, ServerEntry, Table};
use cloakroom::routing::target::RequestTarget;

const CASES: u32 = 100_000;
const LIVE_CASES: usize = 3_000;

/// What a reader hands to a router, `None` where it refuses.
type Reader = fn(&[u8]) -> Option<Vec<u8>>;

/// In the order of the table's columns.
const READERS: &[(&str, Reader)] = &[
    ("new_url", new_url),
    ("parseurl", plain),
    ("urlsplit", urlsplit),
    ("wsgi", wsgi),
    ("php", plain),
    ("rack", rack),
    ("servlet", servlet),
];

/// One of a guarded path, an open one inside it, and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Open,
    Guarded,
}

impl Restricts for Place {
    fn restricts_at_least(&self, other: &Self) -> bool {
        *self == Self::Guarded || *other == Self::Open
    }

    fn joined(&self, _: &Self) -> Result<Self, Ambiguous> {
        Ok(Self::Guarded)
    }
}

fn table() -> Table<Place> {
    table_of("/account/", "/account/help/", None)
}

/// The same places by other locations.
fn tables() -> [Table<Place>; 4] {
    [
        table(),
        table_of("~ ^/account(/|$)", "^~ /account/help/", None),
        table_of("/account/", "/account/help/", Some(1)),
        table_of("^~ /account/", "~ ^/account/help(/|$)", Some(1)),
    ]
}

fn table_of(guarded: &str, open: &str, outer: Option<usize>) -> Table<Place> {
    let route = |path: &str, outer, payload, folded| RouteEntry {
        path: path.into(),
        outer,
        folded,
        adds_slash: false,
        payload,
    };
    let routes = vec![
        route("/", None, Place::Open, false),
        route(guarded, None, Place::Guarded, true),
        route(open, outer, Place::Open, true),
    ];
    let names = vec!["_".into()];
    Table::build(vec![ServerEntry { names, listeners: None, routes }]).expect("a good table")
}

/// Where we take a target for, and what a worker is asked for; `None` where it is refused.
fn decide(table: &Table<Place>, target: &[u8]) -> Option<(Place, Vec<u8>)> {
    let read = RequestTarget::read(target).ok()?;
    let server = table.server(0, &Host::parse(b"h").expect("a host")).server;
    let Outcome::Route(place) = table.route(server, &read.path).ok()? else {
        panic!("there is a route for everything");
    };
    Some((place, read.forwarded(target).to_vec()))
}

/// Where a router that ignores case and one trailing slash takes a path for.
fn place_of(path: &[u8]) -> Place {
    let lower = path.to_ascii_lowercase();
    let is_inside = lower == b"/account" || lower.starts_with(b"/account/");
    let is_open = path == b"/account/help" || path.starts_with(b"/account/help/");
    match is_inside && !is_open {
        true => Place::Guarded,
        false => Place::Open,
    }
}

#[test]
fn the_models_read_as_the_real_ones_did() {
    let table = include_str!("../readers/paths.jsonl");
    let mut compared = 0;
    for line in table.lines() {
        let row: Vec<Option<String>> = serde_json::from_str(line).expect("a row");
        let (Some(Some(target)), columns) = (row.first(), &row[1..]) else { panic!("{line}") };
        for ((name, read), column) in READERS.iter().zip(columns) {
            // Of these two only what is plain was written anew.
            let is_plain = !target.contains(['#', '\\', ':', '@']) && !target.starts_with("//");
            // What is a host to one URL parser is none to another.
            let begins_as_host = target.starts_with("//") || target.starts_with("/\\");
            match *name {
                "parseurl" | "php" if !is_plain => continue,
                "new_url" if begins_as_host => continue,
                _ => {}
            }
            let found = read(target.as_bytes());
            let expected = column.as_ref().map(|path| path.chars().map(|c| c as u8).collect());
            assert_eq!(found, expected, "{name}: {target}");
            compared += 1;
        }
    }
    assert!(compared > 5_000, "the table was read: {compared}");
}

#[test]
fn no_reading_reaches_a_guarded_place_that_was_not_seen() {
    let (tables, mut random, mut guarded) = (tables(), Random(0x0dd_b1a5), 0);
    for (_, table) in (0..CASES).zip(tables.iter().cycle()) {
        let target = random.target();
        let Some((place, forwarded)) = decide(table, &target) else { continue };
        for (name, read) in READERS {
            if read(&forwarded).is_some_and(|path| place_of(&path) == Place::Guarded) {
                guarded += 1;
                let (target, forwarded) = (target.escape_ascii(), forwarded.escape_ascii());
                assert_eq!(place, Place::Guarded, "{name}: {target}, forwarded {forwarded}");
            }
        }
    }
    assert!(guarded > 10_000, "the guarded path was tried: {guarded}");
}

#[test]
fn two_readers_of_today_reach_none_either() {
    let (table, mut random) = (table(), Random(0x0dd_11fe));
    let decided: Vec<_> = std::iter::repeat_with(|| decide(&table, &random.target()))
        .flatten()
        .filter(|(_, forwarded)| forwarded.is_ascii())
        .take(LIVE_CASES)
        .collect();
    let node = "for (const t of require('fs').readFileSync(0, 'utf8').split('\\n').slice(0, -1))
        { const a = new URL(t, 'http://h').pathname; const b = require('url').parse(t).pathname;
          console.log(JSON.stringify([a, b])) }";
    let python = "import sys, json\nfrom urllib.parse import urlsplit, unquote\n\
        for line in sys.stdin:\n    path = urlsplit(line.rstrip('\\n')).path\n    \
        print(json.dumps([path, unquote(path, 'latin-1')]))";
    for command in [["node", "-e", node], ["python3", "-c", python]] {
        let answers = ask(command, decided.iter().map(|(_, forwarded)| forwarded.as_slice()));
        assert_eq!(answers.len(), decided.len(), "{command:?}");
        for (paths, (place, forwarded)) in answers.iter().zip(&decided) {
            for path in paths {
                let path: Vec<u8> = path.chars().map(|c| c as u8).collect();
                let is_seen = place_of(&path) == Place::Open || *place == Place::Guarded;
                assert!(is_seen, "{}: {}", command[0], forwarded.escape_ascii());
            }
        }
    }
}

/// Lines in, a JSON list for each line out.
pub fn ask<'a>(command: [&str; 3], lines: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<String>> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is installed");
    let mut text = lines.collect::<Vec<_>>().join(&b'\n');
    text.push(b'\n');
    let mut input = child.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || input.write_all(&text));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads its input");
    assert!(output.status.success(), "{command:?}");
    let lines = String::from_utf8(output.stdout).expect("JSON");
    lines.lines().map(|line| serde_json::from_str(line).expect("a list of texts")).collect()
}

// The readers.

fn before<'a>(target: &'a [u8], ends: &[u8]) -> &'a [u8] {
    target.split(|byte| ends.contains(byte)).next().unwrap_or_default()
}

fn plain(target: &[u8]) -> Option<Vec<u8>> {
    Some(before(target, b"?#").to_vec())
}

/// The URL standard's parser, by the crate that implements it.
fn new_url(target: &[u8]) -> Option<Vec<u8>> {
    let base = url::Url::parse("http://h").expect("a URL");
    let url = base.join(std::str::from_utf8(target).ok()?).ok()?;
    Some(url.path().as_bytes().to_vec())
}

fn urlsplit(target: &[u8]) -> Option<Vec<u8>> {
    let rest = match target.strip_prefix(b"//") {
        Some(rest) => &rest[before(rest, b"/?#").len()..],
        None => target,
    };
    plain(rest)
}

fn wsgi(target: &[u8]) -> Option<Vec<u8>> {
    Some(unescaped(before(target, b"?")))
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(text).collect()
}

/// `Rack::Utils.clean_path_info`.
fn rack(target: &[u8]) -> Option<Vec<u8>> {
    let path = unescaped(before(target, b"?#"));
    let mut clean: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(clean.pop()),
            segment => clean.push(segment),
        }
    }
    Some([b"/".as_slice(), &clean.join(&b'/')].concat())
}

/// Tomcat's: parameters, escapes, slashes, dot segments, in this order.
fn servlet(target: &[u8]) -> Option<Vec<u8>> {
    let raw: Vec<&[u8]> =
        before(target, b"?#").split(|byte| *byte == b'/').map(|part| before(part, b";")).collect();
    let raw = raw.join(&b'/');
    let escapes =
        |raw: &[u8]| raw.split(|byte| *byte == b'%').skip(1).map(<[u8]>::to_vec).collect();
    let escapes: Vec<Vec<u8>> = escapes(&raw);
    let is_escape = |tail: &Vec<u8>| tail.len() >= 2 && tail[..2].iter().all(u8::is_ascii_hexdigit);
    let is_slash =
        |tail: &Vec<u8>| tail.get(..2).is_some_and(|two| two.eq_ignore_ascii_case(b"2f"));
    let path = unescaped(&raw);
    if !escapes.iter().all(is_escape)
        || escapes.iter().any(is_slash)
        || path.iter().any(|byte| matches!(byte, b'\\' | 0))
    {
        return None;
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut is_directory = true;
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        is_directory = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()?),
            segment => kept.push(segment),
        }
    }
    let mut clean = [b"/".as_slice(), &kept.join(&b'/')].concat();
    if is_directory && clean != b"/" {
        clean.push(b'/');
    }
    Some(clean)
}

// Random targets.

const PIECES: &[&str] = &[
    "/",
    "/",
    "/",
    "//",
    "/account",
    "/account/",
    "/account/help/",
    "account",
    "Account",
    "help",
    "HELP",
    "%61ccount",
    "%68elp",
    ".",
    "..",
    "/..",
    "/../",
    "/./",
    "%2e",
    "%2E%2e",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    ";",
    ";v=1",
    "/;",
    "..;",
    "x",
    "1",
    "%25",
    "%252e",
    "%252F",
    "%252f..",
    "%00",
    "%20",
    "%0a",
    "?",
    "?x=/account",
    "#",
    "@",
    ":80",
    "%3f",
    "%23",
    "%3b",
    "%c3%a4",
];

/// Xorshift; good enough to choose pieces.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    fn target(&mut self) -> Vec<u8> {
        let mut target = if self.below(20) == 0 { "http://x".to_owned() } else { String::new() };
        target.push('/');
        for _ in 0..1 + self.below(8) {
            target.push_str(PIECES[self.below(PIECES.len())]);
        }
        target.into_bytes()
    }
}
