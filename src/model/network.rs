//! A network of IP addresses: those that share their leading bits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network of IP addresses. An IPv4 address that is written as an IPv6 one (`::ffff:10.0.0.1`) counts as the IPv4
/// address that it is, here and wherever an address is looked for in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// Every bit behind the first `length` is 0.
    first: IpAddr,
    length: u8,
}

/// Why a text is no [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// It is no address, or the length behind the slash is none.
    #[error("a network is written ADDRESS/LENGTH, such as 10.2.0.0/16 or fd00::/8, or as a single address")]
    Form,
    /// The address has bits that its length cuts off, so that one of the two is not what was meant.
    #[error("bits stand behind the length; the network around this address is {0}")]
    BitsBehind(Network),
}

impl Network {
    /// The addresses that share the first `length` bits with `address`; all of its bits, when it has no more.
    #[must_use]
    pub fn around(address: IpAddr, length: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let length = length.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Self { first: Ipv4Addr::from_bits(address.to_bits() & mask).into(), length }
            }
            IpAddr::V6(address) => {
                let length = length.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                Self { first: Ipv6Addr::from_bits(address.to_bits() & mask).into(), length }
            }
        }
    }

    /// Whether `address` is one of its addresses.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let around = Self::around(address, self.length);
        // As enum values an IPv4 and an IPv6 address are never equal.
        around.first == self.first
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, length) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let written: IpAddr = address.parse().map_err(|_| BadNetwork::Form)?;
        let (address, bits): (_, u8) = match written {
            IpAddr::V4(_) => (written, 32),
            IpAddr::V6(_) => (written, 128),
        };
        let length = match length {
            None => bits,
            Some(digits) if (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|&length| length <= bits).ok_or(BadNetwork::Form)?
            }
            Some(_) => return Err(BadNetwork::Form),
        };
        // Of an IPv4 address in IPv6's form, the first 96 bits are the form.
        let length = match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(_)) => length.checked_sub(96).ok_or(BadNetwork::Form)?,
            _ => length,
        };
        let network = Self::around(address, length);
        if network.first == address.to_canonical() {
            Ok(network)
        } else {
            Err(BadNetwork::BitsBehind(network))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_the_addresses_that_share_its_bits() {
        for (text, inside, outside) in [
            ("10.2.0.0/16", "10.2.255.255", "10.3.0.0"),
            ("10.2.3.4", "10.2.3.4", "10.2.3.5"),
            ("10.2.3.4/31", "10.2.3.5", "10.2.3.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("::1", "::1", "::2"),
        ] {
            let network = network(text);
            assert!(network.contains(ip(inside)), "{text} {inside}");
            assert!(!network.contains(ip(outside)), "{text} {outside}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6s_form_is_an_ipv4_address() {
        assert!(network("10.0.0.0/8").contains(ip("::ffff:10.1.2.3")));
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert!(!network("::/0").contains(ip("::ffff:10.1.2.3")));
        assert_eq!("::ffff:0:0/95".parse::<Network>(), Err(BadNetwork::Form));
    }

    #[test]
    fn what_is_no_network_is_told_from_what_is_cut_off() {
        for bad in
            ["", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "::/999", "10.0.0.0/+8", "10.0.0/8", "all"]
        {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork::Form), "{bad}");
        }
        let error = "10.2.3.4/16".parse::<Network>().unwrap_err();
        assert_eq!(error, BadNetwork::BitsBehind(network("10.2.0.0/16")));
        assert!(error.to_string().ends_with("the network around this address is 10.2.0.0/16"));
        assert_eq!("::1/0".parse::<Network>(), Err(BadNetwork::BitsBehind(network("::/0"))));
    }

    #[test]
    fn a_network_is_written_as_it_is_read() {
        for text in ["10.2.0.0/16", "0.0.0.0/0", "2001:db8::/32"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(Network::around(ip("10.2.3.4"), 24).to_string(), "10.2.3.0/24");
        assert_eq!(Network::around(ip("10.2.3.4"), 64).to_string(), "10.2.3.4/32");
    }
}
