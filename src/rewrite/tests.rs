//! Scripts, as nginx runs them: what is expected here was asked of nginx itself.

use std::net::IpAddr;

use super::{
    Answer, Around, BadStep, Content, File, FileKind, Files, Outcome, Run, Script, Step, Uri,
};
use crate::variables::Facts;
use crate::variables::name::{Builtin, Family};
use crate::variables::registry::Registry;
use crate::variables::values::Values;

/// A request to `a.example`, and three files.
struct World;

impl Facts for World {
    fn builtin(&self, name: Builtin, out: &mut Vec<u8>) -> bool {
        match name {
            Builtin::Host => out.extend_from_slice(b"a.example"),
            Builtin::Scheme => out.extend_from_slice(b"http"),
            Builtin::RequestMethod => out.extend_from_slice(b"GET"),
            _ => return false,
        }
        true
    }

    fn member(&self, _: Family, name: &[u8], out: &mut Vec<u8>) -> bool {
        let has = name == b"user_agent";
        if has {
            out.extend_from_slice(b"Curl/8 (x)");
        }
        has
    }

    fn client(&self) -> Option<IpAddr> {
        None
    }
}

impl Files for World {
    fn look(&self, path: &[u8]) -> Option<File> {
        let file = |kind, is_executable| Some(File { kind, is_executable });
        match path {
            b"/file" => file(FileKind::Regular, false),
            b"/program" => file(FileKind::Regular, true),
            b"/directory" => file(FileKind::Directory, true),
            b"/socket" => file(FileKind::Other, false),
            _ => None,
        }
    }
}

/// What is run, a line for each step: nginx's own words, without semicolons.
fn script(lines: &[&str], registry: &mut Registry) -> Result<Script, BadStep> {
    let mut steps = Vec::new();
    for line in lines {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        steps.push(match word {
            "set" => {
                let (name, value) = rest.split_once(' ').expect("a name and a value");
                Step::set(name, value, registry)?
            }
            "rewrite" => Step::rewrite(rest, registry)?,
            "return" => Step::answer(rest, registry)?,
            "break" => Step::stop(),
            "if" => {
                let (condition, then) = rest.split_once(" { ").expect("a block");
                let (number, then) = then.split_once(' ').expect("a number");
                let then = then.split("; ").collect::<Vec<_>>();
                let then = script(if then == ["-"] { &[] } else { &then }, registry)?;
                Step::when(condition, number.parse().ok(), then, registry)?
            }
            _ => panic!("{line}"),
        });
    }
    Ok(Script::new(steps))
}

/// Runs steps for a target such as `/a%20b?c`.
fn run(target: &str, lines: &[&str]) -> (Uri, Run) {
    let mut registry = Registry::default();
    let script = script(lines, &mut registry).unwrap_or_else(|bad| panic!("{lines:?}: {bad}"));
    let (path, args) = target.split_once('?').unwrap_or((target, ""));
    let mut uri = Uri {
        path: percent_encoding::percent_decode_str(path).collect(),
        args: args.into(),
        was_escaped: path.contains(['%', '+']),
        ..Uri::default()
    };
    let variables = registry.finish();
    let mut values = Values::default();
    let mut around = Around {
        variables: &variables,
        facts: &World,
        values: &mut values,
        files: &World,
        logs: false,
    };
    let run = script.run(&mut uri, &mut around);
    (uri, run)
}

/// The URI and what follows.
#[track_caller]
fn check(target: &str, lines: &[&str], expected: &str) {
    let (uri, run) = run(target, lines);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let args = if uri.args.is_empty() { String::new() } else { format!("?{}", text(&uri.args)) };
    let found = match run.outcome {
        Outcome::Continue { inside: None } => format!("{}{args}", text(&uri.path)),
        Outcome::Continue { inside: Some(index) } => {
            format!("{}{args} in {index}", text(&uri.path))
        }
        Outcome::SearchAgain => format!("-> {}{args}", text(&uri.path)),
        Outcome::Answer(Answer { status, content: Content::Error }) => format!("{status}"),
        Outcome::Answer(Answer { status, content: Content::Text(it) }) => {
            format!("{status} text {}", text(&it))
        }
        Outcome::Answer(Answer { status, content: Content::Location(it) }) => {
            format!("{status} to {}", text(&it))
        }
    };
    assert_eq!(found, expected, "{target}: {lines:?}");
}

#[test]
fn rules_replace_the_path_and_go_on_as_their_flags_say() {
    check("/a/x", &["rewrite ^/a/(.*)$ /b/$1 last", "return 500"], "-> /b/x");
    check("/a/x", &["rewrite ^/a/(.*)$ /b/$1 break", "return 500"], "/b/x");
    check("/a/x", &["rewrite ^/a/(.*)$ /b/$1", "rewrite ^/b/(.*)$ /c/$1"], "-> /c/x");
    check("/a/x", &["rewrite ^/a/(.*)$ /b/$1", "break"], "/b/x");
    check("/a/x", &["rewrite ^/b /c last"], "/a/x");
    check("/a/x", &["rewrite ^/a/(?<rest>.*)$ /b/$rest/$1 last"], "-> /b/x/x");
    check("/a/x", &["rewrite ^ /b?", "return 200 $uri"], "200 text /b");
    check("/a/x", &["set $empty ", "rewrite ^ $empty last"], "500");
    check("/a", &["rewrite \"^/a{1}$\" '/b c' last"], "-> /b c");
}

#[test]
fn arguments_are_put_behind_those_of_the_replacement() {
    check("/a?x=1", &["rewrite ^/a /b last"], "-> /b?x=1");
    check("/a?x=1", &["rewrite ^/a /b? last"], "-> /b");
    check("/a?x=1", &["rewrite ^/a /b?y=2 last"], "-> /b?y=2&x=1");
    check("/a?x=1", &["rewrite ^/a /b?y=2? last"], "-> /b?y=2");
    check("/a", &["rewrite ^/a /b?y=2 last"], "-> /b?y=2");
    check("/a?x=1", &["rewrite ^/a /b?y=$arg_x last"], "-> /b?y=1&x=1");
    check("/a?o", &["set $args n=1", "rewrite ^/a /b last"], "-> /b?n=1");
    check("/a?z", &["rewrite ^/(.*)$ /u/$1?a=$1?b=$1 last"], "-> /u/a?a=a?b=a&z");
}

/// nginx 12.
#[test]
fn groups_are_escaped_where_they_become_arguments() {
    check("/a%26b?z", &["rewrite ^/(.*)$ /u/$1?a=$1 last"], "-> /u/a&b?a=a%26b&z");
    check("/a+b", &["rewrite ^/(.*)$ /u/$1?a=$1 last"], "-> /u/a+b?a=a%2Bb");
    check("/a&b", &["rewrite ^/(.*)$ /u/$1?a=$1 last"], "-> /u/a&b?a=a&b");
    check("/a%25b", &["rewrite ^/(.*)$ /u/$1?a=$1 last"], "-> /u/a%b?a=a%25b");
    check("/a%20b", &["if $uri ~ ^/(.*)$ { - set $x $1", "return 200 $x,$1"], "200 text a%20b,a b");
    check("/a%20b", &["rewrite ^/(.*)$ /c", "set $x $1", "return 200 $x"], "200 text a b");
}

#[test]
fn redirects_are_answers() {
    check("/a/x?y", &["rewrite ^/a/(.*)$ /b/$1 redirect"], "302 to /b/x?y");
    check("/a/x?y", &["rewrite ^/a/(.*)$ /b/$1?z permanent"], "301 to /b/x?z&y");
    check("/a/x?y", &["rewrite ^/a/(.*)$ /b/$1? redirect"], "302 to /b/x");
    check("/a/x", &["rewrite ^/a/(.*)$ https://b.example/$1"], "302 to https://b.example/x");
    check(
        "/a/x",
        &["rewrite ^/a/(.*)$ $scheme://b.example/$1 permanent"],
        "301 to http://b.example/x",
    );
    check(
        "/r/a%20b%26%41?x=%20",
        &["rewrite ^/r/(.*)$ /to/$1?c=$1 redirect"],
        "302 to /to/a%20b&A?c=a%20b%26A&x=%20",
    );
    check("/r/%3Fb%41", &["rewrite ^/r/(.*)$ /to/$1?c=$1 redirect"], "302 to /to/?bA?c=%3FbA");
    check("/r?a=%0d%0ab", &["rewrite ^ /to/$arg_a? redirect"], "302 to /to/%0d%0ab");
}

#[test]
fn answers_have_texts_or_locations() {
    check("/", &["return 403"], "403");
    check("/", &["return 444"], "444");
    check("/", &["return 204", "return 500"], "204 text ");
    check("/", &["return 200 \"a $host b\""], "200 text a a.example b");
    check("/", &["return 404 gone"], "404 text gone");
    check("/", &["return 404 \"\""], "404");
    check("/", &["set $x ", "return 404 $x"], "404 text ");
    check("/", &["return 200 \"\""], "200 text ");
    check("/x?y", &["return 301 https://$host$uri?$args"], "301 to https://a.example/x?y");
    check("/", &["return https://b.example/"], "302 to https://b.example/");
    check("/", &["return 307 /x"], "307 to /x");
    check("/", &["return 301"], "301 to ");
}

/// nginx 13.
#[test]
fn conditions_hold_as_in_nginx() {
    let holds = |condition: &str, expected: bool| {
        let line = format!("if {condition} {{ - return 200 yes");
        let expected = if expected { "200 text yes" } else { "200 text no" };
        check("/a%20b?e=&n=0&o=1&z=00", &[&line, "return 200 no"], expected);
    };
    for (condition, expected) in [
        ("$host", true),
        ("$arg_e", false),
        ("$arg_none", false),
        ("$arg_n", false),
        ("$arg_o", true),
        ("$arg_z", true),
        ("$host = a.example", true),
        ("$host = A.example", false),
        ("$host != a.example", false),
        ("$host != b", true),
        ("$arg_e = \"\"", true),
        ("$host = $host", true),
        ("$http_user_agent ~ curl", false),
        ("$http_user_agent ~* curl", true),
        ("$http_user_agent !~ curl", true),
        ("$http_user_agent !~* curl", false),
        ("$http_user_agent ~ \"l/8 \\(\"", true),
        ("($http_user_agent ~* (curl|wget))", true),
        ("$uri = '/a b'", true),
        ("-f /file", true),
        ("-f /directory", false),
        ("!-f /directory", true),
        ("-d /directory", true),
        ("-d /none", false),
        ("!-d /file", true),
        ("-e /socket", true),
        ("-e /none", false),
        ("!-e $uri", true),
        ("-x /program", true),
        ("-x /directory", true),
        ("-x /file", false),
        ("!-x /none", true),
    ] {
        holds(condition, expected);
    }
}

#[test]
fn the_last_condition_that_holds_is_where_the_request_goes_on() {
    let lines = ["if $host { 0 set $x 1", "if $arg_none { 1 -", "if $host { 2 -"];
    check("/", &lines, "/ in 2");
    check("/", &lines[..2], "/ in 0");
    check("/", &["if $host { 0 rewrite ^ /b last", "return 500"], "-> /b");
    check("/", &["if $host { 0 break", "return 500"], "/ in 0");
    check(
        "/",
        &["if $arg_none { 0 return 500", "if $host { - set $x 1", "return 200 $x"],
        "200 text 1",
    );
}

#[test]
fn groups_of_conditions_are_there_in_what_follows() {
    check(
        "/?q=abc",
        &["if $args ~ q=(?<first>.)(.*) { - set $x $2$first", "return 200 $x-$2"],
        "200 text bca-bc",
    );
    check("/?q=a", &["if $args !~ (z) { - return 200 [$1]"], "200 text []");
}

#[test]
fn what_was_changed_is_told() {
    let told = |lines: &[&str]| {
        let (uri, run) = run("/a", lines);
        (uri.is_changed, uri.is_final, run.is_internal)
    };
    assert_eq!(told(&["set $x 1", "rewrite ^/b /c"]), (false, false, false));
    assert_eq!(told(&["rewrite ^/a /b last"]), (true, false, true));
    assert_eq!(told(&["rewrite ^/a /b break"]), (true, true, true));
    assert_eq!(told(&["rewrite ^/a /b", "break"]), (true, true, true));
    assert_eq!(told(&["break"]), (false, false, false));
    assert_eq!(told(&["set $args x"]), (true, false, false));
    let (_, limited) = run("/", &["set $limit_rate 4k"]);
    assert_eq!(limited.limit_rate.as_deref(), Some(&b"4k"[..]));
}

#[test]
fn what_is_no_step_is_refused() {
    for (line, expected) in [
        ("set host x", "`host` is no name of a variable"),
        ("set $ x", "`$` is no name of a variable"),
        ("set $host x", "the duplicate \"host\" variable"),
        ("set $x ${y", "the closing bracket in \"y\" variable is missing"),
        (
            "rewrite ^",
            "it is no rule: a regular expression and what replaces it, with blanks between them",
        ),
        (
            "rewrite ^ /b last x",
            "it is no rule: a regular expression and what replaces it, with blanks between them",
        ),
        ("rewrite ^ /b first", "`first` is no flag"),
        ("return x", "`x` is no status from 0 to 999"),
        ("return 1000", "`1000` is no status from 0 to 999"),
        ("return", "`` is no status from 0 to 999"),
        ("if host { - -", "it is no condition"),
        ("if $host = { - -", "it is no condition"),
        ("if $host == a { - -", "it is no condition"),
        ("if -f { - -", "it is no condition"),
        ("if $host$uri = a { - -", "it is no condition"),
    ] {
        let found = script(&[line], &mut Registry::default()).expect_err(line);
        assert_eq!(found.to_string(), expected, "{line}");
    }
}
