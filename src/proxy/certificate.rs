//! Whether a client has shown the certificate that a server asks for (nginx `ssl_verify_client`), and speaks
//! TLS at all where that is spoken.
//!
//! Hands were shaken for the server that SNI names; the request names one, too.

use crate::listen::info::Tls;
use crate::listen::{Info, VerifyClients, VerifyMode};
use crate::proxy::error::RequestError;
use crate::proxy::shared::Shared;
use crate::routing::host::Host;

/// Looks at a connection on behalf of the server that a request names.
///
/// # Errors
/// Why the request is not served.
pub fn check(
    shared: &Shared,
    connection: &Info,
    server: usize,
    host: &Host<'_>,
) -> Result<(), RequestError> {
    if connection.is_plain_on_tls() {
        return Err(RequestError::PlainOnTls);
    }
    let of = |server: usize| shared.servers.get(server)?.clients.as_ref();
    let (Some(tls), Some(clients)) = (connection.tls(), of(server)) else { return Ok(()) };
    // As in nginx, a name that no server has is as good as none.
    let name = tls.server_name.as_deref().filter(|name| {
        Host::parse(name.as_bytes())
            .is_ok_and(|name| shared.table.is_named(shared.listener(connection), &name))
    });
    if name.is_some_and(|name| name != host.as_str()) {
        return Err(RequestError::Misdirected);
    }
    verify(tls, clients, tls.server.and_then(of))
}

/// `asked` is what the server wanted that hands were shaken for.
fn verify(
    tls: &Tls,
    clients: &VerifyClients,
    asked: Option<&VerifyClients>,
) -> Result<(), RequestError> {
    let Some(client) = &tls.client else {
        return match clients.mode {
            VerifyMode::On => Err(RequestError::NoCertificate),
            VerifyMode::Optional | VerifyMode::OptionalNoCa => Ok(()),
        };
    };
    // Without SNI another server may have asked. What its authorities say counts for nothing here.
    if asked.is_none_or(|asked| asked.files != clients.files) {
        return Err(RequestError::Misdirected);
    }
    match client.verdict {
        Ok(()) => Ok(()),
        Err(flaw) if clients.mode == VerifyMode::OptionalNoCa && flaw.is_about_trust_alone() => {
            Ok(())
        }
        Err(flaw) => {
            tracing::info!(why = flaw.text(), "the certificate of a client is not believed");
            Err(RequestError::BadCertificate)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::info::ClientCertificate;
    use crate::listen::{Protocol, TrustFiles};
    use crate::transport::x509::Unverified;

    fn tls(verdict: Option<Result<(), Unverified>>) -> Tls {
        let client = |verdict| Box::new(ClientCertificate { der: Box::default(), verdict });
        Tls {
            server_name: None,
            protocol: Protocol::Http1,
            by_alpn: false,
            version: "TLSv1.3",
            cipher: "",
            curve: "",
            resumed: false,
            client_certificate: None,
            client: verdict.map(client),
            server: Some(0),
            names: None,
        }
    }

    fn clients(mode: VerifyMode, file: &str) -> VerifyClients {
        let authorities = Some(file.into());
        VerifyClients { mode, files: TrustFiles { authorities, ..TrustFiles::default() } }
    }

    #[test]
    fn each_mode_takes_what_nginx_takes() {
        use RequestError::{BadCertificate, NoCertificate};
        use VerifyMode::{On, Optional, OptionalNoCa};
        let (unknown, expired) = (Err(Unverified::NoLeafIssuer), Err(Unverified::Expired));
        for (mode, verdict, expected) in [
            (On, None, Err(NoCertificate)),
            (On, Some(Ok(())), Ok(())),
            (On, Some(unknown), Err(BadCertificate)),
            (Optional, None, Ok(())),
            (Optional, Some(Ok(())), Ok(())),
            (Optional, Some(unknown), Err(BadCertificate)),
            (OptionalNoCa, None, Ok(())),
            (OptionalNoCa, Some(unknown), Ok(())),
            (OptionalNoCa, Some(expired), Err(BadCertificate)),
        ] {
            let clients = clients(mode, "ca");
            let outcome = verify(&tls(verdict), &clients, Some(&clients));
            assert_eq!(outcome, expected, "{mode:?} {verdict:?}");
        }
    }

    #[test]
    fn what_another_server_has_verified_counts_for_nothing() {
        let (one, other) = (clients(VerifyMode::On, "a"), clients(VerifyMode::On, "b"));
        let shown = tls(Some(Ok(())));
        let misdirected = Err(RequestError::Misdirected);
        assert_eq!(verify(&shown, &one, Some(&other)), misdirected);
        assert_eq!(verify(&shown, &one, None), misdirected);
        assert_eq!(verify(&shown, &one, Some(&one)), Ok(()));
    }
}
