//! What users may ask of their own sessions (PROTOCOL.md 23, 26): pure, from method and target.

use http::Method;

/// Where users ask, on every host with a policy that allows it.
pub const PATH: &str = "/.well-known/cloakroom/sessions";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `GET`: the list.
    List,
    /// `DELETE …/<id>` or, of a form, `POST …/<id>`: the end of one, by the 32 hex digits that the list has.
    End([u8; 16]),
    /// `DELETE …?others` or `POST …?others`: the end of all but the one that asks.
    EndOthers,
}

/// Why there is nothing to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such thing: 404.
    Nothing,
    /// 405, with the methods that are allowed.
    Method(&'static str),
    /// A change of the whole collection that does not say `others`: 400.
    NotSaid,
}

impl Asked {
    /// Reads a request. `path` is normalised, `query` without its `?`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn read(method: &Method, path: &[u8], query: Option<&str>) -> Result<Self, Refused> {
        let rest = path.strip_prefix(PATH.as_bytes()).ok_or(Refused::Nothing)?;
        if rest.is_empty() {
            let is_others = || {
                query
                    .unwrap_or_default()
                    .split('&')
                    .any(|pair| pair == "others" || pair == "others=true")
            };
            return match *method {
                Method::GET | Method::HEAD => Ok(Self::List),
                Method::DELETE | Method::POST if is_others() => Ok(Self::EndOthers),
                Method::DELETE | Method::POST => Err(Refused::NotSaid),
                _ => Err(Refused::Method("GET, HEAD, POST, DELETE")),
            };
        }
        match (rest.strip_prefix(b"/").and_then(identifier), method) {
            (None, _) => Err(Refused::Nothing),
            (Some(id), &Method::DELETE | &Method::POST) => Ok(Self::End(id)),
            (Some(_), _) => Err(Refused::Method("POST, DELETE")),
        }
    }
}

/// Reads 32 hex digits in either case.
fn identifier(text: &[u8]) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = text.try_into().ok()?;
    let value = |digit: u8| char::from(digit).to_digit(16);
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_says_what_is_asked_for() {
        let check = |method: &str, rest: &str, expected| {
            let (path, query) = match rest.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (rest, None),
            };
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let path = format!("{PATH}{path}");
            assert_eq!(Asked::read(&method, path.as_bytes(), query), expected, "{method} {rest}");
        };
        let id = "0123456789abcdef0123456789abcdef";
        let bytes = [1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef].repeat(2);
        let bytes: [u8; 16] = bytes.try_into().expect("sixteen");
        check("GET", "", Ok(Asked::List));
        check("HEAD", "?others", Ok(Asked::List));
        check("DELETE", &format!("/{id}"), Ok(Asked::End(bytes)));
        check("DELETE", &format!("/{}", id.to_uppercase()), Ok(Asked::End(bytes)));
        check("DELETE", "?others", Ok(Asked::EndOthers));
        check("POST", "?a=b&others=true", Ok(Asked::EndOthers));
        for query in ["", "?", "?others=false", "?other", "?OTHERS"] {
            check("DELETE", query, Err(Refused::NotSaid));
            check("POST", query, Err(Refused::NotSaid));
        }
        check("PUT", "", Err(Refused::Method("GET, HEAD, POST, DELETE")));
        check("OPTIONS", "", Err(Refused::Method("GET, HEAD, POST, DELETE")));
        check("POST", &format!("/{id}"), Ok(Asked::End(bytes)));
        check("GET", &format!("/{id}"), Err(Refused::Method("POST, DELETE")));
        for nothing in [
            "/",
            "s",
            "/others",
            &format!("/{id}0"),
            &format!("/{id}/"),
            "/\u{e9}",
            &format!("/{}", id.replace('a', "+")),
        ] {
            check("DELETE", nothing, Err(Refused::Nothing));
        }
    }
}
