//! What nginx's servers say of TLS to clients.

use super::listeners::within;
use super::notes::{Matter, Notes};
use super::scope::Scope;
use crate::config::write::{Map, Yaml};

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
pub fn own(scope: &Scope<'_>, folder: &str) -> Map {
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
    if let Some(protocols) = scope.find("ssl_protocols") {
        let spoken = ["TLSv1.2", "TLSv1.3"];
        let spoken = spoken.into_iter().filter(|v| protocols.args.iter().any(|w| w.text == *v));
        let spoken: Vec<&str> = spoken.collect();
        // Older ones are not spoken by anybody who is careful; the newest is, then.
        let spoken = if spoken.is_empty() { vec!["TLSv1.3"] } else { spoken };
        if spoken.len() == 1 {
            tls.add("protocols", Yaml::texts(spoken));
        }
    }
    tls
}
