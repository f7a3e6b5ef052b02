//! What may happen in a case, as small operations whose indices are resolved when they are carried
//! out: any part of a case is a case, so that proptest can shrink it.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

/// Browsers. The last one is an attacker's: it may present any ticket that it ever had.
pub const BROWSERS: usize = 3;
pub const ATTACKER: usize = BROWSERS - 1;
pub const NODES: usize = 2;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Shows who is logged in; sets nothing.
    Look,
    /// Begins a session where there is none.
    Visit,
    /// Sets the cookie of this number.
    Put(u8),
    /// Deletes the cookie of this number.
    Drop(u8),
    /// By a rule with a request part; with the right password or a wrong one.
    Login(bool),
    /// Known from its answer alone (PROTOCOL.md 21).
    LateLogin,
    Logout,
    /// The application deletes its session cookies, outside the logout rule.
    Delete,
}

/// What goes wrong with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It is lost on its way there: a store call, a request, an answer.
    Before,
    /// It is carried out, and the word of it is lost.
    After,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// What proptest puts in the place of an operation that a failure does not need.
    Nothing,
    /// A browser sends a request to a node. On the wire it waits to arrive, with the ticket of now.
    Send {
        browser: usize,
        ask: Ask,
        node: usize,
        on_the_wire: bool,
        /// For the attacker: which ticket of the past to present.
        old: u8,
        /// The same request is sent twice at once.
        twice: bool,
    },
    /// One of the things that can happen next happens.
    Step { pick: u8, fault: Fault },
    /// What has waited longest happens, so many times.
    Run(u8),
    /// One exchange goes on alone, until its answer has arrived.
    Finish(u8),
    /// Time passes.
    Wait(Duration),
    /// A client leaves whose request waits for the worker. Where it had not been forwarded, the
    /// worker never hears of it.
    Abort { pick: u8, forwarded: bool },
    /// A node loses all that it had in memory.
    Crash(usize),
    /// A record is taken out of the store: revoked, or lost by it.
    Revoke(u8),
    /// The attacker's ticket is put into a browser where nobody is logged in.
    Plant(usize),
}

/// Cases of at least forty operations.
pub fn cases() -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(), 45..=90)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        // A tenth of an operation in each case.
        1 => Just(Op::Nothing),
        200 => send(),
        400 => (pick(), fault()).prop_map(|(pick, fault)| Op::Step { pick, fault }),
        80 => (1u8..12).prop_map(Op::Run),
        80 => any::<u8>().prop_map(Op::Finish),
        90 => pause().prop_map(Op::Wait),
        20 => (any::<u8>(), any::<bool>())
            .prop_map(|(pick, forwarded)| Op::Abort { pick, forwarded }),
        10 => (0..NODES).prop_map(Op::Crash),
        10 => any::<u8>().prop_map(Op::Revoke),
        20 => (0..ATTACKER).prop_map(Op::Plant),
    ]
}

fn send() -> impl Strategy<Value = Op> {
    let browser = prop_oneof![5 => Just(0), 3 => Just(1), 3 => Just(ATTACKER)];
    let rare = |weight| prop::bool::weighted(weight);
    (browser, ask(), 0..NODES, rare(0.25), any::<u8>(), rare(0.08)).prop_map(
        |(browser, ask, node, on_the_wire, old, twice)| Op::Send {
            browser,
            ask,
            node,
            on_the_wire,
            old,
            twice,
        },
    )
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        3 => Just(Ask::Look),
        5 => Just(Ask::Visit),
        5 => (0u8..3).prop_map(Ask::Put),
        1 => (0u8..3).prop_map(Ask::Drop),
        6 => prop::bool::weighted(0.8).prop_map(Ask::Login),
        2 => Just(Ask::LateLogin),
        2 => Just(Ask::Logout),
        1 => Just(Ask::Delete),
    ]
}

/// Mostly one of what has waited long.
fn pick() -> impl Strategy<Value = u8> {
    prop_oneof![3 => 0u8..3, 2 => any::<u8>()]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![24 => Just(Fault::None), 1 => Just(Fault::Before), 1 => Just(Fault::After)]
}

/// Below and above every wait of the protocol, and every time of the model's policy.
fn pause() -> impl Strategy<Value = Duration> {
    const MILLIS: &[u64] = &[
        100, 100, 1_000, 1_000, 2_100, 2_100, 4_000, 4_000, 7_000, 7_000, 31_000, 31_000, 160_000,
    ];
    select(MILLIS).prop_map(Duration::from_millis)
}
