//! What operators ask and order: `/status` and its parts, endpoints, reload. `openapi.json` describes it.
//!
//! What is changed of endpoints counts in this process alone, until it ends.

use std::sync::{Arc, Mutex, PoisonError};

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Body;
use serde::Deserialize;
use serde_json::json;

use crate::admin::answers::{self, error, json};
use crate::admin::browsers::{Room, Way, suspicion};
use crate::admin::history::History;
use crate::admin::{PagesState, Process, status};
use crate::telemetry::audit;
use crate::telemetry::metrics::Metrics;
use crate::upstream::changes::{Change, Refused};
use crate::upstream::group::Group;
use crate::upstream::{Address, EndpointSettings};

/// nginx has no larger ones either.
const WEIGHT_MAX: u32 = 65_535;

/// What operators may ask of.
#[derive(Clone)]
pub struct Operators {
    pub process: Arc<dyn Process>,
    pub history: Arc<Mutex<History>>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Status,
    Config,
    Upstreams,
    Certificates,
    Store,
    Active,
    Audit,
    Change(Verb),
    Reload,
}

/// What is done to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Drain,
    Enable,
    Weight,
    Add,
    Remove,
}

/// Every path here, its method, and what it is for.
pub(super) const ROUTES: &[(&str, &str, Asked)] = &[
    ("/status", "GET", Asked::Status),
    ("/config", "GET", Asked::Config),
    ("/upstreams", "GET", Asked::Upstreams),
    ("/upstreams/drain", "POST", Asked::Change(Verb::Drain)),
    ("/upstreams/enable", "POST", Asked::Change(Verb::Enable)),
    ("/upstreams/weight", "POST", Asked::Change(Verb::Weight)),
    ("/upstreams/add", "POST", Asked::Change(Verb::Add)),
    ("/upstreams/remove", "POST", Asked::Change(Verb::Remove)),
    ("/certificates", "GET", Asked::Certificates),
    ("/store", "GET", Asked::Store),
    ("/sessions/active", "GET", Asked::Active),
    ("/audit", "GET", Asked::Audit),
    ("/reload", "POST", Asked::Reload),
];

/// What is asked for at a path, and by which method.
pub(super) fn find(path: &str) -> Option<(&'static str, Asked)> {
    ROUTES.iter().find(|(known, _, _)| *known == path).map(|(_, method, asked)| (*method, *asked))
}

/// Answers a request for one of these paths.
pub(super) async fn answer<B>(
    request: Request<B>,
    (allowed, asked): (&'static str, Asked),
    way: &Way,
    state: &PagesState,
    operators: &Operators,
) -> Response<String>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let is_head = *request.method() == Method::HEAD && allowed == "GET";
    if request.method().as_str() != allowed && !is_head {
        let message = format!("only {allowed} is allowed here");
        let mut refusal = error(StatusCode::METHOD_NOT_ALLOWED, "method", &message);
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return refusal;
    }
    if let Some(suspicion) = suspicion(&request, way, Room::Operators) {
        return suspicion.response();
    }
    let (process, metrics) = (&*operators.process, &*state.metrics);
    let shown = match asked {
        Asked::Status => {
            let history = operators.history.lock().unwrap_or_else(PoisonError::into_inner).shown();
            status::all(process, metrics, &(state.readiness)(), history)
        }
        Asked::Config => process.config(),
        Asked::Upstreams => status::upstreams(process),
        Asked::Certificates => status::certificates(process),
        Asked::Store => status::store(process, &metrics.snapshot()),
        Asked::Active => status::active(process),
        Asked::Audit => json!({ "events": metrics.recent_events() }),
        Asked::Reload => return reload(operators, metrics).await,
        Asked::Change(verb) => {
            let done = match answers::body(request).await {
                Ok(body) => change(process, metrics, verb, &body),
                Err(problem) => return problem.response(),
            };
            return done.unwrap_or_else(|problem| problem.response());
        }
    };
    json(StatusCode::OK, &shown)
}

async fn reload(operators: &Operators, metrics: &Metrics) -> Response<String> {
    audit::operator(metrics, "reload_ordered", "the configuration");
    match operators.process.reload().await {
        Ok(stays) => json(StatusCode::OK, &json!({ "reloaded": true, "needs_restart": stays })),
        Err(why) => error(StatusCode::UNPROCESSABLE_ENTITY, "not_reloaded", &why),
    }
}

/// Why nothing was changed.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Body,
    Weight,
    Address(String),
    NoUpstream { name: String, known: Vec<String> },
    NoEndpoint { name: String, known: Vec<String> },
    Known,
    LastOne,
    TooMany,
}

/// What a body says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    upstream: String,
    /// An address, or a server as the configuration has it, with all of its addresses.
    endpoint: String,
    weight: Option<u32>,
    backup: Option<bool>,
    max_conns: Option<usize>,
}

fn change(
    process: &dyn Process,
    metrics: &Metrics,
    verb: Verb,
    body: &[u8],
) -> Result<Response<String>, Problem> {
    let order: Order = serde_json::from_slice(body).map_err(|_| Problem::Body)?;
    let Order { upstream, endpoint, weight, .. } = &order;
    if weight.is_some_and(|weight| !(1..=WEIGHT_MAX).contains(&weight)) {
        return Err(Problem::Weight);
    }
    let groups = process.upstreams();
    let group = groups.iter().find(|group| group.settings().name == *upstream);
    let known = || groups.iter().map(|group| group.settings().name.clone()).collect();
    let group =
        group.ok_or_else(|| Problem::NoUpstream { name: upstream.clone(), known: known() })?;
    let (action, addresses, wanted) = planned(process, group, verb, &order)?;
    for address in addresses {
        group.change(&address, wanted.clone()).map_err(|refused| match refused {
            Refused::Unknown => no_endpoint(process, group, endpoint),
            Refused::Known => Problem::Known,
            Refused::LastOne => Problem::LastOne,
            Refused::TooMany => Problem::TooMany,
        })?;
    }
    audit::operator(metrics, action, &format!("{upstream} {endpoint}"));
    Ok(json(StatusCode::OK, &status::upstream(group, process.now())))
}

/// What the trail calls it, whom it is done to, and what.
fn planned(
    process: &dyn Process,
    group: &Group,
    verb: Verb,
    order: &Order,
) -> Result<(&'static str, Vec<Address>, Change), Problem> {
    let Order { endpoint, weight, backup, max_conns, .. } = order;
    if verb != Verb::Add && (backup.is_some() || max_conns.is_some()) {
        return Err(Problem::Body);
    }
    if verb == Verb::Add {
        let address: Address = endpoint.parse().map_err(|_| Problem::Address(endpoint.clone()))?;
        let settings = EndpointSettings {
            weight: weight.unwrap_or(1),
            is_backup: backup.unwrap_or(false),
            max_conns: max_conns.unwrap_or(0),
            ..EndpointSettings::new(address.clone())
        };
        return Ok(("endpoint_added", vec![address], Change::Add(Box::new(settings))));
    }
    let (action, change) = match (verb, weight) {
        (Verb::Drain, None) => ("endpoint_drained", Change::Drain),
        (Verb::Enable, None) => ("endpoint_enabled", Change::Enable),
        (Verb::Remove, None) => ("endpoint_removed", Change::Remove),
        (Verb::Weight, Some(weight)) => ("endpoint_weighed", Change::Weight(*weight)),
        (Verb::Drain | Verb::Enable | Verb::Remove, Some(_))
        | (Verb::Weight, None)
        | (Verb::Add, _) => return Err(Problem::Body),
    };
    let meant = group.endpoints().into_iter();
    let meant: Vec<Address> = meant
        .filter(|it| it.text == *endpoint || it.settings.server == *endpoint)
        .map(|it| it.address().clone())
        .collect();
    match meant.is_empty() {
        true => Err(no_endpoint(process, group, endpoint)),
        false => Ok((action, meant, change)),
    }
}

fn no_endpoint(process: &dyn Process, group: &Group, name: &str) -> Problem {
    let known = group.status(process.now()).into_iter().map(|status| status.address).collect();
    Problem::NoEndpoint { name: name.to_owned(), known }
}

impl Problem {
    fn response(&self) -> Response<String> {
        use StatusCode as S;
        let (status, word, message) = match self {
            Self::Body => (
                S::BAD_REQUEST,
                "body",
                "send {\"upstream\": \"NAME\", \"endpoint\": \"ADDRESS\"}; `weight` where one is set, \
                 and for a new endpoint `weight`, `backup`, `max_conns`"
                    .to_owned(),
            ),
            Self::Weight => {
                (S::BAD_REQUEST, "weight", format!("a weight is a number from 1 to {WEIGHT_MAX}"))
            }
            Self::Address(text) => (
                S::BAD_REQUEST,
                "endpoint",
                format!(
                    "`{text}` is no address: write `127.0.0.1:7001`, `[::1]:7001` or \
                     `unix:/run/app.sock`; names are looked up where the configuration has them"
                ),
            ),
            Self::NoUpstream { name, known } => (
                S::NOT_FOUND,
                "no_such_upstream",
                format!("no upstream named `{name}`; there are: {}", known.join(", ")),
            ),
            Self::NoEndpoint { name, known } => (
                S::NOT_FOUND,
                "no_such_endpoint",
                format!("no endpoint `{name}`; there are: {}", known.join(", ")),
            ),
            Self::Known => {
                (S::CONFLICT, "known", "the upstream has this endpoint already".to_owned())
            }
            Self::LastOne => (
                S::CONFLICT,
                "last_one",
                "it is the last endpoint: add another one first, or drain it".to_owned(),
            ),
            Self::TooMany => {
                (S::CONFLICT, "too_many", "the upstream has as many as it may".to_owned())
            }
        };
        error(status, word, &message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What is described is what is answered.
    #[test]
    fn the_description_names_every_path() {
        let described: Value = serde_json::from_str(super::super::OPENAPI).expect("JSON");
        let mut found: Vec<(String, String)> = described["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods").keys();
                methods.map(|method| (path.clone(), method.to_ascii_uppercase()))
            })
            .collect();
        let own = ROUTES.iter().map(|(path, method, _)| (*path, *method));
        let others = super::super::OTHER_ROUTES.iter().copied();
        let mut expected: Vec<(String, String)> =
            own.chain(others).map(|(path, method)| (path.to_owned(), method.to_owned())).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    /// Every reference leads somewhere, and everything has a summary and its answers.
    #[test]
    fn the_description_is_whole() {
        let described: Value = serde_json::from_str(super::super::OPENAPI).expect("JSON");
        assert_eq!(described["openapi"], "3.1.0");
        assert_eq!(described["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut open = vec![&described];
        while let Some(value) = open.pop() {
            if let Some(reference) = value["$ref"].as_str() {
                let place = reference.strip_prefix('#').expect("in this file");
                assert!(described.pointer(place).is_some(), "{reference}");
            }
            match value {
                Value::Object(entries) => open.extend(entries.values()),
                Value::Array(list) => open.extend(list),
                _ => {}
            }
        }
        for (path, methods) in described["paths"].as_object().expect("paths") {
            for operation in methods.as_object().expect("methods").values() {
                assert!(operation["summary"].is_string(), "{path}");
                assert!(operation["responses"]["200"].is_object(), "{path}");
            }
        }
    }
}
