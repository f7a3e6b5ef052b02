//! `allow` and `deny`: rules by the client's address, of which the first that fits counts.

use std::net::IpAddr;

use ipnet::IpNet;

/// Rules in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allows: bool,
    whom: Whom,
}

/// Whom a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Everybody,
    Network(IpNet),
    /// Who comes over a socket of the file system.
    Unix,
}

/// What rules say of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Allow,
    Deny,
    /// No rule fits.
    Nothing,
}

/// Why a text is no rule.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadRule {
    #[error("`{0}` begins with neither `allow` nor `deny`")]
    Verb(String),
    #[error("`{0}` is no address")]
    Whom(String),
}

impl Rules {
    /// Adds a rule: `allow 10.0.0.0/8`, `deny all`.
    ///
    /// # Errors
    /// It is none.
    pub fn add(&mut self, text: &str) -> Result<(), BadRule> {
        let text = text.trim();
        let (verb, whom) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let allows = match verb {
            "allow" => true,
            "deny" => false,
            _ => return Err(BadRule::Verb(text.to_owned())),
        };
        let whom = whom.trim();
        let whom = Whom::parse(whom).ok_or_else(|| BadRule::Whom(whom.to_owned()))?;
        self.0.push(Rule { allows, whom });
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they say of a client; one without an address came over a socket of the file system.
    pub fn of(&self, client: Option<IpAddr>) -> Says {
        let client = client.map(|address| address.to_canonical());
        match self.0.iter().find(|rule| rule.whom.is(client)) {
            Some(Rule { allows: true, .. }) => Says::Allow,
            Some(Rule { allows: false, .. }) => Says::Deny,
            None => Says::Nothing,
        }
    }
}

impl Whom {
    /// Reads `all`, `unix:`, an address or a network. Bits behind the network's are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Self::Everybody),
            "unix:" => Some(Self::Unix),
            _ => network(text).map(Self::Network),
        }
    }

    /// Whether this client is meant.
    pub fn is(&self, client: Option<IpAddr>) -> bool {
        match (self, client) {
            (Self::Everybody, _) | (Self::Unix, None) => true,
            (Self::Network(network), Some(client)) => network.contains(&client),
            (Self::Unix, Some(_)) | (Self::Network(_), None) => false,
        }
    }
}

/// Reads an address, or a network.
pub fn network(text: &str) -> Option<IpNet> {
    match text.split_once('/') {
        None => Some(IpNet::from(text.parse::<IpAddr>().ok()?)),
        Some((address, length)) => {
            let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let length = length.parse().ok().filter(|_| is_number)?;
            Some(IpNet::new(address.parse().ok()?, length).ok()?.trunc())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rules: &[&str], client: &str, expected: Says) {
        let mut read = Rules::default();
        rules.iter().for_each(|rule| read.add(rule).expect(rule));
        let client = (client != "unix:").then(|| client.parse().expect("an address"));
        assert_eq!(read.of(client), expected, "{rules:?} of {client:?}");
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        use Says::{Allow, Deny, Nothing};
        let office: &[&str] = &["deny 10.1.0.0/16", "allow 10.0.0.0/8", "allow ::1", "deny all"];
        check(office, "10.1.2.3", Deny);
        check(office, "10.2.2.3", Allow);
        check(office, "::1", Allow);
        check(office, "::2", Deny);
        check(office, "192.0.2.1", Deny);
        check(office, "unix:", Deny);
        check(&["allow 192.0.2.1"], "192.0.2.2", Nothing);
        check(&["allow 192.0.2.1"], "::1", Nothing);
        check(&[], "192.0.2.1", Nothing);
        check(&["deny unix:"], "192.0.2.1", Nothing);
        check(&["deny unix:"], "unix:", Deny);
        check(&["deny 0.0.0.0/0"], "2001:db8::1", Nothing);
        check(&["deny ::/0"], "192.0.2.1", Nothing);
        check(&["deny 2001:db8::/32"], "2001:db8:1::1", Deny);
        check(&["deny 192.0.2.0/24"], "::ffff:192.0.2.1", Deny);
        // Bits behind the network's are ignored, as in nginx.
        check(&["deny 192.0.2.77/24"], "192.0.2.1", Deny);
    }

    #[test]
    fn what_is_no_rule_is_told() {
        for text in ["", "all", "permit all", "allowall"] {
            let read = Rules::default().add(text);
            assert_eq!(read, Err(BadRule::Verb(text.to_owned())), "{text}");
        }
        for whom in ["", "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0/8", "::/129"]
        {
            let read = Rules::default().add(&format!("deny {whom}"));
            assert_eq!(read, Err(BadRule::Whom(whom.to_owned())), "{whom}");
        }
    }
}
