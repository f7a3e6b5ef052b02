//! Fields as the `http` crate has them, in which heads of HTTP/2 come and go.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::fields::{Fields, Unwritable};
use super::name::Name;

/// What may stand in a head or in trailers of HTTP/2 (RFC 9113 section 8.2.2). `Content-Length` is
/// not among it: whoever writes the head says it.
pub fn map_of(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields.iter() {
        if field.known.is_hop_by_hop() || field.known == Name::ContentLength {
            continue;
        }
        let pair = (HeaderName::from_bytes(field.name), HeaderValue::from_bytes(field.value));
        if let (Ok(name), Ok(value)) = pair {
            map.append(name, value);
        }
    }
    map
}

/// The fields of a head.
///
/// # Errors
/// One that could not stand in a head of HTTP/1.
pub fn fields_of(map: &HeaderMap) -> Result<Fields, Unwritable> {
    let mut fields = Fields::new();
    for (name, value) in map {
        fields.push(name.as_str().as_bytes(), value.as_bytes())?;
    }
    Ok(fields)
}

/// Trailers, without those that no trailer may be (RFC 9110 section 6.5.1).
///
/// # Errors
/// One that could not stand in trailers of HTTP/1.
pub fn trailers_of(map: &HeaderMap) -> Result<Option<Box<Fields>>, Unwritable> {
    let mut fields = fields_of(map)?;
    fields.retain(|field| !field.known.is_barred_from_trailers());
    Ok((!fields.is_empty()).then(|| Box::new(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.push(name.as_bytes(), value.as_bytes()).expect("it is writable");
        }
        fields
    }

    fn pairs(fields: &Fields) -> Vec<(&[u8], &[u8])> {
        fields.iter().map(|field| (field.name, field.value)).collect()
    }

    #[test]
    fn what_is_about_a_connection_stays_behind() {
        let map = map_of(&fields(&[
            ("Connection", "TE"),
            ("Keep-Alive", "5"),
            ("Proxy-Connection", "x"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "websocket"),
            ("Content-Length", "5"),
            ("TE", "trailers"),
            ("X-A", "1"),
            ("x-a", "\u{e4}"),
        ]));
        let again = fields_of(&map).expect("what we write we read");
        let expected: [(&[u8], &[u8]); 3] =
            [(b"te", b"trailers"), (b"x-a", b"1"), (b"x-a", "\u{e4}".as_bytes())];
        assert_eq!(pairs(&again), expected);
    }

    #[test]
    fn trailers_that_are_none_are_left_out() {
        let map = map_of(&fields(&[("Grpc-Status", "0"), ("Set-Cookie", "a=b"), ("Host", "h")]));
        let trailers = trailers_of(&map).expect("they can be read").expect("one is left");
        assert_eq!(pairs(&trailers), [(&b"grpc-status"[..], &b"0"[..])]);
        let map = map_of(&fields(&[("Content-Type", "a/b")]));
        assert!(trailers_of(&map).expect("they can be read").is_none());
    }
}
