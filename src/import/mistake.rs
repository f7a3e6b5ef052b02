//! What is wrong with a configuration, in nginx's words.

use std::borrow::Cow;
use std::fmt;

use super::text::{bytes, text};

/// nginx cuts its messages here, before it adds the place.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The first mistake of a file. It prints as nginx prints it behind `[emerg] `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    message: String,
    place: Option<(String, u32)>,
}

impl Mistake {
    /// A mistake at a file's line; the main file that does not open has no place.
    pub fn new(message: impl Into<String>, place: Option<(&str, u32)>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let mut raw = bytes(&message).into_owned();
            raw.truncate(MESSAGE_BYTES_MAX);
            message = text(&raw);
        }
        Self { message, place: place.map(|(file, line)| (file.to_owned(), line)) }
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// File and line.
    pub fn place(&self) -> Option<(&str, u32)> {
        self.place.as_ref().map(|(file, line)| (file.as_str(), *line))
    }

    /// The bytes that nginx would print, with words of the file as they stand there.
    pub fn bytes(&self) -> Vec<u8> {
        bytes(&self.line()).into_owned()
    }

    fn line(&self) -> String {
        match &self.place {
            Some((file, line)) => format!("{} in {file}:{line}", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line();
        let bytes: Cow<'_, [u8]> = bytes(&line);
        f.write_str(&String::from_utf8_lossy(&bytes))
    }
}

impl std::error::Error for Mistake {}
