use std::collections::BTreeMap;

use super::{Grammar, Kind, read};
use crate::import::tree::{Directive, Place, Tree};

/// Takes everything for a directive that may stand where it stands.
struct Anything;

impl Grammar for Anything {
    fn enter(&mut self, directive: &Directive, opens: bool) -> Result<Kind, String> {
        Ok(match directive.name.text.as_str() {
            "include" => Kind::Include,
            "refused" => return Err("\"refused\" directive is not allowed here".to_owned()),
            name if opens && name.ends_with("_by_lua_block") => Kind::Lua,
            _ if opens => Kind::Block,
            _ => Kind::Plain,
        })
    }

    fn leave(&mut self, directive: &Directive) -> Result<(), (String, Option<Place>)> {
        match directive.first() {
            Some("wrong") => Err(("the whole is wrong".to_owned(), None)),
            Some("begin") => Err(("the begin is wrong".to_owned(), Some(directive.place))),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// The only directive of a text, for tests of what directives say.
pub fn one(text: &str) -> Directive {
    let tree = reading(&[("/n.conf", text)]).expect("it reads");
    tree.directives.into_iter().next().expect("a directive")
}

/// `FILE: TEXT` for each file, the first is the main one.
fn reading(files: &[(&str, &str)]) -> Result<Tree, String> {
    let main = files[0].0;
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    read(&files, main, "", &mut Anything).map_err(|mistake| mistake.to_string())
}

/// A tree on one line: `name arg{ … }`, each directive with its place.
fn shown(tree: &Tree, directives: &[Directive]) -> String {
    let shown = directives.iter().map(|directive| {
        let words: Vec<&str> = std::iter::once(&directive.name)
            .chain(&directive.args)
            .map(|word| word.text.as_str())
            .collect();
        let words = words.join(" ");
        let at = tree.at(directive.place);
        match &directive.block {
            Some(block) => {
                let end = tree.at(block.end);
                format!("{words}@{at}{{{}}}@{end}", shown(tree, &block.directives))
            }
            None => format!("{words}@{at}"),
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &str) {
    let found = match reading(files) {
        Ok(tree) => shown(&tree, &tree.directives),
        Err(mistake) => format!("! {mistake}"),
    };
    assert_eq!(found, expected, "{files:?}");
}

#[test]
fn blocks_nest_and_lines_are_those_of_the_end() {
    check(
        &[("/n.conf", "user\n www;\nhttp {\n a b;\n}\n")],
        "user www@/n.conf:2 http@/n.conf:3{a b@/n.conf:4}@/n.conf:5",
    );
}

#[test]
fn included_files_stand_in_place_of_the_include() {
    check(
        &[
            ("/etc/n/n.conf", "http {\n include sites/*.conf; z;\n}"),
            ("/etc/n/sites/b.conf", "b;"),
            ("/etc/n/sites/a.conf", "a; include more; "),
            ("/etc/n/more", "\nm;"),
        ],
        "http@/etc/n/n.conf:1{a@/etc/n/sites/a.conf:1 m@/etc/n/more:2 b@/etc/n/sites/b.conf:1 \
         z@/etc/n/n.conf:2}@/etc/n/n.conf:3",
    );
    check(&[("/n.conf", "include /other.conf; a;"), ("/other.conf", "")], "a@/n.conf:1");
    check(&[("/n.conf", "include none*.conf; a;")], "a@/n.conf:1");
}

#[test]
fn mistakes_name_the_file_that_is_read() {
    check(
        &[("/n.conf", "\ninclude x;")],
        "! open() \"/x\" failed (2: No such file or directory) in /n.conf:2",
    );
    check(&[("/n.conf", "}")], "! unexpected \"}\" in /n.conf:1");
    check(&[("/n.conf", "a {\n")], "! unexpected end of file, expecting \"}\" in /n.conf:2");
    check(&[("/n.conf", "a {\ninclude x; }"), ("/x", "b;\n}")], "! unexpected \"}\" in /x:2");
    check(
        &[("/n.conf", "include x; }"), ("/x", "b {")],
        "! unexpected end of file, expecting \"}\" in /x:1",
    );
    check(
        &[("/n.conf", "a;\nrefused\n;\n}")],
        "! \"refused\" directive is not allowed here in /n.conf:3",
    );
    check(&[("/n.conf", "a wrong {\n b;\n}")], "! the whole is wrong in /n.conf:3");
    check(&[("/n.conf", "a begin {\n b;\n}")], "! the begin is wrong in /n.conf:1");
    let missing = read(&BTreeMap::new(), "/n.conf", "", &mut Anything);
    let missing = missing.expect_err("there is no such file").to_string();
    assert_eq!(missing, "open() \"/n.conf\" failed (2: No such file or directory)");
}

#[test]
fn the_command_line_comes_first() {
    let files = BTreeMap::from([("/n.conf".to_owned(), b"a;".to_vec())]);
    let reading = |text| match read(&files, "/n.conf", text, &mut Anything) {
        Ok(tree) => shown(&tree, &tree.directives),
        Err(mistake) => format!("! {mistake}"),
    };
    assert_eq!(reading("b; c d;"), "b@command line c d@command line a@/n.conf:1");
    assert_eq!(reading("b"), "! unexpected end of parameter, expecting \";\" in command line");
    assert_eq!(reading("refused;"), "! \"refused\" directive is not allowed here in command line");
    assert_eq!(reading("b }"), "! unexpected \"}\" in command line");
    assert_eq!(reading("b {"), "! block directives are not supported in -g option in command line");
}

#[test]
fn lua_is_passed_over() {
    check(
        &[("/n.conf", "a_by_lua_block {\n local x = { '}' }\n}\nb;")],
        "a_by_lua_block@/n.conf:1{}@/n.conf:3 b@/n.conf:4",
    );
}

#[test]
fn everything_has_a_limit() {
    let itself = reading(&[("/n.conf", "include n.conf;")]).expect_err("it has no end");
    assert_eq!(itself, "more than 64 files include one another in /n.conf:1");
    let deep = reading(&[("/n.conf", &"a{".repeat(1000))]).expect_err("it is too deep");
    assert_eq!(deep, "more than 64 blocks in one another in /n.conf:1");
    // Each of the files includes the next one twice.
    let names: Vec<(String, String)> = (0..40)
        .map(|index| (format!("/{index}"), format!("include {0}; include {0};", index + 1)))
        .collect();
    let mut files: Vec<(&str, &str)> =
        names.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.push(("/40", ""));
    let many = reading(&files).expect_err("they are too many");
    assert!(many.starts_with("more than 4096 files are included in /"), "{many}");
}

#[test]
fn spans_are_what_is_written() {
    let text = "http { # x\n server \"a b\" { listen 80 ; }\n}\nuser 'x';";
    let tree = reading(&[("/n.conf", text)]).expect("it reads");
    let written = |directive: &Directive| {
        String::from_utf8(tree.written(directive.span).to_vec()).expect("UTF-8")
    };
    let http = &tree.directives[0];
    assert_eq!(written(http), "http { # x\n server \"a b\" { listen 80 ; }\n}");
    let server = &http.children()[0];
    assert_eq!(written(server), "server \"a b\" { listen 80 ; }");
    assert_eq!(written(&server.children()[0]), "listen 80 ;");
    assert_eq!(tree.written(server.args[0].span), b"\"a b\"");
    assert_eq!(tree.written(tree.directives[1].args[0].span), b"'x'");
}

#[test]
fn a_dump_shows_each_file_once() {
    let tree = reading(&[("/n.conf", "include a;\ninclude a;"), ("/a", "b;\n")]).expect("it reads");
    let dump = String::from_utf8(tree.dump()).expect("UTF-8");
    assert_eq!(
        dump,
        "# configuration file /n.conf:\ninclude a;\ninclude a;\n# configuration file /a:\nb;\n\n"
    );
}
