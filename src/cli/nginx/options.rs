//! nginx's switches, read as nginx reads them: letters may stand together, and the last one may have its
//! value behind it or in the next word.

use std::ffi::OsString;

use crate::import::text::text;

/// What `-s` asks of a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Stop,
    Quit,
    Reopen,
    Reload,
}

impl Order {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, order)| *order)
    }

    const ALL: [(&'static str, Self); 4] = [
        ("stop", Self::Stop),
        ("quit", Self::Quit),
        ("reopen", Self::Reopen),
        ("reload", Self::Reload),
    ];
}

/// What the command line says. Paths are [texts](crate::import::text).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub help: bool,
    /// `-v`
    pub version: bool,
    /// `-V`
    pub configure: bool,
    pub test: bool,
    pub dump: bool,
    pub quiet: bool,
    pub order: Option<Order>,
    pub prefix: Option<String>,
    pub error_log: Option<String>,
    pub conf: Option<String>,
    pub directives: String,
}

impl Options {
    /// Reads the words behind the program's name.
    ///
    /// # Errors
    /// nginx's message.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let words = words.into_iter().map(|word| text(word.as_encoded_bytes()));
        let mut options = Self::default();
        let mut words = words.filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            let Some(letters) = word.strip_prefix('-') else {
                return Err(format!("invalid option: \"{word}\""));
            };
            options.letters(letters, &mut words)?;
        }
        Ok(options)
    }

    fn letters(
        &mut self,
        letters: &str,
        words: &mut impl Iterator<Item = String>,
    ) -> Result<(), String> {
        for (at, letter) in letters.char_indices() {
            let rest = &letters[at + letter.len_utf8()..];
            let mut value = |what: &str| {
                let value = if rest.is_empty() { words.next() } else { Some(rest.to_owned()) };
                value.ok_or_else(|| format!("option \"-{letter}\" requires {what}"))
            };
            match letter {
                '?' | 'h' => (self.help, self.version) = (true, true),
                'v' => self.version = true,
                'V' => (self.version, self.configure) = (true, true),
                't' => self.test = true,
                'T' => (self.test, self.dump) = (true, true),
                'q' => self.quiet = true,
                'p' => return value("directory name").map(|path| self.prefix = Some(path)),
                'e' => return value("file name").map(|path| self.error_log = Some(path)),
                'c' => return value("file name").map(|path| self.conf = Some(path)),
                'g' => return value("parameter").map(|text| self.directives = text),
                's' => {
                    let name = value("parameter")?;
                    let order = Order::named(&name);
                    let order = order.ok_or_else(|| format!("invalid option: \"-s {name}\""))?;
                    self.order = Some(order);
                    return Ok(());
                }
                _ => return Err(format!("invalid option: \"{letter}\"")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expected: Result<Options, &str>) {
        let read = Options::read(words.iter().map(OsString::from));
        assert_eq!(read, expected.map_err(str::to_owned), "{words:?}");
    }

    #[test]
    fn letters_stand_alone_or_together() {
        let some = |text: &str| Some(text.to_owned());
        check(&[], Ok(Options::default()));
        let tested = Options { test: true, quiet: true, conf: some("a"), ..Options::default() };
        check(&["-tqca"], Ok(tested.clone()));
        check(&["-t", "-q", "-c", "a"], Ok(tested));
        let started = Options {
            prefix: some("/p/"),
            conf: some("nginx.conf"),
            error_log: some("error.log"),
            directives: "daemon off;".to_owned(),
            ..Options::default()
        };
        let words = ["-p", "/p/", "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"];
        check(&words, Ok(started));
        let dumped = Options { test: true, dump: true, ..Options::default() };
        check(&["-T"], Ok(dumped));
        let quit = Options { order: Some(Order::Quit), ..Options::default() };
        check(&["-squit"], Ok(quit));
        let long = Options { version: true, configure: true, ..Options::default() };
        check(&["-V"], Ok(long));
        check(&["-?"], Ok(Options { version: true, help: true, ..Options::default() }));
    }

    #[test]
    fn mistakes_are_told_in_words_of_nginx() {
        check(&["x"], Err("invalid option: \"x\""));
        check(&["-x"], Err("invalid option: \"x\""));
        check(&["-tx"], Err("invalid option: \"x\""));
        check(&["-p"], Err("option \"-p\" requires directory name"));
        check(&["-e"], Err("option \"-e\" requires file name"));
        check(&["-c"], Err("option \"-c\" requires file name"));
        check(&["-g"], Err("option \"-g\" requires parameter"));
        check(&["-s"], Err("option \"-s\" requires parameter"));
        check(&["-s", "end"], Err("invalid option: \"-s end\""));
    }
}
