//! `servers[].tls`: what a virtual server says of TLS itself.

use std::path::PathBuf;

use serde_saphyr::Spanned;

use crate::config::schema::{self, Given, Text};
use crate::config::value::{Flaw, choice};
use crate::listen::{OwnTls, TlsVersion, TrustFiles, VerifyClients, VerifyMode};

use super::cursor::{At, ServerAt};
use super::{Checker, at, on};

/// Certificates between a client's own and one that is trusted, where nobody says (nginx's number).
pub(super) const DEPTH: usize = 1;
/// More are no chain.
const DEPTH_MAX: usize = 100;

impl Checker<'_> {
    pub(super) fn server_tls(&mut self, server: &ServerAt<'_>) -> OwnTls {
        let Some(tls) = server.at.key("tls", &server.at.value.tls) else {
            return OwnTls::default();
        };
        OwnTls {
            rejects: on(&tls.value.reject_handshake),
            clients: self.verify_client(&tls),
            versions: self.tls_versions(&tls),
        }
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
