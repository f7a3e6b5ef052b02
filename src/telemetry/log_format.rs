//! Formats of access logs (nginx `log_format`): a text with variables, and how values are escaped so
//! that none of them can end a line or a string.

use crate::variables::evaluation::Evaluation;
use crate::variables::registry::Registry;
use crate::variables::template::{BadTemplate, Digits, Part, Template};

/// nginx's format of this name.
pub const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
     $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

/// A format, compiled.
#[derive(Clone, Debug)]
pub struct LogFormat {
    template: Template,
    escape: Escape,
}

/// How values are escaped (nginx `escape=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// `\xXX` for quotes, backslashes, control characters and what is not ASCII; `-` for what has no
    /// value.
    #[default]
    Default,
    /// As in a string of JSON (RFC 8259 section 7).
    Json,
    /// Nothing is: whoever reads it must know that peers choose values.
    None,
}

impl LogFormat {
    /// Compiles a format.
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub fn compile(
        text: &str,
        escape: Escape,
        registry: &mut Registry,
    ) -> Result<Self, BadTemplate> {
        let template = Template::compile_with(text, registry, Digits::Names)?;
        Ok(Self { template, escape })
    }

    /// Appends a line, with its end.
    pub fn append(&self, evaluation: &mut Evaluation<'_>, out: &mut Vec<u8>) {
        if let Some(text) = self.template.constant() {
            out.extend_from_slice(text);
        }
        for part in self.template.parts() {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Capture(_) => {}
                Part::Variable(variable) => {
                    let begin = out.len();
                    let found = evaluation.append(*variable, out);
                    self.escape.apply(found, begin, out);
                }
            }
        }
        out.push(b'\n');
    }
}

impl Escape {
    /// Escapes what stands in `out` from `begin` on.
    fn apply(self, found: bool, begin: usize, out: &mut Vec<u8>) {
        match self {
            Self::Default if !found => out.push(b'-'),
            Self::Default if out[begin..].iter().any(|byte| needs_escape(*byte)) => {
                let raw = out.split_off(begin);
                raw.iter().for_each(|byte| escape_default(*byte, out));
            }
            Self::Json if out[begin..].iter().any(|byte| needs_json_escape(*byte)) => {
                let raw = out.split_off(begin);
                raw.iter().for_each(|byte| escape_json(*byte, out));
            }
            Self::Default | Self::Json | Self::None => {}
        }
    }
}

fn needs_escape(byte: u8) -> bool {
    matches!(byte, ..b' ' | b'"' | b'\\' | 0x7f..)
}

fn escape_default(byte: u8, out: &mut Vec<u8>) {
    match needs_escape(byte) {
        true => out.extend([b'\\', b'x', hex(byte >> 4), hex(byte & 15)]),
        false => out.push(byte),
    }
}

fn needs_json_escape(byte: u8) -> bool {
    matches!(byte, ..b' ' | b'"' | b'\\')
}

fn escape_json(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        ..b' ' => {
            out.extend_from_slice(b"\\u00");
            return out.extend([hex(byte >> 4), hex(byte & 15)]);
        }
        _ => return out.push(byte),
    };
    out.extend([b'\\', letter]);
}

fn hex(nibble: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(nibble & 15)]
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::variables::Facts;
    use crate::variables::name::{Builtin, Family};
    use crate::variables::values::Values;

    /// `$uri` is hostile, `$args` is empty, nothing else has a value.
    struct Hostile;

    impl Facts for Hostile {
        fn builtin(&self, name: Builtin, out: &mut Vec<u8>) -> bool {
            if name == Builtin::Uri {
                out.extend_from_slice(b"/\"\\\n\r\t\x08\x0c\x01\x1f\x7f \xc3\xa9~");
            }
            matches!(name, Builtin::Uri | Builtin::Args)
        }

        fn member(&self, _: Family, _: &[u8], _: &mut Vec<u8>) -> bool {
            false
        }

        fn client(&self) -> Option<IpAddr> {
            None
        }
    }

    #[test]
    fn values_are_escaped_as_nginx_escapes_them() {
        for (escape, expected) in [
            (
                Escape::Default,
                &b"[/\\x22\\x5C\\x0A\\x0D\\x09\\x08\\x0C\\x01\\x1F\\x7F \\xC3\\xA9~][][-]\"\n"[..],
            ),
            (Escape::Json, b"[/\\\"\\\\\\n\\r\\t\\b\\f\\u0001\\u001F\x7f \xc3\xa9~][][]\"\n"),
            (Escape::None, b"[/\"\\\n\r\t\x08\x0c\x01\x1f\x7f \xc3\xa9~][][]\"\n"),
        ] {
            let mut registry = Registry::default();
            let text = "[$uri][$args][$http_x]\"";
            let format = LogFormat::compile(text, escape, &mut registry).expect("a format");
            let (variables, mut values) = (registry.finish(), Values::default());
            let mut evaluation =
                Evaluation { variables: &variables, facts: &Hostile, values: &mut values };
            let mut out = Vec::new();
            format.append(&mut evaluation, &mut out);
            assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
    }
}
