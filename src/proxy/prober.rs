//! Asks endpoints how they are: one prober for the process, over connections of its own.
//!
//! What is asked and what counts as good is `upstream::check`'s to say.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use http::Method;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clock::{Clock, UnixMillis};
use crate::downstream::{BodyLength, Incoming};
use crate::proxy::peer::{Http1, Peer};
use crate::upstream::check::{
    BODY_MAX, CheckSettings, HttpProbe, Probe, grpc_question, judge_grpc,
};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::group::Group;
use crate::upstream::way::{Pool, Ways};
use crate::wire::fields::Fields;
use crate::wire::response::ResponseHead;

/// How often it is looked whether an endpoint is due, at least.
const EVERY: Duration = Duration::from_millis(100);
/// Endpoints of one upstream that are asked at a time.
const AT_ONCE: usize = 64;

/// Asks the endpoints of a group, each when it is due. The only upstream of `ways` leads there.
pub async fn watch(group: Arc<Group>, ways: Ways, clock: Clock) {
    let Some(settings) = group.settings().check.clone().map(Arc::new) else { return };
    let (pool, upstream) = (Arc::new(Pool::new(Arc::new(ways), 0)), 0);
    let mut due: HashMap<usize, UnixMillis> = HashMap::new();
    let mut asked = JoinSet::new();
    loop {
        let now = clock.now();
        let endpoints = group.endpoints();
        due.retain(|id, _| endpoints.iter().any(|endpoint| endpoint.id == *id));
        for endpoint in endpoints {
            let is_due = due.get(&endpoint.id).is_none_or(|due| now >= *due);
            if !is_due || endpoint.settings.is_down || asked.len() >= AT_ONCE {
                continue;
            }
            // Nobody is asked again before there is an answer.
            due.insert(endpoint.id, UnixMillis(u64::MAX));
            let (pool, settings) = (pool.clone(), settings.clone());
            asked.spawn(async move {
                let outcome = ask(&pool, upstream, &endpoint, &settings).await;
                (endpoint, outcome)
            });
        }
        tokio::select! {
            Some(Ok((endpoint, outcome))) = asked.join_next() => {
                let now = clock.now();
                let pause = settings.interval + settings.jitter.mul_f64(rand::random());
                due.insert(endpoint.id, now.plus(pause));
                note(&group, &endpoint, outcome, now);
            }
            () = sleep(EVERY.min(settings.interval)) => pool.sweep(Instant::now()),
        }
    }
}

/// Notes an outcome; a change is said once.
fn note(group: &Group, endpoint: &Endpoint, outcome: Result<(), String>, now: UnixMillis) {
    if !group.checked(endpoint, outcome.is_ok(), now) {
        return;
    }
    let upstream = &*group.settings().name;
    match outcome {
        Ok(()) => tracing::info!(upstream, endpoint = endpoint.text, "an endpoint is healthy"),
        Err(reason) => {
            tracing::warn!(upstream, endpoint = endpoint.text, %reason, "an endpoint is unhealthy");
        }
    }
}

async fn ask(
    pool: &Pool,
    upstream: usize,
    endpoint: &Endpoint,
    settings: &CheckSettings,
) -> Result<(), String> {
    let asking = async {
        let endpoint = &endpoint.on_port(settings.port);
        match &settings.probe {
            Probe::Tcp => {
                let connected = pool.connect(upstream, endpoint).await;
                connected.map(drop).map_err(|error| error.to_string())
            }
            Probe::Http(probe) => over_http(pool, upstream, endpoint, probe).await,
            Probe::Grpc { service } => over_grpc(pool, upstream, endpoint, service).await,
        }
    };
    timeout(settings.timeout, asking).await.unwrap_or_else(|_| Err("it takes too long".to_owned()))
}

async fn over_http(
    pool: &Pool,
    upstream: usize,
    endpoint: &Endpoint,
    probe: &HttpProbe,
) -> Result<(), String> {
    let mut peer = connect(pool, upstream, endpoint).await?;
    let mut fields = Fields::new();
    push(&mut fields, &[("Host", &probe.host), ("User-Agent", "cloakroom health check")])?;
    if matches!(peer, Peer::Http1(_)) {
        push(&mut fields, &[("Connection", "close")])?;
    }
    let begun = peer.begin(&Method::GET, probe.path.as_bytes(), &fields, BodyLength::Empty);
    begun.map_err(|_| "its protocol cannot say the request".to_owned())?;
    let answer = answer(&mut peer, &Method::GET, probe.body.is_some()).await?;
    probe.judge(answer.status, &answer.body)
}

async fn over_grpc(
    pool: &Pool,
    upstream: usize,
    endpoint: &Endpoint,
    service: &str,
) -> Result<(), String> {
    let question = grpc_question(service);
    let mut peer = connect(pool, upstream, endpoint).await?;
    let mut fields = Fields::new();
    push(
        &mut fields,
        &[("Host", &endpoint.text), ("Content-Type", "application/grpc"), ("TE", "trailers")],
    )?;
    let length = BodyLength::Known(question.len() as u64);
    let begun = peer.begin(&Method::POST, b"/grpc.health.v1.Health/Check", &fields, length);
    begun.map_err(|_| "its protocol cannot say the request".to_owned())?;
    let mut left = &*question;
    let sent = poll_fn(|cx| {
        while !left.is_empty() {
            match ready!(peer.poll_take(cx, left)) {
                Ok(taken) => left = &left[taken..],
                Err(_) => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    });
    // One that takes no more may have answered.
    if sent.await {
        let _ = peer.finish(None);
    }
    let answer = answer(&mut peer, &Method::POST, true).await?;
    judge_grpc(answer.status, answer.grpc_status.as_deref(), &answer.body)
}

fn push(fields: &mut Fields, all: &[(&str, &str)]) -> Result<(), String> {
    all.iter().try_for_each(|(name, value)| {
        fields
            .push(name.as_bytes(), value.as_bytes())
            .map_err(|_| format!("`{name}` cannot be said"))
    })
}

/// A connection that nobody had before.
async fn connect(pool: &Pool, upstream: usize, endpoint: &Endpoint) -> Result<Peer, String> {
    if !pool.speaks_http2(upstream) {
        let connected = pool.connect(upstream, endpoint).await;
        return connected
            .map(|link| Peer::Http1(Http1::new(link)))
            .map_err(|error| error.to_string());
    }
    let now = Instant::now();
    let stream = pool.stream(upstream, endpoint, Some(now), now);
    match stream.ready().await {
        Ok(true) => Ok(Peer::Http2(Box::new(stream))),
        Ok(false) => Err("it takes no request".to_owned()),
        Err(failure) => Err(format!("no connection: {failure:?}")),
    }
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    grpc_status: Option<Vec<u8>>,
}

/// The answer, of its body no more than is looked at.
async fn answer(peer: &mut Peer, method: &Method, has_body: bool) -> Result<Answer, String> {
    const GRPC_STATUS: &[u8] = b"grpc-status";
    let failed = |failure| format!("it does not answer: {failure:?}");
    let mut head = ResponseHead::default();
    loop {
        let read = poll_fn(|cx| {
            // One that takes no more may have answered.
            let _ = peer.poll_flush(cx);
            peer.poll_head(cx, method, &mut head)
        });
        read.await.map_err(failed)?;
        if !head.status.is_informational() {
            break;
        }
    }
    let of = |fields: &Fields| fields.all_named(GRPC_STATUS).next().map(<[u8]>::to_vec);
    let mut answer =
        Answer { status: head.status.as_u16(), body: Vec::new(), grpc_status: of(&head.fields) };
    while has_body && answer.body.len() < BODY_MAX {
        match poll_fn(|cx| peer.poll_piece(cx)).await {
            Ok(Incoming::Data(length)) => {
                answer.body.extend_from_slice(peer.piece());
                peer.consume(length);
            }
            Ok(_) => {
                let trailers = peer.take_trailers();
                answer.grpc_status = answer.grpc_status.or_else(|| of(&*trailers?));
                break;
            }
            Err(_) => return Err("its answer breaks off".to_owned()),
        }
    }
    Ok(answer)
}
