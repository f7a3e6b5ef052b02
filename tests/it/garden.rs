//! A garden of odd messages, sent through the proxy to real workers that say what they saw: each sees
//! exactly what we say that we sent, or nothing.
//!
//! A line of `garden/http1.jsonl` has the bytes (a character stands for a byte), what the worker is to
//! see of them, and the statuses of all answers. Behind each message the same client asks once more, or
//! where its connection was closed, another one does: over the worker connection that was used before,
//! where nothing may be left. In `garden/http2.jsonl` a message is a list of fields, and where nobody
//! is to see it, it does not matter how it is refused.

mod worker;

use std::path::Path;

use serde::Deserialize;

use self::worker::{Manner, Own, Worker};
use crate::support::client::{Connection, Dial};
use crate::support::frames::{Frames, Outcome};
use crate::support::proxy::Proxy;

const NAME: &str = "app.example";

/// A message in HTTP/1.
#[derive(Deserialize)]
struct Http1 {
    what: String,
    send: String,
    sees: Vec<String>,
    answers: Vec<u16>,
}

/// A message in HTTP/2.
#[derive(Deserialize)]
struct Http2 {
    what: String,
    fields: Vec<(String, String)>,
    data: Option<Vec<String>>,
    trailers: Option<Vec<(String, String)>>,
    sees: Vec<String>,
}

fn read<T: for<'a> Deserialize<'a>>(file: &str) -> Vec<T> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/garden").join(file);
    let lines = std::fs::read_to_string(file).expect("the corpus is there");
    lines.lines().map(|line| serde_json::from_str(line).expect("a message")).collect()
}

/// A worker, and what stands before it.
struct Garden {
    worker: Worker,
    proxy: Proxy,
}

impl Garden {
    fn start(manner: &'static Manner) -> Self {
        let worker = Worker::start(manner);
        let proxy = Proxy::start(&format!(
            "workers: 1\nstate_directory: '{{directory}}'\nlisteners:\n  - address: 127.0.0.1:0\n  \
             - {{ address: 127.0.0.1:0, tls: {{ self_signed: true }} }}\nstore: memory\n\
             limits: {{ header_timeout: 500ms, body_timeout: 300ms, header_bytes: 4KiB }}\n\
             upstreams:\n  app:\n    endpoints: [{{ address: '{}' }}]\n    \
             timeouts: {{ keepalive: 3s }}\n\
             servers:\n  - names: [{NAME}]\n    routes: [{{ path: /, upstream: app }}]\n",
            worker.address()
        ));
        Self { worker, proxy }
    }

    async fn dial(&self) -> Connection {
        Dial::to(self.proxy.address()).connect().await
    }

    /// Asks over an own connection, and so over the worker's that is kept. It sees that, and no more.
    async fn ask_once_more(&mut self, what: &str) -> Result<(), String> {
        let mut client = self.dial().await;
        client.send(format!("GET /after HTTP/1.1\r\nHost: {NAME}\r\n\r\n")).await;
        let status = client.response().await.status;
        let seen = self.worker.seen(1);
        match status == 200 && seen == ["GET /after "] {
            true => Ok(()),
            false => Err(format!("{what}: and then {status}, {seen:?}")),
        }
    }

    async fn send_http1(&mut self, message: &Http1) -> Result<(), String> {
        let Http1 { what, send, sees, answers } = message;
        let (sees, answers): (&[String], &[u16]) = match self.worker.own(what) {
            None => (sees, answers),
            Some(Own::Answers(status)) => (&[], &[status]),
            Some(Own::IsNotAsked) => return Ok(()),
        };
        let bytes: Vec<u8> = send.chars().map(|byte| byte as u8).collect();
        let mut client = self.dial().await;
        client.send(&bytes).await;
        let (mut statuses, mut is_closed) = (Vec::new(), false);
        let mut said = Vec::<String>::new();
        while statuses.len() < answers.len() && !is_closed {
            let answer = match bytes.starts_with(b"HEAD ") {
                true => client.response_to_head().await,
                false => client.response().await,
            };
            is_closed = answer.field("connection").as_deref() == Some("close");
            statuses.push(answer.status);
            if answer.status == 200 && !answer.content().is_empty() {
                said.push(answer.body.content.iter().map(|byte| char::from(*byte)).collect());
            }
        }
        let rest = if is_closed { client.rest().await.unwrap_or_default() } else { Vec::new() };
        let seen = self.worker.seen(sees.len());
        let is_said = said.is_empty() || said == seen;
        if statuses != answers || seen != sees || !is_said || !rest.is_empty() {
            return Err(format!(
                "{what}: {statuses:?} for {answers:?}, {seen:?} for {sees:?}, said {said:?}, then {:?}",
                rest.escape_ascii().to_string()
            ));
        }
        if !is_closed {
            client.send(format!("GET /next HTTP/1.1\r\nHost: {NAME}\r\n\r\n")).await;
            let status = client.response().await.status;
            let seen = self.worker.seen(1);
            if status != 200 || seen != ["GET /next "] {
                return Err(format!("{what}: the next is {status}, {seen:?}"));
            }
        }
        self.ask_once_more(what).await
    }

    async fn send_http2(&mut self, message: &Http2) -> Result<(), String> {
        let Http2 { what, fields, data, trailers, sees } = message;
        let bytes = |fields: &[(String, String)]| -> Vec<(Vec<u8>, Vec<u8>)> {
            let byte = |text: &str| text.chars().map(|byte| byte as u8).collect();
            fields.iter().map(|(name, value)| (byte(name), byte(value))).collect()
        };
        let (head, tail) = (bytes(fields), trailers.as_deref().map(bytes));
        let mut frames = Frames::connect(&Dial::to(self.proxy.addresses()[1]).tls(NAME)).await;
        let stream = frames.open(&head, data.is_none()).await;
        let pieces = data.as_deref().unwrap_or_default();
        for (number, piece) in pieces.iter().enumerate() {
            let is_last = tail.is_none() && number + 1 == pieces.len();
            frames.data(stream, piece.as_bytes(), is_last).await;
        }
        if let Some(tail) = tail {
            frames.headers(stream, &tail, true).await;
        }
        let outcome = frames.outcome(stream).await;
        let (sees, own): (&[String], _) = match self.worker.own(what) {
            None => (sees, None),
            Some(Own::Answers(status)) => (&[], Some(status)),
            Some(Own::IsNotAsked) => return Ok(()),
        };
        let seen = self.worker.seen(sees.len());
        let is_right = match &outcome {
            Outcome::Answered(status, _) if own.is_some() => own == Some(*status),
            Outcome::Answered(200, said) => {
                !sees.is_empty() && (said.is_empty() || said == sees[0].as_bytes())
            }
            Outcome::Answered(400..=499, _) | Outcome::Reset => sees.is_empty(),
            Outcome::Answered(..) => false,
        };
        if seen != sees || !is_right {
            return Err(format!("{what}: {outcome:?}, {seen:?} for {sees:?}"));
        }
        self.ask_once_more(what).await
    }

    /// Sends all of them; what went wrong. Those come last that the worker refuses in its own way: of
    /// any other, it may not complain.
    async fn walk(&mut self) -> Vec<String> {
        let (http1, http2) = (read::<Http1>("http1.jsonl"), read::<Http2>("http2.jsonl"));
        assert!(http1.len() + http2.len() >= 400, "a garden has many plants");
        let mut wrong = Vec::new();
        for is_own in [false, true] {
            let asked = |what: &str, worker: &Worker| worker.own(what).is_some() == is_own;
            for message in &http1 {
                if asked(&message.what, &self.worker) {
                    wrong.extend(self.send_http1(message).await.err());
                    self.worker.seen(0);
                }
            }
            for message in &http2 {
                if asked(&message.what, &self.worker) {
                    wrong.extend(self.send_http2(message).await.err());
                    self.worker.seen(0);
                }
            }
            if !is_own {
                wrong.extend(self.worker.complaint());
            }
        }
        wrong
    }
}

async fn walk(manner: &'static Manner) {
    let mut garden = Garden::start(manner);
    let wrong = garden.walk().await;
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), garden.worker.log());
}

#[tokio::test]
async fn node_sees_what_was_sent_or_nothing() {
    walk(&worker::NODE).await;
}

#[tokio::test]
async fn gunicorn_sees_what_was_sent_or_nothing() {
    walk(&worker::GUNICORN).await;
}

#[tokio::test]
async fn php_sees_what_was_sent_or_nothing() {
    walk(&worker::PHP).await;
}

#[tokio::test]
async fn puma_sees_what_was_sent_or_nothing() {
    walk(&worker::PUMA).await;
}

#[tokio::test]
async fn nginx_sees_what_was_sent_or_nothing() {
    walk(&worker::NGINX).await;
}

#[tokio::test]
async fn apache_sees_what_was_sent_or_nothing() {
    walk(&worker::APACHE).await;
}
