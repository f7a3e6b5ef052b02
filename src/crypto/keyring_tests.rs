//! Tests of the key ring, apart because the tables of mistakes are long.

use super::*;
use crate::crypto::base64;
use crate::crypto::seal::Purpose;

const NOW: UnixMillis = UnixMillis(1_760_000_000_999);

/// A key as it stands in a file; `k` is 32 times the byte.
fn key(kid: &str, usage: &str, status: &str, byte: u8) -> String {
    let k = base64::encode(&[byte; 32]);
    format!(
        r#"{{"kty":"oct","kid":"{kid}","use":"{usage}","status":"{status}","created":7,"k":"{k}"}}"#
    )
}

fn set(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn usual() -> [String; 4] {
    [
        key("0000000a", "seal", "accept", 1),
        key("0000000b", "seal", "primary", 2),
        key("0000000c", "seal", "retired", 3),
        key("0000000d", "index", "primary", 4),
    ]
}

fn kid(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

#[test]
fn a_generated_ring_reads_back_the_same() {
    let ring = Keyring::generate(NOW).unwrap();
    let again = Keyring::parse(&ring.to_json()).unwrap();
    assert_eq!(*again.to_json(), *ring.to_json());
    assert_eq!(again.describe(), ring.describe());
    let [seal, index] = ring.describe().try_into().unwrap();
    assert_eq!(
        (seal.usage, seal.status, seal.created),
        (Usage::Seal, Status::Primary, 1_760_000_000)
    );
    assert_eq!((index.usage, index.status), (Usage::Index, Status::Primary));
    assert_eq!(again.index().mac(b"l", b"d"), ring.index().mac(b"l", b"d"));
    let sealed = ring.sealing().seal(Purpose::Ticket, &[1; 24], b"", b"text");
    let opened = again.sealing().open(Purpose::Ticket, &[1; 24], b"", &sealed);
    assert_eq!(opened.as_deref(), Some(&b"text"[..]));
    assert_ne!(*Keyring::generate(NOW).unwrap().to_json(), *ring.to_json());
}

#[test]
fn only_the_primary_seals_and_retired_keys_open_nothing() {
    let ring = Keyring::parse(&set(&usual())).unwrap();
    assert_eq!(ring.sealing().id(), kid("0000000b"));
    let opens = |id| ring.opening(kid(id)).map(SealKey::id);
    assert_eq!(opens("0000000a"), Some(kid("0000000a")));
    assert_eq!(opens("0000000b"), Some(kid("0000000b")));
    assert_eq!(opens("0000000c"), None, "retired");
    assert_eq!(opens("0000000d"), None, "the index key");
    assert_eq!(opens("0000000e"), None, "unknown");
    assert_eq!(ring.index().id(), kid("0000000d"));
}

#[test]
fn every_mistake_names_its_key_and_a_remedy() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let error = Keyring::parse(text).unwrap_err();
        let KeyringError::Mistakes(mistakes) = &error else { panic!("{text}: {error}") };
        assert_eq!(mistakes, expected, "{text}");
    }
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut keys = usual().to_vec();
        change(&mut keys);
        set(&keys)
    };

    check("[]", &["no list `keys`: make a ring with `keys new`"]);
    check(r#"{"keys":{}}"#, &["no list `keys`: make a ring with `keys new`"]);
    check(
        r#"{"keys":[]}"#,
        &[
            "no key of use \"seal\" is \"primary\": promote the one that shall seal",
            "no key of use \"index\" is \"primary\": put back the one that was there, or all sessions end",
        ],
    );
    check(
        &with(&|keys| keys[0] = key("0000000a", "seal", "primary", 1)),
        &[
            "2 keys of use \"seal\" are \"primary\" (0000000a, 0000000b): let one be and make the others \"accept\"",
        ],
    );
    check(
        &with(&|keys| keys[0] = key("0000000a", "index", "primary", 1)),
        &[
            "2 keys of use \"index\" are \"primary\" (0000000a, 0000000d): leave the one in use and make the others \"retired\"",
        ],
    );
    check(
        &with(&|keys| drop(keys.pop())),
        &[
            "no key of use \"index\" is \"primary\": put back the one that was there, or all sessions end",
        ],
    );
    check(
        &with(&|keys| keys[2] = key("0000000A", "seal", "accept", 3)),
        &["keys[2] (0000000a): this `kid` is there twice: remove one of them"],
    );
    check(
        &with(&|keys| keys[2] = key("0000000c", "seal", "accept", 4)),
        &["keys[3] (0000000d): the same `k` as an earlier key: remove one of them"],
    );
    check(
        &with(&|keys| keys[0] = key("0000000a", "index", "accept", 1)),
        &["keys[0] (0000000a): an index key is \"primary\" or \"retired\", never \"accept\""],
    );
    check(
        &with(&|keys| keys[1] = keys[1].replace("oct", "RSA").replace("seal", "sig")),
        &[
            "keys[1] (0000000b): `kty` is \"RSA\", write \"oct\"",
            "keys[1] (0000000b): `use` is \"sig\", write \"seal\" or \"index\"",
        ],
    );
    check(
        &with(&|keys| keys[1] = "7".to_owned()),
        &[
            "keys[1]: `kty` is missing, write \"oct\"",
            "keys[1]: `kid` must be eight hex digits",
            "keys[1]: `use` is missing, write \"seal\" or \"index\"",
            "keys[1]: `status` is missing, write \"primary\", \"accept\" or \"retired\"",
            "keys[1]: `created` must be a number of Unix seconds",
            "keys[1]: `k` must be 32 bytes in base64url without padding (43 characters)",
        ],
    );
    for bad in ["active", "Primary", "primary "] {
        check(
            &with(&|keys| keys[1] = key("0000000b", "seal", bad, 2)),
            &[&format!(
                "keys[1] (0000000b): `status` is \"{bad}\", write \"primary\", \"accept\" or \"retired\""
            )],
        );
    }
    for bad in ["-1", "1.5", "\"7\"", "null"] {
        check(
            &with(&|keys| keys[1] = keys[1].replace(":7,", &format!(":{bad},"))),
            &["keys[1] (0000000b): `created` must be a number of Unix seconds"],
        );
    }
    for bad in ["0000000", "000000000", "+000000b", "zzzzzzzz", ""] {
        check(
            &with(&|keys| keys[1] = key(bad, "seal", "primary", 2)),
            &["keys[1]: `kid` must be eight hex digits"],
        );
    }
    let wrong = "`k` must be 32 bytes in base64url without padding (43 characters)";
    for bad in [
        base64::encode(&[2; 31]),
        base64::encode(&[2; 33]),
        base64::encode(&[2; 64]),
        format!("{}=", base64::encode(&[2; 32])),
        format!("{}J", &base64::encode(&[2; 32])[..42]),
        String::new(),
    ] {
        check(
            &with(&|keys| keys[1] = keys[1].replace(&base64::encode(&[2; 32]), &bad)),
            &[&format!("keys[1] (0000000b): {wrong}")],
        );
    }
    check(
        &with(&|keys| keys[1] = key("0000000b", "seal", "primary", 0)),
        &["keys[1] (0000000b): `k` is all zeros: make a key with `keys rotate`"],
    );
    let many: Vec<String> =
        (0..65).map(|n| key(&format!("000000{n:02x}"), "seal", "retired", n + 1)).collect();
    let error = Keyring::parse(&set(&many)).unwrap_err().to_string();
    assert!(error.contains("65 keys, at most 64: take retired ones out of the file"), "{error}");
}

#[test]
fn syntax_and_size_are_reported_without_the_text() {
    let text = format!("{{\"keys\":[\n{}", usual()[0]);
    let error = Keyring::parse(&text).unwrap_err();
    assert!(matches!(error, KeyringError::NotJson { line: 2, .. }), "{error}");
    assert!(!error.to_string().contains("AQEB"), "{error}");
    assert!(matches!(Keyring::parse(&" ".repeat(65_537)), Err(KeyringError::TooLarge)));
    assert!(matches!(Keyring::parse(&"[".repeat(60_000)), Err(KeyringError::NotJson { .. })));
}

#[test]
fn nothing_printed_shows_a_key() {
    let ring = Keyring::parse(&set(&usual())).unwrap();
    let misplaced = set(&[key(&base64::encode(&[9; 32]), "seal", &base64::encode(&[9; 32]), 9)]);
    for printed in [
        format!("{ring:?}"),
        format!("{:?}", ring.entries),
        Keyring::parse(&misplaced).unwrap_err().to_string(),
    ] {
        for byte in [1, 2, 3, 4, 9] {
            let k = base64::encode(&[byte; 32]);
            assert!(!printed.contains(&k[..8]), "{printed}");
            assert!(!printed.contains(&format!("{byte}, {byte}")), "{printed}");
        }
    }
}

#[test]
fn members_that_we_do_not_know_are_ignored() {
    let keys = usual().map(|key| key.replace("\"kty\"", "\"alg\":\"A256GCM\",\"kty\""));
    assert!(Keyring::parse(&set(&keys)).is_ok());
}

#[test]
fn a_key_is_rolled_out_in_three_steps() {
    let mut ring = Keyring::generate(NOW).unwrap();
    let old = ring.sealing().id();
    let new = ring.rotate(NOW).unwrap();
    assert_eq!(ring.sealing().id(), old, "a new key only opens at first");
    assert!(ring.opening(new).is_some());
    ring.promote(new).unwrap();
    assert_eq!(ring.sealing().id(), new);
    assert!(ring.opening(old).is_some(), "what the old one sealed still opens");
    ring.promote(new).unwrap();
    assert_eq!(ring.sealing().id(), new, "twice is once");
    ring.retire(old).unwrap();
    assert!(ring.opening(old).is_none());
    let again = Keyring::parse(&ring.to_json()).unwrap();
    assert_eq!(again.describe(), ring.describe());
}

#[test]
fn changes_that_would_lose_sessions_are_refused() {
    let mut ring = Keyring::parse(&set(&usual())).unwrap();
    let before = ring.to_json();
    let mut check = |change: fn(&mut Keyring, KeyId) -> Result<(), KeyringError>, id, expected| {
        let error = change(&mut ring, kid(id)).unwrap_err();
        assert!(matches!(error, KeyringError::Refused(_)), "{error}");
        assert_eq!(error.to_string(), format!("key {id}: {expected}"));
        assert_eq!(*ring.to_json(), *before, "a refused change changes nothing");
    };
    let unknown = "not in the ring: `keys show` lists those that are";
    check(Keyring::promote, "0000000c", "it is retired: make a new one with `keys rotate`");
    check(Keyring::promote, "0000000d", "the index key does not seal");
    check(Keyring::promote, "0000000f", unknown);
    check(Keyring::retire, "0000000b", "it seals: promote another key first");
    check(
        Keyring::retire,
        "0000000d",
        "without the index key no session is found: `keys replace-index` makes another",
    );
    check(Keyring::retire, "0000000f", unknown);
}

#[test]
fn a_full_ring_takes_no_more_keys() {
    let mut ring = Keyring::generate(NOW).unwrap();
    for _ in 2..KEYS_MAX {
        ring.rotate(NOW).unwrap();
    }
    let before = ring.describe();
    assert!(matches!(ring.rotate(NOW), Err(KeyringError::Mistakes(_))));
    assert_eq!(ring.describe(), before);
    assert!(ring.to_json().len() < KEYRING_BYTES_MAX, "a full ring can be read again");
}

#[test]
fn replacing_the_index_key_changes_every_store_key() {
    let mut ring = Keyring::generate(NOW).unwrap();
    let (seal, mac) = (ring.sealing().id(), ring.index().mac(b"selector", b"1"));
    let new = ring.replace_index(NOW).unwrap();
    assert_eq!((ring.sealing().id(), ring.index().id()), (seal, new));
    assert_ne!(ring.index().mac(b"selector", b"1"), mac);
    assert!(Keyring::parse(&ring.to_json()).is_ok());
}
