//! What a route says of files.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use crate::config::schema::{Key, Named, Texts, key};
use crate::config::value::{Flaw, Parsed, choice};
use crate::files::conditions::ModifiedSince;
use crate::files::disk::Symlinks;
use crate::files::listing::{Format, Listing};
use crate::files::resolve::Candidate;
use crate::files::types::Types;
use crate::proxy::file_settings::{
    Charset, FileSettings, GzipStatic, Last, Lies, OwnRedirects, OwnTexts, TryFiles,
};
use crate::variables::template::Template;

use super::Checker;
use super::cursor::{At, RouteAt};

/// Texts, where `charset_types` is not given; nginx's.
const CHARSET_TYPES: [&str; 6] = [
    "text/html",
    "text/xml",
    "text/plain",
    "text/vnd.wap.wml",
    "application/javascript",
    "application/rss+xml",
];

impl Checker<'_> {
    /// Where a route's files lie, if it is said.
    pub(super) fn lies(
        &mut self,
        route: &RouteAt<'_>,
        around: Option<&Lies>,
        path: &str,
    ) -> Option<Lies> {
        let given = &route.at.value;
        let alias = route.at.key("alias", &given.alias);
        let root = route.find(&key::root);
        match (alias, root) {
            (Some(_), Some(root)) if root.is_own => {
                let flaw = Flaw::new(
                    "stands beside `alias`",
                    "`root` goes before the whole path, `alias` in place of the route's own: leave one out",
                );
                self.error_at(&root.at, flaw);
                None
            }
            (Some(alias), _) => {
                let directory = self.directory(&alias)?;
                Some(Lies::InPlace { directory, of: path.into() })
            }
            (None, Some(root)) if root.is_own => self.directory(&root.at).map(Lies::Below),
            (None, root) => match around {
                Some(lies) => Some(lies.clone()),
                None => self.directory(&root?.at).map(Lies::Below),
            },
        }
    }

    fn directory(&mut self, at: &At<'_, String>) -> Option<Template> {
        if at.value.is_empty() || at.value.contains('\0') {
            self.error_at(at, Flaw::new("is no directory", "write one such as `/srv/shop/public`"));
            return None;
        }
        if at.value.starts_with('$') {
            return self.template(at);
        }
        // Joined by hand: an alias may end in a slash or not, and that is not the same.
        let path = self.path(at.value).into_os_string();
        if !at.value.contains('$') {
            return Some(Template::literal(path.into_vec()));
        }
        let text = path.to_string_lossy().into_owned();
        self.template(&At { value: &text, path: at.path.clone(), place: at.place })
    }

    fn symlinks(&mut self, route: &RouteAt<'_>) -> (Symlinks, Vec<u8>) {
        self.inherited(route, &key::disable_symlinks, disable_symlinks).unwrap_or_default()
    }

    pub(super) fn files(&mut self, route: &RouteAt<'_>) -> FileSettings {
        let (symlinks, trusted) = self.symlinks(route);
        FileSettings {
            index: self.index(route),
            listing: self.listing(route),
            types: Arc::new(self.types(route)),
            default_type: self
                .inherited(route, &key::default_type, media_type)
                .unwrap_or_else(|| "application/octet-stream".to_owned()),
            charset: self.charset(route),
            etag: switch(route, &key::etag, true),
            if_modified_since: self
                .inherited(route, &key::if_modified_since, if_modified_since)
                .unwrap_or_default(),
            max_ranges: route
                .find(&key::max_ranges)
                .map_or(usize::MAX, |found| usize::try_from(*found.at.value).unwrap_or(usize::MAX)),
            gzip_static: self.inherited(route, &key::gzip_static, gzip_static).unwrap_or_default(),
            symlinks,
            trusted,
            log_not_found: switch(route, &key::log_not_found, true),
            redirects: redirects(route),
        }
    }

    /// How a route says what it says itself.
    pub(super) fn own_texts(&mut self, route: &RouteAt<'_>) -> Arc<OwnTexts> {
        let default_type = self.inherited(route, &key::default_type, media_type);
        Arc::new(OwnTexts {
            types: self.types(route),
            default_type: default_type.unwrap_or_else(|| "text/plain".to_owned()),
            charset: self.charset(route),
            redirects: redirects(route),
        })
    }

    fn index(&mut self, route: &RouteAt<'_>) -> Vec<Template> {
        let Some(found) = route.find(&key::index) else {
            return vec![Template::literal("index.html")];
        };
        let Texts(names) = found.at.value;
        if names.iter().any(String::is_empty) {
            self.error_at(&found.at, Flaw::new("has an empty name", "leave it out"));
        }
        let inner = names.split_last().map_or(&[][..], |(_, inner)| inner);
        if inner.iter().any(|name| name.starts_with('/')) {
            let flaw = Flaw::new(
                "has a path that is no file's name before the last one",
                "one that begins with `/` is not looked for, so nothing behind it is: move it to the end",
            );
            self.warning_at(&found.at, flaw);
        }
        names.iter().filter_map(|name| self.text_of(&found.at, name)).collect()
    }

    /// One text of several with variables.
    pub(super) fn text_of<T>(&mut self, at: &At<'_, T>, text: &String) -> Option<Template> {
        self.template(&At { value: text, path: at.path.clone(), place: at.place })
    }

    /// What is looked for before anybody answers.
    pub(super) fn try_files(&mut self, route: &RouteAt<'_>) -> Option<TryFiles> {
        let at = route.at.key("try_files", &route.at.value.try_files)?;
        let Texts(texts) = at.value;
        let Some((last, tried)) = texts.split_last().filter(|(_, tried)| !tried.is_empty()) else {
            let flaw = Flaw::new(
                "has nothing to look for",
                "write what is looked for, and behind it what happens otherwise: `[$uri, =404]`",
            );
            self.error_at(&at, flaw);
            return None;
        };
        let mut candidates = Vec::new();
        for text in tried {
            let directory = text.strip_suffix('/');
            let entry = directory.unwrap_or(text).to_owned();
            let template = self.text_of(&at, &entry)?;
            let is_literal = template.constant().is_some();
            let means_directory = directory.is_some();
            candidates.push(Candidate { text: template, means_directory, is_literal });
        }
        let last = match last.strip_prefix('=') {
            Some(status) => Last::Status(self.status_of(&at, status)?),
            None => {
                if !last.starts_with(['/', '@', '$']) {
                    let flaw = Flaw::new(
                        format!("`{last}` leads nowhere"),
                        "the last entry is not looked for: write a path, a route's name (`@app`) or \
                         a status (`=404`)",
                    );
                    self.warning_at(&at, flaw);
                }
                Last::Inside(self.text_of(&at, last)?)
            }
        };
        let (symlinks, trusted) = self.symlinks(route);
        Some(TryFiles { candidates, last, symlinks, trusted })
    }

    fn status_of<T>(&mut self, at: &At<'_, T>, text: &str) -> Option<u16> {
        let status = text.parse().ok().filter(|status| (100..=999).contains(status));
        if status.is_none() {
            let flaw = Flaw::new(
                format!("`={text}` is no status"),
                "write one from 100 to 999, such as `=404`",
            );
            self.error_at(at, flaw);
        }
        status
    }

    fn listing(&mut self, route: &RouteAt<'_>) -> Option<Listing> {
        const FORMATS: [(&str, Format); 4] = [
            ("html", Format::Html),
            ("json", Format::Json),
            ("jsonp", Format::Jsonp),
            ("xml", Format::Xml),
        ];
        let format = self
            .inherited(route, &key::autoindex_format, |text| {
                choice(text, "format of a listing", &FORMATS)
            })
            .unwrap_or_default();
        let exact_size = switch(route, &key::autoindex_exact_size, true);
        route.on(&key::autoindex).then_some(Listing { format, exact_size })
    }

    pub(super) fn types(&mut self, route: &RouteAt<'_>) -> Types {
        let Some(found) = route.find(&key::types) else { return Types::BuiltIn };
        let Named(given) = found.at.value;
        let mut table = BTreeMap::new();
        for (name, ends) in given {
            let at = At::new(found.at.path_of(&name.value), ends);
            if let Err(flaw) = media_type(&name.value) {
                self.error_at(&at, flaw);
            }
            for end in &at.value.0 {
                if end.is_empty() || end.contains(['.', '/']) {
                    let flaw = Flaw::new(
                        format!("`{end}` is no end of a name"),
                        "write what follows the last dot, such as `html`",
                    );
                    self.error_at(&at, flaw);
                }
                table.insert(end.to_ascii_lowercase(), name.value.clone());
            }
        }
        Types::Own(table)
    }

    pub(super) fn charset(&mut self, route: &RouteAt<'_>) -> Option<Charset> {
        let name = self.inherited(route, &key::charset, charset)??;
        let types = match route.find(&key::charset_types) {
            Some(found) => {
                // HTML is one in any case.
                let given = found.at.value.0.iter().cloned();
                given.chain(["text/html".to_owned()]).collect()
            }
            None => CHARSET_TYPES.map(str::to_owned).into(),
        };
        Some(Charset { name, types })
    }
}

fn redirects(route: &RouteAt<'_>) -> OwnRedirects {
    OwnRedirects {
        absolute: switch(route, &key::absolute_redirect, true),
        with_port: switch(route, &key::port_in_redirect, true),
        server_name: switch(route, &key::server_name_in_redirect, false),
    }
}

pub(super) fn switch(route: &RouteAt<'_>, key: &Key<bool>, default: bool) -> bool {
    route.find(key).map_or(default, |found| *found.at.value)
}

/// `off`, `on` or `if_not_owner`, and from where on.
fn disable_symlinks(text: &str) -> Parsed<(Symlinks, Vec<u8>)> {
    const KINDS: [(&str, Symlinks); 3] =
        [("off", Symlinks::All), ("on", Symlinks::None), ("if_not_owner", Symlinks::OfOwner)];
    let (kind, from) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let kind = choice(kind, "rule for symbolic links", &KINDS)?;
    match from.trim() {
        "" => Ok((kind, Vec::new())),
        from => match from.strip_prefix("from=").filter(|path| path.starts_with('/')) {
            Some(path) => Ok((kind, path.as_bytes().to_vec())),
            None => Err(Flaw::new(
                format!("`{from}` is not understood"),
                "write `on from=/srv/www`, with the path in which links are followed all the same",
            )),
        },
    }
}

fn if_modified_since(text: &str) -> Parsed<ModifiedSince> {
    const KINDS: [(&str, ModifiedSince); 3] = [
        ("off", ModifiedSince::Off),
        ("exact", ModifiedSince::Exact),
        ("before", ModifiedSince::Before),
    ];
    choice(text, "comparison", &KINDS)
}

fn gzip_static(text: &str) -> Parsed<GzipStatic> {
    const KINDS: [(&str, GzipStatic); 5] = [
        ("off", GzipStatic::Off),
        ("false", GzipStatic::Off),
        ("on", GzipStatic::On),
        ("true", GzipStatic::On),
        ("always", GzipStatic::Always),
    ];
    choice(text, "use of compressed files", &KINDS)
}

fn media_type(text: &str) -> Parsed<String> {
    let is_type = text.split_once('/').is_some_and(|(kind, rest)| {
        !kind.is_empty() && !rest.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    });
    match is_type {
        true => Ok(text.to_owned()),
        false => {
            Err(Flaw::new(format!("`{text}` is no media type"), "write one such as `text/html`"))
        }
    }
}

/// A charset's name; none for `off`.
fn charset(text: &str) -> Parsed<Option<String>> {
    if text == "off" {
        return Ok(None);
    }
    match !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte))
    {
        true => Ok(Some(text.to_owned())),
        false => {
            Err(Flaw::new(format!("`{text}` is no charset"), "write one such as `utf-8`, or `off`"))
        }
    }
}
