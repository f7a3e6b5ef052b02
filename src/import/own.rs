//! Directives that nginx takes in ways of their own: what can be wrong with them by themselves.
//!
//! What depends on the machine (names, files, certificates) is not asked here, nor whether patterns and
//! variables are good: that is for who compiles them.

use super::known::rows::{self, Contexts};
use super::location::{Location, Matching};
use super::tree::{Directive, Place};
use super::value::address::network;
use super::value::condition::Condition;
use super::value::number::number;
use super::value::time;
use super::value::upstream::Server;
use crate::access::METHODS;

/// Checks what a directive says.
///
/// # Errors
/// nginx's message, without the place.
pub fn enter(module: &str, directive: &Directive) -> Result<(), String> {
    let name = directive.name.text.as_str();
    match (module, name) {
        ("ngx_http_upstream_module", "server") => Server::read(directive).map(drop),
        ("ngx_http_rewrite_module", "if") => Condition::read(directive).map(drop),
        ("ngx_http_rewrite_module", "rewrite") => rewrite(directive),
        ("ngx_http_rewrite_module", "return") => return_code(directive),
        ("ngx_http_rewrite_module" | "ngx_stream_set_module", "set") => variable(directive.first()),
        (_, "map" | "split_clients") => variable(directive.arg(1)),
        (_, "geo") => directive.args.iter().try_for_each(|word| variable(Some(word.text.as_str()))),
        ("ngx_http_auth_request_module", "auth_request_set") => variable(directive.first()),
        ("ngx_http_core_module", "error_page") => error_page(directive),
        ("ngx_http_core_module", "limit_except") => methods(directive),
        ("ngx_http_core_module", "keepalive_timeout") => keepalive_timeout(directive),
        ("ngx_http_access_module" | "ngx_stream_access_module", _) => access(directive.first()),
        ("ngx_http_headers_filter_module", "add_header" | "add_trailer") => always(directive),
        ("ngx_http_upstream_keepalive_module", "keepalive") => keepalive(directive),
        ("ngx_event_core_module", "worker_connections") => worker_connections(directive),
        ("ngx_core_module", "worker_processes") => worker_processes(directive),
        _ => Ok(()),
    }
}

/// Checks a block as a whole; `inside` is what it holds.
///
/// # Errors
/// nginx's message, with its place where that is not the block's end.
pub fn leave(inside: Contexts, block: &Directive) -> Result<(), (String, Option<Place>)> {
    match inside {
        rows::UPSTREAM | rows::STREAM_UPSTREAM => {
            let filled = |child: &Directive| matches!(child.name.text.as_str(), "server" | "state");
            if block.children().iter().any(filled) {
                return Ok(());
            }
            Err(("no servers are inside upstream".to_owned(), None))
        }
        // nginx looks at locations when it has read all of them.
        rows::HTTP => {
            let servers = block.children().iter().filter(|child| child.name.text == "server");
            servers.map(Directive::children).try_for_each(distinct)
        }
        _ => Ok(()),
    }
}

/// Whether no two locations beside one another are the same; those inside them are looked at first.
fn distinct(directives: &[Directive]) -> Result<(), (String, Option<Place>)> {
    let mut locations: Vec<(String, bool, &Directive)> = Vec::new();
    for directive in directives.iter().filter(|directive| directive.name.text == "location") {
        // They were read before.
        let Ok(location) = Location::read(directive, None) else {
            continue;
        };
        let exact = match location.matching {
            Matching::Exact => true,
            Matching::Prefix | Matching::PrefixOnly => false,
            Matching::Regex | Matching::RegexAnyCase | Matching::Named => continue,
        };
        locations.push((location.name, exact, directive));
    }
    locations.sort_by(|(one, one_exact, _), (other, other_exact, _)| {
        one.cmp(other).then(other_exact.cmp(one_exact))
    });
    for (_, _, directive) in &locations {
        distinct(directive.children())?;
    }
    for pair in locations.windows(2) {
        let [(name, exact, _), (next, next_exact, directive)] = pair else {
            continue;
        };
        if (name, exact) == (next, next_exact) {
            return Err((format!("duplicate location \"{name}\""), Some(directive.place)));
        }
    }
    Ok(())
}

fn rewrite(directive: &Directive) -> Result<(), String> {
    match directive.arg(2) {
        None | Some("last" | "break" | "redirect" | "permanent") => Ok(()),
        Some(flag) => Err(format!("invalid parameter \"{flag}\"")),
    }
}

/// A number, or with no text behind it a URL or a text with variables.
fn return_code(directive: &Directive) -> Result<(), String> {
    let first = directive.first().unwrap_or_default();
    let url = ["http://", "https://", "$scheme"].iter().any(|start| first.starts_with(start));
    match number(first) {
        Some(code) if code <= 999 => Ok(()),
        None if directive.args.len() == 1 && url => Ok(()),
        _ => Err(format!("invalid return code \"{first}\"")),
    }
}

fn variable(name: Option<&str>) -> Result<(), String> {
    let name = name.unwrap_or_default();
    if name.len() > 1 && name.starts_with('$') {
        return Ok(());
    }
    Err(format!("invalid variable name \"{name}\""))
}

fn error_page(directive: &Directive) -> Result<(), String> {
    let Some((_, mut codes)) = directive.args.split_last() else {
        return Ok(());
    };
    if let Some((status, before)) =
        codes.split_last().filter(|(last, _)| last.text.starts_with('='))
    {
        let code = &status.text[1..];
        if before.is_empty() || !code.is_empty() && number(code).is_none() {
            return Err(format!("invalid value \"{}\"", status.text));
        }
        codes = before;
    }
    for code in codes {
        let text = &code.text;
        match number(text) {
            None | Some(499) => return Err(format!("invalid value \"{text}\"")),
            Some(300..=599) => {}
            Some(_) => return Err(format!("value \"{text}\" must be between 300 and 599")),
        }
    }
    Ok(())
}

fn methods(directive: &Directive) -> Result<(), String> {
    let known = |text: &str| METHODS.iter().any(|method| method.eq_ignore_ascii_case(text));
    match directive.args.iter().find(|word| !known(&word.text)) {
        Some(word) => Err(format!("invalid method \"{}\"", word.text)),
        None => Ok(()),
    }
}

/// A time in milliseconds, and one in seconds for the client to know.
fn keepalive_timeout(directive: &Directive) -> Result<(), String> {
    let told = directive.arg(1).map_or(Some(0), time::seconds);
    if time::millis(directive.first().unwrap_or_default()).and(told).is_some() {
        return Ok(());
    }
    Err("\"keepalive_timeout\" directive invalid value".to_owned())
}

fn access(from: Option<&str>) -> Result<(), String> {
    let from = from.unwrap_or_default();
    if matches!(from, "all" | "unix:") || network(from).is_some() {
        return Ok(());
    }
    Err(format!("invalid parameter \"{from}\""))
}

fn always(directive: &Directive) -> Result<(), String> {
    match directive.arg(2) {
        None | Some("always") => Ok(()),
        Some(parameter) => Err(format!("invalid parameter \"{parameter}\"")),
    }
}

fn keepalive(directive: &Directive) -> Result<(), String> {
    let first = directive.first().unwrap_or_default();
    match number(first) {
        // Newer ones take 0 for "none", 1.22 does not.
        Some(_) => Ok(()),
        None => Err(format!("invalid value \"{first}\" in \"keepalive\" directive")),
    }
}

fn worker_connections(directive: &Directive) -> Result<(), String> {
    let first = directive.first().unwrap_or_default();
    number(first).map(drop).ok_or_else(|| format!("invalid number \"{first}\""))
}

fn worker_processes(directive: &Directive) -> Result<(), String> {
    let first = directive.first().unwrap_or_default();
    let wrong = first != "auto" && number(first).is_none();
    if wrong { Err("\"worker_processes\" directive invalid value".to_owned()) } else { Ok(()) }
}
