//! The blocks around a place: what is said nearest counts.

use crate::import::tree::Directive;
use crate::import::value::time::millis;

/// The blocks around a place, the outermost first.
#[derive(Clone, Default)]
pub struct Scope<'a>(Vec<&'a [Directive]>);

impl<'a> Scope<'a> {
    /// One block further in.
    pub fn with(&self, block: &'a [Directive]) -> Self {
        let mut levels = self.0.clone();
        levels.push(block);
        Self(levels)
    }

    /// The nearest directive of this name.
    pub fn find(&self, name: &str) -> Option<&'a Directive> {
        self.all(name).pop()
    }

    /// All directives of this name in the nearest block that has any.
    pub fn all(&self, name: &str) -> Vec<&'a Directive> {
        let of_level = |level: &&'a [Directive]| -> Vec<&'a Directive> {
            level.iter().filter(|directive| directive.name.text == name).collect()
        };
        let levels = self.0.iter().rev().map(of_level);
        levels.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The first argument of the nearest one.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.find(name)?.first()
    }

    pub fn is_on(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value.eq_ignore_ascii_case("on"))
    }

    /// A time, as our configuration writes it.
    pub fn time(&self, name: &str) -> Option<String> {
        time(self.value(name)?)
    }
}

/// A time of nginx's, as our configuration writes it.
pub fn time(text: &str) -> Option<String> {
    let millis = millis(text)?;
    Some(match millis % 1000 {
        0 => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    })
}
