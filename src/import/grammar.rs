//! What may stand where: nginx's own judgement of each directive, as it is read.
//!
//! The order of the questions is nginx's: known at all, allowed here, with or without a block, how many
//! arguments, twice in one block, and then what they say.

use std::collections::HashSet;

use super::known::rows::{self, Contexts, Known};
use super::known::{self, foreign};
use super::lines::Lines;
use super::listens::Listens;
use super::location::Location;
use super::own;
use super::read::{Grammar, Kind};
use super::text::until_nul;
use super::tree::{Directive, Place};
use super::value::listen::Listen;
use super::value::set;

/// nginx's grammar, with the blocks that are open.
pub struct Nginx {
    open: Vec<Frame>,
    listens: Listens,
}

/// A block that is open.
struct Frame {
    inside: Inside,
    /// What may stand here only once, and has stood here: by its module and name.
    seen: HashSet<(&'static str, &'static str)>,
    /// What is named here, by the directive that names it.
    names: HashSet<(&'static str, String)>,
}

/// What a block holds.
enum Inside {
    /// Directives that are allowed there; a location knows what it is.
    Directives(Contexts, Option<Location>),
    /// Lines of their own kind.
    Lines(Lines),
    /// Whatever modules that are not known here take.
    Foreign,
}

impl Default for Nginx {
    fn default() -> Self {
        let main = Frame::new(Inside::Directives(rows::MAIN, None));
        Self { open: vec![main], listens: Listens::default() }
    }
}

impl Frame {
    fn new(inside: Inside) -> Self {
        Self { inside, seen: HashSet::new(), names: HashSet::new() }
    }
}

impl Grammar for Nginx {
    fn enter(&mut self, directive: &Directive, opens: bool) -> Result<Kind, String> {
        match self.open.last_mut().map(|frame| &mut frame.inside) {
            Some(Inside::Directives(..)) => self.directive(directive, opens),
            Some(Inside::Lines(_)) if opens => Err("unexpected \"{\"".to_owned()),
            Some(Inside::Lines(lines)) => lines.line(directive),
            Some(Inside::Foreign) | None => Ok(self.foreign(directive, opens)),
        }
    }

    fn leave(&mut self, directive: &Directive) -> Result<(), (String, Option<Place>)> {
        let frame = self.open.pop();
        match frame.map(|frame| frame.inside) {
            Some(Inside::Directives(context, _)) => own::leave(context, directive),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        let events = ("ngx_events_module", "events");
        if self.open.first().is_some_and(|main| main.seen.contains(&events)) {
            return Ok(());
        }
        Err("no \"events\" section in configuration".to_owned())
    }
}

impl Nginx {
    fn directive(&mut self, directive: &Directive, opens: bool) -> Result<Kind, String> {
        let name = directive.name.text.as_str();
        let (context, _) = self.around();
        let named = known::named(name);
        let here = || named.iter().filter(|(_, known)| known.contexts & context != 0);
        // Newer versions take some with other numbers of arguments.
        let fits = here().find(|(_, known)| known.takes(directive.args.len()));
        let Some((module, known)) = fits.or_else(|| here().next()) else {
            if named.is_empty() && foreign::module(name).is_some() {
                return Ok(self.foreign(directive, opens));
            }
            let name = until_nul(name);
            return Err(if named.is_empty() {
                format!("unknown directive \"{name}\"")
            } else {
                format!("\"{name}\" directive is not allowed here")
            });
        };
        form(known, directive, opens)?;
        if name == "include" {
            return Ok(Kind::Include);
        }
        self.once(module, known)?;
        set::check(known, directive)?;
        own::enter(module, directive)?;
        match (context, name) {
            (rows::SERVER, "listen") => self.listens.add(&Listen::read(directive)?)?,
            (rows::HTTP, "server") => self.listens.next_server(),
            _ => self.named(known.name, directive)?,
        }
        if !opens {
            return Ok(Kind::Plain);
        }
        let inside = inside(name, self.around(), directive)?;
        self.open.push(Frame::new(inside));
        Ok(Kind::Block)
    }

    /// Where the reader is: what is allowed there, and in which location that is.
    fn around(&self) -> (Contexts, Option<&Location>) {
        match self.open.last().map(|frame| &frame.inside) {
            Some(Inside::Directives(context, location)) => (*context, location.as_ref()),
            _ => (rows::MAIN, None),
        }
    }

    /// nginx keeps one value for each directive in each block, and for a few pairs one for both.
    fn once(&mut self, module: &'static str, known: &'static Known) -> Result<(), String> {
        if !set::once(known.set) {
            return Ok(());
        }
        let Some(frame) = self.open.last_mut() else {
            return Ok(());
        };
        let other = match known.name {
            "root" => "alias",
            "alias" => "root",
            _ => "",
        };
        if frame.seen.contains(&(module, other)) {
            let name = known.name;
            return Err(format!(
                "\"{name}\" directive is duplicate, \"{other}\" directive was specified earlier"
            ));
        }
        if !frame.seen.insert((module, known.name)) {
            return Err(format!("\"{}\" directive is duplicate", known.name));
        }
        Ok(())
    }

    /// Some things have names that are theirs alone.
    fn named(&mut self, kind: &'static str, directive: &Directive) -> Result<(), String> {
        let Some(frame) = self.open.last_mut() else {
            return Ok(());
        };
        let name = directive.first().unwrap_or_default();
        // Upstreams are found without regard to case.
        let key = match kind {
            "upstream" => name.to_ascii_lowercase(),
            "log_format" => name.to_owned(),
            _ => return Ok(()),
        };
        let builtin = kind == "log_format" && name == "combined";
        if !builtin && frame.names.insert((kind, key)) {
            return Ok(());
        }
        Err(match kind {
            "upstream" => format!("duplicate upstream \"{name}\""),
            _ => format!("duplicate \"{kind}\" name \"{name}\""),
        })
    }

    fn foreign(&mut self, directive: &Directive, opens: bool) -> Kind {
        if !opens {
            return Kind::Plain;
        }
        self.open.push(Frame::new(Inside::Foreign));
        if directive.name.text.ends_with("_by_lua_block") { Kind::Lua } else { Kind::Block }
    }
}

/// Whether a directive has a block where it must, and arguments as it must.
fn form(known: &Known, directive: &Directive, opens: bool) -> Result<(), String> {
    let name = known.name;
    if !known.block && opens {
        return Err(format!("directive \"{name}\" is not terminated by \";\""));
    }
    if known.block && !opens {
        return Err(format!("directive \"{name}\" has no opening \"{{\""));
    }
    if !known.takes(directive.args.len()) {
        return Err(format!("invalid number of arguments in \"{name}\" directive"));
    }
    Ok(())
}

/// What the block of a directive holds.
fn inside(
    name: &str,
    (context, outer): (Contexts, Option<&Location>),
    directive: &Directive,
) -> Result<Inside, String> {
    let directives = |context| Ok(Inside::Directives(context, None));
    match (name, context) {
        ("events", _) => directives(rows::EVENTS),
        ("http", _) => directives(rows::HTTP),
        ("stream", _) => directives(rows::STREAM),
        ("mail", _) => directives(rows::MAIL),
        ("server", rows::HTTP) => directives(rows::SERVER),
        ("server", rows::STREAM) => directives(rows::STREAM_SERVER),
        ("server", _) => directives(rows::MAIL_SERVER),
        ("upstream", rows::HTTP) => directives(rows::UPSTREAM),
        ("upstream", _) => directives(rows::STREAM_UPSTREAM),
        ("location", _) => {
            let location = Location::read(directive, outer)?;
            Ok(Inside::Directives(rows::LOCATION, Some(location)))
        }
        ("if", rows::SERVER) => directives(rows::SERVER_IF),
        ("if", _) => directives(rows::LOCATION_IF),
        ("limit_except", _) => directives(rows::LIMIT_EXCEPT),
        _ => Ok(Inside::Lines(Lines::of(name))),
    }
}

#[cfg(test)]
#[path = "grammar_tests.rs"]
mod tests;
