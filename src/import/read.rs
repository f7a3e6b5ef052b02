//! Files to a tree: statements, blocks and `include`.
//!
//! nginx judges each directive as it reads it, and stops at the first mistake. So does this: what a
//! directive may be is asked of a [`Grammar`] before the next byte is looked at.

use std::io;

use super::files::Files;
use super::glob;
use super::lex::{End, Lexer, Source, Statement, Token};
use super::mistake::{Mistake, Site};
use super::text::until_nul;
use super::tree::{Block, Directive, FileId, Place, SourceFile, Span, Tree, Word};

/// How many files may be read in all; one that is included twice counts twice.
const FILES_MAX: usize = 4096;
/// How deep files may include others. nginx ends where its descriptors do.
const INCLUDES_MAX: usize = 64;
/// How deep blocks may stand in others.
const BLOCKS_MAX: usize = 64;
/// How much may be read in all.
const BYTES_MAX: usize = 64 << 20;

/// What a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directive, or a line of a `map`: it goes into the tree.
    Plain,
    /// Other files stand here, by its first argument, which may have wildcards.
    Include,
    /// Another file stands here, by its first argument as it is.
    IncludeOne,
    /// It has a block of directives, or of such lines. [`Grammar::leave`] is told of its end.
    Block,
    /// It has a block of Lua, which is not read.
    Lua,
}

/// Says what may stand where.
pub trait Grammar {
    /// Judges a directive when its `;` or `{` (`opens`) has been read.
    ///
    /// # Errors
    /// nginx's message, without the place.
    fn enter(&mut self, directive: &Directive, opens: bool) -> Result<Kind, String>;

    /// Judges the whole of the block that was entered last, when its `}` has been read.
    ///
    /// # Errors
    /// nginx's message, with its place where that is not the block's end.
    fn leave(&mut self, directive: &Directive) -> Result<(), (String, Option<Place>)>;

    /// Judges all, at the end of the main file.
    ///
    /// # Errors
    /// nginx's message, which has no place.
    fn finish(&mut self) -> Result<(), String>;
}

/// Reads a configuration, by the name of its main file, with all that it includes. Directives of the
/// command line come first; there may be none.
///
/// # Errors
/// The first mistake.
pub fn read(
    files: &impl Files,
    main: &str,
    command_line: &str,
    grammar: &mut impl Grammar,
) -> Result<Tree, Mistake> {
    let mut reader = Reader::new(files, grammar, main);
    let mut directives = Vec::new();
    let lexer = Lexer::new(command_line.as_bytes(), Source::Parameter);
    let mut open = Open { id: FileId::COMMAND_LINE, lexer };
    reader.statements(&mut open, &mut directives, false)?;
    reader.file(main, None, &mut directives)?;
    reader.grammar.finish().map_err(|message| reader.mistake(message, None))?;
    Ok(Tree { files: reader.read, directives })
}

struct Reader<'a, F, G> {
    files: &'a F,
    grammar: &'a mut G,
    /// What relative names begin with: the main file's folder, with its slash.
    prefix: String,
    read: Vec<SourceFile>,
    opened: usize,
    bytes: usize,
    includes: usize,
    blocks: usize,
}

/// A file that is being read.
struct Open<'a> {
    id: FileId,
    lexer: Lexer<'a>,
}

impl Open<'_> {
    fn place(&self) -> Place {
        Place { file: self.id, line: self.lexer.line() }
    }
}

impl<'a, F: Files, G: Grammar> Reader<'a, F, G> {
    fn new(files: &'a F, grammar: &'a mut G, main: &str) -> Self {
        let folder = main.rfind('/').map_or(0, |slash| slash + 1);
        Self {
            files,
            grammar,
            prefix: main[..folder].to_owned(),
            read: Vec::new(),
            opened: 0,
            bytes: 0,
            includes: 0,
            blocks: 0,
        }
    }

    /// Reads a file that is included at a place, or the main one.
    fn file(
        &mut self,
        name: &str,
        from: Option<Place>,
        into: &mut Vec<Directive>,
    ) -> Result<(), Mistake> {
        let (id, bytes) = self.open(name).map_err(|message| self.mistake(message, from))?;
        let mut open = Open { id, lexer: Lexer::new(&bytes, Source::File) };
        self.statements(&mut open, into, false)?;
        Ok(())
    }

    /// Gets a file, and remembers it for what is said about it.
    fn open(&mut self, name: &str) -> Result<(FileId, Vec<u8>), String> {
        self.opened += 1;
        if self.opened > FILES_MAX {
            return Err(format!("more than {FILES_MAX} files are included"));
        }
        let bytes = self.files.read(name, BYTES_MAX - self.bytes).map_err(|error| {
            if error.kind() == io::ErrorKind::FileTooLarge {
                return format!("the configuration has more than {BYTES_MAX} bytes");
            }
            let call = if error.kind() == io::ErrorKind::IsADirectory { "pread" } else { "open" };
            format!("{call}() \"{}\" failed {}", until_nul(name), system_error(&error))
        })?;
        self.bytes += bytes.len();
        let known = self.read.iter().position(|file| file.name == name);
        let index = known.unwrap_or(self.read.len());
        if known.is_none() {
            self.read.push(SourceFile { name: name.to_owned(), bytes: bytes.clone() });
        }
        Ok((FileId(u32::try_from(index).unwrap_or(u32::MAX)), bytes))
    }

    /// Reads statements up to the end of the file or, in a block, up to its `}`. Returns where that is.
    fn statements(
        &mut self,
        open: &mut Open<'_>,
        into: &mut Vec<Directive>,
        in_block: bool,
    ) -> Result<(), Mistake> {
        loop {
            let statement = open.lexer.statement();
            let Statement { words, end } =
                statement.map_err(|message| self.mistake(message, Some(open.place())))?;
            match end {
                End::Closing if in_block => return Ok(()),
                End::File if !in_block => return Ok(()),
                End::Closing => return Err(self.wrong(open, "unexpected \"}\"")),
                End::File => {
                    return Err(self.wrong(open, "unexpected end of file, expecting \"}\""));
                }
                End::Semicolon | End::Opening => {}
            }
            if open.id == FileId::COMMAND_LINE && end == End::Opening {
                return Err(self.wrong(open, "block directives are not supported in -g option"));
            }
            if let Some(directive) = directive(open, words) {
                self.directive(open, directive, end == End::Opening, into)?;
            }
        }
    }

    fn directive(
        &mut self,
        open: &mut Open<'_>,
        mut directive: Directive,
        opens: bool,
        into: &mut Vec<Directive>,
    ) -> Result<(), Mistake> {
        let kind = self.grammar.enter(&directive, opens);
        let kind = kind.map_err(|message| self.mistake(message, Some(directive.place)))?;
        match kind {
            Kind::Plain => into.push(directive),
            Kind::Include | Kind::IncludeOne => self.include(&directive, kind, into)?,
            Kind::Block | Kind::Lua => {
                let mut inner = Vec::new();
                if kind == Kind::Lua {
                    open.lexer.skip_lua().map_err(|message| self.wrong(open, &message))?;
                } else {
                    self.block(open, &mut inner)?;
                }
                let end = open.place();
                directive.span.end = open.lexer.position();
                directive.block = Some(Block { directives: inner, end });
                let judged = self.grammar.leave(&directive);
                judged.map_err(|(message, at)| self.mistake(message, at.or(Some(end))))?;
                into.push(directive);
            }
        }
        Ok(())
    }

    fn block(&mut self, open: &mut Open<'_>, into: &mut Vec<Directive>) -> Result<(), Mistake> {
        if self.blocks == BLOCKS_MAX {
            return Err(self.wrong(open, &format!("more than {BLOCKS_MAX} blocks in one another")));
        }
        self.blocks += 1;
        self.statements(open, into, true)?;
        self.blocks -= 1;
        Ok(())
    }

    fn include(
        &mut self,
        directive: &Directive,
        kind: Kind,
        into: &mut Vec<Directive>,
    ) -> Result<(), Mistake> {
        let place = Some(directive.place);
        if self.includes == INCLUDES_MAX {
            let message = format!("more than {INCLUDES_MAX} files include one another");
            return Err(self.mistake(message, place));
        }
        let name = self.full_name(directive.first().unwrap_or_default());
        self.includes += 1;
        if kind == Kind::Include && glob::is_pattern(&name) {
            let found = glob::find(self.files, &name)
                .map_err(|_| self.mistake(format!("glob() \"{name}\" failed"), place))?;
            for name in found {
                self.file(&name, place, into)?;
            }
        } else {
            self.file(&name, place, into)?;
        }
        self.includes -= 1;
        Ok(())
    }

    /// Relative names begin at the main file's folder, whichever file they stand in.
    fn full_name(&self, name: &str) -> String {
        let name = until_nul(name);
        if name.starts_with('/') { name.to_owned() } else { format!("{}{name}", self.prefix) }
    }

    fn wrong(&self, open: &Open<'_>, message: &str) -> Mistake {
        self.mistake(message.to_owned(), Some(open.place()))
    }

    fn mistake(&self, message: String, place: Option<Place>) -> Mistake {
        let site = match place {
            None => Site::Nowhere,
            Some(Place { file: FileId::COMMAND_LINE, .. }) => Site::CommandLine,
            Some(Place { file, line }) => {
                let file = usize::try_from(file.0).ok().and_then(|index| self.read.get(index));
                Site::Line(file.map_or_else(String::new, |file| file.name.clone()), line)
            }
        };
        Mistake::new(message, site)
    }
}

/// A directive without its block.
fn directive(open: &Open<'_>, words: Vec<Token>) -> Option<Directive> {
    let mut words = words.into_iter().map(|token| Word {
        text: token.text,
        span: Span { file: open.id, line: token.line, start: token.start, end: token.end },
    });
    let name = words.next()?;
    let span = Span { end: open.lexer.position(), ..name.span };
    Some(Directive { name, args: words.collect(), span, place: open.place(), block: None })
}

/// `(2: No such file or directory)`
fn system_error(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rsplit_once(" (os error")) {
        (Some(number), Some((text, _))) => format!("({number}: {text})"),
        _ => format!("({text})"),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
pub mod tests;
