//! Tests of the format: scope, mutations, pieces.

use proptest::prelude::*;

use super::*;

const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
const HOST: &str = "shop.example.com";
const SCOPE: Scope<'static> = Scope { name: b"__Host-EGG_SESS", policy: "shop", site: HOST };

fn ring() -> Keyring {
    Keyring::generate(NOW).expect("randomness")
}

fn kept(value: impl AsRef<[u8]>) -> Kept {
    Kept {
        began: NOW,
        sealed: NOW,
        expires: None,
        path: b"/".to_vec(),
        domain: None,
        same_site: None,
        partitioned: false,
        value: value.as_ref().to_vec(),
    }
}

fn open_all(ring: &Keyring, values: &[String], scope: &Scope<'_>) -> Result<Opened, Reject> {
    let mut pieces = Pieces::default();
    for (piece, value) in values.iter().enumerate() {
        pieces.put(piece, value.as_bytes());
    }
    open(ring, &pieces, scope)
}

#[test]
fn a_cookie_opens_only_where_it_was_made_for() {
    let ring = ring();
    let values = seal(&ring, &[9; 24], &SCOPE, &kept("secret")).expect("it fits");
    let opened = open_all(&ring, &values, &SCOPE).expect("it opens");
    let id = SealId(0x0909_0909_0909_0909);
    assert_eq!(opened, Opened { id, kept: kept("secret"), is_current: true });
    for elsewhere in [
        Scope { name: b"__Host-other", ..SCOPE },
        Scope { name: b"EGG_SESS", ..SCOPE },
        Scope { policy: "admin", ..SCOPE },
        Scope { site: "shop.example.org", ..SCOPE },
        Scope { policy: "", name: b"__Host-EGG_SESSshop", ..SCOPE },
    ] {
        let opened = open_all(&ring, &values, &elsewhere);
        assert_eq!(opened.err(), Some(Reject::Forged), "{elsewhere:?}");
    }
    let opened = open_all(&Keyring::generate(NOW).expect("randomness"), &values, &SCOPE);
    assert_eq!(opened.err(), Some(Reject::UnknownKey));
}

/// PROTOCOL 1 holds here as well: one spelling, and every altered character is noticed.
#[test]
fn altered_text_is_no_cookie() {
    let ring = ring();
    let values = seal(&ring, &[9; 24], &SCOPE, &kept("secret")).expect("it fits");
    let [text] = &values[..] else { panic!("{values:?}") };
    for at in 0..text.len() {
        let mut altered = text.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).expect("ASCII");
        let opened = open_all(&ring, std::slice::from_ref(&altered), &SCOPE);
        assert!(opened.is_err(), "character {at}");
    }
    let check = |text: String, expected| {
        assert_eq!(
            open_all(&ring, std::slice::from_ref(&text), &SCOPE).err(),
            Some(expected),
            "{text}"
        );
    };
    check(String::new(), Reject::Malformed);
    check("1".to_owned(), Reject::Malformed);
    check("1AAAA".to_owned(), Reject::Malformed);
    check(format!("1{}", "A".repeat(80)), Reject::Malformed);
    check(format!("{text}="), Reject::Malformed);
    check(format!("\"{text}\""), Reject::Malformed);
    check(text[..text.len() - 1].to_owned(), Reject::Malformed);
    check(format!("1{}", "A".repeat(4096)), Reject::Oversized);
}

/// Sealed as one text, then cut: what belongs to another set does not join.
#[test]
fn pieces_of_two_sets_do_not_join() {
    let ring = ring();
    let one = seal(&ring, &[1; 24], &SCOPE, &kept("x".repeat(5500))).expect("it fits");
    let two = seal(&ring, &[2; 24], &SCOPE, &kept("y".repeat(5500))).expect("it fits");
    assert_eq!((one.len(), two.len()), (2, 2));
    assert!(open_all(&ring, &one, &SCOPE).is_ok() && open_all(&ring, &two, &SCOPE).is_ok());
    let mixed = [one[0].clone(), two[1].clone()];
    assert_eq!(open_all(&ring, &mixed, &SCOPE).err(), Some(Reject::Forged));
    let mixed = [two[0].clone(), one[1].clone()];
    assert_eq!(open_all(&ring, &mixed, &SCOPE).err(), Some(Reject::Forged));
    assert_eq!(seal(&ring, &[3; 24], &SCOPE, &kept("x".repeat(25_000))), None);
}

#[test]
fn nothing_prints_a_value() {
    assert!(!format!("{:?}", kept("topsecret")).contains("topsecret"));
}

fn kepts() -> impl Strategy<Value = Kept> {
    let same_site = prop::sample::select(vec![
        None,
        Some(SameSite::Strict),
        Some(SameSite::Lax),
        Some(SameSite::None),
    ]);
    let times = (any::<u64>(), any::<u64>(), any::<Option<u64>>());
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let rest = (bytes(100), prop::option::of(bytes(50)), any::<bool>(), bytes(20_000));
    (times, same_site, rest).prop_map(|(times, same_site, (path, domain, partitioned, value))| {
        Kept {
            began: UnixMillis(times.0),
            sealed: UnixMillis(times.1),
            expires: times.2.map(UnixMillis),
            path,
            domain,
            same_site,
            partitioned,
            value,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens_and_no_mutation_does(
        kept in kepts(),
        nonce in any::<[u8; 24]>(),
        piece in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let ring = ring();
        let values = seal(&ring, &nonce, &SCOPE, &kept).expect("it fits");
        for (piece, value) in values.iter().enumerate() {
            prop_assert!(pieces::name(SCOPE.name, piece).len() + value.len() <= 4096);
        }
        let opened = open_all(&ring, &values, &SCOPE);
        let id = SealId::of(&nonce);
        prop_assert_eq!(opened, Ok(Opened { id, kept, is_current: true }));
        let mut altered: Vec<Vec<u8>> = values.iter().map(|value| value.clone().into()).collect();
        let piece = &mut altered[piece.index(values.len())];
        let at = at.index(piece.len());
        let same = if cut {
            piece.remove(at);
            false
        } else {
            std::mem::replace(&mut piece[at], byte) == byte
        };
        let mut pieces = Pieces::default();
        for (piece, value) in altered.iter().enumerate() {
            pieces.put(piece, value);
        }
        prop_assert_eq!(open(&ring, &pieces, &SCOPE).is_ok(), same);
    }
}
