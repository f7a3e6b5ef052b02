//! What both must have in common.

use std::fmt;
use std::io::Read;

use crate::support::client::Response;
use crate::support::http::{Broken, Field, Fields, show};
use crate::support::origin::Request;

/// What came of one case.
#[derive(PartialEq, Eq)]
pub struct Outcome {
    answers: Vec<Answer>,
    end: &'static str,
    seen: Vec<Seen>,
}

#[derive(PartialEq, Eq)]
struct Answer {
    status: u16,
    interim: usize,
    fields: Vec<String>,
    body: String,
}

/// What a worker saw.
#[derive(PartialEq, Eq)]
struct Seen {
    worker: usize,
    start: String,
    fields: Vec<String>,
    body: String,
}

/// How the texts of one side's own address are made those of nobody.
pub struct Place<'a> {
    pub names: &'a [(String, &'static str)],
    pub ignored: &'a [&'a str],
}

impl Outcome {
    /// There was no connection.
    pub fn refused() -> Self {
        Self { answers: Vec::new(), end: "no handshake", seen: Vec::new() }
    }

    pub fn new(
        answers: &[Response],
        end: &Broken,
        seen: &[(usize, Request)],
        place: &Place<'_>,
    ) -> Self {
        let end = match end {
            Broken::Closed => "closed",
            Broken::Truncated(_) => "closed in the middle",
            Broken::Reset(_) => "reset",
            Broken::Malformed(_) => "no answer of HTTP's",
        };
        Self {
            answers: answers.iter().map(|answer| place.answer(answer)).collect(),
            end,
            seen: seen.iter().map(|(worker, request)| place.seen(*worker, request)).collect(),
        }
    }
}

impl Place<'_> {
    fn answer(&self, answer: &Response) -> Answer {
        let ignored = |field: &Field| {
            let name = field.name.to_ascii_lowercase();
            name == "date"
                // Persistence is what HTTP/1.1 has anyway.
                || name == "connection" && field.value.eq_ignore_ascii_case(b"keep-alive")
                || self.ignored.contains(&&name[..])
        };
        Answer {
            status: answer.status,
            interim: answer.interim.len(),
            fields: self.fields(&answer.head.fields, ignored),
            body: self.text(&unpacked(answer)),
        }
    }

    fn seen(&self, worker: usize, request: &Request) -> Seen {
        let ignored = |field: &Field| {
            let is_close = field.value.eq_ignore_ascii_case(b"close");
            let name = field.name.to_ascii_lowercase();
            // It is set by itself, and only for a request that asks for an upgrade.
            let is_upgrade = field.value.eq_ignore_ascii_case(b"upgrade");
            self.ignored.contains(&&name[..])
                || name == "connection"
                    && (is_upgrade || is_close || field.value.eq_ignore_ascii_case(b"keep-alive"))
        };
        Seen {
            worker,
            start: self.text(
                request.head.start.rsplit_once(' ').map_or("", |(start, _)| start).as_bytes(),
            ),
            fields: self.fields(request.fields(), ignored),
            body: self.text(&request.body.content),
        }
    }

    fn fields(&self, fields: &Fields, ignored: impl Fn(&Field) -> bool) -> Vec<String> {
        let one = |field: &Field| {
            format!("{}: {}", field.name.to_ascii_lowercase(), self.text(&field.value))
        };
        let mut lines: Vec<String> =
            fields.0.iter().filter(|field| !ignored(field)).map(one).collect();
        // Lines of one name keep their order, where that may matter.
        if let Some(vary) = lines.iter().position(|line| line.starts_with("vary:")) {
            lines[vary..].sort_unstable();
        }
        lines.sort_by(|one, other| one.split(':').next().cmp(&other.split(':').next()));
        lines
    }

    fn text(&self, bytes: &[u8]) -> String {
        // Both say a version of nginx, but not the same.
        let mut text = show(bytes).replace("nginx/1.22.1", "NGINX").replace(FOLLOWED, "NGINX");
        for (own, name) in self.names {
            text = text.replace(own, name);
        }
        text
    }
}

/// What is in a body. Compressed ones are one's own, and may be cut into other chunks.
fn unpacked(answer: &Response) -> Vec<u8> {
    let mut unpacked = Vec::new();
    if answer.field("content-encoding").as_deref() == Some("gzip") {
        let mut decoder = flate2::read::MultiGzDecoder::new(answer.content());
        if decoder.read_to_end(&mut unpacked).is_ok() {
            return unpacked;
        }
    }
    answer.content().to_vec()
}

/// The version that is followed.
const FOLLOWED: &str = "nginx/1.29.4";

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for answer in &self.answers {
            writeln!(out, "{} ({} before it)", answer.status, answer.interim)?;
            answer.fields.iter().try_for_each(|field| writeln!(out, "  {field}"))?;
            writeln!(out, "  [{}]", answer.body)?;
        }
        writeln!(out, "{}", self.end)?;
        for seen in &self.seen {
            writeln!(out, "worker {}: {}", seen.worker, seen.start)?;
            seen.fields.iter().try_for_each(|field| writeln!(out, "  {field}"))?;
            writeln!(out, "  [{}]", seen.body)?;
        }
        Ok(())
    }
}
