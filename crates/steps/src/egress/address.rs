//! Which addresses a request may go to.
//!
//! Invariant: an address is allowed only when it is known to be public. Ranges that carry another address inside them
//! (IPv4-mapped, NAT64, 6to4) are unwrapped, and what is inside is judged.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use reqwest::Url;

/// Which addresses may be reached that are not public.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PrivateNetwork {
    /// None.
    #[default]
    Refuse,
    /// These.
    Only(Arc<[IpAddr]>),
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
            PrivateNetwork::Only(allowed) if allowed.contains(&address) => Ok(()),
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
    let [a, b, c, _] = address.octets();
    Some(match (a, b, c) {
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
}
