//! What variables say of a client's certificate, as nginx says it: names in the order of RFC 2253 and in
//! OpenSSL's old one, times as OpenSSL prints them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use x509_parser::der_parser::asn1_rs::Any;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::put;
use crate::files::time::MONTHS;
use crate::variables::name::Builtin;

/// Whether the variable has a value.
pub(super) fn builtin(der: &[u8], name: Builtin, out: &mut Vec<u8>) -> bool {
    match name {
        Builtin::SslClientCert => return put(out, Some(pem(der, "\n\t").trim_end().as_bytes())),
        Builtin::SslClientRawCert => return put(out, Some(pem(der, "\n").as_bytes())),
        Builtin::SslClientEscapedCert => {
            return put(out, Some(escaped(&pem(der, "\n")).as_bytes()));
        }
        Builtin::SslClientFingerprint => {
            return put(out, Some(hex(&Sha1::digest(der), false).as_bytes()));
        }
        _ => {}
    }
    let Ok((_, cert)) = X509Certificate::from_der(der) else { return false };
    let validity = cert.validity();
    match name {
        Builtin::SslClientSubject => put(out, Some(rfc2253(cert.subject()).as_bytes())),
        Builtin::SslClientIssuer => put(out, Some(rfc2253(cert.issuer()).as_bytes())),
        Builtin::SslClientSubjectLegacy => put(out, Some(one_line(cert.subject()).as_bytes())),
        Builtin::SslClientIssuerLegacy => put(out, Some(one_line(cert.issuer()).as_bytes())),
        Builtin::SslClientSerial => put(out, Some(serial(cert.raw_serial()).as_bytes())),
        Builtin::SslClientStart => put(out, Some(time(validity.not_before).as_bytes())),
        Builtin::SslClientEnd => put(out, Some(time(validity.not_after).as_bytes())),
        Builtin::SslClientRemain => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let now = i64::try_from(now).unwrap_or(i64::MAX);
            let days = validity.not_after.timestamp().saturating_sub(now).max(0) / 86_400;
            put(out, Some(days.to_string().as_bytes()))
        }
        _ => false,
    }
}

fn pem(der: &[u8], end: &str) -> String {
    let letters = STANDARD.encode(der);
    let mut text = format!("-----BEGIN CERTIFICATE-----{end}");
    for line in letters.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push_str(end);
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn hex(bytes: &[u8], upper: bool) -> String {
    let one = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    bytes.iter().map(one).collect()
}

/// A serial number without the zero that keeps it positive.
fn serial(bytes: &[u8]) -> String {
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => hex(rest, true),
        bytes => hex(bytes, true),
    }
}

/// OpenSSL's `ASN1_TIME_print`: `Nov  3 17:55:17 2026 GMT`.
fn time(time: ASN1Time) -> String {
    let time = time.to_datetime();
    let month = MONTHS.get(usize::from(u8::from(time.month())).saturating_sub(1));
    let (hour, minute, second) = time.to_hms();
    let (month, day, year) = (month.copied().unwrap_or_default(), time.day(), time.year());
    format!("{month} {day:2} {hour:02}:{minute:02}:{second:02} {year} GMT")
}

/// A name as RFC 2253 writes it, the last part first.
fn rfc2253(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let id = attribute.attr_type().to_id_string();
    let Some(name) = short_name(&id) else {
        // What is not known is shown as it is encoded.
        let value = attribute.attr_value();
        return format!("{id}=#{}", hex(&encoded(value), true));
    };
    let bytes = attribute.as_slice();
    let mut text = format!("{name}=");
    for (at, byte) in bytes.iter().enumerate() {
        let is_end = at == 0 || at + 1 == bytes.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if is_end => text.push_str("\\ "),
            0x20..=0x7e => text.push(char::from(*byte)),
            byte => text.push_str(&format!("\\{byte:02X}")),
        }
    }
    text
}

fn encoded(value: &Any<'_>) -> Vec<u8> {
    let mut der = vec![u8::try_from(value.tag().0).unwrap_or_default()];
    match u8::try_from(value.data.len()) {
        Ok(length @ 0..=0x7f) => der.push(length),
        Ok(length) => der.extend([0x81, length]),
        Err(_) => return Vec::new(),
    }
    der.extend_from_slice(value.data);
    der
}

/// OpenSSL's `X509_NAME_oneline`.
fn one_line(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for attribute in name.iter_attributes() {
        let id = attribute.attr_type().to_id_string();
        text.push_str(&format!("/{}=", short_name(&id).unwrap_or(&id)));
        for byte in attribute.as_slice() {
            match byte {
                b'/' | b'+' => text.extend(['\\', char::from(*byte)]),
                0x20..=0x7e => text.push(char::from(*byte)),
                byte => text.push_str(&format!("\\x{byte:02X}")),
            }
        }
    }
    text
}

/// What OpenSSL calls an attribute.
fn short_name(id: &str) -> Option<&'static str> {
    Some(match id {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.15" => "businessCategory",
        "2.5.4.17" => "postalCode",
        "2.5.4.41" => "name",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "2.5.4.44" => "generationQualifier",
        "2.5.4.45" => "x500UniqueIdentifier",
        "2.5.4.46" => "dnQualifier",
        "2.5.4.65" => "pseudonym",
        "2.5.4.97" => "organizationIdentifier",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        "1.2.840.113549.1.9.2" => "unstructuredName",
        "1.3.6.1.4.1.311.60.2.1.1" => "jurisdictionL",
        "1.3.6.1.4.1.311.60.2.1.2" => "jurisdictionST",
        "1.3.6.1.4.1.311.60.2.1.3" => "jurisdictionC",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_in_hexadecimal() {
        for (bytes, expected) in
            [(&[0][..], "00"), (&[1], "01"), (&[0, 0xab], "AB"), (&[0x12, 0x34], "1234")]
        {
            assert_eq!(serial(bytes), expected);
        }
    }

    #[test]
    fn a_certificate_in_a_uri_is_escaped() {
        assert_eq!(escaped("-----BEGIN A-----\n+/="), "-----BEGIN%20A-----%0A%2B%2F%3D");
    }
}
