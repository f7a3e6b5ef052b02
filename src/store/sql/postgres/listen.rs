//! Hears of changes through `LISTEN`.
//!
//! The server hands notifications out in the order in which their transactions committed. A
//! notification of our own, sent over another connection and heard here, thus proves that every
//! one before it was heard: an answer to a question on this connection would not, since the server
//! may answer before it has looked at what others notified.

use std::time::Instant;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{PgConnection, Postgres};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::store::sql::hearing::Hearing;
use crate::store::sql::poll::{in_time, signed};

use super::{POOLER, SIGN, explained};

/// Where every write that others have to know of is told of, as in the statements: tag and
/// identifier in hexadecimal digits, or the tag alone.
const CHANNEL: &str = "cloakroom";

/// Listens until that fails; why.
pub(super) async fn watch(
    mut heart: PgConnection,
    options: PgConnectOptions,
    hearing: &Hearing,
) -> String {
    match listen(&mut heart, options, hearing).await {
        Ok(never) => match never {},
        Err(cause) => explained(cause),
    }
}

async fn listen(
    heart: &mut PgConnection,
    options: PgConnectOptions,
    hearing: &Hearing,
) -> Result<std::convert::Infallible, String> {
    let own = format!("{CHANNEL}_{:016x}", rand::random::<u64>());
    let mut listener = in_time(hearing.patience * 4, connect(options)).await?;
    in_time(hearing.patience, listener.listen_all([CHANNEL, &own])).await?;
    let (ear, mut heard) = watch::channel(0);
    let link = hearing.begin();
    let id = rand::random();
    tokio::select! {
        cause = hear(listener, &own, ear, hearing) => Err(cause),
        cause = async {
            let mut nonce: u64 = 0;
            loop {
                nonce += 1;
                let sent = Instant::now();
                // A server from before a failover may live on, and takes no writes.
                if let Err(cause) = signed(&mut *heart, &SIGN, id, hearing).await {
                    break cause;
                }
                let notify = sqlx::query::<Postgres>("SELECT pg_notify($1, $2)")
                    .bind(own.as_str())
                    .bind(nonce.to_string())
                    .execute(&mut *heart);
                if let Err(cause) = in_time(hearing.patience, notify).await {
                    break cause;
                }
                let came = heard.wait_for(|heard| *heard >= nonce);
                match timeout(hearing.patience, came).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => break "the connection that listens was closed".to_owned(),
                    Err(_elapsed) if nonce == 1 => {
                        break format!(
                            "no notification within {:?}; unless the server is busy, {POOLER}",
                            hearing.patience
                        );
                    }
                    Err(_elapsed) => {
                        break format!("no notification within {:?}", hearing.patience);
                    }
                }
                link.prove(sent);
                hearing.health.up();
                hearing.pause().await;
            }
        } => Err(cause),
    }
}

/// A pool of its own, which never makes a second connection: the listener wants one.
async fn connect(options: PgConnectOptions) -> sqlx::Result<PgListener> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.ignore_pool_close_event(true);
    // What was notified in between would be lost unnoticed.
    listener.eager_reconnect(false);
    Ok(listener)
}

/// Counts changes as they come, and says which of our own notifications came last.
async fn hear(
    mut listener: PgListener,
    own: &str,
    ear: watch::Sender<u64>,
    hearing: &Hearing,
) -> String {
    loop {
        let notification = match listener.try_recv().await {
            Ok(Some(notification)) => notification,
            Ok(None) => return "the connection that listens was closed".to_owned(),
            Err(error) => return error.to_string(),
        };
        if notification.channel() == own {
            if let Ok(nonce) = notification.payload().parse() {
                ear.send_replace(nonce);
            }
            continue;
        }
        match change(notification.payload()) {
            Some((tag, id)) => hearing.count(tag, id),
            // Not from one of us: whoever sends that may have changed anything.
            None => hearing.changes.all(),
        }
    }
}

/// What a notification is about.
fn change(payload: &str) -> Option<([u8; 8], Option<[u8; 16]>)> {
    let digits = payload.as_bytes();
    if !matches!(digits.len(), 16 | 48) {
        return None;
    }
    let mut bytes = [0; 24];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
    }
    let (tag, id) = bytes.split_first_chunk::<8>()?;
    let id = if digits.len() == 48 { Some(id.try_into().ok()?) } else { None };
    Some((*tag, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_about_a_record_or_a_tag() {
        let tag = [0x0a, 0xb1, 2, 3, 4, 5, 6, 0xff];
        for (payload, about) in [
            ("0ab10203040506ff", Some((tag, None))),
            (
                "0ab10203040506ff000000000000000000000000000000ee",
                Some((tag, Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xee]))),
            ),
            ("", None),
            ("0ab10203040506f", None),
            ("0ab10203040506fg", None),
            ("0ab10203040506ff00", None),
        ] {
            assert_eq!(change(payload), about, "{payload}");
        }
    }
}
