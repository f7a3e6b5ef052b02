//! A name server that says what a test wants it to say, over UDP and TCP (RFC 1035).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Answers,
    Silent,
    /// With this code and nothing else.
    Fails(u8),
    /// First it sends what counts for nothing: garbage, another id, another name.
    LiesFirst,
    /// Over UDP nothing fits.
    Cuts,
}

#[derive(Clone, Debug)]
struct Record {
    name: String,
    kind: u16,
    ttl: u32,
    data: Vec<u8>,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    mood: Option<Mood>,
    asked: Vec<(String, u16)>,
}

/// The server. Dropping it ends it.
pub struct Dns {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    tasks: [JoinHandle<()>; 2],
}

impl Dns {
    pub async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("bound")).await {
                break (udp, tcp);
            }
        };
        let address = tcp.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State::default()));
        let tasks = [
            tokio::spawn(over_udp(udp, state.clone())),
            tokio::spawn(over_tcp(tcp, state.clone())),
        ];
        Self { address, state, tasks }
    }

    pub fn behaves(&self, mood: Mood) {
        self.lock(|state| state.mood = Some(mood));
    }

    /// The addresses of a name from now on.
    pub fn has(&self, name: &str, ttl: u32, addresses: &[Ipv4Addr]) {
        self.forgets(name, A);
        addresses.iter().for_each(|address| self.says(name, A, ttl, &address.octets()));
    }

    pub fn has_alias(&self, name: &str, ttl: u32, target: &str) {
        self.says(name, CNAME, ttl, &labels(target));
    }

    pub fn has_service(
        &self,
        name: &str,
        ttl: u32,
        [priority, weight, port]: [u16; 3],
        target: &str,
    ) {
        let numbers = [priority, weight, port].map(u16::to_be_bytes).concat();
        self.says(name, SRV, ttl, &[numbers, labels(target)].concat());
    }

    /// One more record.
    pub fn says(&self, name: &str, kind: u16, ttl: u32, data: &[u8]) {
        let record = Record { name: name.to_owned(), kind, ttl, data: data.to_vec() };
        self.lock(|state| state.records.push(record));
    }

    pub fn forgets(&self, name: &str, kind: u16) {
        self.lock(|state| state.records.retain(|it| it.name != name || it.kind != kind));
    }

    /// How often it was asked for this.
    pub fn asked(&self, name: &str, kind: u16) -> usize {
        self.lock(|state| state.asked.iter().filter(|it| it.0 == name && it.1 == kind).count())
    }

    fn lock<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().expect("no holder panics"))
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn over_udp(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        for answer in answers(&buffer[..length], &state, false) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn over_tcp(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            let Ok(length) = stream.read_u16().await else { return };
            let mut question = vec![0; length.into()];
            if stream.read_exact(&mut question).await.is_err() {
                return;
            }
            for answer in answers(&question, &state, true) {
                let length = u16::try_from(answer.len()).expect("it fits");
                let _ = stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await;
            }
        });
    }
}

/// What is sent back, in this order.
fn answers(question: &[u8], state: &Mutex<State>, is_tcp: bool) -> Vec<Vec<u8>> {
    let (name, kind) = asked(question);
    let mut state = state.lock().expect("no holder panics");
    state.asked.push((name.clone(), kind));
    let truth = truth(question, &state.records, &name, kind);
    match state.mood.unwrap_or(Mood::Answers) {
        Mood::Answers => vec![truth],
        Mood::Silent => Vec::new(),
        Mood::Fails(code) => vec![answer(question, code.into(), &[])],
        Mood::Cuts if !is_tcp => vec![answer(question, 0x0200, &[])],
        Mood::Cuts => vec![truth],
        Mood::LiesFirst => {
            let lie = Record {
                name: "evil.example".to_owned(),
                kind: A,
                ttl: 60,
                data: vec![127, 0, 0, 99],
            };
            let about_asked = Record { name, ..lie.clone() };
            let mut other_id = answer(question, 0, &[&about_asked]);
            other_id[1] ^= 1;
            let other_name = answer(&ask_for("evil.example", question), 0, &[&lie]);
            let mut garbage = answer(question, 0, &[&about_asked]);
            garbage.truncate(garbage.len() - 3);
            vec![b"x".to_vec(), garbage, other_id, other_name, truth]
        }
    }
}

fn truth(question: &[u8], records: &[Record], name: &str, kind: u16) -> Vec<u8> {
    let mut found: Vec<&Record> = Vec::new();
    let mut about = name.to_owned();
    let is_known = records.iter().any(|record| record.name == name && record.kind != SOA);
    loop {
        let own = records.iter().filter(|record| record.name == about);
        found.extend(own.clone().filter(|record| record.kind == kind));
        let Some(alias) = own.clone().find(|record| record.kind == CNAME) else { break };
        found.push(alias);
        about = text(&alias.data);
        // A target with records of its own zone has to be asked for.
        if about.starts_with("elsewhere") {
            break;
        }
    }
    match is_known {
        true => answer(question, 0, &found),
        false => {
            let zone: Vec<&Record> =
                records.iter().filter(|it| it.name == name && it.kind == SOA).collect();
            with_authority(question, 3, &zone)
        }
    }
}

fn asked(question: &[u8]) -> (String, u16) {
    let name = text(&question[12..]);
    let at = 12 + name.len() + 2;
    (name.to_lowercase(), u16::from_be_bytes([question[at], question[at + 1]]))
}

fn ask_for(name: &str, question: &[u8]) -> Vec<u8> {
    [&question[..12], &labels(name), &question[question.len() - 4..]].concat()
}

fn answer(question: &[u8], flags: u16, records: &[&Record]) -> Vec<u8> {
    message(question, flags, [records.len(), 0], records)
}

fn with_authority(question: &[u8], flags: u16, records: &[&Record]) -> Vec<u8> {
    message(question, flags, [0, records.len()], records)
}

fn message(question: &[u8], flags: u16, counts: [usize; 2], records: &[&Record]) -> Vec<u8> {
    let name = text(&question[12..]);
    let mut bytes = question[..2].to_vec();
    let [answers, authorities] = counts.map(|count| u16::try_from(count).expect("few"));
    for word in [0x8180 | flags, 1, answers, authorities, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(&question[12..12 + name.len() + 2 + 4]);
    for record in records {
        bytes.extend(labels(&record.name));
        bytes.extend([record.kind, 1].map(u16::to_be_bytes).concat());
        bytes.extend(record.ttl.to_be_bytes());
        bytes.extend(u16::try_from(record.data.len()).expect("short").to_be_bytes());
        bytes.extend(&record.data);
    }
    bytes
}

fn labels(name: &str) -> Vec<u8> {
    let label =
        |label: &str| [&[u8::try_from(label.len()).expect("short")], label.as_bytes()].concat();
    [name.split('.').map(label).collect::<Vec<_>>().concat(), vec![0]].concat()
}

fn text(mut labels: &[u8]) -> String {
    let mut name: Vec<String> = Vec::new();
    while let [length, rest @ ..] = labels
        && *length > 0
    {
        let (label, rest) = rest.split_at(usize::from(*length));
        name.push(String::from_utf8_lossy(label).into_owned());
        labels = rest;
    }
    name.join(".")
}
