//! What users may ask of their own sessions (PROTOCOL.md 23, 26): pure, from method and target.

use http::Method;

/// Where users ask, on every host with a policy that allows it.
pub const PATH: &str = "/.well-known/cloakroom/sessions";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `GET`: the list.
    List,
    /// `DELETE …/<id>`: the end of one, by the 32 hex digits that the list has.
    End(String),
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
        let id = rest.strip_prefix(b"/").and_then(|id| std::str::from_utf8(id).ok());
        let id =
            id.filter(|id| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match (id, method) {
            (None, _) => Err(Refused::Nothing),
            (Some(id), &Method::DELETE) => Ok(Self::End(id.to_ascii_lowercase())),
            (Some(_), _) => Err(Refused::Method("DELETE")),
        }
    }
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
        check("GET", "", Ok(Asked::List));
        check("HEAD", "?others", Ok(Asked::List));
        check("DELETE", &format!("/{id}"), Ok(Asked::End(id.to_owned())));
        check("DELETE", &format!("/{}", id.to_uppercase()), Ok(Asked::End(id.to_owned())));
        check("DELETE", "?others", Ok(Asked::EndOthers));
        check("POST", "?a=b&others=true", Ok(Asked::EndOthers));
        for query in ["", "?", "?others=false", "?other", "?OTHERS"] {
            check("DELETE", query, Err(Refused::NotSaid));
            check("POST", query, Err(Refused::NotSaid));
        }
        check("PUT", "", Err(Refused::Method("GET, HEAD, POST, DELETE")));
        check("OPTIONS", "", Err(Refused::Method("GET, HEAD, POST, DELETE")));
        check("GET", &format!("/{id}"), Err(Refused::Method("DELETE")));
        for nothing in ["/", "s", "/others", &format!("/{id}0"), &format!("/{id}/"), "/\u{e9}"] {
            check("DELETE", nothing, Err(Refused::Nothing));
        }
    }
}
