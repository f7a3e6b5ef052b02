//! Which value belongs to an address: networks, of which the longest prefix counts, or ranges.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use ipnet::IpNet;

/// Networks with values.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    v4: Prefixes<u32>,
    v6: Prefixes<u128>,
}

/// Values by network, for each length of a prefix, longest first.
#[derive(Clone, Debug)]
struct Prefixes<Bits>(Vec<(u8, BTreeMap<Bits, Bytes>)>);

impl<Bits> Default for Prefixes<Bits> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Networks {
    /// Adds a network; gives back the value that it had.
    pub(super) fn insert(&mut self, network: IpNet, value: Bytes) -> Option<Bytes> {
        match network.trunc() {
            IpNet::V4(net) => self.v4.of(net.prefix_len()).insert(net.network().to_bits(), value),
            IpNet::V6(net) => self.v6.of(net.prefix_len()).insert(net.network().to_bits(), value),
        }
    }

    /// Takes a network out; says whether it was there.
    pub(super) fn remove(&mut self, network: IpNet) -> bool {
        let removed = match network.trunc() {
            IpNet::V4(net) => self.v4.of(net.prefix_len()).remove(&net.network().to_bits()),
            IpNet::V6(net) => self.v6.of(net.prefix_len()).remove(&net.network().to_bits()),
        };
        removed.is_some()
    }

    pub(super) fn find(&self, address: IpAddr) -> Option<&Bytes> {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.0.iter().find_map(|(length, values)| {
                let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
                values.get(&(v4.to_bits() & mask))
            }),
            IpAddr::V6(v6) => self.v6.0.iter().find_map(|(length, values)| {
                let mask = u128::MAX.checked_shl(128 - u32::from(*length)).unwrap_or(0);
                values.get(&(v6.to_bits() & mask))
            }),
        }
    }
}

impl<Bits: Ord> Prefixes<Bits> {
    fn of(&mut self, length: u8) -> &mut BTreeMap<Bits, Bytes> {
        let index = self.0.partition_point(|(other, _)| *other > length);
        if self.0.get(index).is_none_or(|(other, _)| *other != length) {
            self.0.insert(index, (length, BTreeMap::new()));
        }
        &mut self.0[index].1
    }
}

/// Ranges of IPv4 addresses with values: sorted, and none in another.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges(Vec<Range>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    begin: u32,
    /// Belongs to it.
    end: u32,
    value: Bytes,
}

impl Ranges {
    /// Adds a range. Inside another one it stands out.
    ///
    /// # Errors
    /// The part of another one that it overlaps, without lying inside.
    pub(super) fn insert(
        &mut self,
        begin: Ipv4Addr,
        end: Ipv4Addr,
        value: Bytes,
    ) -> Result<(), (Ipv4Addr, Ipv4Addr)> {
        let (begin, end) = (begin.to_bits(), end.to_bits());
        let first = self.0.partition_point(|range| range.end < begin);
        let past = self.0.partition_point(|range| range.begin <= end);
        let mut pieces = Vec::with_capacity(3);
        for other in &self.0[first..past] {
            // nginx keeps ranges in blocks of 65,536: whole ones are replaced.
            let is_inside = |at: u32, edge: u32, block: u32| at == edge || edge & 0xffff == block;
            let fits = (begin >= other.begin || is_inside(begin, other.begin, 0))
                && (end <= other.end || is_inside(end, other.end, 0xffff));
            if !fits {
                return Err((Ipv4Addr::from_bits(other.begin), Ipv4Addr::from_bits(other.end)));
            }
            if other.begin < begin {
                pieces.push(Range { end: begin - 1, ..other.clone() });
            }
        }
        pieces.push(Range { begin, end, value });
        if let Some(last) = self.0[first..past].last()
            && last.end > end
        {
            pieces.push(Range { begin: end + 1, ..last.clone() });
        }
        self.0.splice(first..past, pieces);
        Ok(())
    }

    /// Takes a range out; says whether it was there.
    pub(super) fn remove(&mut self, begin: Ipv4Addr, end: Ipv4Addr) -> bool {
        let (begin, end) = (begin.to_bits(), end.to_bits());
        let before = self.0.len();
        self.0.retain(|range| (range.begin, range.end) != (begin, end));
        self.0.len() < before
    }

    pub(super) fn find(&self, address: Ipv4Addr) -> Option<&Bytes> {
        let bits = address.to_bits();
        let index = self.0.partition_point(|range| range.end < bits);
        self.0.get(index).filter(|range| range.begin <= bits).map(|range| &range.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts() {
        let mut networks = Networks::default();
        for (network, value) in [
            ("0.0.0.0/0", "all"),
            ("10.0.0.0/8", "ten"),
            ("10.1.2.3/32", "one"),
            ("2001:db8::/32", "six"),
            ("::/0", "any six"),
        ] {
            let network = network.parse().expect("a network");
            assert_eq!(networks.insert(network, value.into()), None);
        }
        for (address, value) in [
            ("10.1.2.3", "one"),
            ("10.1.2.4", "ten"),
            ("11.0.0.0", "all"),
            ("::ffff:10.1.2.3", "one"),
            ("2001:db8::1", "six"),
            ("2001:db9::1", "any six"),
        ] {
            let found = networks.find(address.parse().expect("an address"));
            assert_eq!(found.map(|value| &value[..]), Some(value.as_bytes()), "{address}");
        }
        assert!(networks.remove("10.1.2.3/32".parse().expect("a network")));
        assert!(!networks.remove("10.1.0.0/16".parse().expect("a network")));
        assert_eq!(networks.find([10, 1, 2, 3].into()), Some(&"ten".into()));
    }

    #[test]
    fn ranges_stand_inside_each_other_or_apart() {
        let mut ranges = Ranges::default();
        let mut insert = |begin: [u8; 4], end: [u8; 4], value: &'static str| {
            ranges.insert(begin.into(), end.into(), value.into())
        };
        assert_eq!(insert([10, 0, 0, 0], [10, 0, 255, 255], "a"), Ok(()));
        assert_eq!(insert([10, 0, 1, 0], [10, 0, 1, 255], "b"), Ok(()));
        assert_eq!(insert([10, 0, 0, 0], [10, 0, 0, 9], "c"), Ok(()));
        assert_eq!(insert([10, 0, 200, 0], [10, 0, 255, 255], "d"), Ok(()));
        assert_eq!(insert([9, 0, 0, 0], [9, 0, 0, 1], "e"), Ok(()));
        let overlapped = insert([10, 0, 1, 128], [10, 0, 2, 0], "f").expect_err("overlaps");
        assert_eq!(overlapped, ([10, 0, 1, 0].into(), [10, 0, 1, 255].into()));
        for (address, value) in [
            ([9, 0, 0, 1], Some("e")),
            ([9, 0, 0, 2], None),
            ([10, 0, 0, 9], Some("c")),
            ([10, 0, 0, 10], Some("a")),
            ([10, 0, 1, 0], Some("b")),
            ([10, 0, 2, 0], Some("a")),
            ([10, 0, 255, 255], Some("d")),
            ([10, 1, 0, 0], None),
        ] {
            let found = ranges.find(address.into()).map(|value| &value[..]);
            assert_eq!(found, value.map(str::as_bytes), "{address:?}");
        }
        assert!(ranges.remove([10, 0, 1, 0].into(), [10, 0, 1, 255].into()));
        assert_eq!(ranges.find([10, 0, 1, 5].into()), None);
    }

    #[test]
    fn whole_blocks_are_replaced() {
        let mut ranges = Ranges::default();
        let mut insert = |begin: [u8; 4], end: [u8; 4], value: &'static str| {
            ranges.insert(begin.into(), end.into(), value.into())
        };
        assert_eq!(insert([10, 1, 0, 0], [10, 1, 255, 255], "a"), Ok(()));
        assert_eq!(insert([10, 0, 0, 0], [10, 2, 255, 255], "b"), Ok(()));
        assert_eq!(ranges.find([10, 1, 2, 3].into()), Some(&"b".into()));
    }
}
