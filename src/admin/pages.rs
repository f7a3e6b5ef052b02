//! What the admin listener answers: pure, from a method and a path.

use std::fmt;
use std::sync::Arc;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::admin::{OPENAPI, Operators, Sessions, keys, status_page};
use crate::store::key_watch::KeyWatch;
use crate::telemetry::metrics::Metrics;

/// Whether the process can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// Why not, or what is wrong in spite of it; one sentence each, without secrets: `the store
    /// does not answer`, `draining`.
    pub reasons: Vec<String>,
}

/// What the pages show.
#[derive(Clone)]
pub struct PagesState {
    pub metrics: Arc<Metrics>,
    /// Asked at each `/readyz`; must not block.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// What is known of the nodes' keys; where there is nothing, the page is not there.
    pub keys: Option<Arc<KeyWatch>>,
    /// For what operators ask of sessions; where there is none, the pages are all.
    pub sessions: Option<Sessions>,
    /// The same of the process.
    pub operators: Option<Operators>,
}

impl fmt::Debug for PagesState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagesState").finish_non_exhaustive()
    }
}

/// The type of Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The answer to a request. The query is ignored: some probes add one against caches.
pub(super) fn answer(method: &Method, path: &str, state: &PagesState) -> Response<String> {
    let page = match path {
        "/metrics" => metrics,
        "/livez" => livez,
        "/readyz" => readyz,
        "/keys" if state.keys.is_some() => keys,
        "/openapi.json" => openapi,
        "/" if state.operators.is_some() => status_page,
        _ => return page(StatusCode::NOT_FOUND, TEXT, "not found\n".to_owned()),
    };
    if method != Method::GET && method != Method::HEAD {
        let mut refusal = self::page(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET and HEAD are allowed here\n".to_owned(),
        );
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    page(state)
}

/// The answer to somebody who calls the listener by a name that it does not know.
pub(super) fn misdirected() -> Response<String> {
    let body =
        "call this listener by its address or as localhost, or list the name in `admin.names`\n";
    page(StatusCode::MISDIRECTED_REQUEST, TEXT, body.to_owned())
}

fn metrics(state: &PagesState) -> Response<String> {
    page(StatusCode::OK, EXPOSITION, state.metrics.render())
}

/// Alive as long as the process runs: a store that is down is no reason to restart it.
fn livez(_: &PagesState) -> Response<String> {
    page(StatusCode::OK, TEXT, "alive\n".to_owned())
}

/// Whoever may not ask sees an empty one.
fn status_page(_: &PagesState) -> Response<String> {
    status_page::answer()
}

fn openapi(_: &PagesState) -> Response<String> {
    page(StatusCode::OK, JSON, OPENAPI.to_owned())
}

/// Which keys the live nodes have.
fn keys(state: &PagesState) -> Response<String> {
    let shown = state.keys.as_deref().map(keys::shown).unwrap_or_default();
    page(StatusCode::OK, JSON, format!("{shown}\n"))
}

fn readyz(state: &PagesState) -> Response<String> {
    let Readiness { ready, reasons } = (state.readiness)();
    let (status, said) = match ready {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    };
    let mut body = said.to_owned();
    for reason in reasons {
        body.push_str("- ");
        body.push_str(&reason.replace(char::is_control, " "));
        body.push('\n');
    }
    page(status, TEXT, body)
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(reasons: &[&str]) -> PagesState {
        let readiness = Readiness {
            ready: reasons.is_empty(),
            reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
        };
        let readiness = Arc::new(move || readiness.clone());
        PagesState {
            metrics: Arc::new(Metrics::new()),
            readiness,
            keys: None,
            sessions: None,
            operators: None,
        }
    }

    #[test]
    fn pages_answer_by_method_and_path() {
        fn check(method: Method, path: &str, reasons: &[&str], status: u16, body: &str) {
            let answer = answer(&method, path, &state(reasons));
            assert_eq!(answer.status().as_u16(), status, "{method} {path}");
            assert_eq!(answer.body(), body, "{method} {path}");
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        }
        check(Method::GET, "/livez", &["draining"], 200, "alive\n");
        check(Method::GET, "/readyz", &[], 200, "ready\n");
        check(
            Method::GET,
            "/readyz",
            &["the store does not answer", "drain\r\ning"],
            503,
            "not ready\n- the store does not answer\n- drain  ing\n",
        );
        check(Method::HEAD, "/readyz", &["draining"], 503, "not ready\n- draining\n");
        check(Method::GET, "/", &[], 404, "not found\n");
        check(Method::GET, "/metrics/", &[], 404, "not found\n");
        check(Method::POST, "/livez", &[], 405, "only GET and HEAD are allowed here\n");
    }

    #[test]
    fn a_refused_method_names_the_allowed_ones() {
        let refusal = answer(&Method::DELETE, "/metrics", &state(&[]));
        assert_eq!(refusal.headers()[ALLOW], "GET, HEAD");
    }

    #[test]
    fn metrics_are_in_prometheus_text_format() {
        let answer = answer(&Method::GET, "/metrics", &state(&[]));
        assert_eq!(answer.headers()[CONTENT_TYPE], EXPOSITION);
        assert!(answer.body().contains("# TYPE cloakroom_requests_total counter\n"));
    }
}
