//! What `Connection` says, and what is about one connection only (RFC 9110 section 7.6.1).

use super::fields::Fields;
use super::name::Name;
use super::{Version, elements, is_token};

/// Options that one message may name: each is compared with each field.
const OPTIONS_MAX: usize = 64;

/// The options that mean something here, from all `Connection` fields together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
}

impl ConnectionOptions {
    /// Reads all `Connection` fields.
    pub fn of(fields: &Fields) -> Self {
        let mut options = Self::default();
        for option in fields.all(Name::Connection).flat_map(elements) {
            options.close |= option.eq_ignore_ascii_case(b"close");
            options.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            options.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
        options
    }

    /// Whether the peer keeps the connection after this message (RFC 9112 section 9.3).
    pub fn keeps(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// More options than anybody has use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyOptions;

/// Removes what must not be passed on: the fields that are about one connection, and those that
/// `Connection` names. `Host` and the fields that frame the message stay, named or not: removing
/// them would change what the message is. `TE` goes too; whoever passes trailers on says so itself.
///
/// # Errors
/// [`TooManyOptions`], and then nothing was removed.
pub fn remove_hop_by_hop(fields: &mut Fields) -> Result<(), TooManyOptions> {
    let named: Vec<Vec<u8>> = fields
        .all(Name::Connection)
        .flat_map(elements)
        .filter(|option| !is_plain(option))
        .take(OPTIONS_MAX + 1)
        .map(<[u8]>::to_vec)
        .collect();
    if named.len() > OPTIONS_MAX {
        return Err(TooManyOptions);
    }
    fields.retain(|field| match field.known {
        Name::Host | Name::ContentLength => true,
        Name::Te => false,
        known if known.is_hop_by_hop() => false,
        _ => !named.iter().any(|option| option.eq_ignore_ascii_case(field.name)),
    });
    Ok(())
}

/// Whether `Connection` names a field.
pub fn nominates(fields: &Fields, name: Name) -> bool {
    fields.all(Name::Connection).flat_map(elements).any(|option| Name::of(option) == name)
}

/// Whether a request asks for something to be taken away that would make a worker believe another
/// client or host, or names what is no option at all.
pub fn nominates_protected(fields: &Fields) -> bool {
    fields.all(Name::Connection).flat_map(elements).any(|option| {
        let protected =
            [Name::Host, Name::XForwardedFor, Name::XForwardedHost, Name::XForwardedProto];
        !option.iter().all(|byte| is_token(*byte)) || protected.contains(&Name::of(option))
    })
}

/// Options that name no field, or one that goes anyway: most messages have no others, and then
/// nothing is collected.
fn is_plain(option: &[u8]) -> bool {
    let plain = [&b"close"[..], b"keep-alive", b"upgrade", b"te"];
    plain.iter().any(|plain| option.eq_ignore_ascii_case(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.push(name.as_bytes(), value.as_bytes()).expect("it is writable");
        }
        fields
    }

    #[test]
    fn options_of_all_fields_count() {
        let options =
            ConnectionOptions::of(&fields(&[("Connection", "x-foo"), ("connection", "Close")]));
        assert_eq!(options, ConnectionOptions { close: true, ..ConnectionOptions::default() });
        let options = ConnectionOptions::of(&fields(&[("Connection", "Keep-Alive ,\tUPGRADE,,")]));
        let expected = ConnectionOptions { close: false, keep_alive: true, upgrade: true };
        assert_eq!(options, expected);
        let options = ConnectionOptions::of(&fields(&[("Connection", "closed, \"close\"")]));
        assert_eq!(options, ConnectionOptions::default());
    }

    /// RFC 9112 section 9.3.
    #[test]
    fn whether_a_connection_is_kept() {
        let keeps = |version, value| {
            ConnectionOptions::of(&fields(&[("Connection", value)])).keeps(version)
        };
        assert!(keeps(Version::Http11, ""));
        assert!(!keeps(Version::Http11, "close"));
        assert!(!keeps(Version::Http11, "keep-alive, close"));
        assert!(!keeps(Version::Http10, ""));
        assert!(keeps(Version::Http10, "keep-alive"));
        assert!(!keeps(Version::Http10, "keep-alive, close"));
    }

    #[test]
    fn what_is_about_one_connection_is_removed() {
        let mut fields = fields(&[
            ("Host", "h"),
            ("Connection", "x-one, Cookie, host"),
            ("X-One", "1"),
            ("x-two", "2"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "gzip"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("connection", "content-length,X-THREE"),
            ("X-Three", "3"),
            ("Content-Length", "5"),
            ("cookie", "a=b"),
        ]);
        assert_eq!(remove_hop_by_hop(&mut fields), Ok(()));
        let names: Vec<_> = fields.iter().map(|field| field.name.to_vec()).collect();
        assert_eq!(names, [&b"Host"[..], b"x-two", b"Content-Length"]);
    }

    #[test]
    fn options_have_a_limit() {
        let options = |count: usize| {
            let value = (0..count).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
            fields(&[("Connection", &value)])
        };
        assert_eq!(remove_hop_by_hop(&mut options(OPTIONS_MAX)), Ok(()));
        assert_eq!(remove_hop_by_hop(&mut options(OPTIONS_MAX + 1)), Err(TooManyOptions));
    }
}
