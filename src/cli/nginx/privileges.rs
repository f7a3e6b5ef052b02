//! Who workers run as: `user`, or nobody, where the system's administrator starts them.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, setgid, setuid};
use serde::{Deserialize, Serialize};

/// Whom nginx takes where the file names nobody.
const USER: &str = "nobody";
const GROUPS: [&str; 2] = ["nogroup", "nobody"];

/// An account of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: String,
    pub user: u32,
    pub group: u32,
}

/// The account that workers get; none where the process may not become another.
///
/// # Errors
/// There is no such user or group: nginx's message.
pub fn account(given: Option<&(String, Option<String>)>) -> Result<Option<Account>, String> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let (name, group) = match given {
        Some((name, group)) => (name.as_str(), group.as_deref()),
        None => (USER, None),
    };
    let user = User::from_name(name).ok().flatten();
    let user = user.ok_or_else(|| format!("getpwnam(\"{name}\") failed"))?;
    let named = |name: &str| Group::from_name(name).ok().flatten();
    let gid = match (group, given) {
        (Some(group), _) => named(group).map(|group| group.gid),
        // nginx looks for a group of the user's name.
        (None, Some(_)) => named(name).map(|group| group.gid),
        (None, None) => GROUPS.into_iter().find_map(named).map(|group| group.gid),
    };
    let gid = gid.ok_or_else(|| format!("getgrnam(\"{}\") failed", group.unwrap_or(name)))?;
    Ok(Some(Account { name: name.to_owned(), user: user.uid.as_raw(), group: gid.as_raw() }))
}

/// Becomes it, with all threads that there are, for good.
///
/// # Errors
/// The system refuses: nothing may be served then.
pub fn become_account(account: &Account) -> Result<(), String> {
    let (user, group) = (Uid::from_raw(account.user), Gid::from_raw(account.group));
    let name = CString::new(account.name.as_str()).map_err(|error| error.to_string())?;
    let failed = |call: &'static str| move |error: nix::Error| format!("{call} failed ({error})");
    setgid(group).map_err(failed("setgid()"))?;
    initgroups(&name, group).map_err(failed("initgroups()"))?;
    setuid(user).map_err(failed("setuid()"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_there_is_told() {
        if !geteuid().is_root() {
            return; // it may not become anybody else
        }
        let given = ("no-such-user".to_owned(), None);
        let expected = Err("getpwnam(\"no-such-user\") failed".to_owned());
        assert_eq!(account(Some(&given)), expected);
        let found = account(None).expect("everybody has it").expect("it may");
        assert_eq!(found.name, "nobody");
        let root = ("root".to_owned(), Some("root".to_owned()));
        let found = account(Some(&root)).expect("it is there").expect("it may");
        assert_eq!((found.user, found.group), (0, 0));
    }
}
