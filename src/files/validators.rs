//! What a client may ask for a file by later: `ETag` and `Last-Modified`.

use super::time::HttpDate;

/// A file's size and the moment of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
}

impl Stamp {
    /// The tag that nginx gives the same file, so that caches stay warm when one follows the other.
    pub fn etag(self) -> String {
        let sign = if self.modified < 0 { "-" } else { "" };
        format!("\"{sign}{:x}-{:x}\"", self.modified.unsigned_abs(), self.size)
    }

    /// The value of `Last-Modified`.
    pub fn last_modified(self) -> HttpDate {
        HttpDate(self.modified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_that_of_nginx() {
        let stamp = Stamp { size: 1024, modified: 784_111_777 };
        assert_eq!(stamp.etag(), "\"2ebc98a1-400\"");
        assert_eq!(Stamp { size: 0, modified: -315_619_200 }.etag(), "\"-12cff780-0\"");
    }
}
