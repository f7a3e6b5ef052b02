//! What a route says of files, checked.

use std::borrow::Cow;
use std::sync::Arc;

use crate::files::conditions::ModifiedSince;
use crate::files::disk::Symlinks;
use crate::files::listing::Listing;
use crate::files::resolve::Candidate;
use crate::files::types::Types;
use crate::variables::template::Template;

/// How a route serves files.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// Names that stand for a directory, in their order.
    pub index: Vec<Template>,
    pub listing: Option<Listing>,
    pub types: Arc<Types>,
    /// For names whose end says nothing.
    pub default_type: String,
    pub charset: Option<Charset>,
    /// Whether answers have an `ETag`.
    pub etag: bool,
    pub if_modified_since: ModifiedSince,
    /// Parts of a file that one request may ask for.
    pub max_ranges: usize,
    pub gzip_static: GzipStatic,
    pub symlinks: Symlinks,
    /// The beginning of a path in which links are followed all the same.
    pub trusted: Vec<u8>,
    /// Whether it is logged that a file is not there.
    pub log_not_found: bool,
    pub redirects: OwnRedirects,
}

/// Where files lie; the directory may have variables.
#[derive(Clone, Debug)]
pub enum Lies {
    /// nginx's `root`: the whole path of a request is looked for there.
    Below(Template),
    /// nginx's `alias`: it stands in place of a route's path, its own or that of one around it.
    InPlace { directory: Template, of: Box<str> },
}

impl Lies {
    pub fn directory(&self) -> &Template {
        match self {
            Self::Below(directory) | Self::InPlace { directory, .. } => directory,
        }
    }
}

/// What is looked for before anybody answers (nginx `try_files`).
#[derive(Clone, Debug)]
pub struct TryFiles {
    pub candidates: Vec<Candidate<Template>>,
    pub last: Last,
    pub symlinks: Symlinks,
    pub trusted: Vec<u8>,
}

/// What happens where nothing of it is there.
#[derive(Clone, Debug)]
pub enum Last {
    Status(u16),
    /// A redirect inside: a path with its query, or a route's name.
    Inside(Template),
}

/// What texts are written in (nginx `charset`, `charset_types`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charset {
    pub name: String,
    /// Media types of texts.
    pub types: Vec<String>,
}

/// Whether a file's compressed twin is sent in its place (nginx `gzip_static`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GzipStatic {
    #[default]
    Off,
    /// To who takes gzip.
    On,
    /// To everybody.
    Always,
}

/// How the proxy says what it says itself (`return`).
#[derive(Clone, Debug, Default)]
pub struct OwnTexts {
    pub types: Types,
    /// Where the end of the path says nothing.
    pub default_type: String,
    pub charset: Option<Charset>,
    pub redirects: OwnRedirects,
}

/// The form of redirects that the proxy makes up (nginx `absolute_redirect` and its like).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnRedirects {
    /// With scheme and host; else a path alone.
    pub absolute: bool,
    /// With the port that was asked, where it is not the scheme's.
    pub with_port: bool,
    /// To the server's first name in place of the one that was asked.
    pub server_name: bool,
}

impl Default for OwnRedirects {
    fn default() -> Self {
        Self { absolute: true, with_port: true, server_name: false }
    }
}

impl FileSettings {
    /// The media type of a file.
    pub fn type_of(&self, path: &[u8]) -> &str {
        self.types.of(path).unwrap_or(&self.default_type)
    }

    /// The same with what texts are written in.
    pub fn with_charset<'a>(&self, media_type: &'a str) -> Cow<'a, str> {
        with_charset(self.charset.as_ref(), media_type)
    }
}

impl OwnTexts {
    /// The type of what is said for a path.
    pub fn type_of(&self, path: &[u8]) -> Cow<'_, str> {
        with_charset(self.charset.as_ref(), self.types.of(path).unwrap_or(&self.default_type))
    }
}

fn with_charset<'a>(charset: Option<&Charset>, media_type: &'a str) -> Cow<'a, str> {
    match charset {
        Some(charset) if charset.types.iter().any(|text| text.eq_ignore_ascii_case(media_type)) => {
            Cow::Owned(format!("{media_type}; charset={}", charset.name))
        }
        _ => Cow::Borrowed(media_type),
    }
}
