//! `limit_req` and `limit_conn`: how many requests of one key, and how many at a time.
//!
//! A request is counted once, whatever it is redirected to inside. Limits by its session are asked when the
//! session is known, all others before anybody is asked who it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

use super::{Asked, wait};
use crate::access::connections::{self, Counted, Counters};
use crate::access::rate::{self, Buckets, Burst, Rate, Refused};
use crate::proxy::error::RequestError;
use crate::proxy::pages::Instead;
use crate::proxy::returned::{Returned, evaluated};
use crate::telemetry::error_log::Severity;
use crate::variables::name::Builtin;
use crate::variables::template::Template;
use crate::wire::fields::Fields;

/// A zone: what requests are counted by, and how.
#[derive(Clone, Debug)]
pub struct ZoneSettings {
    pub name: String,
    pub key: Template,
    /// `None`: requests under way are counted.
    pub rate: Option<Rate>,
    pub bytes_max: usize,
    /// The key is not known before the session is.
    pub by_session: bool,
}

/// The counters of a zone, which all workers share.
pub struct Zone {
    name: String,
    key: Template,
    rate: Option<Rate>,
    bytes_max: usize,
    by_session: bool,
    counts: Arc<Counts>,
}

enum Counts {
    Rate(Mutex<Buckets>),
    UnderWay(Arc<Counters>),
}

/// The limits of a route.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Zones by their indices.
    pub rates: Vec<(usize, Burst)>,
    pub of_rates: Answers,
    pub connections: Vec<(usize, usize)>,
    pub of_connections: Answers,
    /// Some go by the session.
    pub by_session: bool,
}

/// What is made of requests beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    pub status: StatusCode,
    /// They are let in all the same.
    pub dry_run: bool,
    pub level: Level,
}

impl Default for Answers {
    fn default() -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, dry_run: false, level: Level::Error }
    }
}

/// How loudly a refusal is told; a wait is told one step lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Notice,
    Warn,
    Error,
}

/// Which limits are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    BeforeSession,
    BySession,
}

/// What limits have said of a request.
#[derive(Debug, Default)]
pub struct Limited {
    rates: Option<&'static str>,
    connections: Option<&'static str>,
    has_session: bool,
    /// Until the request has ended.
    under_way: Vec<Counted>,
}

const PASSED: &str = "PASSED";

impl Zone {
    /// A zone, which goes on counting where one of those before it counted the same.
    pub fn new(settings: &ZoneSettings, before: &[Self]) -> Self {
        let ZoneSettings { name, key, rate, bytes_max, by_session } = settings;
        let is_same = |one: &&Self| {
            one.name == *name && one.key == *key && one.rate == *rate && one.bytes_max == *bytes_max
        };
        let counts = match (before.iter().find(is_same), rate) {
            (Some(known), _) => known.counts.clone(),
            (None, Some(rate)) => {
                Arc::new(Counts::Rate(Mutex::new(Buckets::new(*rate, *bytes_max))))
            }
            (None, None) => Arc::new(Counts::UnderWay(Counters::new(*bytes_max))),
        };
        Self {
            name: name.clone(),
            key: key.clone(),
            rate: *rate,
            bytes_max: *bytes_max,
            by_session: *by_session,
            counts,
        }
    }
}

/// What is not known before the session is.
pub const OF_SESSION: [Builtin; 3] =
    [Builtin::SessionId, Builtin::SessionSubject, Builtin::SessionEvent];

impl Limited {
    /// nginx's `$limit_req_status`.
    pub fn rates(&self) -> Option<&'static str> {
        self.rates
    }

    /// nginx's `$limit_conn_status`.
    pub fn connections(&self) -> Option<&'static str> {
        self.connections
    }
}

/// Counts a request, and lets it wait where it came too soon.
///
/// # Errors
/// It is one too many.
pub async fn check(
    asked: &mut Asked<'_, '_>,
    limits: &Limits,
    phase: Phase,
) -> Result<(), Instead> {
    let limited = &asked.ctx.limited;
    let (rates, connections) = match phase {
        Phase::BeforeSession => (limited.rates.is_none(), limited.connections.is_none()),
        Phase::BySession => (!limited.has_session, !limited.has_session),
    };
    if phase == Phase::BySession {
        asked.ctx.limited.has_session = true;
    }
    if rates && !limits.rates.is_empty() {
        by_rate(asked, limits, phase).await?;
    }
    if connections && !limits.connections.is_empty() {
        by_connections(asked, limits, phase)?;
    }
    Ok(())
}

/// The key of a zone, where it counts in this phase and is neither empty nor beyond any measure.
///
/// # Errors
/// A pattern took too long over it: nobody knows whom this counts for.
fn key(
    asked: &mut Asked<'_, '_>,
    zone: usize,
    phase: Phase,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, Instead> {
    let Asked { shared, request, client, ctx, .. } = asked;
    let zone = shared.limit_zones.get(zone);
    let Some(zone) = zone.filter(|it| it.by_session == (phase == Phase::BySession)) else {
        return Ok(None);
    };
    let key = evaluated(shared, request, client, ctx, &zone.key);
    if ctx.values.take_given_up() {
        return Err(RequestError::Internal.into());
    }
    if key.len() > bytes_max {
        tracing::error!(
            zone = zone.name,
            "the value of the key is more than {bytes_max} bytes: {} bytes",
            key.len()
        );
        return Ok(None);
    }
    Ok((!key.is_empty()).then_some(key))
}

async fn by_rate(asked: &mut Asked<'_, '_>, limits: &Limits, phase: Phase) -> Result<(), Instead> {
    let mut keys = Vec::new();
    for (zone, burst) in &limits.rates {
        let key = key(asked, *zone, phase, rate::KEY_BYTES_MAX)?;
        keys.extend(key.map(|key| (*zone, key, *burst)));
    }
    if keys.is_empty() {
        return Ok(());
    }
    let counted: Vec<_> = keys.iter().map(|(zone, key, burst)| (*zone, &key[..], *burst)).collect();
    let zones = &asked.shared.limit_zones;
    let now = asked.shared.clock.now();
    let admitted = rate::admit(&counted, now, |zone, count| {
        if let Some(Counts::Rate(buckets)) = zones.get(*zone).map(|zone| &*zone.counts) {
            count(&mut buckets.lock().unwrap_or_else(PoisonError::into_inner));
        }
    });
    let name = |index: usize| {
        let zone = keys.get(index).and_then(|(zone, ..)| zones.get(*zone));
        zone.map_or("", |zone| zone.name.as_str())
    };
    let Answers { status, dry_run, level } = limits.of_rates;
    let dry = if dry_run { ", dry run" } else { "" };
    match admitted {
        Ok((_, wait)) if wait.millis == 0 => {
            asked.ctx.limited.rates.get_or_insert(PASSED);
            Ok(())
        }
        Ok((index, waits)) => {
            let excess = shown(waits.excess);
            let text =
                format!("delaying request{dry}, excess: {excess}, by zone \"{}\"", name(index));
            level.lower().tell(asked, &text);
            if dry_run {
                asked.ctx.limited.rates = Some("DELAYED_DRY_RUN");
                return Ok(());
            }
            asked.ctx.limited.rates = Some("DELAYED");
            wait(asked.client, asked.request, Duration::from_millis(waits.millis)).await?;
            Ok(())
        }
        Err((index, refused)) => {
            let name = name(index);
            let text = match refused {
                Refused::Beyond(excess) => {
                    format!("limiting requests{dry}, excess: {} by zone \"{name}\"", shown(excess))
                }
                Refused::Full => format!("zone \"{name}\" has no room for another key"),
            };
            level.tell(asked, &text);
            if dry_run {
                asked.ctx.limited.rates = Some("REJECTED_DRY_RUN");
                return Ok(());
            }
            asked.ctx.limited.rates = Some("REJECTED");
            asked.ctx.error = Some(RequestError::TooManyRequests);
            Err(Instead::Returned(Box::new(Returned::refusal(status, Fields::new()))))
        }
    }
}

fn by_connections(asked: &mut Asked<'_, '_>, limits: &Limits, phase: Phase) -> Result<(), Instead> {
    let Answers { status, dry_run, level } = limits.of_connections;
    let mut under_way = Vec::new();
    for (zone, max) in &limits.connections {
        let Some(key) = key(asked, *zone, phase, connections::KEY_BYTES_MAX)? else { continue };
        let Some(Zone { name, counts, .. }) = asked.shared.limit_zones.get(*zone) else { continue };
        let Counts::UnderWay(counters) = &**counts else { continue };
        asked.ctx.limited.connections.get_or_insert(PASSED);
        match counters.count(&key, *max) {
            Ok(counted) => under_way.push(counted),
            Err(refused) => {
                let dry = if dry_run { ", dry run" } else { "" };
                let text = match refused {
                    connections::Refused::Beyond => {
                        format!("limiting connections{dry} by zone \"{name}\"")
                    }
                    connections::Refused::Full => {
                        format!("zone \"{name}\" has no room for another key")
                    }
                };
                level.tell(asked, &text);
                // Where one refuses, none counts.
                asked.ctx.limited.under_way.clear();
                if dry_run {
                    asked.ctx.limited.connections = Some("REJECTED_DRY_RUN");
                    return Ok(());
                }
                asked.ctx.limited.connections = Some("REJECTED");
                asked.ctx.error = Some(RequestError::TooManyConnections);
                let refusal = Returned::refusal(status, Fields::new());
                return Err(Instead::Returned(Box::new(refusal)));
            }
        }
    }
    asked.ctx.limited.under_way.append(&mut under_way);
    Ok(())
}

/// Thousandths of requests, as nginx writes them.
fn shown(excess: u64) -> String {
    format!("{}.{:03}", excess / 1000, excess % 1000)
}

impl Level {
    fn lower(self) -> Self {
        match self {
            Self::Error => Self::Warn,
            Self::Warn => Self::Notice,
            Self::Notice | Self::Info => Self::Info,
        }
    }

    fn tell(self, asked: &Asked<'_, '_>, text: &str) {
        let severity = match self {
            Self::Error => Severity::Error,
            Self::Warn => Severity::Warn,
            Self::Notice => Severity::Notice,
            Self::Info => Severity::Info,
        };
        asked.about().say(severity, text);
    }
}
