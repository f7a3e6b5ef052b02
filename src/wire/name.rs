//! Field names as numbers.
//!
//! Whoever decides about a message asks for the same few names again and again; comparing a byte
//! is cheaper than comparing text. What is not in this list is [`Name::Other`], and is found by its
//! text.

/// Declares the names, grouped by length, in lower case.
macro_rules! names {
    ($($length:literal: $($variant:ident $text:literal)+;)+) => {
        /// A field name that is treated apart somewhere, or any other.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Name {
            Other,
            $($(#[doc = concat!("`", $text, "`")] $variant,)+)+
        }

        impl Name {
            #[cfg(test)]
            const ALL: &[Self] = &[$($(Self::$variant,)+)+];

            /// The number of a name, whatever the case of its letters.
            pub fn of(name: &[u8]) -> Self {
                match name.len() {
                    $($length => {
                        $(if name.eq_ignore_ascii_case($text.as_bytes()) {
                            return Self::$variant;
                        })+
                        Self::Other
                    })+
                    _ => Self::Other,
                }
            }

            /// The name in lower case; empty for [`Name::Other`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::Other => "",
                    $($(Self::$variant => $text,)+)+
                }
            }
        }
    };
}

names! {
    2: Te "te";
    3: Age "age" Via "via";
    4: Date "date" ETag "etag" Host "host" Link "link" Vary "vary" From "from";
    5: Allow "allow" Range "range";
    6: Accept "accept" Cookie "cookie" Expect "expect" Origin "origin" Server "server"
       Pragma "pragma";
    7: Expires "expires" Referer "referer" Refresh "refresh" Trailer "trailer"
       Upgrade "upgrade" Warning "warning";
    8: IfMatch "if-match" IfRange "if-range" Location "location";
    9: Forwarded "forwarded" XRealIp "x-real-ip";
    10: Connection "connection" KeepAlive "keep-alive" SetCookie "set-cookie"
        UserAgent "user-agent";
    12: ContentType "content-type" MaxForwards "max-forwards";
    13: Authorization "authorization" CacheControl "cache-control" ContentRange "content-range"
        AcceptRanges "accept-ranges" IfNoneMatch "if-none-match" LastModified "last-modified";
    14: ContentLength "content-length" AcceptCharset "accept-charset" SecFetchDest "sec-fetch-dest"
        SecFetchMode "sec-fetch-mode" SecFetchSite "sec-fetch-site" SecFetchUser "sec-fetch-user";
    15: AcceptEncoding "accept-encoding" AcceptLanguage "accept-language"
        XForwardedFor "x-forwarded-for" ClearSiteData "clear-site-data";
    16: ContentEncoding "content-encoding" ContentLanguage "content-language"
        ContentLocation "content-location" ProxyConnection "proxy-connection"
        WwwAuthenticate "www-authenticate" XForwardedHost "x-forwarded-host"
        XForwardedPort "x-forwarded-port" XAccelRedirect "x-accel-redirect"
        XRequestedWith "x-requested-with";
    17: IfModifiedSince "if-modified-since" TransferEncoding "transfer-encoding"
        CloakroomSession "cloakroom-session" XForwardedProto "x-forwarded-proto"
        XAccelBuffering "x-accel-buffering";
    18: ProxyAuthenticate "proxy-authenticate" XAccelLimitRate "x-accel-limit-rate";
    19: ContentDisposition "content-disposition" IfUnmodifiedSince "if-unmodified-since"
        ProxyAuthorization "proxy-authorization";
    25: StrictTransportSecurity "strict-transport-security";
    29: AccessControlRequestMethod "access-control-request-method";
}

impl Name {
    /// Whether a request that has the field twice is refused, with equal values too (nginx does so;
    /// RFC 9110 section 5.3).
    pub const fn comes_once(self) -> bool {
        matches!(
            self,
            Self::Host
                | Self::ContentLength
                | Self::ContentRange
                | Self::TransferEncoding
                | Self::Expect
                | Self::Authorization
                | Self::IfMatch
                | Self::IfNoneMatch
                | Self::IfModifiedSince
                | Self::IfUnmodifiedSince
                | Self::IfRange
        )
    }

    /// Whether the field is about one connection only, whatever `Connection` says (RFC 9110 section
    /// 7.6.1). `TE` and `Trailer` are not in this list: they are judged where trailers are.
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether the field must not come in trailers: it frames or routes the message, or was decided
    /// upon when the head came (RFC 9110 section 6.5.1).
    pub const fn is_barred_from_trailers(self) -> bool {
        self.is_hop_by_hop()
            || self.comes_once()
            || matches!(
                self,
                Self::Te
                    | Self::Trailer
                    | Self::Cookie
                    | Self::SetCookie
                    | Self::ContentEncoding
                    | Self::ContentType
                    | Self::CacheControl
                    | Self::MaxForwards
                    | Self::Range
                    | Self::Location
                    | Self::Vary
                    | Self::Expires
                    | Self::Date
                    | Self::Age
                    | Self::WwwAuthenticate
                    | Self::ProxyAuthenticate
                    | Self::ProxyAuthorization
                    | Self::CloakroomSession
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_by_its_text_in_any_case() {
        assert!(Name::ALL.len() < 128, "heads note in 128 bits which names they had");
        for name in Name::ALL {
            let text = name.as_str();
            assert_eq!(text, text.to_ascii_lowercase());
            assert_eq!(Name::of(text.as_bytes()), *name, "{text}");
            assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), *name, "{text}");
            assert_eq!(Name::of(format!("{text}x").as_bytes()), Name::Other, "{text}x");
        }
    }

    #[test]
    fn other_names_have_no_number() {
        for text in ["", "x", "cookies", "content_length", "hos\u{212a}", "x-session-id"] {
            assert_eq!(Name::of(text.as_bytes()), Name::Other, "{text}");
        }
    }
}
