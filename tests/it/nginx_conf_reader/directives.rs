//! The tables of directives against nginx's own.

use cloakroom::import::known::rows::{self, Contexts, Known, Set};
use cloakroom::import::known::{self, Entry};

use super::oracle::{Answers, Oracle, modules};

/// Places, and what stands around them.
const PLACES: &[(Contexts, &str, &str)] = &[
    (rows::MAIN, "", ""),
    (rows::EVENTS, "events {", "}"),
    (rows::HTTP, "events {} http {", "}"),
    (rows::SERVER, "events {} http { server {", "} }"),
    (rows::LOCATION, "events {} http { server { location /x {", "} } }"),
    (rows::SERVER_IF, "events {} http { server { if ($uri) {", "} } }"),
    (rows::LOCATION_IF, "events {} http { server { location /x { if ($uri) {", "} } } }"),
    (rows::LIMIT_EXCEPT, "events {} http { server { location /x { limit_except GET {", "} } } }"),
    (rows::UPSTREAM, "events {} http { upstream u { server 127.0.0.1;", "} }"),
    (rows::STREAM, "events {} stream {", "}"),
    (rows::STREAM_SERVER, "events {} stream { server {", "} }"),
    (rows::STREAM_UPSTREAM, "events {} stream { upstream u { server 127.0.0.1:1;", "} }"),
    (rows::MAIL, "events {} mail {", "}"),
    (rows::MAIL_SERVER, "events {} mail { server {", "} }"),
];

/// Places that nginx has with these modules only, and modules that are not built into Debian's.
const APART: Contexts = rows::TO_STREAM | rows::STREAM_UPSTREAM | rows::TO_MAIL;
const MODULES_APART: [&str; 3] =
    ["ngx_http_geoip_module", "ngx_http_image_filter_module", "ngx_http_xslt_filter_module"];

/// What nginx says before it looks at what a directive says.
const FORM: [&str; 5] = [
    "unknown directive",
    "directive is not allowed here",
    "invalid number of arguments in",
    "has no opening",
    "is not terminated by",
];

/// A directive of 1.22 with a text in which it stands.
struct Asked {
    entry: Entry,
    text: String,
}

/// The directives that the nginx at hand must have, and with which places.
fn at_hand() -> (Vec<Entry>, Vec<(Contexts, &'static str, &'static str)>) {
    let all = modules().is_some();
    let apart = |(module, known): &Entry| {
        MODULES_APART.contains(module)
            || known.contexts & !APART == 0
            || matches!(known.name, "stream" | "mail")
    };
    // Perl's module wants a whole Perl of its own.
    let entries = known::all()
        .filter(|(module, known)| known.since.is_none() && *module != "ngx_http_perl_module");
    let entries = entries.filter(|entry| all || !apart(entry)).collect();
    let places = PLACES.iter().copied().filter(|(place, ..)| all || place & APART == 0).collect();
    (entries, places)
}

fn load() -> String {
    let names =
        ["stream", "mail", "http_image_filter", "http_xslt_filter", "http_geoip", "stream_geoip"];
    modules().map_or_else(String::new, |folder| {
        let line = |name: &str| format!("load_module {}/ngx_{name}_module.so; ", folder.display());
        names.map(line).concat()
    })
}

fn written(known: &Known, args: &[&str]) -> String {
    let words = [&[known.name], args].concat().join(" ");
    if known.block { format!("{words} {{ }}") } else { format!("{words};") }
}

fn in_place((_, before, after): &(Contexts, &str, &str), what: &str) -> String {
    format!("{}{before} {what} {after}", load())
}

/// A good value, where there is one for all directives of that kind.
fn good(set: Set) -> Option<Vec<&'static str>> {
    Some(match set {
        Set::Flag => vec!["on"],
        Set::Number => vec!["8"],
        Set::Within(low, _) => vec![if low < 8 { "8" } else { "503" }],
        Set::Size | Set::Offset => vec!["16k"],
        Set::Millis | Set::Seconds => vec!["10s"],
        Set::Buffers => vec!["8", "16k"],
        Set::Access => vec!["user:rw"],
        Set::OneOf(words) | Set::SomeOf(words) => vec![words.first().copied()?],
        Set::Text | Set::Folder | Set::Once | Set::Many => return None,
    })
}

/// One place where it may not stand, one wrong number of arguments, one wrong value, and twice; two of the
/// four of each directive, where not `all` are asked for.
fn sample(
    entries: &[Entry],
    places: &[(Contexts, &'static str, &'static str)],
    all: bool,
) -> Vec<Asked> {
    let mut asked = Vec::new();
    for (index, &(module, known)) in entries.iter().enumerate() {
        let (one, other) = (all || index % 2 == 0, all || index % 2 == 1);
        let mut ask = |text| asked.push(Asked { entry: (module, known), text });
        let allowed = |place: Contexts| {
            known::named(known.name).iter().any(|(_, known)| known.contexts & place != 0)
        };
        if let Some(place) = places.iter().find(|(place, ..)| one && !allowed(*place)) {
            ask(in_place(place, &written(known, &[])));
        }
        let Some(place) = places.iter().find(|(place, ..)| known.contexts & place != 0) else {
            continue;
        };
        // Newer versions may take more.
        let taken = |number| known::named(known.name).iter().any(|(_, known)| known.takes(number));
        if let Some(number) = (0..10).find(|number| other && !taken(*number)) {
            ask(in_place(place, &written(known, &["x"].repeat(number))));
        }
        if let Some(good) = good(known.set) {
            let wrong = written(known, &vec!["1x!"; good.len()]);
            let twice = format!("{0} {0} foo;", written(known, &good));
            for text in [one.then_some(wrong), other.then_some(twice)].into_iter().flatten() {
                ask(in_place(place, &text));
            }
        }
    }
    asked
}

/// Everything: each directive in each place, and with each number of arguments.
fn everything(entries: &[Entry], places: &[(Contexts, &'static str, &'static str)]) -> Vec<Asked> {
    let mut asked = Vec::new();
    for &(module, known) in entries {
        for place in places {
            for number in 0..=9 {
                let newer = |known: &&Known| known.since.is_some() && known.takes(number);
                if known::named(known.name).iter().any(|(_, known)| newer(known)) {
                    continue;
                }
                let text = in_place(place, &written(known, &["x"].repeat(number)));
                asked.push(Asked { entry: (module, known), text });
                if known.contexts & place.0 == 0 {
                    break;
                }
            }
        }
    }
    asked
}

fn form(said: &str) -> Option<&'static str> {
    FORM.iter().copied().find(|form| said.contains(form))
}

#[track_caller]
fn check(asked: &[Asked], same: impl Fn(&Asked, &Answers) -> bool) {
    let cases: Vec<[(&str, Vec<u8>); 1]> =
        asked.iter().map(|asked| [("nginx.conf", asked.text.clone().into_bytes())]).collect();
    let answers = Oracle::new().ask(&cases);
    let different: Vec<String> = asked
        .iter()
        .zip(&answers)
        .filter(|(asked, answers)| !same(asked, answers))
        .map(|(asked, answers)| {
            let text = &asked.text;
            let (module, _) = asked.entry;
            format!("{module}: {text}\n  nginx: {}\n  ours:  {}", answers.nginx, answers.ours)
        })
        .collect();
    let (some, all) = (different.len(), asked.len());
    assert!(different.is_empty(), "{some} of {all}:\n{}", different.join("\n"));
}

#[test]
fn directives_are_those_that_nginx_knows() {
    let (entries, places) = at_hand();
    assert!(entries.len() > 500, "{} directives", entries.len());
    let all = std::env::var("NGINX_DIRECTIVES").is_ok_and(|which| which == "all");
    check(&sample(&entries, &places, all), |_, answers| answers.nginx == answers.ours);
    if all {
        check(&everything(&entries, &places), |_, answers| {
            form(&answers.nginx) == form(&answers.ours)
        });
    }
}
