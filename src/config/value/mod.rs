//! The meaning of single values: text in, a checked value or a [`Flaw`] out. Pure.

pub mod address;
pub mod body;
pub mod name;
pub mod path;
pub mod unit;

/// What is wrong with a value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub message: String,
    pub help: String,
}

impl Flaw {
    /// A flaw with its remedy.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// A checked value, or what is wrong with it.
pub type Parsed<T> = Result<T, Flaw>;

/// Looks a word up in a closed list.
///
/// # Errors
/// Names the nearest word, and all of them.
pub fn choice<T: Copy>(text: &str, what: &str, choices: &[(&str, T)]) -> Parsed<T> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    Err(Flaw::new(
        format!("`{text}` is no {what}"),
        format!("{}one of: {}", did_you_mean(text, &words), words.join(", ")),
    ))
}

/// `did you mean `x`? ` where one of the words is near, else nothing.
pub fn did_you_mean(text: &str, words: &[&str]) -> String {
    let wanted = text.to_lowercase();
    let near = words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&wanted, &word.to_lowercase()), *word))
        .filter(|(distance, word)| *distance <= (word.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance);
    near.map_or_else(String::new, |(_, word)| format!("did you mean `{word}`? "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_if_it_is_near() {
        let words = ["upstreams", "sessions", "log", "root"];
        for (text, expected) in [
            ("upstream", "did you mean `upstreams`? "),
            ("Sessions", "did you mean `sessions`? "),
            ("lgo", "did you mean `log`? "),
            ("server_name", ""),
            ("", ""),
        ] {
            assert_eq!(did_you_mean(text, &words), expected, "{text}");
        }
    }

    #[test]
    fn a_word_outside_the_list_names_the_list() {
        let flaw = choice("lxa", "SameSite value", &[("lax", 1), ("strict", 2)]).unwrap_err();
        assert_eq!(flaw.message, "`lxa` is no SameSite value");
        assert_eq!(flaw.help, "did you mean `lax`? one of: lax, strict");
        assert_eq!(choice("strict", "", &[("lax", 1), ("strict", 2)]), Ok(2));
    }
}
