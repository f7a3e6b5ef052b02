//! Questions and answers as bytes. What an answer says counts only where it is one to the question.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::Unresolved;

/// Addresses and services that are taken of one answer.
const RECORDS_MAX: usize = 256;

/// Aliases that are followed inside one answer.
const ALIASES_MAX: usize = 16;

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Ipv4,
    Ipv6,
    Services,
}

/// An endpoint as an SRV record has it (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Not all of it came: it is to be asked for over TCP.
    Truncated,
    Failed(Unresolved),
    /// There is none; so long that may be kept (RFC 2308 section 5).
    Nothing(Option<Duration>),
    /// Another name has it, about which the answer says no more.
    Alias(String, Duration),
    Addresses(Vec<IpAddr>, Duration),
    Services(Vec<Service>, Duration),
}

/// A question. `None`: it is about no name.
pub fn question(id: u16, name: &str, wanted: Wanted) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(full(name)?, wanted.record_type()));
    message.to_vec().ok()
}

/// What an answer says to a question. `None`: it is none, or one to another question.
pub fn read(bytes: &[u8], id: u16, name: &str, wanted: Wanted) -> Option<Said> {
    let message = Message::from_vec(bytes).ok()?;
    let about = full(name)?;
    let [query] = &*message.queries else { return None };
    let is_answer = message.metadata.id == id
        && message.metadata.message_type == MessageType::Response
        && message.metadata.op_code == OpCode::Query
        && query.name == about
        && query.query_type == wanted.record_type()
        && query.query_class == DNSClass::IN;
    if !is_answer {
        return None;
    }
    if message.metadata.truncation {
        return Some(Said::Truncated);
    }
    Some(match message.metadata.response_code {
        ResponseCode::NoError => found(&message, about, wanted),
        ResponseCode::NXDomain => Said::Nothing(negative(&message)),
        code => Said::Failed(Unresolved::Code(code.into())),
    })
}

/// What there is of the name, or of those that it is an alias of. Records of other names count for
/// nothing.
fn found(message: &Message, mut name: Name, wanted: Wanted) -> Said {
    let mut ttl = u32::MAX;
    for aliases in 0..=ALIASES_MAX {
        let is_about = |record: &&Record| record.name == name && record.dns_class == DNSClass::IN;
        let of_name = || message.answers.iter().filter(is_about);
        let mut addresses = Vec::new();
        let mut services = Vec::new();
        for record in of_name().take(RECORDS_MAX) {
            match (&record.data, wanted) {
                (RData::A(address), Wanted::Ipv4) => addresses.push(IpAddr::V4(address.0)),
                (RData::AAAA(address), Wanted::Ipv6) => addresses.push(IpAddr::V6(address.0)),
                (RData::SRV(srv), Wanted::Services) => services.push(Service {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    target: text(&srv.target),
                }),
                _ => continue,
            }
            ttl = ttl.min(seconds(record.ttl));
        }
        let kept = Duration::from_secs(ttl.into());
        if !addresses.is_empty() {
            return Said::Addresses(addresses, kept);
        }
        if !services.is_empty() {
            return Said::Services(services, kept);
        }
        let alias = of_name().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((target.0.clone(), record.ttl)),
            _ => None,
        });
        match alias {
            Some((target, its)) => {
                ttl = ttl.min(seconds(its));
                name = target;
            }
            None if aliases > 0 => {
                return Said::Alias(text(&name), Duration::from_secs(ttl.into()));
            }
            None => return Said::Nothing(negative(message)),
        }
    }
    Said::Failed(Unresolved::NOT_FOUND)
}

/// How long it may be kept that there is nothing: only an SOA record says so.
fn negative(message: &Message) -> Option<Duration> {
    message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(Duration::from_secs(seconds(record.ttl.min(soa.minimum)).into())),
        _ => None,
    })
}

/// With its highest bit, it counts as none (RFC 2181 section 8).
fn seconds(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

fn full(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    (!name.is_root()).then_some(name)
}

fn text(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase()
}

impl Wanted {
    fn record_type(self) -> RecordType {
        match self {
            Self::Ipv4 => RecordType::A,
            Self::Ipv6 => RecordType::AAAA,
            Self::Services => RecordType::SRV,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer's bytes: header, the question, records.
    fn answer(
        id: u16,
        flags: u16,
        about: &str,
        kind: u16,
        records: &[(&str, u16, u32, &[u8])],
    ) -> Vec<u8> {
        let count = u16::try_from(records.len()).expect("few");
        let mut bytes = Vec::new();
        for word in [id, flags, 1, count, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        let put = |bytes: &mut Vec<u8>, name: &str| {
            for label in name.split('.') {
                bytes.push(u8::try_from(label.len()).expect("short"));
                bytes.extend(label.as_bytes());
            }
            bytes.push(0);
        };
        put(&mut bytes, about);
        bytes.extend([kind.to_be_bytes(), 1u16.to_be_bytes()].concat());
        for (name, kind, ttl, data) in records {
            put(&mut bytes, name);
            bytes.extend([kind.to_be_bytes(), 1u16.to_be_bytes()].concat());
            bytes.extend(ttl.to_be_bytes());
            bytes.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    const OK: u16 = 0x8180;
    const A: u16 = 1;
    const CNAME: u16 = 5;

    fn addresses(last: &[u8], ttl: u64) -> Option<Said> {
        let of = |last: &u8| IpAddr::from([10, 0, 0, *last]);
        Some(Said::Addresses(last.iter().map(of).collect(), Duration::from_secs(ttl)))
    }

    #[test]
    fn only_answers_to_the_question_count() {
        let records: &[(&str, u16, u32, &[u8])] = &[("a.example", A, 5, &[10, 0, 0, 1])];
        let read = |bytes: &[u8]| read(bytes, 7, "A.example", Wanted::Ipv4);
        assert_eq!(read(&answer(7, OK, "a.example", A, records)), addresses(&[1], 5));
        assert_eq!(read(&answer(8, OK, "a.example", A, records)), None, "another id");
        assert_eq!(read(&answer(7, 0x0100, "a.example", A, records)), None, "a question");
        assert_eq!(read(&answer(7, OK, "b.example", A, records)), None, "about another name");
        assert_eq!(read(&answer(7, OK, "a.example", 28, records)), None, "of another type");
        let whole = answer(7, OK, "a.example", A, records);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(read(&answer(7, OK | 0x0200, "a.example", A, &[])), Some(Said::Truncated));
        assert_eq!(read(&answer(7, OK, "a.example", A, &[])), Some(Said::Nothing(None)));
        let failed = |code| Some(Said::Failed(Unresolved::Code(code)));
        assert_eq!(read(&answer(7, OK | 2, "a.example", A, &[])), failed(2));
        assert_eq!(read(&answer(7, OK | 5, "a.example", A, &[])), failed(5));
        assert_eq!(read(&answer(7, OK | 3, "a.example", A, &[])), Some(Said::Nothing(None)));
    }

    #[test]
    fn records_of_other_names_are_ignored() {
        let read = |records: &[(&str, u16, u32, &[u8])]| {
            read(&answer(7, OK, "a.example", A, records), 7, "a.example", Wanted::Ipv4)
        };
        let evil: (&str, u16, u32, &[u8]) = ("b.example", A, 5, &[10, 0, 0, 9]);
        let own: (&str, u16, u32, &[u8]) = ("a.example", A, 60, &[10, 0, 0, 1]);
        assert_eq!(read(&[evil, own]), addresses(&[1], 60));
        assert_eq!(read(&[evil]), Some(Said::Nothing(None)));
        assert_eq!(read(&[own, ("A.EXAMPLE", A, 9, &[10, 0, 0, 2])]), addresses(&[1, 2], 9));
        assert_eq!(read(&[("a.example", A, 0xffff_ffff, &[10, 0, 0, 1])]), addresses(&[1], 0));
    }

    #[test]
    fn aliases_are_followed() {
        let to = |name: &str| {
            let labels =
                name.split('.').map(|label| [&[label.len() as u8], label.as_bytes()].concat());
            [labels.collect::<Vec<_>>().concat(), vec![0]].concat()
        };
        let (b, c) = (to("b.example"), to("c.example"));
        let read = |records: &[(&str, u16, u32, &[u8])]| {
            read(&answer(7, OK, "a.example", A, records), 7, "a.example", Wanted::Ipv4)
        };
        let first: (&str, u16, u32, &[u8]) = ("a.example", CNAME, 30, &b);
        let second: (&str, u16, u32, &[u8]) = ("b.example", CNAME, 20, &c);
        let last: (&str, u16, u32, &[u8]) = ("c.example", A, 40, &[10, 0, 0, 3]);
        assert_eq!(read(&[last, second, first]), addresses(&[3], 20));
        let alias = Said::Alias("c.example".to_owned(), Duration::from_secs(20));
        assert_eq!(read(&[first, second]), Some(alias));
        let back = to("a.example");
        let circle = read(&[first, ("b.example", CNAME, 20, &back)]);
        assert_eq!(circle, Some(Said::Failed(Unresolved::NOT_FOUND)));
    }

    #[test]
    fn questions_are_about_names() {
        let bytes = question(7, "a.example", Wanted::Ipv6).expect("a question");
        assert_eq!(bytes, answer(7, 0x0100, "a.example", 28, &[]));
        assert_eq!(question(7, &"a".repeat(64), Wanted::Ipv4), None);
        assert_eq!(question(7, "", Wanted::Ipv4), None);
        assert_eq!(question(7, "a..b", Wanted::Ipv4), None);
    }
}
