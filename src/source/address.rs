//! Which network addresses a repository's host may resolve to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::url::GitHosts;

/// Whether an address belongs to a private, local or reserved network (the IANA special-purpose registries,
/// RFC 6890), in whichever notation it is embedded.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let words = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_private_v4(Ipv4Addr::new(a, b, c, d))
    };
    match words {
        // IPv4-compatible, IPv4-mapped, the translation prefixes of RFC 2765 and RFC 6052, and 6to4
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] | [0x2001, 0 | 0xdb8, ..] => true,
        _ => address.is_multicast() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// A name that resolves to private addresses only.
#[derive(Debug, thiserror::Error)]
#[error("{host} resolves to the private address {address}")]
pub(super) struct PrivateAddress {
    host: String,
    address: IpAddr,
}

/// Resolves names for the HTTP client and withholds private addresses, so that the address that was checked is the
/// one that is connected to (a name that answers differently the second time gains nothing).
pub(super) struct GuardedResolver {
    pub(super) hosts: Arc<GitHosts>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let allowed = self.hosts.names(&host);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let usable: Vec<SocketAddr> =
                found.iter().copied().filter(|address| allowed || !is_private(address.ip())).collect();
            match (usable.is_empty(), found.first()) {
                (true, Some(first)) => Err(PrivateAddress { host, address: first.ip() }.into()),
                _ => Ok(Box::new(usable.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known_in_every_notation() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fd00::1",
            "fe80::1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001::1",
            "ff02::1",
            "198.18.0.1",
        ] {
            assert!(is_private(text.parse().expect("an address")), "{text}");
        }
        for text in ["140.82.121.4", "2606:50c0:8000::153", "172.32.0.1", "64:ff9b::8c52:7904"] {
            assert!(!is_private(text.parse().expect("an address")), "{text}");
        }
    }
}
