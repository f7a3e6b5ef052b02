//! The content of a directory as nginx's `autoindex` prints it.

use std::fmt::Write as _;

use super::resolve::Kind;
use super::time::{Civil, HttpDate};

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: Kind,
    pub size: u64,
    pub modified: i64,
}

/// nginx's `autoindex_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Html,
    Json,
    /// JSON as the argument of the function that the query's `callback` names.
    Jsonp,
    Xml,
}

/// How a directory is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    pub format: Format,
    /// Sizes are whole bytes (`autoindex_exact_size`).
    pub exact_size: bool,
}

/// A function's name that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCallback;

/// Characters of a name that are shown.
const NAME_MAX: usize = 50;

impl Listing {
    /// The media type of the answer.
    pub fn content_type(self, callback: Option<&[u8]>) -> &'static str {
        match self.format {
            Format::Html => "text/html",
            Format::Jsonp if callback.is_some() => "application/javascript",
            Format::Json | Format::Jsonp => "application/json",
            Format::Xml => "text/xml; charset=utf-8",
        }
    }

    /// Writes a listing: directories first, then by name. `in_utf8` says that the answer names that
    /// charset, so that letters are counted and not bytes.
    pub fn write(
        self,
        path: &[u8],
        mut entries: Vec<Entry>,
        callback: Option<&[u8]>,
        in_utf8: bool,
    ) -> Vec<u8> {
        let rank = |entry: &Entry| entry.kind != Kind::Directory;
        entries.sort_unstable_by(|a, b| (rank(a), &a.name).cmp(&(rank(b), &b.name)));
        match self.format {
            Format::Html => self.html(path, &entries, in_utf8),
            Format::Json => json(&entries, None),
            Format::Jsonp => json(&entries, callback),
            Format::Xml => xml(&entries),
        }
    }

    fn html(self, path: &[u8], entries: &[Entry], in_utf8: bool) -> Vec<u8> {
        let title = in_html(path);
        let mut out = Vec::with_capacity(256 + entries.len() * 160);
        for text in [
            &b"<html>\r\n<head><title>Index of "[..],
            &title,
            b"</title></head>\r\n<body>\r\n<h1>Index of ",
            &title,
            b"</h1><hr><pre><a href=\"../\">../</a>\r\n",
        ] {
            out.extend_from_slice(text);
        }
        for entry in entries {
            self.line(&mut out, entry, in_utf8);
        }
        out.extend_from_slice(b"</pre><hr></body>\r\n</html>\r\n");
        out
    }

    fn line(self, out: &mut Vec<u8>, entry: &Entry, in_utf8: bool) {
        let is_directory = entry.kind == Kind::Directory;
        let slash: &[u8] = if is_directory { b"/" } else { b"" };
        out.extend_from_slice(b"<a href=\"");
        out.extend(percent_encoding::percent_encode(&entry.name, COMPONENT).flat_map(str::bytes));
        out.extend_from_slice(slash);
        out.extend_from_slice(b"\">");
        let name = Shown::of(&entry.name, in_utf8);
        out.extend_from_slice(&in_html(name.text));
        if name.is_cut {
            out.extend_from_slice(b"..&gt;</a>");
        } else {
            let slash = if name.length < NAME_MAX { slash } else { b"" };
            out.extend_from_slice(slash);
            out.extend_from_slice(b"</a>");
            out.resize(out.len() + NAME_MAX - name.length - slash.len(), b' ');
        }
        let civil = Civil::of(entry.modified);
        let Civil { year, day, hour, minute, .. } = civil;
        let mut rest = format!(" {day:02}-{}-{year} {hour:02}:{minute:02} ", civil.month_name());
        self.size(&mut rest, entry, is_directory);
        rest.push_str("\r\n");
        out.extend_from_slice(rest.as_bytes());
    }

    fn size(self, out: &mut String, entry: &Entry, is_directory: bool) {
        let size = entry.size;
        // Writing to memory does not fail.
        let _ = match (self.exact_size, is_directory) {
            (true, true) => write!(out, "{:>19}", '-'),
            (true, false) => write!(out, "{size:>19}"),
            (false, true) => write!(out, "{:>7}", '-'),
            (false, false) => match size {
                0..=9999 => write!(out, " {size:>6}"),
                10_000..1_048_576 => write!(out, "{:>6}K", rounded(size, 1 << 10)),
                1_048_576..1_073_741_824 => write!(out, "{:>6}M", rounded(size, 1 << 20)),
                _ => write!(out, "{:>6}G", rounded(size, 1 << 30)),
            },
        };
    }
}

/// The name of the function that a query wants to be called: letters, digits, `_` and `.`.
///
/// # Errors
/// It is no name.
pub fn callback(query: &[u8]) -> Result<Option<Vec<u8>>, NoCallback> {
    let value = query
        .split(|byte| *byte == b'&')
        .find_map(|pair| pair.strip_prefix(b"callback="))
        .filter(|value| !value.is_empty());
    let Some(value) = value else { return Ok(None) };
    let name: Vec<u8> = percent_encoding::percent_decode(value).collect();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    if name.iter().all(is_name) { Ok(Some(name)) } else { Err(NoCallback) }
}

const COMPONENT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name as far as it is shown.
struct Shown<'a> {
    text: &'a [u8],
    /// In bytes or letters.
    length: usize,
    is_cut: bool,
}

impl<'a> Shown<'a> {
    fn of(name: &'a [u8], in_utf8: bool) -> Self {
        let letters = std::str::from_utf8(name).ok().filter(|_| in_utf8);
        let length = letters.map_or(name.len(), |name| name.chars().count());
        if length <= NAME_MAX {
            return Self { text: name, length, is_cut: false };
        }
        let cut = NAME_MAX - 3;
        let end = letters.map_or(cut, |name| {
            name.char_indices().nth(cut).map_or(name.len(), |(index, _)| index)
        });
        Self { text: name.get(..end).unwrap_or(name), length, is_cut: true }
    }
}

fn rounded(size: u64, unit: u64) -> u64 {
    size / unit + u64::from(size % unit > unit / 2 - 1)
}

fn in_html(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            byte => out.push(*byte),
        }
    }
    out
}

fn json(entries: &[Entry], callback: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + entries.len() * 128);
    if let Some(callback) = callback {
        out.extend_from_slice(b"/* callback */\r\n");
        out.extend_from_slice(callback);
        out.push(b'(');
    }
    out.push(b'[');
    for (index, entry) in entries.iter().enumerate() {
        out.extend_from_slice(if index == 0 {
            b"\r\n{ \"name\":\""
        } else {
            b",\r\n{ \"name\":\""
        });
        in_json(&mut out, &entry.name);
        let (kind, date) = (kind_name(entry.kind), HttpDate(entry.modified));
        let size = match entry.kind {
            Kind::File => format!(", \"size\":{}", entry.size),
            Kind::Directory | Kind::Other => String::new(),
        };
        let rest = format!("\", \"type\":\"{kind}\", \"mtime\":\"{date}\"{size} }}");
        out.extend_from_slice(rest.as_bytes());
    }
    out.extend_from_slice(b"\r\n]");
    if callback.is_some() {
        out.extend_from_slice(b");");
    }
    out
}

fn in_json(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
            byte => out.push(*byte),
        }
    }
}

fn xml(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + entries.len() * 128);
    out.extend_from_slice(b"<?xml version=\"1.0\"?>\r\n<list>\r\n");
    for entry in entries {
        let kind = kind_name(entry.kind);
        let Civil { year, month, day, hour, minute, second, .. } = Civil::of(entry.modified);
        let size = match entry.kind {
            Kind::File => format!(" size=\"{}\"", entry.size),
            Kind::Directory | Kind::Other => String::new(),
        };
        let begin = format!(
            "<{kind} mtime=\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z\"{size}>"
        );
        out.extend_from_slice(begin.as_bytes());
        out.extend_from_slice(&in_html(&entry.name));
        out.extend_from_slice(format!("</{kind}>\r\n").as_bytes());
    }
    out.extend_from_slice(b"</list>\r\n");
    out
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: Kind, size: u64) -> Entry {
        Entry { name: name.into(), kind, size, modified: 784_111_777 }
    }

    fn listed(format: Format, entries: Vec<Entry>) -> String {
        let listing = Listing { format, exact_size: true };
        let text = listing.write(b"/<a>/", entries, Some(b"f"), true);
        String::from_utf8(text).expect("text")
    }

    fn two() -> Vec<Entry> {
        vec![entry("a \"<é:", Kind::File, 12), entry("z", Kind::Directory, 0)]
    }

    /// Compared byte for byte with what nginx 1.22 prints.
    #[test]
    fn a_page_is_that_of_nginx() {
        let space = " ".repeat(48);
        let expected = format!(
            "<html>\r\n<head><title>Index of /&lt;a&gt;/</title></head>\r\n<body>\r\n\
             <h1>Index of /&lt;a&gt;/</h1><hr><pre><a href=\"../\">../</a>\r\n\
             <a href=\"z/\">z/</a>{space} 06-Nov-1994 08:49                   -\r\n\
             <a href=\"a%20%22%3C%C3%A9%3A\">a &quot;&lt;é:</a>{} \
             06-Nov-1994 08:49                  12\r\n\
             </pre><hr></body>\r\n</html>\r\n",
            " ".repeat(44),
        );
        assert_eq!(listed(Format::Html, two()), expected);
    }

    #[test]
    fn data_is_that_of_nginx() {
        let items = "[\r\n{ \"name\":\"z\", \"type\":\"directory\", \
                     \"mtime\":\"Sun, 06 Nov 1994 08:49:37 GMT\" },\r\n\
                     { \"name\":\"a \\\"<é:\", \"type\":\"file\", \
                     \"mtime\":\"Sun, 06 Nov 1994 08:49:37 GMT\", \"size\":12 }\r\n]";
        assert_eq!(listed(Format::Json, two()), items);
        assert_eq!(listed(Format::Jsonp, two()), format!("/* callback */\r\nf({items});"));
        let xml = "<?xml version=\"1.0\"?>\r\n<list>\r\n\
                   <directory mtime=\"1994-11-06T08:49:37Z\">z</directory>\r\n\
                   <file mtime=\"1994-11-06T08:49:37Z\" size=\"12\">a &quot;&lt;é:</file>\r\n\
                   </list>\r\n";
        assert_eq!(listed(Format::Xml, two()), xml);
        let odd = listed(Format::Json, vec![entry("\u{1}\n\\", Kind::Other, 0)]);
        assert!(odd.contains(r#""name":"\u0001\n\\", "type":"other""#), "{odd}");
    }

    #[test]
    fn long_names_are_cut() {
        let shown = |name: &str, in_utf8| {
            let shown = Shown::of(name.as_bytes(), in_utf8);
            (shown.text.len(), shown.is_cut)
        };
        assert_eq!(shown(&"n".repeat(50), true), (50, false));
        assert_eq!(shown(&"n".repeat(51), true), (47, true));
        assert_eq!(shown(&"é".repeat(50), true), (100, false));
        assert_eq!(shown(&"é".repeat(51), true), (94, true));
        assert_eq!(shown(&"é".repeat(26), false), (47, true));
    }

    #[test]
    fn sizes_are_rounded_as_nginx_does() {
        for (size, expected) in [
            (0, "      0"),
            (9999, "   9999"),
            (10_000, "    10K"),
            (10_751, "    10K"),
            (10_752, "    11K"),
            (1_048_575, "  1024K"),
            (1_572_863, "     1M"),
            (1_572_864, "     2M"),
            (1 << 40, "  1024G"),
        ] {
            let mut text = String::new();
            let listing = Listing { format: Format::Html, exact_size: false };
            listing.size(&mut text, &entry("a", Kind::File, size), false);
            assert_eq!(text, expected, "{size}");
        }
    }

    #[test]
    fn a_callback_is_a_name() {
        for (query, expected) in [
            ("callback=a.b_1", Ok(Some("a.b_1"))),
            ("x=1&callback=%66", Ok(Some("f"))),
            ("callback=", Ok(None)),
            ("", Ok(None)),
            ("callback=alert(1)", Err(NoCallback)),
            ("callback=a%28", Err(NoCallback)),
            ("callback=$", Err(NoCallback)),
        ] {
            let found = callback(query.as_bytes());
            let expected = expected.map(|name| name.map(|name| name.as_bytes().to_vec()));
            assert_eq!(found, expected, "{query}");
        }
    }
}
