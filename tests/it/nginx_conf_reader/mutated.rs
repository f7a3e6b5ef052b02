//! Files that were changed at random: no panic, no hang, spans that are right, and nginx's words.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cloakroom::config::environment::Environment;
use cloakroom::config::parse;
use cloakroom::import::translate::{Folders, translate};
use cloakroom::import::tree::{Directive, Span, Tree};
use cloakroom::import::{self, Lexer, Source};

use super::oracle::Oracle;

/// How many are read, and of how many nginx is asked.
const READ: usize = 20_000;
const ASKED: usize = 400;
const TRANSLATED: usize = 2000;

/// Good files, with everything that the language has.
const SEEDS: &[&str] = &[
    "user www-data;\nworker_processes auto;\nevents { worker_connections 768; }\nhttp {\n  sendfile on;\n  \
     types { text/html html htm; image/png png; }\n  keepalive_timeout 65 60;\n  server {\n    \
     listen 127.0.0.1:8443 backlog=5;\n    server_name \"a b\" *.example.com; # names\n    location ~ \
     \\.php$ { return 404 'it\"s'; }\n  }\n}\n",
    "events { }\nhttp {\n  map $uri $x { default 0; \"a;b\" 1; \"~^/y{2}\" \"2\\\"\"; }\n  upstream app { \
     server 127.0.0.1:7001 weight=2 max_fails=3; server unix:/run/x.sock backup; keepalive 8; }\n  \
     server { if ($x = \"1\") { return 403; } location / { proxy_set_header Host ${host}x; \
     proxy_read_timeout 1h30m; proxy_buffers 8 4k; limit_except GET { deny all; } } }\n}",
    "pid x.pid;include a.conf;include d/*.conf;events{multi_accept on;}http{charset utf-8;\
     log_format main '$remote_addr - \\'$uri\\'';gzip on;gzip_comp_level 6;server{root /x;\
     location=/a{expires 30d;}location @b{internal;error_page 404 500 =200 /e;}}}",
];

/// What is put in, and what takes the place of something.
const PIECES: &[&str] = &[
    "{",
    "}",
    ";",
    "\"",
    "'",
    "\\",
    "$",
    "${",
    "#",
    "\n",
    " ",
    "\t",
    "(",
    ")",
    "include ",
    "0",
    "x",
    "server {",
    "location / {",
    "on",
    "\u{e9}",
    "{}",
    ";;",
    "\\\"",
    "~",
    "=",
    "/",
    ":",
    "*",
    "1k",
];

/// Random numbers that are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).expect("it is below")
    }

    fn mutated(&mut self) -> Vec<u8> {
        let seed = SEEDS[self.below(SEEDS.len())].as_bytes().to_vec();
        self.changed(seed)
    }

    fn changed(&mut self, mut text: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(4) {
            let at = self.below(text.len());
            let end = (at + self.below(12)).min(text.len());
            let piece = PIECES[self.below(PIECES.len())].as_bytes();
            match self.below(5) {
                0 => drop(text.splice(at..at, piece.iter().copied())),
                1 => drop(text.splice(at..end, piece.iter().copied())),
                2 => drop(text.drain(at..end)),
                3 => text.truncate(at),
                _ => {
                    let copied = text[at..end].to_vec();
                    let to = self.below(text.len());
                    text.splice(to..to, copied);
                }
            }
        }
        text
    }
}

fn others() -> BTreeMap<String, Vec<u8>> {
    let file = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
    [file("/n/a.conf", "user x;"), file("/n/d/b.conf", "\n"), file("/n/d/c.conf", "# c")].into()
}

#[track_caller]
fn spans_are_right(tree: &Tree, directives: &[Directive], around: Option<Span>) {
    let mut before = None::<Span>;
    for directive in directives {
        let words = std::iter::once(&directive.name).chain(&directive.args);
        for word in words {
            let mut alone = tree.written(word.span).to_vec();
            alone.extend(b" ;");
            let mut lexer = Lexer::new(&alone, Source::Parameter);
            let again = lexer.statement().expect("a word is a statement");
            assert_eq!(again.words.len(), 1, "{:?}", String::from_utf8_lossy(&alone));
            assert_eq!(again.words[0].text, word.text);
            assert!(within(word.span, directive.span), "{word:?} {:?}", directive.span);
        }
        if let Some(before) = before.filter(|before| before.file == directive.span.file) {
            assert!(before.end <= directive.span.start, "{before:?} {:?}", directive.span);
        }
        if let Some(around) = around.filter(|around| around.file == directive.span.file) {
            assert!(within(directive.span, around), "{:?} {around:?}", directive.span);
        }
        before = Some(directive.span);
        spans_are_right(tree, directive.children(), Some(directive.span));
    }
}

fn within(inner: Span, outer: Span) -> bool {
    outer.start <= inner.start && inner.start <= inner.end && inner.end <= outer.end
}

#[test]
fn changed_files_neither_panic_nor_hang() {
    let read = std::env::var("NGINX_CONF_MUTATIONS").ok().and_then(|number| number.parse().ok());
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut files = others();
    let mut good = 0;
    for _ in 0..read.unwrap_or(READ) {
        files.insert("/n/nginx.conf".to_owned(), random.mutated());
        if let Ok(tree) = import::nginx(&files, "/n/nginx.conf", "") {
            spans_are_right(&tree, &tree.directives, None);
            good += 1;
        }
    }
    assert!(good > READ / 50, "some are still good: {good}");
}

/// The configurations of applications, with all that theirs have.
fn of_applications() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nginx");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("it is there")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|end| end == "conf"))
        .collect();
    paths.sort();
    let places = [
        ("{http}", "127.0.0.1:8080"),
        ("{https}", "127.0.0.1:8443"),
        ("{origin}", "127.0.0.1:7001"),
        ("{second}", "127.0.0.1:7002"),
        ("{dir}", "/srv"),
        ("{cert}", "/srv/a.pem"),
        ("{key}", "/srv/a.key"),
        ("{msec}", "1"),
    ];
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("it is readable");
        let text = places.iter().fold(text, |text, (from, to)| text.replace(from, to));
        format!("events {{}}\nhttp {{\n{text}\n}}\n").into_bytes()
    };
    paths.iter().map(read).collect()
}

/// What is read is translated, and what is translated is read again: into a configuration, or mistakes.
#[test]
fn changed_files_are_translated_without_a_panic() {
    let read = std::env::var("NGINX_CONF_MUTATIONS").ok().and_then(|number| number.parse().ok());
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let seeds = of_applications();
    assert_eq!(seeds.len(), 17);
    let folders = Folders { prefix: "/n/", conf: "/n/", as_nginx: true };
    let environment = Environment::of_process();
    let mut files = others();
    let (mut good, mut served, mut longest) = (0, 0, Duration::ZERO);
    for _ in 0..read.unwrap_or(TRANSLATED) {
        let seed = &seeds[random.below(seeds.len())];
        files.insert("/n/nginx.conf".to_owned(), random.changed(seed.clone()));
        let begun = Instant::now();
        if let Ok(tree) = import::nginx(&files, "/n/nginx.conf", "") {
            good += 1;
            let translation = translate(&tree, &folders);
            served += u32::from(parse(&translation.yaml, "nginx.conf", &environment).is_ok());
        }
        longest = longest.max(begun.elapsed());
    }
    println!("{good} are files of nginx's, {served} can be served; the longest took {longest:?}");
    assert!(good > 0 && served > 0, "some are still good: {good} {served}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}

/// What is not the reader's to say: patterns, variables, names, and what is asked of the whole.
const OF_OTHERS: &[&str] = &[
    "pcre2_compile()",
    "host not found",
    "unknown \"",
    "you must set",
    "duplicate location",
    "duplicate network",
    "conflicting",
    "duplicate extension",
    "a duplicate",
    "could not build",
    "getpwnam(",
    "no \"events\" section",
    "bind()",
    "open() \"",
    "mkdir()",
    "duplicate upstream",
    "invalid hostname or wildcard",
];

#[test]
fn changed_files_are_told_as_nginx_tells_them() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let cases: Vec<Vec<(&'static str, Vec<u8>)>> = (0..ASKED)
        .map(|_| {
            let mut files = vec![("nginx.conf", random.mutated())];
            files.push(("a.conf", b"user root;".to_vec()));
            files.push(("d/b.conf", b"\n".to_vec()));
            files
        })
        .collect();
    let answers = Oracle::new().ask(&cases);
    let different: Vec<String> = cases
        .iter()
        .zip(&answers)
        .filter(|(_, answers)| answers.nginx != answers.ours)
        .filter(|(_, answers)| !OF_OTHERS.iter().any(|begin| answers.nginx.starts_with(begin)))
        .map(|(case, answers)| {
            let text = String::from_utf8_lossy(&case[0].1);
            format!("{text:?}\n  nginx: {}\n  ours:  {}", answers.nginx, answers.ours)
        })
        .collect();
    assert!(different.is_empty(), "{} of {ASKED}:\n{}", different.len(), different.join("\n"));
}
