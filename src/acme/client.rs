//! Requests to an authority: HTTPS alone (RFC 8555 section 6.1), one connection for each, with a deadline
//! and a limit on what is answered.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HOST, HeaderValue, RETRY_AFTER};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For a whole request.
const PATIENCE: Duration = Duration::from_secs(30);
/// Chains are the longest of all answers.
const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Asks an authority.
#[derive(Clone)]
pub struct Web {
    tls: Arc<ClientConfig>,
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Web {
    /// `ca`: who vouches for the authority, in place of those whom the system trusts.
    ///
    /// # Errors
    /// Says which file is wrong, and how.
    pub fn new(ca: Option<&PathBuf>) -> Result<Self, String> {
        let roots = match ca {
            Some(file) => {
                authorities(file).map_err(|error| format!("{}: {error}", file.display()))?
            }
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), retry_after: Arc::default() })
    }

    /// What the last answer said of when to ask again.
    pub fn retry_after(&self) -> Option<Duration> {
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let Self { tls, retry_after } = self.clone();
        Box::pin(async move {
            let uri = request.uri().clone();
            let answered = tokio::time::timeout(PATIENCE, ask(tls, request)).await;
            let answered = answered.unwrap_or_else(|late| Err(late.into()));
            let said = answered.as_ref().ok().and_then(|response| {
                read_retry_after(response.headers().get(RETRY_AFTER)?, SystemTime::now())
            });
            *retry_after.lock().unwrap_or_else(PoisonError::into_inner) = said;
            let host = uri.host().unwrap_or_default();
            let response = answered
                .map_err(|error| Error::Other(format!("{host} cannot be asked: {error}").into()))?;
            Ok(BytesResponse::from(response.map(Full::new)))
        })
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn ask(
    tls: Arc<ClientConfig>,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Bytes>, Failure> {
    let uri = request.uri();
    if uri.scheme_str() != Some("https") {
        return Err("its address must begin with https://".into());
    }
    let authority = uri.authority().ok_or("an address without a host")?.clone();
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = authority.port_u16().unwrap_or(443);
    let socket = TcpStream::connect((host.as_str(), port)).await?;
    let name = ServerName::try_from(host)?;
    let stream = TlsConnector::from(tls).connect(name, socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    *request.uri_mut() = uri_of_origin(request.uri())?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok::<_, Failure>(Response::from_parts(head, body))
    };
    // Ends with the connection, which nobody waits for afterwards.
    let driving = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answered = exchange => answered,
        () = driving => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// RFC 9112 section 3.2.1.
fn uri_of_origin(uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder().path_and_query(path).build()
}

/// Seconds, or a date (RFC 9110 section 10.2.3).
fn read_retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            Some(at.duration_since(now).unwrap_or_default())
        }
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(&text) {
        let one = one.map_err(|error| error.to_string())?;
        roots.add(one).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_come_again_is_a_number_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let read = read_retry_after(&HeaderValue::from_static(text), now);
            assert_eq!(read, expected.map(Duration::from_secs), "{text}");
        }
    }

    #[tokio::test]
    async fn nothing_is_asked_for_over_plain_http() {
        let web = Web::new(None).expect("the system's");
        let request = Request::builder().uri("http://127.0.0.1:1/").body(BodyWrapper::default());
        let error = web.request(request.expect("a request")).await.err().expect("refused");
        assert!(error.to_string().contains("must begin with https"), "{error}");
    }
}
