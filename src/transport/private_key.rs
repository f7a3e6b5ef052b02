//! Private keys in PEM, encrypted ones too: PKCS #8 (RFC 5958, by RFC 8018), and OpenSSL's older form with
//! `DEK-Info` (RFC 1421 section 4.6.1.3). No error has a byte of a key or of a password in it.

use aes::{Aes128, Aes192, Aes256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use des::TdesEde3;
use md5::{Digest, Md5};
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("holds no private key in PEM")]
    None,
    #[error("is not valid PEM")]
    NotPem,
    #[error("is encrypted, and no password is given")]
    Encrypted,
    #[error("is encrypted, and no password that is given opens it")]
    WrongPassword,
    #[error("is encrypted in a way that is not known here")]
    Unknown,
}

/// The passwords of a file, one a line (nginx `ssl_password_file`).
pub struct Passwords(Zeroizing<Vec<u8>>);

impl Passwords {
    pub fn new(text: Vec<u8>) -> Self {
        Self(Zeroizing::new(text))
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.0.split(|byte| *byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
    }
}

const PKCS8: [&[u8]; 2] =
    [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"-----END ENCRYPTED PRIVATE KEY-----"];
const OLD: [&[u8]; 2] = [b"Proc-Type: 4,ENCRYPTED", b"-----END "];

/// Reads the first key of a text.
///
/// # Errors
/// There is none, or no password opens it.
pub fn read(
    text: &[u8],
    passwords: Option<&Passwords>,
) -> Result<PrivateKeyDer<'static>, KeyError> {
    if let Some(inside) = between(text, PKCS8) {
        let passwords = passwords.ok_or(KeyError::Encrypted)?;
        let der = Zeroizing::new(decoded(inside)?);
        let sealed =
            EncryptedPrivateKeyInfoRef::try_from(&der[..]).map_err(|_| KeyError::NotPem)?;
        if sealed.encryption_algorithm.pbes2().is_none() {
            return Err(KeyError::Unknown);
        }
        let opened = passwords.lines().find_map(|password| sealed.decrypt(password).ok());
        let opened = opened.ok_or(KeyError::WrongPassword)?;
        return Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into());
    }
    if let Some(inside) = between(text, OLD) {
        let is_rsa = memchr::memmem::find(text, b"-----BEGIN RSA PRIVATE KEY-----").is_some();
        let passwords = passwords.ok_or(KeyError::Encrypted)?;
        let sealed = Old::read(inside)?;
        let opened = passwords.lines().find_map(|password| sealed.open(password));
        let der = opened.ok_or(KeyError::WrongPassword)?;
        return Ok(match is_rsa {
            true => PrivatePkcs1KeyDer::from(der).into(),
            false => PrivateSec1KeyDer::from(der).into(),
        });
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => KeyError::None,
        _ => KeyError::NotPem,
    })
}

/// A key in OpenSSL's older form.
struct Old {
    cipher: OldCipher,
    iv: Vec<u8>,
    sealed: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum OldCipher {
    Aes128,
    Aes192,
    Aes256,
    TripleDes,
}

impl Old {
    /// Reads what follows `Proc-Type`.
    fn read(inside: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(inside).map_err(|_| KeyError::NotPem)?;
        let (_, info) = text.split_once("DEK-Info:").ok_or(KeyError::NotPem)?;
        let (info, body) = info.split_once('\n').ok_or(KeyError::NotPem)?;
        let (name, iv) = info.trim().split_once(',').ok_or(KeyError::NotPem)?;
        let (cipher, iv_length) = match name {
            "AES-128-CBC" => (OldCipher::Aes128, 16),
            "AES-192-CBC" => (OldCipher::Aes192, 16),
            "AES-256-CBC" => (OldCipher::Aes256, 16),
            "DES-EDE3-CBC" => (OldCipher::TripleDes, 8),
            _ => return Err(KeyError::Unknown),
        };
        let iv = hex(iv.trim()).filter(|iv| iv.len() == iv_length).ok_or(KeyError::NotPem)?;
        Ok(Self { cipher, iv, sealed: Zeroizing::new(decoded(body.as_bytes())?) })
    }

    fn open(&self, password: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = self.sealed.clone();
        let opened = match self.cipher {
            OldCipher::Aes128 => {
                decrypt::<Decryptor<Aes128>>(self.key(password, 16), &self.iv, &mut bytes)
            }
            OldCipher::Aes192 => {
                decrypt::<Decryptor<Aes192>>(self.key(password, 24), &self.iv, &mut bytes)
            }
            OldCipher::Aes256 => {
                decrypt::<Decryptor<Aes256>>(self.key(password, 32), &self.iv, &mut bytes)
            }
            OldCipher::TripleDes => {
                decrypt::<Decryptor<TdesEde3>>(self.key(password, 24), &self.iv, &mut bytes)
            }
        }?;
        // A wrong password may leave good padding.
        is_whole_sequence(opened).then(|| opened.to_vec())
    }

    /// OpenSSL's `EVP_BytesToKey`: MD5, once, salted by the first eight bytes of the vector.
    fn key(&self, password: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
        let salt = self.iv.get(..8).unwrap_or_default();
        let mut key = Zeroizing::new(Vec::with_capacity(48));
        let mut last: Zeroizing<Vec<u8>> = Zeroizing::default();
        while key.len() < length {
            let digest = Md5::new().chain_update(&*last).chain_update(password).chain_update(salt);
            *last = digest.finalize().to_vec();
            key.extend_from_slice(&last);
        }
        key.truncate(length);
        key
    }
}

fn decrypt<'b, C: BlockModeDecrypt + KeyIvInit>(
    key: Zeroizing<Vec<u8>>,
    iv: &[u8],
    bytes: &'b mut [u8],
) -> Option<&'b [u8]> {
    C::new_from_slices(&key, iv).ok()?.decrypt_padded::<Pkcs7>(bytes).ok()
}

/// Whether this is one element of DER, as a key is.
fn is_whole_sequence(der: &[u8]) -> bool {
    let length = match der {
        [0x30, length @ 0..=0x7f, ..] => 2 + usize::from(*length),
        [0x30, 0x81, length, ..] => 3 + usize::from(*length),
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => return false,
    };
    length == der.len()
}

fn between<'t>(text: &'t [u8], [begin, end]: [&[u8]; 2]) -> Option<&'t [u8]> {
    let at = memchr::memmem::find(text, begin)?;
    let inside = text.get(at + begin.len()..)?;
    inside.get(..memchr::memmem::find(inside, end)?)
}

fn decoded(text: &[u8]) -> Result<Vec<u8>, KeyError> {
    let letters: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect());
    STANDARD.decode(&*letters).map_err(|_| KeyError::NotPem)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What OpenSSL writes.
    fn openssl(arguments: &str) -> Vec<u8> {
        let made =
            Command::new("openssl").args(arguments.split(' ')).output().expect("openssl runs");
        assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
        made.stdout
    }

    #[test]
    fn keys_that_openssl_has_encrypted_are_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        let plain = directory.path().join("plain.key");
        let plain = plain.display();
        for kind in ["RSA -pkeyopt rsa_keygen_bits:2048", "EC -pkeyopt ec_paramgen_curve:P-256"] {
            openssl(&format!("genpkey -algorithm {kind} -out {plain}"));
            let expected = openssl(&format!("pkey -in {plain}"));
            let expected = read(&expected, None).expect("a key");
            let public = |key: PrivateKeyDer<'static>| {
                let provider = rustls::crypto::aws_lc_rs::default_provider().key_provider;
                let key = provider.load_private_key(key).expect("a key");
                key.public_key().expect("it has one").to_vec()
            };
            let expected = public(expected);
            for how in [
                "pkcs8 -topk8 -v2 aes256",
                "pkcs8 -topk8 -v2 aes-128-cbc -v2prf hmacWithSHA1",
                "pkcs8 -topk8 -v2 des3",
                "pkcs8 -topk8 -scrypt",
                "pkey -traditional -aes128",
                "pkey -traditional -aes-192-cbc",
                "pkey -traditional -aes256",
                "pkey -traditional -des3",
            ] {
                let sealed = openssl(&format!("{how} -in {plain} -passout pass:secret"));
                assert!(memchr::memmem::find(&sealed, b"ENCRYPTED").is_some(), "{how}");
                let good = Passwords::new(b"first\r\nsecret\n".to_vec());
                let opened = read(&sealed, Some(&good)).unwrap_or_else(|e| panic!("{how}: {e}"));
                assert_eq!(public(opened), expected, "{how}");
                let wrong = Passwords::new(b"first\n\nSecret\n".to_vec());
                assert_eq!(read(&sealed, Some(&wrong)), Err(KeyError::WrongPassword), "{how}");
                assert_eq!(read(&sealed, None), Err(KeyError::Encrypted), "{how}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let passwords = Passwords::new(b"x\n".to_vec());
        for (text, expected) in [
            ("", KeyError::None),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n", KeyError::NotPem),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                KeyError::NotPem,
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: RC2-CBC,00\n\nAAAA\n\
                 -----END RSA PRIVATE KEY-----\n",
                KeyError::Unknown,
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n\
                 AAAA\n-----END RSA PRIVATE KEY-----\n",
                KeyError::NotPem,
            ),
        ] {
            assert_eq!(read(text.as_bytes(), Some(&passwords)), Err(expected), "{text}");
        }
    }
}
