//! `cloakroom upstreams`: shows and changes endpoints of a running process, over its admin listener.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{Place, shown};

/// `cloakroom upstreams …`
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Upstreams {
    /// List upstreams with their endpoints
    List {
        /// This one alone
        upstream: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Send an endpoint no new clients; who is sticky to it stays
    Drain(Which),
    /// Ask an endpoint again, whether it drains, is down or has failed
    Enable(Which),
    /// Give an endpoint another weight
    Weight {
        #[command(flatten)]
        which: Which,
        /// From 1 to 65535
        weight: u32,
    },
    /// Add an endpoint
    Add {
        #[command(flatten)]
        which: Which,
        #[arg(long)]
        weight: Option<u32>,
        /// Ask it only where no other one can be
        #[arg(long)]
        backup: bool,
        /// Requests under way that it may have
        #[arg(long, value_name = "NUMBER")]
        max_conns: Option<usize>,
    },
    /// Take an endpoint away; requests that it has are finished
    Remove(Which),
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Which {
    /// The upstream's name
    pub upstream: String,
    /// 127.0.0.1:7001, unix:/PATH, or a server as the configuration has it
    pub endpoint: String,
    #[command(flatten)]
    pub place: Place,
}

impl Upstreams {
    /// Asks, and returns what is to be printed.
    ///
    /// # Errors
    /// Nothing was changed: why, and what to do.
    pub fn run(&self, config: &Path) -> Result<String, String> {
        match self {
            Self::List { upstream, place } => {
                let answer = place.get(config, "/upstreams")?;
                list(&answer, upstream.as_deref())
            }
            Self::Drain(which) => which.order(config, "drain", json!({})),
            Self::Enable(which) => which.order(config, "enable", json!({})),
            Self::Weight { which, weight } => {
                which.order(config, "weight", json!({ "weight": weight }))
            }
            Self::Add { which, weight, backup, max_conns } => {
                let more = json!({ "weight": weight, "backup": backup, "max_conns": max_conns });
                which.order(config, "add", more)
            }
            Self::Remove(which) => which.order(config, "remove", json!({})),
        }
    }
}

impl Which {
    fn order(&self, config: &Path, verb: &str, more: Value) -> Result<String, String> {
        let mut body = json!({ "upstream": self.upstream, "endpoint": self.endpoint });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let answer = self.place.post(config, &format!("/upstreams/{verb}"), &body)?;
        let upstream = Upstream::deserialize(&answer).map_err(nonsense)?;
        let mut said = upstream.shown();
        if !upstream.takes_requests {
            let _ =
                write!(said, "\nno endpoint of {} takes new clients now", shown(&upstream.name));
        }
        Ok(said)
    }
}

/// What the process says of an upstream.
#[derive(Deserialize)]
struct Upstream {
    name: String,
    balance: String,
    takes_requests: bool,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    address: String,
    server: String,
    state: String,
    weight: u32,
    backup: bool,
    requests: usize,
    fails: u32,
}

impl Upstream {
    /// A line, and one for each endpoint.
    fn shown(&self) -> String {
        let mut text = format!("{} ({})", shown(&self.name), shown(&self.balance));
        let width = self.endpoints.iter().map(|one| one.address.len()).max().unwrap_or_default();
        for one in &self.endpoints {
            let _ = write!(
                text,
                "\n  {:width$}  {:9}  weight {}, {} under way",
                shown(&one.address),
                shown(&one.state),
                one.weight,
                one.requests
            );
            if one.fails > 0 {
                let _ = write!(text, ", {} failed", one.fails);
            }
            if one.backup {
                text.push_str(", backup");
            }
            if one.server != one.address {
                let _ = write!(text, ", {}", shown(&one.server));
            }
        }
        text
    }
}

fn list(answer: &Value, only: Option<&str>) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Answer {
        upstreams: Vec<Upstream>,
    }
    let Answer { upstreams } = Answer::deserialize(answer).map_err(nonsense)?;
    let wanted: Vec<_> =
        upstreams.iter().filter(|one| only.is_none_or(|only| only == one.name)).collect();
    match (wanted.is_empty(), only) {
        (true, Some(name)) => Err(format!("no upstream named {}", shown(name))),
        (true, None) => Ok("there are no upstreams".to_owned()),
        (false, _) => Ok(wanted.iter().map(|one| one.shown()).collect::<Vec<_>>().join("\n")),
    }
}

fn nonsense(error: serde_json::Error) -> String {
    format!("the answer makes no sense: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_line_for_each_endpoint() {
        let endpoint = |address: &str, state: &str, fails: u32| {
            json!({
                "address": address, "server": "app.internal:7001", "state": state, "weight": 2,
                "backup": fails > 0, "requests": 3, "max_conns": 0, "fails": fails,
            })
        };
        let answer = json!({ "upstreams": [
            {
                "name": "shop", "balance": "round_robin", "checked": false, "takes_requests": true,
                "endpoints": [endpoint("127.0.0.1:7001", "up", 0), endpoint("127.0.0.1:9\u{1b}", "failed", 1)],
            },
            {
                "name": "api", "balance": "least_conn", "checked": false, "takes_requests": false,
                "endpoints": [],
            },
        ]});
        let expected = "shop (round_robin)\n  \
                        127.0.0.1:7001  up         weight 2, 3 under way, app.internal:7001\n  \
                        127.0.0.1:9\u{fffd}    failed     weight 2, 3 under way, 1 failed, backup, app.internal:7001";
        assert_eq!(list(&answer, Some("shop")).as_deref(), Ok(expected));
        let all = list(&answer, None).expect("a list");
        assert_eq!(all, format!("{expected}\napi (least_conn)"));
        assert!(list(&answer, Some("x")).is_err());
        assert_eq!(
            list(&json!({ "upstreams": [] }), None).as_deref(),
            Ok("there are no upstreams")
        );
        assert!(list(&json!({}), None).is_err());
    }
}
