//! Blocks that hold no directives: `types`, `map`, `geo`, `split_clients`, `charset_map`.

use super::read::Kind;
use super::tree::Directive;
use super::value::number::fixed;

/// A block of lines that is open.
pub struct Lines {
    kind: LineKind,
    /// A `default` has been read.
    default: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineKind {
    Types,
    Map,
    Geo,
    SplitClients,
    CharsetMap,
}

impl Lines {
    /// The lines that a directive's block has.
    pub fn of(name: &str) -> Self {
        let kind = match name {
            "map" => LineKind::Map,
            "geo" => LineKind::Geo,
            "split_clients" => LineKind::SplitClients,
            "charset_map" => LineKind::CharsetMap,
            _ => LineKind::Types,
        };
        Self { kind, default: false }
    }

    /// Judges a line.
    ///
    /// # Errors
    /// nginx's message, without the place.
    pub fn line(&mut self, line: &Directive) -> Result<Kind, String> {
        let name = line.name.text.as_str();
        let args = line.args.len();
        match (self.kind, name) {
            (LineKind::Types, "include") if args != 1 => {
                Err("invalid number of arguments in \"include\" directive".to_owned())
            }
            (LineKind::Types, "include") => Ok(Kind::Include),
            (LineKind::Types, _) => Ok(Kind::Plain),
            (LineKind::Map, "hostnames" | "volatile") if args == 0 => Ok(Kind::Plain),
            (LineKind::Map, _) if args != 1 => {
                Err("invalid number of the map parameters".to_owned())
            }
            (LineKind::Map, "default") if std::mem::replace(&mut self.default, true) => {
                Err("duplicate default map parameter".to_owned())
            }
            (LineKind::Geo, "ranges" | "proxy_recursive" | "volatile") if args == 0 => {
                Ok(Kind::Plain)
            }
            (LineKind::Geo, _) if args != 1 => {
                Err("invalid number of the geo parameters".to_owned())
            }
            // Without wildcards, unlike everywhere else.
            (LineKind::Geo, "include") => Ok(Kind::IncludeOne),
            (LineKind::SplitClients, _) => split(name),
            (LineKind::CharsetMap, _) if args != 1 => Err("invalid parameters number".to_owned()),
            (LineKind::CharsetMap, _) => code(name),
            (LineKind::Map, "include") => Ok(Kind::Include),
            (LineKind::Map | LineKind::Geo, _) => Ok(Kind::Plain),
        }
    }
}

/// A byte in hexadecimal digits.
fn code(text: &str) -> Result<Kind, String> {
    match u64::from_str_radix(text, 16) {
        Ok(0..=255) if !text.starts_with('+') => Ok(Kind::Plain),
        _ => Err(format!("invalid value \"{text}\"")),
    }
}

/// `33.3%` or `*`
fn split(share: &str) -> Result<Kind, String> {
    let percent = share.strip_suffix('%').and_then(|number| fixed(number, 2));
    if share == "*" || percent.is_some_and(|percent| percent > 0) {
        return Ok(Kind::Plain);
    }
    Err(format!("invalid percent value \"{share}\""))
}
