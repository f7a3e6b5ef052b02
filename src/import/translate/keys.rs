//! Directives that are keys of ours: at every level, and written as their arguments are.

use super::notes::{Matter, Notes};
use super::routes::{Level, Made};
use super::{answers, guards, limits, unknown, upstreams};
use crate::config::write::{Map, Yaml};
use crate::import::tree::Directive;
use crate::import::value::number::size;

/// How a directive's arguments are written.
#[derive(Clone, Copy)]
pub enum Form {
    Switch,
    Word,
    Words,
    /// Words in one text.
    Line,
    Bytes,
    Number,
    Time,
    Path,
    /// A path, and words behind it.
    PathLine,
    /// nginx looks for it beside its configuration.
    ConfPath,
}

/// Directives that are keys of ours by themselves, at every level.
const KEYS: &[(&str, &str, Form)] = &[
    ("client_max_body_size", "body_bytes_max", Form::Bytes),
    ("recursive_error_pages", "recursive_error_pages", Form::Switch),
    ("proxy_intercept_errors", "intercept_errors", Form::Switch),
    ("proxy_pass_request_headers", "pass_request_headers", Form::Switch),
    ("proxy_pass_request_body", "pass_request_body", Form::Switch),
    ("proxy_method", "request_method", Form::Word),
    ("proxy_set_body", "request_body", Form::Word),
    ("root", "root", Form::Path),
    ("alias", "alias", Form::Path),
    ("index", "index", Form::Words),
    ("try_files", "try_files", Form::Words),
    ("autoindex", "autoindex", Form::Switch),
    ("autoindex_exact_size", "autoindex_exact_size", Form::Switch),
    ("autoindex_format", "autoindex_format", Form::Word),
    ("default_type", "default_type", Form::Word),
    ("charset", "charset", Form::Word),
    ("charset_types", "charset_types", Form::Words),
    ("etag", "etag", Form::Switch),
    ("if_modified_since", "if_modified_since", Form::Word),
    ("max_ranges", "max_ranges", Form::Word),
    ("gzip_static", "gzip_static", Form::Word),
    ("proxy_request_buffering", "request_buffering", Form::Switch),
    ("client_body_buffer_size", "client_body_buffer_size", Form::Bytes),
    ("client_body_in_file_only", "client_body_in_file_only", Form::Word),
    ("client_body_temp_path", "client_body_temp_path", Form::PathLine),
    ("proxy_buffering", "response_buffering", Form::Switch),
    ("proxy_max_temp_file_size", "max_temp_file_size", Form::Bytes),
    ("gzip", "gzip", Form::Switch),
    ("gzip_comp_level", "gzip_comp_level", Form::Word),
    ("gzip_types", "gzip_types", Form::Words),
    ("gzip_min_length", "gzip_min_length", Form::Bytes),
    ("gzip_vary", "gzip_vary", Form::Switch),
    ("gzip_proxied", "gzip_proxied", Form::Words),
    ("gzip_http_version", "gzip_http_version", Form::Word),
    ("gunzip", "gunzip", Form::Switch),
    ("expires", "expires", Form::Line),
    ("satisfy", "satisfy", Form::Word),
    ("auth_basic", "auth_basic", Form::Word),
    ("auth_basic_user_file", "auth_basic_user_file", Form::ConfPath),
    ("auth_delay", "auth_delay", Form::Time),
    ("auth_request", "auth_request", Form::Word),
    ("limit_rate", "limit_rate", Form::Word),
    ("limit_rate_after", "limit_rate_after", Form::Word),
    ("secure_link", "secure_link", Form::Word),
    ("secure_link_md5", "secure_link_md5", Form::Word),
    ("secure_link_secret", "secure_link_secret", Form::Word),
    ("real_ip_header", "real_ip_header", Form::Word),
    ("real_ip_recursive", "real_ip_recursive", Form::Switch),
    ("limit_req_status", "limit_req_status", Form::Number),
    ("limit_req_dry_run", "limit_req_dry_run", Form::Switch),
    ("limit_req_log_level", "limit_req_log_level", Form::Word),
    ("limit_conn_status", "limit_conn_status", Form::Number),
    ("limit_conn_dry_run", "limit_conn_dry_run", Form::Switch),
    ("limit_conn_log_level", "limit_conn_log_level", Form::Word),
    ("log_not_found", "log_not_found", Form::Switch),
    ("rewrite_log", "rewrite_log", Form::Switch),
    ("absolute_redirect", "absolute_redirect", Form::Switch),
    ("port_in_redirect", "port_in_redirect", Form::Switch),
    ("server_tokens", "server_tokens", Form::Word),
    ("keepalive_requests", "keepalive_requests", Form::Number),
    ("keepalive_time", "keepalive_time", Form::Time),
    ("keepalive_disable", "keepalive_disable", Form::Words),
    ("send_timeout", "send_timeout", Form::Time),
    ("chunked_transfer_encoding", "chunked_transfer_encoding", Form::Switch),
    ("lingering_close", "lingering_close", Form::Word),
    ("lingering_time", "lingering_time", Form::Time),
    ("lingering_timeout", "lingering_timeout", Form::Time),
    ("reset_timedout_connection", "reset_timedout_connection", Form::Switch),
    ("resolver_timeout", "resolver_timeout", Form::Time),
    ("msie_padding", "msie_padding", Form::Switch),
    ("server_name_in_redirect", "server_name_in_redirect", Form::Switch),
];

/// Directives that are read where they count.
const ELSEWHERE: &[&str] = &[
    "server",
    "upstream",
    "map",
    "geo",
    "split_clients",
    "log_format",
    "limit_req_zone",
    "limit_conn_zone",
    "listen",
    "server_name",
    "location",
    "proxy_pass",
    "ssl",
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl_protocols",
    "ssl_password_file",
    "ssl_verify_client",
    "ssl_client_certificate",
    "ssl_trusted_certificate",
    "ssl_verify_depth",
    "ssl_crl",
    "ssl_reject_handshake",
    "ssl_ciphers",
    "ssl_ecdh_curve",
    "ssl_prefer_server_ciphers",
    "ssl_session_tickets",
    "ssl_session_ticket_key",
    "ssl_session_cache",
    "ssl_session_timeout",
    "ssl_stapling_file",
    "http2",
    "client_header_timeout",
    "client_header_buffer_size",
    "large_client_header_buffers",
    "max_headers",
    "client_body_timeout",
    "proxy_connect_timeout",
    "proxy_read_timeout",
    "proxy_send_timeout",
    "grpc_pass",
    "grpc_connect_timeout",
    "grpc_read_timeout",
    "grpc_send_timeout",
    "grpc_next_upstream",
    "grpc_next_upstream_tries",
    "grpc_next_upstream_timeout",
    "proxy_next_upstream",
    "proxy_next_upstream_tries",
    "proxy_next_upstream_timeout",
    "proxy_ssl_name",
    "proxy_ssl_server_name",
    "proxy_ssl_verify",
    "proxy_ssl_verify_depth",
    "proxy_ssl_trusted_certificate",
    "proxy_ssl_crl",
    "proxy_ssl_certificate",
    "proxy_ssl_certificate_key",
    "proxy_ssl_password_file",
    "proxy_ssl_protocols",
    "proxy_ssl_session_reuse",
    "grpc_ssl_name",
    "grpc_ssl_server_name",
    "grpc_ssl_verify",
    "grpc_ssl_verify_depth",
    "grpc_ssl_trusted_certificate",
    "grpc_ssl_crl",
    "grpc_ssl_certificate",
    "grpc_ssl_certificate_key",
    "grpc_ssl_password_file",
    "grpc_ssl_protocols",
    "grpc_ssl_session_reuse",
    "rewrite",
    "return",
    "if",
    "set",
    "break",
    "internal",
    "limit_except",
    "ignore_invalid_headers",
    "underscores_in_headers",
    "merge_slashes",
];

/// The keys that a block's directives are.
pub fn keys(block: &[Directive], level: Level, made: &Made<'_>, notes: &mut Notes) -> Map {
    let mut map = Map::default();
    for directive in block {
        let name = directive.name.text.as_str();
        if let Some((_, key, form)) = KEYS.iter().find(|(known, ..)| *known == name) {
            // At the server it is for requests that no location has.
            if name == "try_files" && level != Level::Location {
                continue;
            }
            if let Some(value) = value(directive, *form, made) {
                map.add(*key, value);
            }
            continue;
        }
        match name {
            "error_page" | "types" | "access_log" | "proxy_set_header" | "auth_request_set"
            | "limit_req" | "limit_conn" | "set_real_ip_from" | "valid_referers" => {
                let mut all = block.iter().filter(|other| other.name.text == name);
                if all.next().is_some_and(|first| std::ptr::eq(first, directive)) {
                    let all: Vec<&Directive> =
                        block.iter().filter(|other| other.name.text == name).collect();
                    together(&mut map, name, &all, notes);
                }
            }
            "allow" | "deny" => {
                let is_rule =
                    |other: &&Directive| matches!(other.name.text.as_str(), "allow" | "deny");
                if block.iter().find(is_rule).is_some_and(|first| std::ptr::eq(first, directive)) {
                    guards::access(block).into_iter().for_each(|rules| map.add("access", rules));
                }
            }
            "keepalive_timeout" => {
                let time = |word: Option<&str>| word.and_then(super::scope::time);
                if let Some(rests) = time(directive.first()) {
                    map.add("keepalive_timeout", Yaml::text(rests));
                }
                if let Some(told) = time(directive.arg(1)) {
                    map.add("keepalive_header", Yaml::text(told));
                }
            }
            "resolver" => map.add("resolver", upstreams::resolver(directive)),
            name if answers::key(name).is_some() => {
                let key = answers::key(name).unwrap_or_default();
                if !map.has(key) {
                    let of_name = |other: &&Directive| other.name.text == name;
                    let all: Vec<&Directive> = block.iter().filter(of_name).collect();
                    map.add(key, answers::value(name, &all, notes));
                }
            }
            name if ELSEWHERE.contains(&name) => misplaced(directive, level, notes),
            _ => unknown(directive, notes),
        }
    }
    map
}

/// Directives whose every line counts.
fn together(map: &mut Map, name: &str, all: &[&Directive], notes: &mut Notes) {
    let mut inner = Map::default();
    match name {
        "error_page" => {
            for directive in all {
                let words: Vec<&str> =
                    directive.args.iter().map(|word| word.text.as_str()).collect();
                let Some((to, statuses)) = words.split_last() else { continue };
                let (status, statuses) = match statuses.split_last() {
                    Some((status, rest)) if status.starts_with('=') => (*status, rest),
                    _ => ("", statuses),
                };
                let shown = format!("{status} {to}");
                inner.add(statuses.join(" "), Yaml::text(shown.trim()));
            }
            map.add("error_page", Yaml::Map(inner));
        }
        "types" => {
            for line in all.iter().flat_map(|directive| directive.children()) {
                inner.add(
                    line.name.text.as_str(),
                    Yaml::texts(line.args.iter().map(|word| word.text.as_str())),
                );
            }
            map.add("types", Yaml::Map(inner));
        }
        "access_log" => {
            let logs = all.iter().map(|directive| access_log(directive, notes));
            map.add("access_log", Yaml::List(logs.collect()));
        }
        "set_real_ip_from" | "valid_referers" => {
            let words = all.iter().flat_map(|directive| &directive.args);
            map.add(name, Yaml::texts(words.map(|word| word.text.as_str())));
        }
        "limit_req" | "limit_conn" => map.add(name, limits::limits(all)),
        "auth_request_set" => map.add(name, guards::auth_request_set(all)),
        "proxy_set_header" => {
            let set = set_headers(all, notes);
            map.add("request_headers", Yaml::Map(set));
        }
        _ => {
            for directive in all {
                unknown(directive, notes);
            }
        }
    }
}

/// What nginx sets where no `proxy_set_header` says otherwise.
pub fn host_alone() -> Yaml {
    let mut set = Map::default();
    set.add("Host", Yaml::text("$proxy_host"));
    Yaml::Map(set)
}

fn is_host(directive: &Directive) -> bool {
    directive.first().is_some_and(|name| name.eq_ignore_ascii_case("host"))
}

/// Fields for workers, each once. What concerns the connection is set by itself.
fn set_headers(all: &[&Directive], notes: &mut Notes) -> Map {
    const BY_ITSELF: [&str; 8] = [
        "upgrade",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "expect",
        "keep-alive",
    ];
    let (mut set, mut seen) = (Map::default(), Vec::new());
    if !all.iter().any(|directive| is_host(directive)) {
        set.add("Host", Yaml::text("$proxy_host"));
    }
    for directive in all {
        let field = directive.first().unwrap_or_default();
        let lower = field.to_ascii_lowercase();
        if BY_ITSELF.contains(&lower.as_str()) {
            let text =
                "it is set by itself: connections are kept, and upgraded where a client asks";
            notes.say(Matter::Different, directive, text);
        } else if lower == "cookie" || lower.starts_with("x-session-") {
            notes.say(Matter::Left, directive, "sessions are told by the proxy alone");
        } else if seen.contains(&lower) {
            notes.say(Matter::Left, directive, "the field is set once: the first one counts");
        } else {
            set.add(field, Yaml::text(directive.arg(1).unwrap_or_default()));
            seen.push(lower);
        }
    }
    set
}

fn access_log(directive: &Directive, notes: &mut Notes) -> Yaml {
    let path = directive.first().unwrap_or_default();
    let mut log = Map::default();
    log.add("path", Yaml::text(path));
    for (number, word) in directive.args.iter().skip(1).enumerate() {
        match word.text.split_once('=') {
            None if number == 0 => log.add("format", Yaml::text(word.text.as_str())),
            Some((key @ ("if" | "buffer" | "flush"), value)) => log.add(key, Yaml::text(value)),
            _ => notes.say(Matter::Different, directive, format!("`{}` is left out", word.text)),
        }
    }
    if path == "off" { Yaml::text("off") } else { Yaml::Map(log) }
}

/// Some are ours for all servers together.
fn misplaced(directive: &Directive, level: Level, notes: &mut Notes) {
    let name = directive.name.text.as_str();
    if name == "client_body_timeout" && level != Level::Http {
        let text = "it is said once for all servers here: move it into the `http` block";
        notes.say(Matter::Left, directive, text);
    }
}

pub fn value(directive: &Directive, form: Form, made: &Made<'_>) -> Option<Yaml> {
    let first = directive.first()?;
    Some(match form {
        Form::Switch => Yaml::on(first.eq_ignore_ascii_case("on")),
        Form::Word => Yaml::text(first),
        Form::Line => {
            let words: Vec<&str> = directive.args.iter().map(|word| word.text.as_str()).collect();
            Yaml::text(words.join(" "))
        }
        Form::Words if directive.args.len() == 1 => Yaml::text(first),
        Form::Words => Yaml::texts(directive.args.iter().map(|word| word.text.as_str())),
        Form::Number => Yaml::Plain(first.to_owned()),
        Form::Time => Yaml::text(super::scope::time(first)?),
        Form::Path => Yaml::text(super::listeners::within(made.prefix, first)),
        Form::PathLine => {
            let path = super::listeners::within(made.prefix, first);
            let rest = directive.args.iter().skip(1).map(|word| word.text.as_str());
            Yaml::text(std::iter::once(&*path).chain(rest).collect::<Vec<_>>().join(" "))
        }
        Form::ConfPath => Yaml::text(super::listeners::within(made.conf, first)),
        Form::Bytes => Yaml::text(bytes(size(first)?)),
    })
}

/// As our configuration writes it.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.iter().find(|(unit, _)| number > 0 && number.is_multiple_of(*unit));
    unit.map_or_else(|| number.to_string(), |(unit, name)| format!("{}{name}", number / unit))
}
