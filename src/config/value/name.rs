//! Names: of cookies, hosts, headers, methods, and of things in the configuration itself.

use http::{HeaderName, HeaderValue, Method};

use crate::routing::pattern::{Case, Pattern};

use super::{Flaw, Parsed, choice};

/// Prefixes that browsers attach a meaning to (RFC 6265bis section 4.1.3 and its successors).
const PREFIXES: [&str; 4] = ["__Host-Http-", "__Host-", "__Secure-", "__Http-"];

const NAME_BYTES_MAX: usize = 64;

/// Checks the name of a session policy, an upstream or a namespace: it is part of keys and logs.
///
/// # Errors
/// Empty, longer than 64 bytes, or other characters than letters, digits, `_`, `-` and `.`.
pub fn identifier(text: &str) -> Parsed<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(fits) {
        return Err(Flaw::new(
            format!("`{text}` cannot be a name"),
            "use 1 to 64 letters, digits, `_`, `-` and `.`",
        ));
    }
    Ok(text.to_owned())
}

/// Checks the name of a ticket's cookie, to which its prefix is still to be added.
///
/// # Errors
/// As [`cookie`]; a prefix that is there already.
pub fn ticket_cookie(text: &str) -> Parsed<String> {
    let lower = text.to_ascii_lowercase();
    for prefix in PREFIXES {
        if lower.starts_with(&prefix.to_ascii_lowercase()) {
            let bare = &text[prefix.len()..];
            return Err(Flaw::new(
                format!("`{text}` carries a prefix already"),
                format!(
                    "write `{bare}`: the prefix is added by itself, `__Secure-` where `domain` is given, else `__Host-`"
                ),
            ));
        }
    }
    cookie(text)
}

/// Checks a cookie-name (RFC 6265bis section 4.1.1: a token).
///
/// # Errors
/// Empty, longer than 64 bytes, no token, or `$` at its begin (read as an attribute by servers
/// that still follow RFC 2965).
pub fn cookie(text: &str) -> Parsed<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty()
        || text.len() > NAME_BYTES_MAX
        || !text.bytes().all(fits)
        || text.starts_with('$')
    {
        return Err(Flaw::new(
            format!("`{text}` cannot be a cookie's name"),
            "use 1 to 64 letters, digits and any of !#%&'*+-.^_`|~",
        ));
    }
    Ok(text.to_owned())
}

/// Checks a cookie-name with an optional `*` at its end, which stands for any rest.
///
/// # Errors
/// As [`cookie`]; a `*` elsewhere.
pub fn cookie_pattern(text: &str) -> Parsed<String> {
    let stem = text.strip_suffix('*').unwrap_or(text);
    if stem.contains('*') {
        return Err(Flaw::new(
            format!("`{text}` has a `*` that is not at its end"),
            "a pattern is a name, or the begin of a name and one `*`",
        ));
    }
    if !(stem.is_empty() && text == "*") {
        cookie(stem)?;
    }
    Ok(text.to_owned())
}

/// Whether a pattern of [`cookie_pattern`] matches a name.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => name.starts_with(stem),
        None => pattern == name,
    }
}

/// Checks a server's name and puts it in lower case: a host name, `*.` and a host name, or `_`.
///
/// # Errors
/// A port, a scheme, letters outside ASCII, nginx's forms that are not supported.
pub fn server(text: &str) -> Parsed<String> {
    // Without a name: requests of HTTP/1.0 that name no host.
    if matches!(text, "" | "_") {
        return Ok(text.to_owned());
    }
    if let Some(pattern) = text.strip_prefix('~') {
        return match Pattern::compile(pattern, Case::Insensitive) {
            Ok(_) => Ok(text.to_owned()),
            Err(bad) => Err(Flaw::new(
                format!("`{text}` is no regular expression: {bad}"),
                r"write one such as `~^(?<tenant>[a-z]+)\.shop\.example$`",
            )),
        };
    }
    if let Some(rest) = text.strip_suffix(".*") {
        return Ok(format!("{}.*", host(rest)?));
    }
    for mark in ["*.", "."] {
        if let Some(rest) = text.strip_prefix(mark) {
            return Ok(format!("{mark}{}", host(rest)?));
        }
    }
    host(text)
}

/// Checks the domain of a ticket that spans subdomains, and puts it in lower case.
///
/// # Errors
/// As [`host`]; an address; a name without a dot, which browsers refuse (RFC 6265bis section 5.6.3).
pub fn cookie_domain(text: &str) -> Parsed<String> {
    if let Some(rest) = text.strip_prefix('.') {
        return Err(Flaw::new(
            format!("`{text}` begins with a dot"),
            format!("write `{rest}`: it covers the subdomains anyway"),
        ));
    }
    let domain = host(text)?;
    if !domain.contains('.') || domain.parse::<std::net::IpAddr>().is_ok() {
        return Err(Flaw::new(
            format!("browsers refuse cookies for the domain `{text}`"),
            "name a domain such as `example.com`, or leave `domain` out for a ticket of one host",
        ));
    }
    Ok(domain)
}

/// Checks an origin and writes it as browsers do (RFC 6454, section 6.2): in lower case, without a
/// default port.
///
/// # Errors
/// Another scheme than `https` and `http`, anything behind the port, `null`.
pub fn origin(text: &str) -> Parsed<String> {
    const HELP: &str = "write scheme and host, such as `https://partner.example.com`";
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = lower
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "https" | "http"))
        .ok_or_else(|| Flaw::new(format!("`{text}` is no origin"), HELP))?;
    if let Some(rest) = rest.find(['/', '?', '#', '@']) {
        let help = format!("write `{}`: an origin has no path", &lower[..scheme.len() + 3 + rest]);
        return Err(Flaw::new(format!("`{text}` is no origin"), help));
    }
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (rest, None),
    };
    let name = host(name)?;
    let default = if scheme == "https" { 443 } else { 80 };
    match port.map(str::parse::<u16>) {
        None => Ok(format!("{scheme}://{name}")),
        Some(Ok(port)) if port == default => Ok(format!("{scheme}://{name}")),
        Some(Ok(port)) if port > 0 => Ok(format!("{scheme}://{name}:{port}")),
        Some(_) => Err(Flaw::new(format!("`{text}` has a port that is none"), HELP)),
    }
}

/// Checks a host name (or an address as it stands in a URL) and puts it in lower case.
///
/// # Errors
/// Anything that cannot stand in a Host header without its port.
pub fn host(text: &str) -> Parsed<String> {
    const HELP: &str = "write the host alone, such as `shop.example.com`";
    if text.contains("://") || text.contains('/') {
        return Err(Flaw::new(format!("`{text}` is no host name"), HELP));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Result<std::net::Ipv6Addr, _> = inner.parse();
        return address
            .map(|address| format!("[{address}]"))
            .map_err(|_| Flaw::new(format!("`{text}` is no IPv6 address"), HELP));
    }
    if let Some((name, port)) = text.rsplit_once(':')
        && !name.contains(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        let help = format!("write `{name}`: names hold for every port");
        return Err(Flaw::new(format!("`{text}` carries a port"), help));
    }
    if !text.is_ascii() {
        return Err(Flaw::new(
            format!("`{text}` has letters that a Host header does not carry"),
            "write the name as it goes over the wire, in punycode (`xn--…`)",
        ));
    }
    let label = |label: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !label.is_empty() && label.len() <= 63 && label.bytes().all(fits)
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return Err(Flaw::new(format!("`{text}` is no host name"), HELP));
    }
    Ok(text.to_ascii_lowercase())
}

/// Reads a method that applications use.
///
/// # Errors
/// Any other; methods are case-sensitive (RFC 9110 section 9.1).
pub fn method(text: &str) -> Parsed<Method> {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let word = choice(text, "method", &METHODS.map(|word| (word, word)))?;
    Method::from_bytes(word.as_bytes()).map_err(|_| Flaw::new(format!("`{word}` is no method"), ""))
}

/// Reads `Name` or `Name: value`.
///
/// # Errors
/// No header name, or a value that cannot be sent.
pub fn header(text: &str) -> Parsed<(HeaderName, Option<String>)> {
    const HELP: &str = "write `Name` or `Name: value`";
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name.trim_end(), Some(value.trim())),
        None => (text, None),
    };
    let name = HeaderName::try_from(name)
        .map_err(|_| Flaw::new(format!("`{name}` is no header name"), HELP))?;
    if let Some(value) = value
        && (value.is_empty() || HeaderValue::from_str(value).is_err())
    {
        return Err(Flaw::new(format!("`{value}` is no header value"), HELP));
    }
    Ok((name, value.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: std::fmt::Debug + PartialEq>(
        parse: impl Fn(&str) -> Parsed<T>,
        text: &str,
        expected: Result<T, &str>,
    ) {
        let parsed = parse(text).map_err(|flaw| flaw.message);
        assert_eq!(parsed, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn tickets_get_their_prefix_from_us() {
        check(ticket_cookie, "shop", Ok("shop".to_owned()));
        check(ticket_cookie, "__Host-shop", Err("`__Host-shop` carries a prefix already"));
        check(ticket_cookie, "__sEcUrE-shop", Err("`__sEcUrE-shop` carries a prefix already"));
        check(ticket_cookie, "__Host-Http-a", Err("`__Host-Http-a` carries a prefix already"));
        check(ticket_cookie, "a b", Err("`a b` cannot be a cookie's name"));
        check(ticket_cookie, "", Err("`` cannot be a cookie's name"));
        check(ticket_cookie, "a=b", Err("`a=b` cannot be a cookie's name"));
        check(ticket_cookie, "$Version", Err("`$Version` cannot be a cookie's name"));
        check(ticket_cookie, "é", Err("`é` cannot be a cookie's name"));
    }

    #[test]
    fn a_prefix_cut_from_a_name_outside_ascii_does_not_panic() {
        check(ticket_cookie, "__Host-é", Err("`__Host-é` carries a prefix already"));
        check(ticket_cookie, "__Hosé-", Err("`__Hosé-` cannot be a cookie's name"));
    }

    #[test]
    fn a_pattern_has_one_star_at_its_end() {
        check(cookie_pattern, "EGG_SESS.sig", Ok("EGG_SESS.sig".to_owned()));
        check(cookie_pattern, "wp_*", Ok("wp_*".to_owned()));
        check(cookie_pattern, "*", Ok("*".to_owned()));
        check(cookie_pattern, "*a", Err("`*a` has a `*` that is not at its end"));
        check(cookie_pattern, "a**", Err("`a**` has a `*` that is not at its end"));
        assert!(matches("wp_*", "wp_1") && !matches("wp_*", "wp") && matches("*", "x"));
        assert!(matches("a", "a") && !matches("a", "ab"));
    }

    #[test]
    fn server_names_are_hosts_without_port_in_lower_case() {
        check(server, "Shop.Example.COM", Ok("shop.example.com".to_owned()));
        check(server, "*.example.com", Ok("*.example.com".to_owned()));
        check(server, "_", Ok("_".to_owned()));
        check(server, "[::1]", Ok("[::1]".to_owned()));
        check(server, "my_host", Ok("my_host".to_owned()));
        check(server, "a.com:8080", Err("`a.com:8080` carries a port"));
        check(server, "https://a.com", Err("`https://a.com` is no host name"));
        check(server, "a..b", Err("`a..b` is no host name"));
        check(server, "", Ok(String::new()));
        check(server, "www.Example.*", Ok("www.example.*".to_owned()));
        check(server, "*.example.*", Err("`*.example` is no host name"));
        check(server, "*", Err("`*` is no host name"));
        check(server, "~^A\\.b$", Ok("~^A\\.b$".to_owned()));
        check(server, ".A.com", Ok(".a.com".to_owned()));
        check(server, "..com", Err("`.com` is no host name"));
        check(
            server,
            "bücher.de",
            Err("`bücher.de` has letters that a Host header does not carry"),
        );
    }

    #[test]
    fn a_cookie_domain_is_one_that_browsers_take() {
        check(cookie_domain, "Example.com", Ok("example.com".to_owned()));
        check(cookie_domain, ".example.com", Err("`.example.com` begins with a dot"));
        check(
            cookie_domain,
            "localhost",
            Err("browsers refuse cookies for the domain `localhost`"),
        );
        check(cookie_domain, "10.0.0.1", Err("browsers refuse cookies for the domain `10.0.0.1`"));
    }

    #[test]
    fn origins_are_written_as_browsers_do() {
        check(origin, "https://Partner.example", Ok("https://partner.example".to_owned()));
        check(origin, "HTTPS://a.example:443", Ok("https://a.example".to_owned()));
        check(origin, "http://a.example:80", Ok("http://a.example".to_owned()));
        check(origin, "http://a.example:443", Ok("http://a.example:443".to_owned()));
        check(origin, "https://[::1]:8443", Ok("https://[::1]:8443".to_owned()));
        check(origin, "https://[::1]", Ok("https://[::1]".to_owned()));
        check(origin, "null", Err("`null` is no origin"));
        check(origin, "partner.example", Err("`partner.example` is no origin"));
        check(origin, "ftp://a.example", Err("`ftp://a.example` is no origin"));
        check(origin, "https://a.example/", Err("`https://a.example/` is no origin"));
        check(origin, "https://u@a.example", Err("`https://u@a.example` is no origin"));
        check(origin, "https://a.example:0", Err("`https://a.example:0` has a port that is none"));
        check(origin, "https://*.example", Err("`*.example` is no host name"));
    }

    #[test]
    fn methods_and_headers_are_read() {
        check(method, "POST", Ok(Method::POST));
        check(method, "post", Err("`post` is no method"));
        check(header, "X-Login", Ok((HeaderName::from_static("x-login"), None)));
        check(
            header,
            "X-Login: ok",
            Ok((HeaderName::from_static("x-login"), Some("ok".to_owned()))),
        );
        check(header, "X Login", Err("`X Login` is no header name"));
        check(header, "X-Login:", Err("`` is no header value"));
    }
}
