//! What variables say of a head that makes no request: its connection, and what can be read of its line.

use std::net::IpAddr;

use super::{connection, of_process, put, show};
use crate::downstream::refused::{Refusal, outside};
use crate::downstream::{Refused, Reply};
use crate::listen::Info;
use crate::proxy::shared::{ServerFacts, Shared};
use crate::variables::Facts;
use crate::variables::name::{Builtin, Family};

/// A head that makes no request.
pub struct RefusedFacts<'a> {
    pub shared: &'a Shared,
    /// Who refuses it.
    pub server: Option<&'a ServerFacts>,
    pub info: &'a Info,
    pub refused: &'a Refused<'a>,
    /// What is answered, where somebody is there to read it.
    pub reply: &'a Reply,
}

impl RefusedFacts<'_> {
    /// The first line, whatever it is; nothing where nothing came.
    fn line(&self) -> Option<&[u8]> {
        let line = self.refused.head.split(|byte| *byte == b'\n').next()?;
        Some(line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
    }
}

impl Facts for RefusedFacts<'_> {
    fn builtin(&self, name: Builtin, out: &mut Vec<u8>) -> bool {
        match name {
            Builtin::Request => put(out, self.line()),
            Builtin::RequestMethod => put(out, self.refused.line().map(|line| line.method)),
            Builtin::RequestUri | Builtin::Uri => {
                put(out, self.refused.line().map(|line| line.target))
            }
            Builtin::Status => show(out, outside(self.refused.refusal.status())),
            Builtin::BodyBytesSent => match self.refused.refusal {
                Refusal::BrokenOff => put(out, Some(b"0")),
                Refusal::Flaw(_) | Refusal::TimedOut => show(out, self.reply.body.len()),
            },
            Builtin::RequestTime => put(out, Some(b"0.000")),
            Builtin::RequestLength => show(out, self.refused.head.len()),
            Builtin::RequestCompletion => put(out, Some(b"")),
            Builtin::Pipe => put(out, Some(b".")),
            Builtin::RequestId => {
                let id: [u8; 16] = rand::random();
                super::put_hex(out, &id)
            }
            Builtin::ServerName | Builtin::Host => {
                put(out, self.server.map(|server| server.name.as_bytes()))
            }
            _ => connection::builtin(self.info, name, out)
                .or_else(|| of_process(self.shared, name, out))
                .unwrap_or(false),
        }
    }

    fn member(&self, _: Family, _: &[u8], _: &mut Vec<u8>) -> bool {
        false
    }

    fn client(&self) -> Option<IpAddr> {
        Some(self.info.peer().ip().to_canonical())
    }
}
