//! A small browser: it keeps cookies by the rules, follows redirects if told to, and reaches the
//! nodes of a cluster under one host name. A clone of it is a thief with all of its cookies.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::client::{Dial, Response, request};
use super::jar::{Context, Cookie, Jar, Place, Refused, Setter};

const REDIRECTS_MAX: usize = 10;

/// Every request has a connection of its own, so that a cluster may hand each to another worker.
#[derive(Clone)]
pub struct Browser {
    host: String,
    nodes: Vec<SocketAddr>,
    node: usize,
    secure: bool,
    follow: bool,
    fields: Vec<(String, String)>,
    /// `Cookie` lines beside the jar's, byte for byte.
    slipped: Vec<Vec<u8>>,
    /// How far this browser's clock is ahead.
    ahead: Duration,
    pub jar: Jar,
}

/// A request before the browser adds to it.
#[derive(Clone, Debug)]
pub struct Ask {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    context: Context,
}

impl Ask {
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: Vec::new(),
            body: Vec::new(),
            context: Context::SameSite,
        }
    }

    /// A POST of form fields.
    pub fn form(target: &str, fields: &[(&str, &str)]) -> Self {
        let pairs: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", form_encoded(name), form_encoded(value)))
            .collect();
        Self::new("POST", target)
            .field("Content-Type", "application/x-www-form-urlencoded")
            .body(pairs.join("&").as_bytes())
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, bytes: &[u8]) -> Self {
        self.body = bytes.to_vec();
        self
    }

    /// As a link or form on another site sends it, Fetch Metadata included.
    pub fn cross_site_navigation(mut self) -> Self {
        let safe = matches!(self.method.as_str(), "GET" | "HEAD");
        self.context = Context::CrossSiteNavigation { safe };
        self.field("Sec-Fetch-Site", "cross-site")
            .field("Sec-Fetch-Mode", "navigate")
            .field("Sec-Fetch-Dest", "document")
            .field("Origin", "https://evil.example.net")
    }

    /// As a script on another site sends it.
    pub fn cross_site_subresource(mut self) -> Self {
        self.context = Context::CrossSiteSubresource;
        self.field("Sec-Fetch-Site", "cross-site")
            .field("Sec-Fetch-Mode", "no-cors")
            .field("Sec-Fetch-Dest", "empty")
            .field("Origin", "https://evil.example.net")
    }
}

impl Browser {
    /// A browser for `https://<host>/`, which all of these nodes answer for.
    pub fn https(host: &str, nodes: &[SocketAddr]) -> Self {
        Self::new(host, nodes, true)
    }

    /// A browser for `http://<host>/`.
    pub fn http(host: &str, nodes: &[SocketAddr]) -> Self {
        Self::new(host, nodes, false)
    }

    fn new(host: &str, nodes: &[SocketAddr], secure: bool) -> Self {
        assert!(!nodes.is_empty(), "a browser needs somewhere to go");
        Self {
            host: host.to_owned(),
            nodes: nodes.to_vec(),
            node: 0,
            secure,
            follow: false,
            fields: Vec::new(),
            slipped: Vec::new(),
            ahead: Duration::ZERO,
            jar: Jar::default(),
        }
    }

    /// Follows redirects from now on.
    pub fn following(mut self) -> Self {
        self.follow = true;
        self
    }

    /// Sends this field with each request.
    pub fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends these `Cookie` lines with each request, before the jar's own and whatever the rules
    /// of browsers say: what an attacker can bring about is not underestimated.
    pub fn slip(&mut self, lines: &[Vec<u8>]) {
        self.slipped = lines.to_vec();
    }

    /// Goes to this node from now on.
    pub fn node(&mut self, number: usize) -> &mut Self {
        assert!(number < self.nodes.len(), "there are {} nodes", self.nodes.len());
        self.node = number;
        self
    }

    /// Puts the browser's own clock forward: its cookies expire, nobody else's.
    pub fn advance(&mut self, by: Duration) {
        self.ahead += by;
    }

    /// Closes and opens the browser: cookies without an expiry are gone.
    pub fn restart(&mut self) {
        let kept: Vec<Cookie> =
            self.cookies().into_iter().filter(|cookie| cookie.expires.is_some()).cloned().collect();
        let now = self.now();
        self.jar = Jar::default();
        for cookie in kept {
            let (host, path) = (cookie.domain.clone(), cookie.path.clone());
            let place = Place { host: &host, path: &path, secure: true };
            self.jar
                .receive(&cookie.raw, place, Setter::Header, Context::SameSite, now)
                .expect("it was good before");
        }
    }

    pub async fn get(&mut self, target: &str) -> Response {
        self.send(Ask::get(target)).await
    }

    pub async fn post_form(&mut self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.send(Ask::form(target, fields)).await
    }

    /// Sends a request, keeps the answer's cookies, and goes where it leads if told to.
    pub async fn send(&mut self, ask: Ask) -> Response {
        let mut ask = ask;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.dispatch(&ask).await;
            self.keep(&ask, &response);
            match response.field("location") {
                Some(location) if self.follow && (300..400).contains(&response.status) => {
                    let target = self.target_of(&location);
                    let same = matches!(response.status, 307 | 308);
                    // RFC 9110 15.4: these two repeat the request, the others ask for a page.
                    ask = if same { Ask { target, ..ask } } else { Ask::get(&target) };
                }
                _ => return response,
            }
        }
        panic!("redirected more than {REDIRECTS_MAX} times, at last to {}", ask.target);
    }

    /// Sends a request with the cookies of this moment, and only that: to have several on their
    /// way at a time. [`Browser::keep`] takes the answer in.
    pub fn dispatch(&self, ask: &Ask) -> impl Future<Output = Response> + Send + use<> {
        let (raw, dial) = (self.raw(ask), self.dial());
        async move { dial.connect().await.exchange(raw).await }
    }

    /// As [`Browser::dispatch`], with the end of the body held back until `pause` is over: the
    /// request is on its way for as long as the test wants.
    pub fn dispatch_held<P: Future + Send>(
        &self,
        ask: &Ask,
        pause: P,
    ) -> impl Future<Output = Response> + Send + use<P> {
        assert!(!ask.body.is_empty(), "there is no body to hold back");
        let (raw, dial) = (self.raw(ask), self.dial());
        async move {
            let (beginning, end) = raw.split_at(raw.len() - 1);
            let mut connection = dial.connect().await;
            connection.send(beginning).await;
            pause.await;
            connection.exchange(end).await
        }
    }

    fn raw(&self, ask: &Ask) -> Vec<u8> {
        let mut fields: Vec<(&str, &str)> = Vec::new();
        let all = self.fields.iter().chain(&ask.fields);
        fields.extend(all.map(|(name, value)| (name.as_str(), value.as_str())));
        let mut raw = request(&ask.method, &ask.target, &self.host, &fields, &ask.body);
        let start = raw.windows(2).position(|part| part == b"\r\n").expect("a start line") + 2;
        let lines = self.cookie_lines(&ask.target, ask.context);
        let lines = lines.iter().flat_map(|line| [b"Cookie: ", line.as_slice(), b"\r\n"].concat());
        raw.splice(start..start, lines.collect::<Vec<u8>>());
        raw
    }

    /// The `Cookie` lines of a request.
    pub fn cookie_lines(&self, target: &str, context: Context) -> Vec<Vec<u8>> {
        let kept = self.jar.header(self.place(target), context, self.now());
        self.slipped.iter().cloned().chain(kept).collect()
    }

    fn dial(&self) -> Dial {
        let dial = Dial::to(self.nodes[self.node]);
        if self.secure { dial.tls(&self.host) } else { dial }
    }

    /// Keeps the cookies of an answer to `ask`.
    pub fn keep(&mut self, ask: &Ask, response: &Response) {
        let now = self.now();
        let host = self.host.clone();
        let place = Place { host: &host, path: path_of(&ask.target), secure: self.secure };
        for raw in response.fields().bytes("set-cookie") {
            // A refusal is in `jar.refused`.
            let _ = self.jar.receive(raw, place, Setter::Header, ask.context, now);
        }
    }

    /// Plants a cookie as an attacker who controls `host` does, over HTTPS or not.
    pub fn plant(&mut self, host: &str, secure: bool, raw: &str) -> Result<(), Refused> {
        let now = self.now();
        let place = Place { host, path: "/", secure };
        self.jar.receive(raw.as_bytes(), place, Setter::Header, Context::SameSite, now)
    }

    /// Sets a cookie as a script on the page does.
    pub fn script_sets(&mut self, raw: &str) -> Result<(), Refused> {
        let now = self.now();
        let host = self.host.clone();
        let place = Place { host: &host, path: "/", secure: self.secure };
        self.jar.receive(raw.as_bytes(), place, Setter::Script, Context::SameSite, now)
    }

    /// What `document.cookie` shows, as names.
    pub fn script_sees(&self) -> Vec<String> {
        let visible = self.cookies().into_iter().filter(|cookie| !cookie.http_only);
        visible.map(|cookie| String::from_utf8_lossy(&cookie.name).into_owned()).collect()
    }

    /// The cookies that have not expired.
    pub fn cookies(&self) -> Vec<&Cookie> {
        self.jar.cookies(self.now())
    }

    /// The cookie of this name, of which there may be one.
    pub fn cookie(&self, name: &str) -> Option<&Cookie> {
        let mut all = self.cookies();
        all.retain(|cookie| cookie.name == name.as_bytes());
        assert!(all.len() < 2, "{} cookies are named {name}", all.len());
        all.pop()
    }

    fn now(&self) -> SystemTime {
        SystemTime::now() + self.ahead
    }

    fn place<'a>(&'a self, target: &'a str) -> Place<'a> {
        Place { host: &self.host, path: path_of(target), secure: self.secure }
    }

    fn target_of(&self, location: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let target =
            location.strip_prefix(&format!("{scheme}://{}", self.host)).unwrap_or(location);
        assert!(
            target.starts_with('/') && !target.starts_with("//"),
            "`{location}` leads away from {scheme}://{}",
            self.host
        );
        target.to_owned()
    }
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

/// `application/x-www-form-urlencoded` (WHATWG URL).
fn form_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                encoded.push(byte.into());
            }
            b' ' => encoded.push('+'),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
