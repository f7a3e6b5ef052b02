//! The names that are built in.
//!
//! Those of modules that are not here (cache, SSI, `slice`) are known too, and empty: a format that
//! names one is no mistake.

/// Declares the variables that are built in, one name each.
macro_rules! builtins {
    ($($(#[$doc:meta])* $variant:ident $name:literal),* $(,)?) => {
        /// A variable that is built in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Builtin {
            $($(#[$doc])* $variant,)*
            /// Known, and never has a value.
            Nothing,
        }

        /// Every name with its variable, those without a value aside.
        pub const BUILTINS: &[(&str, Builtin)] = &[$(($name, Builtin::$variant)),*];
    };
}

builtins! {
    // Core.
    Args "args",
    QueryString "query_string",
    IsArgs "is_args",
    BinaryRemoteAddr "binary_remote_addr",
    BodyBytesSent "body_bytes_sent",
    BytesSent "bytes_sent",
    Connection "connection",
    ConnectionRequests "connection_requests",
    ConnectionTime "connection_time",
    ContentLength "content_length",
    ContentType "content_type",
    DocumentRoot "document_root",
    RealpathRoot "realpath_root",
    RequestFilename "request_filename",
    Host "host",
    Hostname "hostname",
    Https "https",
    Http2 "http2",
    LimitRate "limit_rate",
    Msec "msec",
    NginxVersion "nginx_version",
    Pid "pid",
    Pipe "pipe",
    ProxyProtocolAddr "proxy_protocol_addr",
    ProxyProtocolPort "proxy_protocol_port",
    ProxyProtocolServerAddr "proxy_protocol_server_addr",
    ProxyProtocolServerPort "proxy_protocol_server_port",
    RemoteAddr "remote_addr",
    RemotePort "remote_port",
    RemoteUser "remote_user",
    Request "request",
    RequestBody "request_body",
    RequestBodyFile "request_body_file",
    RequestCompletion "request_completion",
    RequestId "request_id",
    RequestLength "request_length",
    RequestMethod "request_method",
    RequestPort "request_port",
    IsRequestPort "is_request_port",
    RequestTime "request_time",
    RequestUri "request_uri",
    Scheme "scheme",
    ServerAddr "server_addr",
    ServerName "server_name",
    ServerPort "server_port",
    ServerProtocol "server_protocol",
    Status "status",
    TcpinfoRtt "tcpinfo_rtt",
    TcpinfoRttvar "tcpinfo_rttvar",
    TcpinfoSndCwnd "tcpinfo_snd_cwnd",
    TcpinfoRcvSpace "tcpinfo_rcv_space",
    TimeIso8601 "time_iso8601",
    TimeLocal "time_local",
    Uri "uri",
    DocumentUri "document_uri",
    // Proxying.
    ProxyAddXForwardedFor "proxy_add_x_forwarded_for",
    ProxyHost "proxy_host",
    ProxyPort "proxy_port",
    UpstreamAddr "upstream_addr",
    UpstreamStatus "upstream_status",
    UpstreamConnectTime "upstream_connect_time",
    UpstreamHeaderTime "upstream_header_time",
    UpstreamQueueTime "upstream_queue_time",
    UpstreamResponseTime "upstream_response_time",
    UpstreamResponseLength "upstream_response_length",
    UpstreamBytesReceived "upstream_bytes_received",
    UpstreamBytesSent "upstream_bytes_sent",
    // Other modules.
    ConnectionsActive "connections_active",
    ConnectionsReading "connections_reading",
    ConnectionsWaiting "connections_waiting",
    ConnectionsWriting "connections_writing",
    DateGmt "date_gmt",
    DateLocal "date_local",
    GzipRatio "gzip_ratio",
    InvalidReferer "invalid_referer",
    LimitConnStatus "limit_conn_status",
    LimitReqStatus "limit_req_status",
    RealipRemoteAddr "realip_remote_addr",
    RealipRemotePort "realip_remote_port",
    SecureLink "secure_link",
    SecureLinkExpires "secure_link_expires",
    // TLS.
    SslAlpnProtocol "ssl_alpn_protocol",
    SslCipher "ssl_cipher",
    SslCiphers "ssl_ciphers",
    SslClientCert "ssl_client_cert",
    SslClientEscapedCert "ssl_client_escaped_cert",
    SslClientFingerprint "ssl_client_fingerprint",
    SslClientIssuer "ssl_client_i_dn",
    SslClientIssuerLegacy "ssl_client_i_dn_legacy",
    SslClientRawCert "ssl_client_raw_cert",
    SslClientSubject "ssl_client_s_dn",
    SslClientSubjectLegacy "ssl_client_s_dn_legacy",
    SslClientSerial "ssl_client_serial",
    SslClientEnd "ssl_client_v_end",
    SslClientRemain "ssl_client_v_remain",
    SslClientStart "ssl_client_v_start",
    SslClientVerify "ssl_client_verify",
    SslCurve "ssl_curve",
    SslCurves "ssl_curves",
    SslEarlyData "ssl_early_data",
    SslProtocol "ssl_protocol",
    SslServerName "ssl_server_name",
    SslSessionId "ssl_session_id",
    SslSessionReused "ssl_session_reused",
    // Ours.
    /// The session policy of the route.
    SessionPolicy "session_policy",
    /// What became of the session: `login`, `logout`, ….
    SessionEvent "session_event",
    /// A session's identifier, hashed: as workers see it.
    SessionId "session_id",
    /// Whose session it is, where that was confirmed.
    SessionSubject "session_subject",
}

/// Names of modules that have no meaning here.
const NOTHING: &[&str] = &[
    "ancient_browser",
    "fastcgi_path_info",
    "fastcgi_script_name",
    "http3",
    "memcached_key",
    "modern_browser",
    "msie",
    "proxy_internal_body_length",
    "proxy_internal_chunked",
    "slice_range",
    "ssl_client_sigalg",
    "ssl_ech_outer_server_name",
    "ssl_ech_status",
    "ssl_sigalg",
    "uid_got",
    "uid_reset",
    "uid_set",
    "upstream_cache_age",
    "upstream_cache_etag",
    "upstream_cache_key",
    "upstream_cache_last_modified",
    "upstream_cache_status",
    "upstream_last_server_name",
];

/// Variables that share a beginning, whose rest names what is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `$arg_…`: an argument of the query.
    Arg,
    /// `$cookie_…`: a cookie of the request.
    Cookie,
    /// `$http_…`: a field of the request.
    Http,
    /// `$sent_http_…`: a field of the answer.
    SentHttp,
    /// `$sent_trailer_…`: a trailer of the answer.
    SentTrailer,
    /// `$upstream_http_…`: a field of a worker's answer.
    UpstreamHttp,
    /// `$upstream_trailer_…`: a trailer of a worker's answer.
    UpstreamTrailer,
    /// `$upstream_cookie_…`: a cookie that a worker sets.
    UpstreamCookie,
    /// `$proxy_protocol_tlv_…`: what a PROXY line says beside addresses.
    ProxyProtocolTlv,
}

const FAMILIES: &[(&str, Family)] = &[
    ("arg_", Family::Arg),
    ("cookie_", Family::Cookie),
    ("http_", Family::Http),
    ("sent_http_", Family::SentHttp),
    ("sent_trailer_", Family::SentTrailer),
    ("upstream_http_", Family::UpstreamHttp),
    ("upstream_trailer_", Family::UpstreamTrailer),
    ("upstream_cookie_", Family::UpstreamCookie),
    ("proxy_protocol_tlv_", Family::ProxyProtocolTlv),
];

impl Builtin {
    /// The variable of a name in lower case, without `$`.
    pub fn of(name: &str) -> Option<Self> {
        let found = BUILTINS.iter().find(|(known, _)| *known == name);
        let nothing = || NOTHING.contains(&name).then_some(Self::Nothing);
        found.map(|(_, builtin)| *builtin).or_else(nothing)
    }

    /// Whether it says something of TLS.
    pub fn is_of_tls(self) -> bool {
        matches!(
            self,
            Self::SslAlpnProtocol
                | Self::SslCipher
                | Self::SslCiphers
                | Self::SslClientCert
                | Self::SslClientEscapedCert
                | Self::SslClientFingerprint
                | Self::SslClientIssuer
                | Self::SslClientIssuerLegacy
                | Self::SslClientRawCert
                | Self::SslClientSubject
                | Self::SslClientSubjectLegacy
                | Self::SslClientSerial
                | Self::SslClientEnd
                | Self::SslClientRemain
                | Self::SslClientStart
                | Self::SslClientVerify
                | Self::SslCurve
                | Self::SslCurves
                | Self::SslEarlyData
                | Self::SslProtocol
                | Self::SslServerName
                | Self::SslSessionId
                | Self::SslSessionReused
        )
    }

    /// Whether `set` may give it a value, as in nginx.
    pub fn is_assignable(self) -> bool {
        matches!(self, Self::Args | Self::LimitRate)
    }
}

impl Family {
    /// The family that a name in lower case belongs to, and the rest of the name.
    pub fn of(name: &str) -> Option<(Self, &str)> {
        let member = |(prefix, family): &(&str, Self)| Some((*family, name.strip_prefix(prefix)?));
        FAMILIES.iter().find_map(member)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_name_stands_for_one_thing() {
        let names = BUILTINS.iter().map(|(name, _)| name).chain(NOTHING);
        let mut seen = HashSet::new();
        for name in names {
            assert!(seen.insert(name), "{name} twice");
            assert_eq!(Family::of(name), None, "{name} is a member of a family too");
            assert_eq!(**name, name.to_ascii_lowercase(), "looked up in lower case");
        }
        assert_eq!(Builtin::of("host"), Some(Builtin::Host));
        assert_eq!(Builtin::of("upstream_cache_status"), Some(Builtin::Nothing));
        assert_eq!(Builtin::of("nobody"), None);
    }

    #[test]
    fn members_of_families_are_told_by_their_beginning() {
        for (name, expected) in [
            ("http_user_agent", Some((Family::Http, "user_agent"))),
            ("sent_http_x", Some((Family::SentHttp, "x"))),
            ("upstream_http_location", Some((Family::UpstreamHttp, "location"))),
            ("upstream_cookie_id", Some((Family::UpstreamCookie, "id"))),
            ("proxy_protocol_tlv_ssl_version", Some((Family::ProxyProtocolTlv, "ssl_version"))),
            ("arg_", Some((Family::Arg, ""))),
            ("https", None),
            ("arguments", None),
        ] {
            assert_eq!(Family::of(name), expected, "{name}");
        }
    }
}
