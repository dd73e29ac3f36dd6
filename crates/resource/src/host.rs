//! Hosts to which something may go: `api.example.com`, `*.example.com` for those below it, either with a port.
//!
//! Invariant: an empty list lets everything; any other one lets what a pattern of it names, and nothing else.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

/// Patterns of one list.
pub const PATTERNS_MAX: usize = 50;
/// Bytes of a name, as DNS bounds it.
const NAME_BYTES_MAX: usize = 253;

/// Hosts to which something may go; none named is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Arc<[HostPattern]>);

/// One host, or those below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Address(IpAddr),
    Exactly(String),
    /// What ends like this: `.example.com`.
    Below(String),
}

/// A text that names no hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is none of `api.example.com`, `*.example.com`, an address, or one of them with a port: `api.example.com:8443`"
)]
pub struct BadHost;

impl Hosts {
    /// Those that these patterns name.
    ///
    /// # Errors
    /// One is none: which, from 0.
    pub fn of(patterns: &[String]) -> Result<Hosts, (usize, BadHost)> {
        let read = |(at, text): (usize, &String)| text.parse().map_err(|bad| (at, bad));
        patterns.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>().map(|all| Hosts(all.into()))
    }

    /// Whether it may go anywhere.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it may go to that host, as a URL or a person writes it, at that port.
    pub fn contains(&self, host: &str, port: u16) -> bool {
        let name = host.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let address = bare(name).parse::<IpAddr>().ok();
        let fits = |it: &Name| match it {
            Name::Address(own) => address == Some(*own),
            Name::Exactly(own) => own == name,
            Name::Below(end) => address.is_none() && name.len() > end.len() && name.ends_with(end.as_str()),
        };
        self.is_all() || self.0.iter().any(|it| it.port.is_none_or(|own| own == port) && fits(&it.name))
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(HostPattern::to_string).collect();
        f.write_str(&all.join(", "))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Name::Address(address) => write!(f, "{address}")?,
            Name::Exactly(name) => f.write_str(name)?,
            Name::Below(end) => write!(f, "*{end}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromStr for HostPattern {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<HostPattern, BadHost> {
        let text = text.to_ascii_lowercase();
        // What is behind the brackets of an IPv6 address is its port; in them are colons of its own.
        let end = text.find(']').map_or(0, |at| at + 1);
        let (name, port) = match text[end..].rsplit_once(':') {
            Some((rest, port)) => (&text[..end + rest.len()], Some(port.parse().map_err(|_| BadHost)?)),
            None => (text.as_str(), None),
        };
        if port == Some(0) {
            return Err(BadHost);
        }
        let name = match name.strip_prefix("*.") {
            Some(rest) if is_name(rest) => Name::Below(format!(".{rest}")),
            Some(_) => return Err(BadHost),
            None if name.starts_with('[') => Name::Address(bare(name).parse().map_err(|_| BadHost)?),
            None if is_name(name) => Name::Exactly(name.to_owned()),
            None => Name::Address(name.parse().map_err(|_| BadHost)?),
        };
        Ok(HostPattern { name, port })
    }
}

/// An IPv6 address without the brackets in which it stands where a port may follow.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host)
}

/// Whether it is a name of a host and no address: the last part of a name is no number.
fn is_name(text: &str) -> bool {
    let fits = |label: &str| {
        !label.is_empty() && label.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
    };
    let is_number = |label: &str| label.starts_with("0x") || label.bytes().all(|it| it.is_ascii_digit());
    text.len() <= NAME_BYTES_MAX && text.split('.').all(fits) && !text.rsplit('.').next().is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(patterns: &str) -> Hosts {
        Hosts::of(&patterns.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_list_lets_what_it_names_and_nothing_else() {
        for (patterns, host, port, lets) in [
            ("", "anything.example", 80, true),
            ("api.example.com", "api.example.com", 443, true),
            ("API.Example.com", "api.EXAMPLE.com.", 80, true),
            ("api.example.com", "api.example.com.evil.example", 443, false),
            ("api.example.com", "x.api.example.com", 443, false),
            ("*.example.com", "api.example.com", 443, true),
            ("*.example.com", "a.b.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*.example.com", ".example.com", 443, false),
            ("*.example.com", "badexample.com", 443, false),
            ("api.example.com:8443", "api.example.com", 8443, true),
            ("api.example.com:8443", "api.example.com", 443, false),
            ("*.example.com:8443 localhost", "localhost", 1, true),
            ("127.0.0.1", "127.0.0.1", 80, true),
            ("127.0.0.1", "127.0.0.2", 80, false),
            ("[::1]:80", "[::1]", 80, true),
            ("[::1]", "0:0:0:0:0:0:0:1", 80, true),
            ("[0:0::1]:80", "[::1]", 81, false),
        ] {
            assert_eq!(hosts(patterns).contains(host, port), lets, "{patterns}: {host}:{port}");
        }
    }

    #[test]
    fn what_names_no_hosts_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "*.*.com",
            "a*.com",
            "https://a.com",
            "a.com/x",
            "a b",
            "user@a.com",
            "a..com",
            ".com",
            "a.com.",
            "a.com:",
            "a.com:0",
            "a.com:70000",
            "a.com:x",
            "::1",
            "[::1",
            "[::1]x",
            "[a.com]",
            "127.1",
            "0x7f.1",
            "1",
            "*.127.0.0.1",
            "bücher.example",
            "[::1]:",
        ] {
            assert_eq!(text.parse::<HostPattern>(), Err(BadHost), "{text}");
        }
        assert_eq!(hosts("A.com:1 *.b.com [::1]:2 10.0.0.1").to_string(), "a.com:1, *.b.com, [::1]:2, 10.0.0.1");
    }
}
