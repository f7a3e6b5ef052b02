//! A configuration of nginx's and what is asked of it.

use std::sync::Arc;

use crate::support::authority::Identity;
use crate::support::http::response;
use crate::support::origin::Request;

/// What a worker answers to a request: raw bytes.
pub type Worker = fn(&Request) -> Vec<u8>;

/// One configuration and its requests, in their order.
#[derive(Clone)]
pub struct Group {
    pub name: &'static str,
    /// What stands in `http { … }`. `{port}` and `{other}` are ports to listen on (`127.0.0.1:{port}`),
    /// `{origin}` and `{second}` addresses of workers, `{closed}` one where nobody listens, `{dir}` the
    /// directory of the files, `{dns}` a name server ([`Workers::names`](super::run)) and `{origin_port}` the
    /// port of `{origin}`.
    pub http: String,
    pub files: Vec<(&'static str, Vec<u8>)>,
    pub cases: Vec<Case>,
    pub worker: Worker,
    /// The one at `{second}`.
    pub second: Worker,
    /// Fields of answers that are not compared, in lower case.
    pub ignored: &'static [&'static str],
}

/// Requests over one connection, up to its end.
#[derive(Clone)]
pub struct Case {
    pub raw: Vec<u8>,
    /// It goes to `{other}`.
    pub is_elsewhere: bool,
    /// Over TLS, for this name.
    pub tls: Option<&'static str>,
    /// With this certificate of the client's.
    pub shows: Option<Arc<Identity>>,
    /// With these versions alone.
    pub versions: Option<&'static [&'static rustls::SupportedProtocolVersion]>,
    /// A connection before it, over which a request went, may be resumed.
    pub again: bool,
    /// Why the two may not be alike.
    pub differs: Option<&'static str>,
}

impl Group {
    pub fn new(name: &'static str, http: impl Into<String>) -> Self {
        Self {
            name,
            http: http.into(),
            files: Vec::new(),
            cases: Vec::new(),
            worker: echo,
            second: echo,
            ignored: &[],
        }
    }

    /// The same for one server on `{port}`.
    pub fn server(name: &'static str, server: &str) -> Self {
        Self::new(name, format!("server {{\nlisten 127.0.0.1:{{port}};\n{server}\n}}"))
    }

    /// Workers that answer in another way than [`echo`].
    pub fn worker(mut self, worker: Worker) -> Self {
        self.worker = worker;
        self.second = worker;
        self
    }

    /// The one at `{second}` answers in yet another way.
    pub fn second(mut self, worker: Worker) -> Self {
        self.second = worker;
        self
    }

    /// A file under `{dir}`; directories are made.
    pub fn file(mut self, name: &'static str, content: impl AsRef<[u8]>) -> Self {
        self.files.push((name, content.as_ref().to_vec()));
        self
    }

    pub fn ignore(mut self, names: &'static [&'static str]) -> Self {
        self.ignored = names;
        self
    }

    /// `GET` for the host `a.example`.
    pub fn get(self, target: &str) -> Self {
        self.get_with(target, &[])
    }

    pub fn gets(self, targets: &[&str]) -> Self {
        targets.iter().fold(self, |group, target| group.get(target))
    }

    /// `GET` with further lines.
    pub fn get_with(self, target: &str, lines: &[&str]) -> Self {
        self.ask("GET", "a.example", target, lines, "")
    }

    /// Any request, closed by `Connection: close`. A body gets its length.
    pub fn ask(self, method: &str, host: &str, target: &str, lines: &[&str], body: &str) -> Self {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let length = match (method, body) {
            ("GET" | "HEAD" | "DELETE" | "OPTIONS", "") => String::new(),
            (_, body) => format!("Content-Length: {}\r\n", body.len()),
        };
        self.raw(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}{length}\r\n{body}"
        ))
    }

    /// Bytes as they are; what is in them has to make the server close in the end.
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let raw = bytes.as_ref().to_vec();
        self.cases.push(Case {
            raw,
            is_elsewhere: false,
            tls: None,
            shows: None,
            versions: None,
            again: false,
            differs: None,
        });
        self
    }

    /// The last case goes to `{other}`.
    pub fn elsewhere(mut self) -> Self {
        self.last().is_elsewhere = true;
        self
    }

    /// The last case goes to `{other}` over TLS, for this name.
    pub fn over_tls(mut self, name: &'static str) -> Self {
        self.last().is_elsewhere = true;
        self.last().tls = Some(name);
        self
    }

    /// The last case, over TLS, offers these versions.
    pub fn by(mut self, versions: &'static [&'static rustls::SupportedProtocolVersion]) -> Self {
        self.last().versions = Some(versions);
        self
    }

    /// The last case, over TLS, is asked twice, and the second answer counts.
    pub fn twice(mut self) -> Self {
        self.last().again = true;
        self
    }

    /// The last case, over TLS, shows this certificate.
    pub fn showing(mut self, identity: &Arc<Identity>) -> Self {
        self.last().shows = Some(identity.clone());
        self
    }

    /// The last case is answered in another way, and this is why.
    pub fn differs(mut self, reason: &'static str) -> Self {
        self.last().differs = Some(reason);
        self
    }

    fn last(&mut self) -> &mut Case {
        self.cases.last_mut().expect("a case comes first")
    }
}

/// Says what was asked.
pub fn echo(request: &Request) -> Vec<u8> {
    response(
        "200 OK",
        &[("X-Worker", "echo")],
        format!("{} {}", request.method, request.target).as_bytes(),
    )
}
