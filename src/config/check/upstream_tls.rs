//! `upstreams.*.tls`: verified by a name, unless somebody says that nobody need be.

use serde_saphyr::Spanned;

use crate::config::schema::UpstreamTls;
use crate::config::value::Flaw;
use crate::config::value::name::host;
use crate::listen::CertificateSettings;
use crate::upstream::{ClientCertificate, TlsSettings, TlsVersion, Verifies};

use super::cursor::At;
use super::server_tls::DEPTH;
use super::{Checker, at};

impl Checker<'_> {
    /// Without a name nothing would be verified, so there is none without.
    pub(super) fn upstream_tls(
        &mut self,
        given: &Spanned<UpstreamTls>,
        path: &str,
    ) -> Option<TlsSettings> {
        let tls = &given.value;
        let is_on = |given: &Option<Spanned<bool>>| given.as_ref().is_none_or(|it| it.value);
        let (verifies, sends_name) = (is_on(&tls.verify), is_on(&tls.send_server_name));
        let name_path = format!("{path}.server_name");
        let server_name = match verifies {
            true => self.required(&tls.server_name, at(given), &name_path, "app.internal", host)?,
            false => self.optional(&tls.server_name, &name_path, host).unwrap_or_default(),
        };
        let ca = tls.ca.as_ref().map(|ca| {
            let file = self.path(&ca.value);
            self.authorities(&file, at(ca), &format!("{path}.ca"));
            file
        });
        let certificate = tls.certificate.as_ref().and_then(|given| {
            let example = ["/etc/cloakroom/tls/client.pem", "/etc/cloakroom/tls/client.key"];
            let files = self.key_pair(given, &format!("{path}.certificate"), example)?;
            let CertificateSettings { chain, key, password_file, .. } = files;
            Some(ClientCertificate { chain, key, password_file })
        });
        let verifies = self.verifies(given, path, ca.is_some());
        let protocols = At::new(path, given).key("protocols", &tls.protocols);
        let versions = protocols.map(|list| self.versions(&list));
        let versions = versions.map(|versions| {
            let ours = versions.into_iter().map(|version| match version {
                crate::listen::TlsVersion::Tls12 => TlsVersion::Tls12,
                crate::listen::TlsVersion::Tls13 => TlsVersion::Tls13,
            });
            ours.collect()
        });
        let default = TlsSettings::new(server_name);
        Some(TlsSettings {
            // Without a name there is none to send.
            sends_name: sends_name && !default.server_name.is_empty(),
            ca,
            verifies,
            certificate,
            versions: versions.unwrap_or(default.versions.clone()),
            resumes: is_on(&tls.session_reuse),
            ..default
        })
    }

    fn verifies(&mut self, given: &Spanned<UpstreamTls>, path: &str, has_ca: bool) -> Verifies {
        let tls = &given.value;
        if tls.verify.as_ref().is_some_and(|verify| !verify.value) {
            let of_no_use = [("ca", tls.ca.is_some()), ("crl", tls.crl.is_some())];
            for (key, _) in of_no_use.iter().filter(|(_, is_given)| *is_given) {
                let flaw =
                    Flaw::new("has no effect: nobody is verified", "leave out `verify: false`");
                self.warning(at(given), &format!("{path}.{key}"), flaw);
            }
            return Verifies::Nothing;
        }
        let lists = tls.crl.as_ref().map(|file| self.path(&file.value));
        if tls.verify_depth.is_none() && lists.is_none() {
            return Verifies::Strictly;
        }
        if !has_ca {
            let help = "add `ca: FILE`, the authorities that are believed";
            self.error(at(given), &format!("{path}.ca"), Flaw::new("is missing", help));
        }
        let depth = self.depth(&tls.verify_depth, &format!("{path}.verify_depth"), DEPTH);
        Verifies::AsOpenSsl { depth, lists }
    }
}
