//! The tests: one engine each, thousands of cases.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::application::AppKind;
use super::engine::Engine;
use super::invariants::Violation;
use super::node::{Fleet, policy};
use super::schedule::{self, Ask, Fault, Op};
use super::world::World;
use crate::crypto::keyring::Keyring;
use crate::crypto::ring_source::RingSource;
use crate::crypto::seal::hmac_sha256_16;
use crate::store::memory::MemoryStore;
use crate::store::{self, StoreSettings};
use crate::telemetry::metrics::Metrics;

/// What a case consists of.
#[derive(Clone, Debug)]
struct Case {
    kind: AppKind,
    rolling: bool,
    ops: Vec<Op>,
}

type Counts = BTreeMap<String, u64>;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn fleet(engine: &Engine) -> Fleet {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keyring.json");
    Keyring::generate(engine.now()).and_then(|ring| ring.save_new(&path)).expect("a ring");
    Fleet {
        ring: Arc::new(RingSource::open(path).expect("our own ring")),
        clock: engine.clock(),
        metrics: Arc::new(Metrics::new()),
        policy: Arc::new(policy()),
    }
}

/// Tries as many cases, beginning from a seed of its own for each part of a test.
fn try_cases(engine: &Engine, cases: u32, part: u64) {
    let cases = setting("CLOAKROOM_MODEL_CASES").map_or(cases, |cases| cases as u32);
    let seed = setting("CLOAKROOM_MODEL_SEED").unwrap_or(1);
    let shrink = setting("CLOAKROOM_MODEL_SHRINK_SECONDS").unwrap_or(20);
    // The cheaper generator: a fifth of the time of a case went into the other.
    let bytes = hmac_sha256_16(&[0; 32], &[seed.to_be_bytes(), part.to_be_bytes()].concat());
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_time: shrink as u32 * 1000,
        ..Config::default()
    };
    let fleet = fleet(engine);
    let counts = RefCell::new(Counts::new());
    // Until the first failure: what comes then is proptest's search for a smaller one.
    let (tried, has_failed) = (Cell::new(0), Cell::new(false));
    let begun = std::time::Instant::now();
    let kind = prop_oneof![Just(AppKind::InItsStore), Just(AppKind::InTheCookie)];
    let strategy = (kind, any::<bool>(), schedule::cases()).prop_map(|(kind, rolling, ops)| Case {
        kind,
        rolling,
        ops,
    });
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |case| {
        let outcome = try_case(engine, &fleet, &case, false, &mut counts.borrow_mut());
        tried.set(tried.get() + u64::from(!has_failed.get()));
        has_failed.set(has_failed.get() || outcome.is_err());
        outcome.map_err(|(violation, _)| TestCaseError::fail(violation.to_string()))
    });
    println!("{} cases in {:?}: {:?}", tried.get(), begun.elapsed(), counts.borrow());
    match outcome {
        Ok(()) => {
            // What does not happen holds of itself.
            for name in ["proofs", "login", "renewed", "fenced", "withheld", "waited", "behind"] {
                let count = counts.borrow().get(name).copied().unwrap_or_default();
                assert!(count > 0 || cases < 100, "no case came to `{name}`");
            }
        }
        Err(TestError::Fail(reason, case)) => {
            let again = try_case(engine, &fleet, &case, true, &mut Counts::new());
            let (what, trace) = match again {
                Ok(()) => (reason.to_string(), vec!["(it does not fail again)".to_owned()]),
                Err((violation, trace)) => (violation.to_string(), trace),
            };
            let ops = case.ops.iter().filter(|op| !matches!(op, Op::Nothing));
            let steps: Vec<String> = ops.map(|op| format!("{op:?}")).collect();
            panic!(
                "{what}\nseed {seed}, part {part}, after {} cases; {:?}, rolling: {}\n\
                 {}\nwhat happened:\n{}",
                tried.get(),
                case.kind,
                case.rolling,
                steps.join("\n"),
                trace.join("\n")
            );
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

fn try_case(
    engine: &Engine,
    fleet: &Fleet,
    case: &Case,
    traced: bool,
    counts: &mut Counts,
) -> Result<(), (Violation, Vec<String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(engine, fleet, case.kind, case.rolling);
        world.trace = traced.then(Vec::new);
        let mut outcome = Ok(());
        for op in &case.ops {
            outcome = world.apply(*op).await;
            if outcome.is_err() {
                break;
            }
        }
        if outcome.is_ok() {
            outcome = world.finish().await;
        }
        for (name, count) in &world.counts {
            *counts.entry((*name).to_owned()).or_default() += count;
        }
        for (reason, count) in &world.legitimate.counts {
            *counts.entry(format!("{reason:?}")).or_default() += count;
        }
        *counts.entry("logins_arrived".to_owned()).or_default() += world.legitimate.logins_arrived;
        outcome.map_err(|violation| (violation, world.trace.take().unwrap_or_default()))
    })
}

/// The parts of a test run side by side.
macro_rules! in_memory {
    ($($name:ident = $part:literal),+) => {
        $(
            #[test]
            fn $name() {
                let engine = Engine::here(|clock| Arc::new(MemoryStore::new(clock)));
                try_cases(&engine, 1_000, $part);
            }
        )+
    };
}

in_memory!(
    memory_1 = 1,
    memory_2 = 2,
    memory_3 = 3,
    memory_4 = 4,
    memory_5 = 5,
    memory_6 = 6,
    memory_7 = 7,
    memory_8 = 8,
    memory_9 = 9,
    memory_10 = 10
);

/// Found by the model, of some thousand cases in one: of two logins on two nodes in the same
/// millisecond one suspended the record, the other did not reach the store; and took the record for
/// its own, gave it back, and so left the old ticket good for a session that was being logged in.
#[test]
fn a_login_gives_back_only_what_it_has_suspended() {
    let send =
        |ask, node| Op::Send { browser: 0, ask, node, on_the_wire: false, old: 0, twice: false };
    let ops = vec![
        send(Ask::Visit, 0),
        Op::Run(10),
        send(Ask::Login(true), 1),
        send(Ask::Login(true), 0),
        // Both look the record up twice; then the first suspends it.
        Op::Run(5),
        Op::Step { pick: 0, fault: Fault::Before },
        Op::Wait(Duration::from_millis(100)),
        // The worker logs in, and the other node asks for the record.
        Op::Run(3),
        Op::Abort { pick: 0, forwarded: true },
        Op::Run(10),
        send(Ask::Look, 0),
        Op::Run(10),
    ];
    let engine = Engine::here(|clock| Arc::new(MemoryStore::new(clock)));
    let case = Case { kind: AppKind::InItsStore, rolling: false, ops };
    let outcome = try_case(&engine, &fleet(&engine), &case, true, &mut Counts::new());
    if let Err((violation, trace)) = outcome {
        panic!("{violation}\n{}", trace.join("\n"));
    }
}

/// PROTOCOL 15: the browser brings what another node has renewed and written a moment ago, to a node
/// that has not heard of it.
#[test]
fn a_ticket_that_is_newer_than_what_is_kept_has_the_store_read() {
    let send =
        |ask, node| Op::Send { browser: 0, ask, node, on_the_wire: false, old: 0, twice: false };
    // Whatever can happen first: an exchange goes on alone, and no word arrives.
    let alone = [0, 1, 2].map(Op::Finish);
    let mut ops = vec![send(Ask::Login(true), 0), Op::Run(20)];
    ops.extend([send(Ask::Look, 1), Op::Run(20), send(Ask::Look, 1), Op::Run(20)]);
    ops.extend([Op::Wait(Duration::from_secs(7)), send(Ask::Put(1), 0)]);
    ops.extend(alone);
    ops.push(send(Ask::Look, 1));
    ops.extend(alone);
    let engine = Engine::here(|clock| Arc::new(MemoryStore::new(clock)));
    let case = Case { kind: AppKind::InItsStore, rolling: false, ops };
    let mut counts = Counts::new();
    let outcome = try_case(&engine, &fleet(&engine), &case, true, &mut counts);
    if let Err((violation, trace)) = outcome {
        panic!("{violation}\n{}", trace.join("\n"));
    }
    assert_eq!((counts["renewed"], counts["proofs"]), (1, 1));
}

#[test]
fn sqlite() {
    let engine = Engine::elsewhere(|clock| async {
        // What is asked of the file here is nothing that needs a disk.
        let memory = Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let directory = directory.expect("a directory");
        let settings = StoreSettings::Sqlite(directory.path().join("records.db"));
        let options = store::Options { lease: Duration::ZERO };
        (store::open(&settings, &options, clock).await.expect("a new file"), directory)
    });
    try_cases(&engine, 500, 11);
}

#[test]
fn redis() {
    let engine = Engine::elsewhere(|_clock| async {
        let bench = store::redis::tests::bench().await;
        (bench.store, bench.keep_alive)
    });
    try_cases(&engine, 500, 12);
}
