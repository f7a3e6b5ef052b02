//! A user's sessions, as two nodes over one store see them.

use super::*;
use crate::session::outcome::{Room, Surplus};
use crate::store::records::users::{Others, UserSessions};

#[tokio::test]
async fn a_list_has_the_live_records_of_the_current_epoch() {
    let fleet = Fleet::new();
    assert!(fleet.listed("alice").await.is_empty());
    fleet.log_in("alice", 1).await;
    fleet.log_in("bob", 2).await;
    assert_eq!(fleet.here.revoke_user(user("alice"), None, NOW).await, Removed::Removed);
    let mut live = Vec::new();
    for n in 10..40 {
        live.push(fleet.log_in("alice", n).await);
    }
    let ended = fleet.log_in("alice", 3).await;
    let Lookup::Found((version, record)) = fleet.here.load(ended, NOW).await else {
        panic!("not found")
    };
    let record = Arc::unwrap_or_clone(record).into_state(State::Ended);
    let replaced = fleet.here.replace(ended, version, &record, Durability::Master, NOW).await;
    assert_eq!(replaced, Replaced::Replaced);
    live.sort();
    assert_eq!(fleet.listed("alice").await, live);
    let later = fleet.there.list_user(user("alice"), NOW.plus(HOUR)).await;
    assert_eq!(later, Lookup::Found(UserSessions::default()), "elapsed");
}

/// PROTOCOL 27: one session goes on in another epoch, whoever writes it meanwhile.
#[tokio::test]
async fn a_user_s_session_goes_on_alone() {
    let fleet = Fleet::new();
    let (mine, other, bobs) = (
        fleet.log_in("alice", 1).await,
        fleet.log_in("alice", 2).await,
        fleet.log_in("bob", 3).await,
    );
    let Lookup::Found((version, before)) = fleet.here.load(mine, NOW).await else { panic!() };
    assert_eq!(fleet.here.end_others(user("alice"), mine, NOW).await, Others::Ended(1));
    for records in [&fleet.here, &fleet.there] {
        assert!(is_found(records, mine).await && is_found(records, bobs).await);
        assert!(!is_found(records, other).await, "over on every node");
    }
    assert_eq!(fleet.listed("alice").await, [mine]);
    // An answer that was on its way finds it changed, and finds it.
    let late = fleet.there.replace(mine, version, &before, Durability::Master, NOW).await;
    assert_eq!(late, Replaced::Gone);
    let Lookup::Found((version, now)) = fleet.there.load(mine, NOW).await else { panic!() };
    let only_the_epoch = Record { epoch: before.epoch, ..Record::clone(&now) };
    assert_eq!(only_the_epoch, Record::clone(&before));
    let again = fleet.there.replace(mine, version, &now, Durability::Master, NOW).await;
    assert_eq!(again, Replaced::Replaced);
    // Who is over ends nobody, and who logs in again keeps that.
    assert_eq!(fleet.here.end_others(user("alice"), other, NOW).await, Others::NotLive);
    let next = fleet.log_in("alice", 4).await;
    assert!(is_found(&fleet.there, next).await && is_found(&fleet.there, mine).await);

    // Both ask at once: the last one goes on, or both have gone on one after the other.
    let (one, two) = tokio::join!(
        fleet.here.end_others(user("alice"), mine, NOW),
        fleet.there.end_others(user("alice"), mine, NOW)
    );
    assert!(matches!((one, two), (Others::Ended(_), Others::Ended(_))), "{one:?} {two:?}");
    assert!(is_found(&fleet.here, mine).await && is_found(&fleet.there, mine).await);
}

/// PROTOCOL 27: one name in two namespaces is two users.
#[tokio::test]
async fn users_of_one_name_are_strangers_in_other_namespaces() {
    let fleet = Fleet::new();
    let hers = fleet.log_in("admin", 1).await;
    let staff = User { namespace: "staff", name: "admin" };
    let key = user_record_key(&fleet.ring.current(), staff, &Selector([2; 16]));
    let Lookup::Found(epoch) = fleet.here.epoch(key.tag, NOW).await else { panic!("no epoch") };
    let record = Record { epoch: Some(epoch), subject: Subject::confirmed("admin"), ..record(2) };
    assert_eq!(fleet.here.create(key, &record, NOW).await, Created::Created);
    assert_eq!(fleet.listed("admin").await, [hers]);
    let others = fleet.here.end_others(user("admin"), hers, NOW).await;
    assert_eq!(others, Others::Ended(0));
    assert_eq!(fleet.here.revoke_user(user("admin"), None, NOW).await, Removed::Removed);
    assert!(!is_found(&fleet.there, hers).await && is_found(&fleet.there, key).await);
    assert_eq!(fleet.here.revoke_user(staff, None, NOW).await, Removed::Removed);
    assert!(!is_found(&fleet.there, key).await);
}

/// What was made before users had namespaces, or under another name of this one, is within reach.
#[tokio::test]
async fn sessions_of_before_are_ended_by_name_as_well() {
    let fleet = Fleet::new();
    let lay = async |tag, n: u8| {
        let key = RecordKey { tag, id: [n; 16], has_subject: true };
        let Lookup::Found(epoch) = fleet.here.epoch(tag, NOW).await else { panic!("no epoch") };
        let subject = Subject::confirmed("alice");
        let record = Record { epoch: Some(epoch), subject, ..record(n) };
        assert_eq!(fleet.here.create(key, &record, NOW).await, Created::Created);
        key
    };
    let bare = fleet.ring.current().bare_tag("alice");
    let renamed = fleet.ring.current().user_tag("before", "alice");
    for round in 0..4 {
        let n = 10 * round;
        let (old, current) = (lay(bare, n + 1).await, fleet.log_in("alice", n + 2).await);
        let Lookup::Found(listed) = fleet.there.list_bare("alice", NOW).await else { panic!() };
        assert_eq!(listed.total, 1);
        match round {
            0 => {
                let revoked = fleet.here.revoke_user(user("alice"), None, NOW).await;
                assert_eq!(revoked, Removed::Removed);
                assert!(
                    !is_found(&fleet.there, old).await && !is_found(&fleet.there, current).await
                );
            }
            1 => {
                let others = fleet.here.end_others(user("alice"), current, NOW).await;
                assert!(matches!(others, Others::Ended(_)));
                assert!(
                    !is_found(&fleet.there, old).await && is_found(&fleet.there, current).await
                );
            }
            2 => {
                let second = lay(bare, n + 3).await;
                let others = fleet.here.end_others(user("alice"), old, NOW).await;
                assert_eq!(others, Others::Ended(1));
                assert!(is_found(&fleet.there, old).await && !is_found(&fleet.there, second).await);
                assert!(!is_found(&fleet.there, current).await);
                assert_eq!(fleet.here.revoke_one(old, NOW).await, Removed::Removed);
            }
            _ => {
                let hers = lay(renamed, n + 3).await;
                let revoked = fleet.here.revoke_user(user("alice"), Some(hers), NOW).await;
                assert_eq!(revoked, Removed::Removed);
                for key in [old, current, hers] {
                    assert!(!is_found(&fleet.there, key).await);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_session_whose_login_is_on_its_way_ends_no_others() {
    let fleet = Fleet::new();
    let (mine, other) = (fleet.log_in("alice", 1).await, fleet.log_in("alice", 2).await);
    let Lookup::Found((version, record)) = fleet.here.load(mine, NOW).await else { panic!() };
    let pending = Record::clone(&record).into_state(State::Pending { since: NOW, by: 0 });
    let replaced = fleet.here.replace(mine, version, &pending, Durability::Master, NOW).await;
    assert_eq!(replaced, Replaced::Replaced);
    assert_eq!(fleet.here.end_others(user("alice"), mine, NOW).await, Others::Unavailable);
    assert!(is_found(&fleet.there, other).await && is_found(&fleet.there, mine).await);
}

/// PROTOCOL 22: the store counts, and whoever would be refused by it is refused for the living.
#[tokio::test]
async fn nobody_is_refused_for_sessions_that_are_over() {
    let fleet = Fleet::new();
    let ask = async |sessions, ends| {
        let room = Room { sessions, besides: None, ends };
        let Lookup::Found(mut keys) = fleet.there.beyond(user("alice"), room, NOW).await else {
            panic!("no answer")
        };
        keys.sort();
        keys
    };
    let come_back = async |n: u8| {
        let key = fleet.log_in("alice", n).await;
        let Lookup::Found((version, record)) = fleet.here.load(key, NOW).await else { panic!() };
        let presented = Some(UnixMillis(NOW.0 + u64::from(n)));
        let subject = Subject::confirmed("alice");
        let record = Record { presented, subject, ..Record::clone(&record) };
        let replaced = fleet.here.replace(key, version, &record, Durability::Master, NOW).await;
        assert_eq!(replaced, Replaced::Replaced);
        key
    };
    let before = [come_back(1).await, come_back(2).await];
    fleet.log_in("alice", 9).await;
    assert_eq!(ask(2, Surplus::Newest).await, []);
    assert_eq!(ask(1, Surplus::Newest).await, [before[1]]);
    assert_eq!(ask(1, Surplus::Oldest).await, [before[0]]);
    // All sessions of everybody end: the list does not know.
    assert_eq!(fleet.here.revoke_all().await, Removed::Removed);
    fleet.there.read_era().await;
    let after = [come_back(3).await, come_back(4).await];
    assert_eq!(ask(2, Surplus::Newest).await, [], "two are over");
    assert_eq!(ask(1, Surplus::Newest).await, [after[1]]);
    // One was idle for too long, and is garbage only a minute later.
    let Lookup::Found((version, record)) = fleet.here.load(after[0], NOW).await else { panic!() };
    let record = Record { idle_until: NOW, ..Record::clone(&record) };
    let replaced = fleet.here.replace(after[0], version, &record, Durability::Master, NOW).await;
    assert_eq!(replaced, Replaced::Replaced);
    assert_eq!(ask(1, Surplus::Newest).await, []);
    // Ended and moved sessions have left by themselves.
    let Lookup::Found((version, record)) = fleet.here.load(after[1], NOW).await else { panic!() };
    let moved = State::Moved { successor: after[0], at: NOW };
    let record = Record::clone(&record).into_state(moved);
    let replaced = fleet.here.replace(after[1], version, &record, Durability::Replica, NOW).await;
    assert_eq!(replaced, Replaced::Replaced);
    assert_eq!(ask(0, Surplus::Newest).await, []);
}
