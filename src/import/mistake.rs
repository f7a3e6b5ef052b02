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
    site: Site,
}

/// Where a mistake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// In a file, on a line.
    Line(String, u32),
    /// In the argument of `-g`.
    CommandLine,
    /// In no place: a main file that does not open, or what is missing from all of it.
    Nowhere,
}

impl Mistake {
    /// A mistake, in words of nginx's.
    pub fn new(message: impl Into<String>, site: Site) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let mut raw = bytes(&message).into_owned();
            raw.truncate(MESSAGE_BYTES_MAX);
            message = text(&raw);
        }
        Self { message, site }
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it is.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The bytes that nginx would print, with words of the file as they stand there.
    pub fn bytes(&self) -> Vec<u8> {
        bytes(&self.line()).into_owned()
    }

    fn line(&self) -> String {
        match &self.site {
            Site::Line(file, line) => format!("{} in {file}:{line}", self.message),
            Site::CommandLine => format!("{} in command line", self.message),
            Site::Nowhere => self.message.clone(),
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
