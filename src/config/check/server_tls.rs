//! `servers[].tls`: what a virtual server says of TLS itself.

use std::path::PathBuf;

use serde_saphyr::Spanned;

use rustls::{CipherSuite, NamedGroup};

use crate::config::schema::{self, Given, List, Text};
use crate::config::value::{Flaw, choice};
use crate::listen::{
    OwnTls, ResumptionSettings, TlsVersion, TrustFiles, VerifyClients, VerifyMode,
};

use super::cursor::{At, ServerAt};
use super::{Checker, at, items, on};

/// Certificates between a client's own and one that is trusted, where nobody says (nginx's number).
pub(super) const DEPTH: usize = 1;
/// More are no chain.
const DEPTH_MAX: usize = 100;

/// As OpenSSL calls them.
const CIPHERS: [(&str, CipherSuite); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];
const CURVES: [(&str, NamedGroup); 5] = [
    ("X25519", NamedGroup::X25519),
    ("prime256v1", NamedGroup::secp256r1),
    ("secp384r1", NamedGroup::secp384r1),
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
    ("secp256r1", NamedGroup::secp256r1),
];

impl Checker<'_> {
    pub(super) fn server_tls(&mut self, server: &ServerAt<'_>) -> OwnTls {
        let Some(tls) = server.at.key("tls", &server.at.value.tls) else {
            return OwnTls::default();
        };
        OwnTls {
            rejects: on(&tls.value.reject_handshake),
            clients: self.verify_client(&tls),
            versions: self.tls_versions(&tls),
            ciphers: self.words(&tls, "ciphers", &tls.value.ciphers, "suite of TLS 1.2", &CIPHERS),
            curves: self.words(&tls, "curves", &tls.value.curves, "group", &CURVES),
            prefers_own_order: on(&tls.value.prefer_server_ciphers),
            resumption: self.resumption(&tls),
        }
    }

    fn resumption(&mut self, tls: &At<'_, schema::ServerTls>) -> ResumptionSettings {
        let default = ResumptionSettings::default();
        let given = tls.value;
        let ticket_keys = items(&given.session_ticket_keys).iter();
        ResumptionSettings {
            tickets: given.session_tickets.as_ref().is_none_or(|switch| switch.value),
            ticket_keys: ticket_keys.map(|file| self.path(&file.value)).collect(),
            sessions: given
                .session_cache
                .as_ref()
                .map_or(default.sessions, |it| usize::try_from(it.value).unwrap_or_default()),
            lifetime: self.duration(
                &given.session_timeout,
                &tls.path_of("session_timeout"),
                default.lifetime,
            ),
        }
    }

    /// A list of names that mean something.
    fn words<T: Copy + PartialEq>(
        &mut self,
        tls: &At<'_, schema::ServerTls>,
        key: &str,
        given: &List<String>,
        what: &str,
        known: &[(&str, T)],
    ) -> Vec<T> {
        let mut found = Vec::new();
        for name in tls.key(key, given).iter().flat_map(At::items) {
            match choice(name.value, what, known) {
                Ok(one) if found.contains(&one) => {}
                Ok(one) => found.push(one),
                Err(flaw) => self.error_at(&name, flaw),
            }
        }
        found
    }

    fn verify_client(&mut self, tls: &At<'_, schema::ServerTls>) -> Option<VerifyClients> {
        const MODES: [(&str, Option<VerifyMode>); 4] = [
            ("off", None),
            ("on", Some(VerifyMode::On)),
            ("optional", Some(VerifyMode::Optional)),
            ("optional_no_ca", Some(VerifyMode::OptionalNoCa)),
        ];
        let given = tls.value;
        let authorities = self.trusted_file(tls, "client_certificate", &given.client_certificate);
        let trusted = self.trusted_file(tls, "trusted_certificate", &given.trusted_certificate);
        let lists = given.crl.as_ref().map(|file| self.path(&file.value));
        let depth = self.depth(&given.verify_depth, &tls.path_of("verify_depth"), DEPTH);
        let mode = tls.key("verify_client", &given.verify_client)?;
        let chosen = self.read(Some(&mode), |text| choice(text, "way to verify clients", &MODES));
        let chosen = chosen.flatten()?;
        if chosen != VerifyMode::OptionalNoCa && authorities.is_none() && trusted.is_none() {
            let help = "add `client_certificate: FILE`, the authorities that issue them";
            self.error_at(&mode, Flaw::new("has nobody to believe", help));
        }
        let files = TrustFiles { authorities, trusted, lists, depth };
        Some(VerifyClients { mode: chosen, files })
    }

    /// How many certificates may stand between one that is shown and one that is trusted.
    pub(super) fn depth(&mut self, given: &Given<u32>, path: &str, default: usize) -> usize {
        let Some(depth) = given else { return default };
        match usize::try_from(depth.value) {
            Ok(known) if known <= DEPTH_MAX => known,
            _ => {
                let flaw = Flaw::new("is no depth", format!("write 0 to {DEPTH_MAX}"));
                self.error(at(depth), path, flaw);
                default
            }
        }
    }

    fn trusted_file(
        &mut self,
        tls: &At<'_, schema::ServerTls>,
        key: &str,
        given: &Text,
    ) -> Option<PathBuf> {
        let given = given.as_ref()?;
        let file = self.path(&given.value);
        self.authorities(&file, at(given), &tls.path_of(key));
        Some(file)
    }

    fn tls_versions(&mut self, tls: &At<'_, schema::ServerTls>) -> Option<Vec<TlsVersion>> {
        let list = tls.key("protocols", &tls.value.protocols)?;
        Some(self.versions(&list))
    }

    /// Versions of TLS, as nginx calls them.
    pub(super) fn versions(&mut self, list: &At<'_, Vec<Spanned<String>>>) -> Vec<TlsVersion> {
        const VERSIONS: [(&str, TlsVersion); 2] =
            [("TLSv1.2", TlsVersion::Tls12), ("TLSv1.3", TlsVersion::Tls13)];
        if list.value.is_empty() {
            self.error_at(list, Flaw::new("is empty", "write `[TLSv1.2, TLSv1.3]`"));
        }
        let mut versions = Vec::new();
        for given in list.items() {
            match choice(given.value, "version of TLS that is spoken", &VERSIONS) {
                Ok(version) if versions.contains(&version) => {}
                Ok(version) => versions.push(version),
                Err(flaw) => self.error_at(&given, flaw),
            }
        }
        versions
    }
}
