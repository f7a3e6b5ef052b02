//! A configuration as a tree of directives, each with its place.
//!
//! It is what nginx sees: directives of included files stand where `include` stood.

use std::fmt;

use super::mistake::{Mistake, Site};

/// A file, by the order in which it was opened first: an index into [`Tree::files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

impl FileId {
    /// The argument of nginx's option `-g`, which is no file.
    pub const COMMAND_LINE: Self = Self(u32::MAX);
}

/// What nginx's messages name: `FILE:LINE`, where a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub file: FileId,
    /// From 1.
    pub line: u32,
}

/// Where something stands: bytes of a file, and the line on which they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub file: FileId,
    /// From 1.
    pub line: u32,
    pub start: usize,
    /// Exclusive.
    pub end: usize,
}

/// One word of a directive.
#[derive(Clone, PartialEq, Eq)]
pub struct Word {
    /// What it says, quotes and escapes resolved; see [`super::text`] for bytes that are no UTF-8.
    pub text: String,
    /// How it is written, with its quotes.
    pub span: Span,
}

/// A directive with its block, or a line of a `map`, `geo` or `types`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    pub name: Word,
    pub args: Vec<Word>,
    /// From its name to its `;` or `}`.
    pub span: Span,
    /// Where its `;` or `{` is: what nginx's messages about it name.
    pub place: Place,
    pub block: Option<Block>,
}

/// What stands between a directive's braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub directives: Vec<Directive>,
    /// Where its `}` is: what nginx's messages about the whole block name.
    pub end: Place,
}

/// A file that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// As nginx names it in messages.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// All of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// In the order in which they were opened, each once. The first is the main one.
    pub files: Vec<SourceFile>,
    /// At the top level.
    pub directives: Vec<Directive>,
}

impl Directive {
    /// Its first argument.
    pub fn first(&self) -> Option<&str> {
        self.arg(0)
    }

    /// Its argument of that number, from 0.
    pub fn arg(&self, number: usize) -> Option<&str> {
        self.args.get(number).map(|word| word.text.as_str())
    }

    /// What stands in its block; nothing, where it has none.
    pub fn children(&self) -> &[Directive] {
        self.block.as_ref().map_or(&[], |block| block.directives.as_slice())
    }
}

impl Tree {
    /// A mistake at a place, in nginx's form.
    pub fn mistake(&self, place: Place, text: impl Into<String>) -> Mistake {
        if place.file == FileId::COMMAND_LINE {
            return Mistake::new(text, Site::CommandLine);
        }
        Mistake::new(text, Site::Line(self.name(place.file).to_owned(), place.line))
    }

    /// The name of a file, as nginx names it.
    pub fn name(&self, file: FileId) -> &str {
        self.file(file).map_or("", |file| file.name.as_str())
    }

    /// `FILE:LINE`, or `command line`.
    pub fn at(&self, place: Place) -> String {
        if place.file == FileId::COMMAND_LINE {
            return "command line".to_owned();
        }
        format!("{}:{}", self.name(place.file), place.line)
    }

    /// How something is written.
    pub fn written(&self, span: Span) -> &[u8] {
        let bytes = self.file(span.file).map_or(&[][..], |file| &file.bytes);
        bytes.get(span.start..span.end).unwrap_or_default()
    }

    /// What `nginx -T` prints: each file once, under its name.
    pub fn dump(&self) -> Vec<u8> {
        let mut dump = Vec::new();
        for file in &self.files {
            dump.extend_from_slice(b"# configuration file ");
            dump.extend_from_slice(&super::text::bytes(&file.name));
            dump.extend_from_slice(b":\n");
            dump.extend_from_slice(&file.bytes);
            dump.push(b'\n');
        }
        dump
    }

    fn file(&self, file: FileId) -> Option<&SourceFile> {
        self.files.get(usize::try_from(file.0).ok()?)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}:{}", self.text, self.span.line, self.span.start)
    }
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.bytes.len())
    }
}
