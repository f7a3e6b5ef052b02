//! Between Pingora's maps of fields and the flat list that rules are asked about.

use http::{HeaderMap, HeaderName};
use pingora_core::Result;
use pingora_http::RequestHeader;

use crate::wire::fields::Fields;

/// The fields of a head, their names in lower case. What is no token is left out (RFC 9110, section
/// 5.1): maps take names with a `"` in them.
pub fn fields_of(headers: &HeaderMap) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in headers {
        let _ = fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    fields
}

/// Has a request's head say what was made of its [`fields_of`]: what is gone goes, and what was set is
/// set. That is told by capital letters.
pub fn write_back(fields: &Fields, request: &mut RequestHeader) -> Result<()> {
    let is_gone = |name: &&HeaderName| !fields.has_named(name.as_str().as_bytes());
    let gone: Vec<HeaderName> = request.headers.keys().filter(is_gone).cloned().collect();
    for name in &gone {
        request.remove_header(name);
    }
    for field in fields.iter().filter(|field| field.name.iter().any(u8::is_ascii_uppercase)) {
        let name = String::from_utf8_lossy(field.name).into_owned();
        request.insert_header(name, field.value)?;
    }
    Ok(())
}
