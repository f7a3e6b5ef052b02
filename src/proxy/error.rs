//! Why a request is answered by the proxy itself, and with which status.

use http::StatusCode;

/// Everything that the proxy answers for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The target can't be normalised, or the host is no host.
    BadRequest,
    /// TRACE.
    MethodNotAllowed,
    /// The client took too long.
    RequestTimeout,
    /// The head is too large.
    HeadTooLarge,
    BodyTooLarge,
    /// As much is held of bodies as may be.
    BuffersFull,
    /// Plain HTTP, where TLS is spoken.
    PlainOnTls,
    /// The client's certificate is not believed.
    BadCertificate,
    /// The client has shown no certificate.
    NoCertificate,
    /// The authority does not belong to the name that TLS was made for (RFC 9110, 15.5.20).
    Misdirected,
    NoRoute,
    /// A file that is not there.
    NotFound,
    /// A file that may not be read, or a directory that is not listed.
    Forbidden,
    /// `If-Match`, `If-Unmodified-Since` (RFC 9110, 15.5.13).
    PreconditionFailed,
    /// `require: login`, and no navigation.
    LoginRequired,
    /// `allow` and `deny`, or somebody who was asked (`auth_request`), keep the client out.
    AccessDenied,
    /// `auth_basic`, or somebody who was asked, wants to know who that is.
    NameRequired,
    /// `limit_req`; the route says with which status.
    TooManyRequests,
    /// `limit_conn`; the route says with which status.
    TooManyConnections,
    /// A cross-site login request (PROTOCOL.md 24).
    CrossSiteLogin,
    /// An unsafe request from another site, where the route refuses those.
    CrossSite,
    /// The ticket belongs to another client, and the policy refuses that.
    BindingMismatch,
    /// The user has as many sessions as there may be (PROTOCOL.md 22).
    TooManySessions,
    /// Too many attempts to log in from the client's network were no success (PROTOCOL.md 19).
    TooManyAttempts,
    /// A session route over plain HTTP.
    InsecureSession,
    /// No endpoint, no connection, or an answer that is none.
    BadGateway,
    UpstreamTimeout,
    /// The store does not answer.
    StoreDown,
    /// The answer is withheld because its session could not be stored (PROTOCOL.md 8, 19).
    Withheld,
    /// The exchange was cut: its session ended or changed meanwhile.
    Cut,
    Internal,
    /// The client has left.
    ClientGone,
}

/// nginx's statuses that stand for 400 and say why.
pub const BAD_CERTIFICATE: u16 = 495;
pub const NO_CERTIFICATE: u16 = 496;
pub const PLAIN_ON_TLS: u16 = 497;

impl RequestError {
    /// The status, as nginx would choose it; none where nobody is there to read it.
    pub fn status(self) -> Option<StatusCode> {
        Some(match self {
            Self::BadRequest | Self::PlainOnTls | Self::BadCertificate | Self::NoCertificate => {
                StatusCode::BAD_REQUEST
            }
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRoute | Self::NotFound => StatusCode::NOT_FOUND,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::LoginRequired | Self::NameRequired => StatusCode::UNAUTHORIZED,
            Self::Forbidden
            | Self::AccessDenied
            | Self::CrossSiteLogin
            | Self::CrossSite
            | Self::BindingMismatch
            | Self::TooManySessions
            | Self::InsecureSession => StatusCode::FORBIDDEN,
            Self::TooManyAttempts | Self::TooManyRequests | Self::TooManyConnections => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::StoreDown | Self::Withheld | Self::Cut | Self::BuffersFull => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ClientGone => return None,
        })
    }

    /// The status that a page stands for: nginx has numbers of its own for what is wrong with TLS.
    pub fn code(self) -> Option<StatusCode> {
        match self {
            Self::BadCertificate => StatusCode::from_u16(BAD_CERTIFICATE).ok(),
            Self::NoCertificate => StatusCode::from_u16(NO_CERTIFICATE).ok(),
            Self::PlainOnTls => StatusCode::from_u16(PLAIN_ON_TLS).ok(),
            _ => self.status(),
        }
    }

    /// What has one of these numbers of nginx's.
    pub fn of_code(code: u16) -> Option<Self> {
        [Self::BadCertificate, Self::NoCertificate, Self::PlainOnTls]
            .into_iter()
            .find(|error| error.code().is_some_and(|status| status.as_u16() == code))
    }

    /// Its name in the access line.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::BuffersFull => "buffers_full",
            Self::PlainOnTls => "plain_on_tls",
            Self::BadCertificate => "bad_certificate",
            Self::NoCertificate => "no_certificate",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::PreconditionFailed => "precondition_failed",
            Self::LoginRequired => "login_required",
            Self::AccessDenied => "access_denied",
            Self::TooManyRequests => "too_many_requests",
            Self::TooManyConnections => "too_many_connections",
            Self::NameRequired => "name_required",
            Self::CrossSiteLogin => "cross_site_login",
            Self::CrossSite => "cross_site",
            Self::BindingMismatch => "binding_mismatch",
            Self::TooManySessions => "too_many_sessions",
            Self::TooManyAttempts => "too_many_attempts",
            Self::InsecureSession => "insecure_session",
            Self::BadGateway => "bad_gateway",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::StoreDown => "store_down",
            Self::Withheld => "withheld",
            Self::Cut => "cut",
            Self::Internal => "internal",
            Self::ClientGone => "client_gone",
        }
    }

    /// What a visitor may read about it, where the reason phrase says too little.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::PlainOnTls => Some("This page is served over https only."),
            Self::BadCertificate => Some("The certificate of your browser is not accepted here."),
            Self::NoCertificate => Some("Your browser has to show a certificate here."),
            Self::InsecureSession => Some("This page is served over https only."),
            Self::CrossSiteLogin => Some("This login was sent from another site."),
            Self::BindingMismatch => Some("This session was begun elsewhere."),
            Self::CrossSite => Some("This request was sent from another site."),
            Self::TooManySessions => Some(
                "You are logged in as often as you may be. Log out in another browser, then try again.",
            ),
            Self::TooManyAttempts => {
                Some("Too many logins have failed. Please try again in a minute.")
            }
            Self::StoreDown | Self::Withheld | Self::Cut | Self::BuffersFull => {
                Some("Please try again in a moment.")
            }
            _ => None,
        }
    }

    /// Seconds for `Retry-After`, where trying again will help.
    pub fn retry_after_secs(self) -> Option<u32> {
        match self {
            Self::StoreDown | Self::Withheld | Self::Cut | Self::BuffersFull => Some(2),
            Self::TooManyAttempts => Some(60),
            _ => None,
        }
    }
}
