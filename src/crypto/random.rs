//! Random bytes from the operating system.
//!
//! Identifiers, seeds, nonces and keys all come from here. A generator in the process would be
//! faster, but a fork or a resumed virtual machine can make it repeat itself, and a repeated nonce
//! gives away the key stream.

use rand::TryRng;
use rand::rngs::SysRng;

/// The operating system gave no random bytes. Nothing may be minted then.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct RandomError(#[from] rand::rngs::SysError);

/// Draws `N` random bytes.
///
/// # Errors
///
/// Where the operating system has none to give (a seccomp filter, no `/dev/urandom`).
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut drawn = [0; N];
    SysRng.try_fill_bytes(&mut drawn)?;
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let (first, second): ([u8; 24], [u8; 24]) = (bytes().unwrap(), bytes().unwrap());
        assert_ne!(first, second);
        assert_ne!(first, [0; 24], "a buffer that was never filled");
    }
}
