//! What nginx's servers say of TLS to clients, and what locations say of TLS to workers.

use super::listeners::within;
use super::notes::{Matter, Notes};
use super::scope::Scope;
use crate::config::write::{Map, Yaml};
use crate::import::value::number::size;

/// A server's certificates with their keys.
pub fn certificates(scope: &Scope<'_>, folder: &str, notes: &mut Notes) -> Vec<Yaml> {
    let (chains, keys) = (scope.all("ssl_certificate"), scope.all("ssl_certificate_key"));
    let pairs = chains.into_iter().zip(keys).filter_map(|(directive, key)| {
        let (chain, key) = (directive.first()?, key.first()?);
        if [chain, key].iter().any(|path| path.contains('$') || path.starts_with("data:")) {
            let text = "certificates are read at the start: name files without variables";
            notes.say(Matter::Left, directive, text);
            return None;
        }
        let mut pair = Map::default();
        pair.add("chain", Yaml::text(within(folder, chain)));
        pair.add("key", Yaml::text(within(folder, key)));
        if let Some(passwords) = scope.value("ssl_password_file") {
            pair.add("password_file", Yaml::text(within(folder, passwords)));
        }
        Some(Yaml::Map(pair))
    });
    pairs.collect()
}

/// What a server says beside its certificates.
pub fn own(scope: &Scope<'_>, folder: &str, notes: &mut Notes) -> Map {
    let mut tls = Map::default();
    if scope.is_on("ssl_reject_handshake") {
        tls.add("reject_handshake", Yaml::on(true));
    }
    let mode = scope.value("ssl_verify_client").filter(|mode| !mode.eq_ignore_ascii_case("off"));
    if let Some(mode) = mode {
        tls.add("verify_client", Yaml::text(mode.to_ascii_lowercase()));
        for (name, key) in [
            ("ssl_client_certificate", "client_certificate"),
            ("ssl_trusted_certificate", "trusted_certificate"),
            ("ssl_crl", "crl"),
        ] {
            if let Some(file) = scope.value(name).filter(|file| !file.is_empty()) {
                tls.add(key, Yaml::text(within(folder, file)));
            }
        }
        if let Some(depth) = scope.value("ssl_verify_depth") {
            tls.add("verify_depth", Yaml::Plain(depth.to_owned()));
        }
    }
    let staple = scope.value("ssl_stapling_file").filter(|_| scope.is_on("ssl_stapling"));
    if let Some(staple) = staple {
        tls.add("stapling_file", Yaml::text(within(folder, staple)));
    }
    if let Some(spoken) = versions(scope, "ssl_protocols") {
        tls.add("protocols", spoken);
    }
    ciphers(&mut tls, scope, notes);
    resumption(&mut tls, scope, folder);
    tls
}

/// Suites and groups, as far as they are known here.
fn ciphers(tls: &mut Map, scope: &Scope<'_>, notes: &mut Notes) {
    const CIPHERS: [&str; 6] = [
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ];
    const CURVES: [&str; 4] = ["X25519", "prime256v1", "secp384r1", "X25519MLKEM768"];
    if let Some(directive) = scope.find("ssl_ciphers") {
        let words = || directive.first().unwrap_or_default().split([':', ',', ' ']);
        let known: Vec<&str> = words().filter(|word| CIPHERS.contains(word)).collect();
        // A word like HIGH stands for more than can be named.
        let is_list = words().all(|word| word.contains('-') && !word.starts_with(['!', '-', '+']));
        if is_list && !known.is_empty() {
            tls.add("ciphers", Yaml::texts(known.iter().copied()));
        }
        if !is_list || known.len() < words().count() {
            let text = "the six suites of TLS 1.2 that are known here keep what is sent secret \
                        forever; no others are spoken";
            notes.say(Matter::Different, directive, text);
        }
    }
    if let Some(directive) = scope.find("ssl_ecdh_curve") {
        let words = || directive.first().unwrap_or_default().split(':');
        let known: Vec<&str> = words().filter(|word| CURVES.contains(word)).collect();
        if known.len() < words().count() && directive.first() != Some("auto") {
            let text = format!("groups that are known here: {}", CURVES.join(", "));
            notes.say(Matter::Different, directive, text);
        }
        if !known.is_empty() {
            tls.add("curves", Yaml::texts(known));
        }
    }
    if scope.is_on("ssl_prefer_server_ciphers") {
        tls.add("prefer_server_ciphers", Yaml::on(true));
    }
}

fn resumption(tls: &mut Map, scope: &Scope<'_>, folder: &str) {
    /// nginx's own estimate is 4000 sessions a megabyte.
    const SESSION_BYTES: u64 = 256;
    let has_tickets = scope.value("ssl_session_tickets") != Some("off");
    if !has_tickets {
        tls.add("session_tickets", Yaml::on(false));
    }
    let keys = scope.all("ssl_session_ticket_key");
    let keys = keys.iter().filter_map(|directive| directive.first());
    let keys: Vec<String> = keys.map(|file| within(folder, file)).collect();
    if !keys.is_empty() && has_tickets {
        tls.add("session_ticket_keys", Yaml::texts(keys));
    }
    // Who gets a ticket has no use for it.
    let caches = scope.find("ssl_session_cache").filter(|_| !has_tickets);
    let kept = caches.iter().flat_map(|directive| &directive.args).filter_map(|word| {
        let mut parts = word.text.split(':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("shared"), Some(_), Some(bytes)) => Some(size(bytes)? / SESSION_BYTES),
            (Some("builtin"), number, None) => number.unwrap_or("20480").parse().ok(),
            _ => None,
        }
    });
    if let Some(sessions) = kept.max() {
        tls.add("session_cache", Yaml::Plain(sessions.min(1 << 20).to_string()));
    }
    if let Some(time) = scope.time("ssl_session_timeout") {
        tls.add("session_timeout", Yaml::text(time));
    }
}

/// How TLS is spoken to a worker: in nginx nobody is verified, and no name is sent, unless that is said.
pub fn to_workers(
    module: &str,
    host: &str,
    scope: &Scope<'_>,
    folder: &str,
    notes: &mut Notes,
) -> Map {
    let named = |name: &str| format!("{module}_ssl_{name}");
    let value = |name: &str| scope.value(&named(name)).filter(|value| !value.is_empty());
    let file = |name: &str| value(name).map(|file| Yaml::text(within(folder, file)));
    let is_on = |name: &str| scope.is_on(&named(name));
    let mut tls = Map::default();
    let (verifies, sends_name) = (is_on("verify"), is_on("server_name"));
    let mut name = value("name").unwrap_or("$proxy_host");
    if name.contains('$') && name != "$proxy_host" {
        if let Some(directive) = scope.find(&named("name")) {
            let text = "a connection's name is that of its upstream: write it without variables";
            notes.say(Matter::Different, directive, text);
        }
        name = "$proxy_host";
    }
    if verifies || sends_name {
        let name = if name == "$proxy_host" { host } else { name };
        let name = if name.starts_with("unix:") { "localhost" } else { without_port(name) };
        tls.add("server_name", Yaml::text(name));
    }
    if !sends_name {
        tls.add("send_server_name", Yaml::on(false));
    }
    match verifies {
        false => tls.add("verify", Yaml::on(false)),
        true => {
            for (key, file) in [("ca", file("trusted_certificate")), ("crl", file("crl"))] {
                file.into_iter().for_each(|file| tls.add(key, file));
            }
            let depth = value("verify_depth").unwrap_or("1").to_owned();
            tls.add("verify_depth", Yaml::Plain(depth));
        }
    }
    if let (Some(chain), Some(key)) = (value("certificate"), value("certificate_key")) {
        let directive = scope.find(&named("certificate"));
        match directive.filter(|_| [chain, key].iter().any(|path| path.contains('$'))) {
            Some(directive) => {
                let text = "certificates are read at the start: name files without variables";
                notes.say(Matter::Left, directive, text);
            }
            None => {
                let mut pair = Map::default();
                pair.add("chain", Yaml::text(within(folder, chain)));
                pair.add("key", Yaml::text(within(folder, key)));
                file("password_file").into_iter().for_each(|it| pair.add("password_file", it));
                tls.add("certificate", Yaml::Map(pair));
            }
        }
    }
    if let Some(spoken) = versions(scope, &named("protocols")) {
        tls.add("protocols", spoken);
    }
    if value("session_reuse").is_some_and(|word| word.eq_ignore_ascii_case("off")) {
        tls.add("session_reuse", Yaml::on(false));
    }
    tls
}

/// The versions that a directive names, where those are not all that are spoken here.
fn versions(scope: &Scope<'_>, name: &str) -> Option<Yaml> {
    let protocols = scope.find(name)?;
    let is_named = |version: &&str| protocols.args.iter().any(|word| word.text == *version);
    let spoken: Vec<&str> = ["TLSv1.2", "TLSv1.3"].into_iter().filter(is_named).collect();
    match spoken.as_slice() {
        // Older ones are not spoken by anybody who is careful; the newest is, then.
        [] => Some(Yaml::texts(["TLSv1.3"])),
        [one] => Some(Yaml::texts([*one])),
        _ => None,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
