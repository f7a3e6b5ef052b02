//! What a `location` says of itself, and where it may stand.

use super::tree::Directive;

/// How a location is compared with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// `/x`
    Prefix,
    /// `^~ /x`
    PrefixOnly,
    /// `= /x`
    Exact,
    /// `~ x`
    Regex,
    /// `~* x`
    RegexAnyCase,
    /// `@x`
    Named,
}

/// A location's modifier and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub matching: Matching,
    /// A path, a pattern, or a name with its `@`.
    pub name: String,
}

impl Location {
    /// Reads a location's arguments; `outer` is the location that it stands in.
    ///
    /// # Errors
    /// nginx's message, without the place.
    pub fn read(directive: &Directive, outer: Option<&Self>) -> Result<Self, String> {
        let first = directive.first().unwrap_or_default();
        let (matching, name) = match directive.arg(1) {
            Some(name) => (modifier(first)?, name),
            None => together(first),
        };
        let location = Self { matching, name: name.to_owned() };
        if let Some(outer) = outer {
            location.inside(outer)?;
        }
        Ok(location)
    }

    fn inside(&self, outer: &Self) -> Result<(), String> {
        let (name, outer_name) = (&self.name, &outer.name);
        let kind = match outer.matching {
            Matching::Exact => "exact",
            Matching::Named => "named",
            _ => "",
        };
        if !kind.is_empty() {
            return Err(format!(
                "location \"{name}\" cannot be inside the {kind} location \"{outer_name}\""
            ));
        }
        let regex = matches!(self.matching, Matching::Regex | Matching::RegexAnyCase);
        if self.matching == Matching::Named {
            return Err(format!("named location \"{name}\" can be on the server level only"));
        }
        if !regex && !name.as_bytes().starts_with(outer_name.as_bytes()) {
            return Err(format!("location \"{name}\" is outside location \"{outer_name}\""));
        }
        Ok(())
    }
}

fn modifier(text: &str) -> Result<Matching, String> {
    match text {
        "=" => Ok(Matching::Exact),
        "^~" => Ok(Matching::PrefixOnly),
        "~" => Ok(Matching::Regex),
        "~*" => Ok(Matching::RegexAnyCase),
        _ => Err(format!("invalid location modifier \"{text}\"")),
    }
}

/// A modifier may stand at its name without a space.
fn together(text: &str) -> (Matching, &str) {
    let modifiers = [
        ("=", Matching::Exact),
        ("^~", Matching::PrefixOnly),
        ("~*", Matching::RegexAnyCase),
        ("~", Matching::Regex),
    ];
    let found = modifiers
        .iter()
        .find_map(|(modifier, matching)| Some((*matching, text.strip_prefix(modifier)?)));
    let matching = if text.starts_with('@') { Matching::Named } else { Matching::Prefix };
    found.unwrap_or((matching, text))
}
