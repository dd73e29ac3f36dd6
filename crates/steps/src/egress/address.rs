//! Which addresses a request may go to.
//!
//! Invariant: an address is allowed only when it is known to be public. Ranges that carry another address inside them
//! (IPv4-mapped, NAT64, 6to4) are unwrapped, and what is inside is judged.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use reqwest::Url;

/// Which addresses may be reached that are not public.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum PrivateNetwork {
    /// None.
    #[default]
    Refuse,
    /// Those in these networks.
    Only(Arc<[Network]>),
    /// All, this machine and its neighbours included.
    Allow,
}

impl PrivateNetwork {
    /// Checks an address that a name was resolved to.
    ///
    /// # Errors
    /// The address is neither public nor allowed here.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        match self {
            PrivateNetwork::Allow => Ok(()),
            PrivateNetwork::Only(allowed) if allowed.iter().any(|it| it.contains(address)) => Ok(()),
            PrivateNetwork::Only(_) | PrivateNetwork::Refuse => check(address),
        }
    }

    /// Checks the host of a URL when it is an address; a name is checked once it has been resolved. The URL parser has
    /// already turned every way to write an IPv4 address (`0x7f.1`, `017700000001`, `2130706433`) into the one form.
    ///
    /// # Errors
    /// The host is an address that is neither public nor allowed here.
    pub fn check_literal(&self, url: &Url) -> Result<(), Refused> {
        let host = url.host_str().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        bare.parse().map_or(Ok(()), |address| self.check(address))
    }
}

/// The word for all addresses.
const ALL: &str = "all";

impl PrivateNetwork {
    /// Those in these networks; all of them when one of the words is `all`.
    ///
    /// # Errors
    /// One is neither that nor a network.
    pub fn of(words: &[&str]) -> Result<PrivateNetwork, BadNetwork> {
        let networks: Vec<Network> =
            words.iter().filter(|it| **it != ALL).map(|it| it.parse()).collect::<Result<_, _>>()?;
        Ok(match words {
            [] => PrivateNetwork::Refuse,
            _ if words.contains(&ALL) => PrivateNetwork::Allow,
            _ => PrivateNetwork::Only(networks.into()),
        })
    }

    /// Those that both allow.
    #[must_use]
    pub fn and(&self, other: &PrivateNetwork) -> PrivateNetwork {
        match (self, other) {
            (PrivateNetwork::Allow, both) | (both, PrivateNetwork::Allow) => both.clone(),
            (PrivateNetwork::Only(own), PrivateNetwork::Only(others)) => {
                // Of two networks one lies in the other, or they share nothing.
                let smaller = |(a, b): (&Network, &Network)| match a.prefix_bits >= b.prefix_bits {
                    true => b.contains(a.address).then_some(*a),
                    false => a.contains(b.address).then_some(*b),
                };
                let pairs = own.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
                let mut both: Vec<Network> = Vec::new();
                for network in pairs.filter_map(smaller) {
                    if !both.contains(&network) {
                        both.push(network);
                    }
                }
                if both.is_empty() { PrivateNetwork::Refuse } else { PrivateNetwork::Only(both.into()) }
            }
            (PrivateNetwork::Refuse, _) | (_, PrivateNetwork::Refuse) => PrivateNetwork::Refuse,
        }
    }

    /// The words that name them.
    pub fn words(&self) -> Vec<String> {
        match self {
            PrivateNetwork::Refuse => Vec::new(),
            PrivateNetwork::Only(networks) => networks.iter().map(Network::to_string).collect(),
            PrivateNetwork::Allow => vec![ALL.to_owned()],
        }
    }
}

/// Reads `true`, `false`, or networks with commas between them: `10.1.0.0/16,192.168.7.4`.
impl FromStr for PrivateNetwork {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<PrivateNetwork, BadNetwork> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(PrivateNetwork::Allow),
            "" | "false" | "no" | "off" | "0" => Ok(PrivateNetwork::Refuse),
            networks => {
                let words: Vec<&str> = networks.split(',').map(str::trim).collect();
                PrivateNetwork::of(&words)
            }
        }
    }
}

/// Addresses that begin with the same bits: `10.1.0.0/16`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

/// A text that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither true, false nor an address or network such as 192.168.7.4 or 10.1.0.0/16")]
pub struct BadNetwork(String);

impl Network {
    /// Whether that address is in it. An IPv4 address is the same when an IPv6 address carries it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, bits: u32| (a ^ b).checked_shr(bits - self.prefix_bits).unwrap_or(0) == 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits_max = if self.address.is_ipv4() { 32 } else { 128 };
        match self.prefix_bits {
            bits if bits == bits_max => self.address.fmt(f),
            bits => write!(f, "{}/{bits}", self.address),
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Network, BadNetwork> {
        let bad = || BadNetwork(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(bits_max), str::parse).map_err(|_| bad())?;
        if prefix_bits > bits_max {
            return Err(bad());
        }
        Ok(Network { address, prefix_bits })
    }
}

/// An address that a request may not go to, and what kind of address it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}")]
pub struct Refused {
    /// The address, as it would have been connected to.
    pub address: IpAddr,
    /// What kind of address, for a person: "a private address".
    pub kind: &'static str,
}

/// Checks that an address is public.
///
/// # Errors
/// It is not; the error says what it is.
pub fn check(address: IpAddr) -> Result<(), Refused> {
    let kind = match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    };
    kind.map_or(Ok(()), |kind| Err(Refused { address, kind }))
}

/// What an IPv4 address is when it is not public.
fn kind_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, d] = address.octets();
    Some(match (a, b, c) {
        (168, 63, 129) if d == 16 => "the address of a cloud's own services",
        (0, ..) => "the unspecified address or of this network",
        (127, ..) => "a loopback address",
        (10, ..) | (192, 168, _) => "a private address",
        (172, 16..=31, _) => "a private address",
        (100, 64..=127, _) => "a shared address (carrier-grade NAT)",
        (169, 254, _) => "a link-local address",
        (192, 0, 0) | (192, 88, 99) => "reserved for protocols",
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => "reserved for documentation",
        (198, 18..=19, _) => "reserved for benchmarks",
        (224..=239, ..) => "a multicast address",
        (240.., ..) => "a reserved or broadcast address",
        _ => return None,
    })
}

/// What an IPv6 address is when it is not public. Only the global unicast range is, less what is set apart in it.
fn kind_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        // Mapped and NAT64: the IPv4 address inside is the one that is reached.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => kind_v4(embedded(high, low)),
        [0x2002, high, low, ..] => kind_v4(embedded(high, low)),
        [0x2001, 0..=0x01ff, ..] => Some("reserved for protocols (Teredo and others)"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("reserved for documentation"),
        [_, _, _, _, 0 | 0x0200, 0x5efe, ..] => Some("an ISATAP address"),
        [0x2000..=0x3fff, ..] => None,
        [0xfc00..=0xfdff, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfec0..=0xfeff, ..] => Some("a site-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        _ => Some("not a public address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_allowed() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "168.63.129.17",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001:831::200e",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(check(text.parse().unwrap()), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_rest_is_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2a00::5efe:7f00:1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(check(text.parse().unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_both_allow_is_never_more_than_either() {
        for (one, other, both) in [
            ("on", "on", "all"),
            ("on", "10.1.0.0/16", "10.1.0.0/16"),
            ("on", "off", ""),
            ("10.0.0.0/8", "off", ""),
            ("10.0.0.0/8", "10.1.0.0/16,10.2.0.3", "10.1.0.0/16 10.2.0.3/32"),
            ("10.1.0.0/16", "10.2.0.0/16", ""),
            ("10.1.0.0/16,192.168.0.0/16", "10.1.2.0/24,192.0.0.0/8", "10.1.2.0/24 192.168.0.0/16"),
            ("0.0.0.0/0", "::/0", ""),
            ("fd00::/8", "fd00:1::/32,fe80::1", "fd00:1::/32"),
            ("10.0.0.0/8,10.1.0.0/16", "10.1.0.0/16", "10.1.0.0/16"),
        ] {
            let read = |text: &str| text.parse::<PrivateNetwork>().unwrap();
            let words: Vec<String> = both.split_whitespace().map(str::to_owned).collect();
            let shown: Vec<String> = match PrivateNetwork::of(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
                Ok(both) => both.words(),
                Err(bad) => panic!("{bad}"),
            };
            assert_eq!(read(one).and(&read(other)).words(), shown, "{one} and {other}");
            assert_eq!(read(other).and(&read(one)).words(), shown, "{other} and {one}");
        }
    }

    #[test]
    fn networks_are_read_and_hold_what_they_should() {
        for (text, inside, outside) in [
            ("192.168.7.4", "192.168.7.4", "192.168.7.5"),
            ("192.168.7.4", "::ffff:192.168.7.4", "::192.168.7.4"),
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("0.0.0.0/0", "127.0.0.1", "::1"),
            ("fd00:1::/32", "fd00:1:ffff::1", "fd00:2::1"),
            ("::/0", "::1", "127.0.0.1"),
            ("10.9.9.9, 127.0.0.2/31", "127.0.0.3", "127.0.0.4"),
        ] {
            let allowed: PrivateNetwork = text.parse().unwrap();
            assert_eq!(allowed.check(inside.parse().unwrap()), Ok(()), "{text}: {inside}");
            assert!(allowed.check(outside.parse().unwrap()).is_err(), "{text}: {outside}");
        }
        for text in ["maybe", "10.1.0.0/33", "10.1.0.0/x", "10.1", "10.0.0.1,", "example.com", "::/129"] {
            assert!(text.parse::<PrivateNetwork>().is_err(), "{text}");
        }
        assert_eq!("yes".parse(), Ok(PrivateNetwork::Allow));
        assert_eq!("off".parse(), Ok(PrivateNetwork::Refuse));
    }
}
