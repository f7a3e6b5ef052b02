//! Hears of changes by asking for them: a table in which every write that others have to know of
//! leaves a numbered row, within its own transaction.
//!
//! Numbers are given before transactions end, so that a lower one may appear after a higher one.
//! A number that was passed over is therefore looked for again, until no transaction that could
//! have taken it can still be under way.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::args::{Above, Arg, Sign, Statement};
use super::engine::{Cells, Driver, Put};
use super::hearing::Hearing;
use super::operations::sixteen;
use crate::clock::UnixMillis;

/// For how long a row is kept. A node that was away for half of it begins anew.
pub(super) const KEPT: Duration = Duration::from_secs(120);
/// The most rows that are read at a time.
const ROWS_MAX: usize = 50_000;
/// The most ranges of numbers that are looked for again.
const GAPS_MAX: usize = 1024;

/// How a database is asked.
pub(super) struct Questions {
    /// The highest number, or null.
    pub top: Statement<()>,
    /// seq, tag, id or null where the epoch of the tag was replaced: in order.
    pub above: Statement<Above>,
    /// Writes a row and reads it back, as the server's time: none where there is no server. After a
    /// failover the one of before may live on, answer every question, and take no writes: what it
    /// has not heard of is no proof.
    pub sign: Option<Put<Sign>>,
    /// How long after it took a number a transaction may still commit.
    pub settled: Duration,
}

/// What the rows are bound to.
pub(super) const ABOVE: &[Arg<Above>] = &[Above::seq, Above::limit];

/// Asks until that fails; why.
pub(super) async fn watch<C: Driver>(
    mut connection: C,
    questions: &'static Questions,
    hearing: &Hearing,
) -> String {
    match ask(&mut connection, questions, hearing).await {
        Ok(never) => match never {},
        Err(cause) => cause,
    }
}

async fn ask<C: Driver>(
    connection: &mut C,
    questions: &'static Questions,
    hearing: &Hearing,
) -> Result<std::convert::Infallible, String> {
    let patience = hearing.patience;
    let top = in_time(patience, connection.fetch(&questions.top, &())).await?;
    let top = top.first().map_or(Ok(None), |row| row.maybe_integer(0));
    let mut position = Position::at(top.map_err(|error| error.to_string())?.unwrap_or(0));
    let id = rand::random();
    if let Some(sign) = &questions.sign {
        signed(connection, sign, id, hearing).await?;
    }
    hearing.health.up();
    let settled = Instant::now() + questions.settled;
    let mut link = None;
    let mut before = Instant::now();
    loop {
        let began = Instant::now();
        if began.saturating_duration_since(before) > KEPT / 2 {
            return Err("this process was away for too long".to_owned());
        }
        before = began;
        let limit = i64::try_from(ROWS_MAX).unwrap_or(i64::MAX);
        if let Some(sign) = &questions.sign {
            signed(connection, sign, id, hearing).await?;
        }
        let above = Above { seq: position.floor(), limit };
        let rows = in_time(patience, connection.fetch(&questions.above, &above)).await?;
        if rows.len() >= ROWS_MAX {
            return Err("too many changes to follow".to_owned());
        }
        let now = Instant::now();
        for row in &rows {
            let (seq, tag, id) = change(row).map_err(|error| error.to_string())?;
            if position.is_new(seq, now) {
                hearing.count(tag, id);
            }
        }
        position.settle(now, questions.settled);
        if position.gaps.len() > GAPS_MAX {
            return Err("too many numbers of changes are missing".to_owned());
        }
        // Before, a transaction that took its number before the first question may still commit.
        if began >= settled {
            link.get_or_insert_with(|| hearing.begin()).prove(began);
        }
        hearing.pause().await;
    }
}

/// Sees that the server takes writes, and what time it has.
pub(super) async fn signed<C: Driver>(
    connection: &mut C,
    sign: &'static Put<Sign>,
    id: [u8; 16],
    hearing: &Hearing,
) -> Result<(), String> {
    let (sent, row) = (Instant::now(), Sign { id, nonce: rand::random() });
    let rows = match &sign.read {
        None => in_time(hearing.patience, connection.fetch(&sign.write, &row)).await?,
        Some(read) => {
            in_time(hearing.patience, connection.execute(&sign.write, &row)).await?;
            in_time(hearing.patience, connection.fetch(read, &row)).await?
        }
    };
    let Some(row) = rows.first() else {
        return Err("what was written is not there: no server that takes writes".to_owned());
    };
    let time = row.integer(0).map_err(|error| error.to_string())?;
    hearing.clock.note(UnixMillis(time.unsigned_abs()), sent);
    Ok(())
}

/// A row's number, tag, and identifier if it is about a record.
type Change = (i64, [u8; 8], Option<[u8; 16]>);

fn change(row: &impl Cells) -> sqlx::Result<Change> {
    let tag = row.bytes(1)?.try_into();
    let tag = tag.map_err(|_| sqlx::Error::Decode("not 8 bytes".into()))?;
    Ok((row.integer(0)?, tag, row.maybe_bytes(2)?.map(sixteen).transpose()?))
}

pub(super) async fn in_time<T>(
    patience: Duration,
    question: impl Future<Output = sqlx::Result<T>>,
) -> Result<T, String> {
    match timeout(patience, question).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {patience:?}")),
    }
}

/// Which numbers were seen.
struct Position {
    highest: i64,
    /// First and last number that was passed over, and when that was noticed; in order.
    gaps: Vec<(i64, i64, Instant)>,
}

impl Position {
    fn at(highest: i64) -> Self {
        Self { highest, gaps: Vec::new() }
    }

    /// Rows above this one are to be read.
    fn floor(&self) -> i64 {
        self.gaps.first().map_or(self.highest, |(first, ..)| first - 1)
    }

    /// Notes a number. Whether it was not seen before.
    fn is_new(&mut self, seq: i64, now: Instant) -> bool {
        if seq > self.highest {
            if seq > self.highest + 1 {
                self.gaps.push((self.highest + 1, seq - 1, now));
            }
            self.highest = seq;
            return true;
        }
        let within = self.gaps.iter().position(|(first, last, _)| (*first..=*last).contains(&seq));
        let Some(at) = within else { return false };
        let (first, last, noticed) = self.gaps.remove(at);
        let rest = [(first, seq - 1, noticed), (seq + 1, last, noticed)];
        let rest = rest.into_iter().filter(|(first, last, _)| first <= last);
        self.gaps.splice(at..at, rest);
        true
    }

    /// Forgets what was passed over so long ago that nothing will fill it.
    fn settle(&mut self, now: Instant, settled: Duration) {
        self.gaps.retain(|(.., noticed)| now.saturating_duration_since(*noticed) < settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: Duration = Duration::from_secs(10);

    #[test]
    fn a_number_that_was_passed_over_is_looked_for_until_nothing_can_fill_it() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut position = Position::at(7);
        assert_eq!(position.floor(), 7);
        for (seq, at, is_new, floor) in [
            (8, 0, true, 8),
            (8, 0, false, 8),
            (7, 0, false, 8),
            // 9, 10, 11 are missing; 14 as well.
            (12, 1, true, 8),
            (13, 1, true, 8),
            (15, 2, true, 8),
            (10, 3, true, 8),
            (10, 3, false, 8),
            (9, 3, true, 10),
            (15, 4, false, 10),
            (11, 4, true, 13),
            (16, 5, true, 13),
        ] {
            assert_eq!(position.is_new(seq, later(at)), is_new, "{seq} at {at}");
            position.settle(later(at), SETTLED);
            assert_eq!(position.floor(), floor, "after {seq} at {at}");
        }
        position.settle(later(11), SETTLED);
        assert_eq!(position.floor(), 13, "14 was passed over at 2");
        position.settle(later(12), SETTLED);
        assert_eq!(position.floor(), 16);
        assert!(!position.is_new(14, later(13)), "counted as void");
    }

    #[test]
    fn where_commits_are_in_order_nothing_is_looked_for() {
        let mut position = Position::at(0);
        assert!(position.is_new(5, Instant::now()));
        position.settle(Instant::now(), Duration::ZERO);
        assert_eq!(position.floor(), 5);
    }
}
