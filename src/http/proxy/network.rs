//! Networks of IP addresses: [`Network`].

// core::net has the address types without the sockets: http/ does no I/O.
use core::net::IpAddr;

use super::parse_ip;

/// A network (`10.0.0.0/8`) or a single address (`::1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    /// The bits of the host part, set to one.
    host_mask: u128,
}

impl Network {
    /// Parses `10.0.0.0/8`, `192.168.1.2`, `2001:db8::/32` or `[::1]`.
    ///
    /// # Errors
    ///
    /// One line that says what is valid.
    pub fn parse(text: &str) -> Result<Network, String> {
        let usage = || "an address is 10.0.0.1 or ::1, a network 10.0.0.0/8 or fd00::/8".to_owned();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = parse_ip(address).ok_or_else(usage)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|len| *len <= bits)
                .ok_or_else(usage)?,
            Some(_) => return Err(usage()),
        };
        let host_mask = u128::MAX.checked_shr(128 - bits + prefix_len).unwrap_or(0);
        let first = with_number(address, number(address) & !host_mask);
        if first != address {
            return Err(format!(
                "{address} is inside of that network, whose name is {first}/{prefix_len}"
            ));
        }
        Ok(Network { first, host_mask })
    }

    /// Whether `address` is in the network. IPv4-mapped IPv6 addresses must be unmapped first.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4()
            && number(address) & !self.host_mask == number(self.first)
    }
}

/// The address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address with this number, of the same IP version as `like`.
fn with_number(like: IpAddr, number: u128) -> IpAddr {
    match like {
        // The caller only cleared bits of an IPv4 address, so 32 bits are enough.
        IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.1/32", "10.0.0.1", "10.0.0.0"),
            ("0.0.0.0/0", "255.1.2.3", "::"),
            ("192.168.1.128/25", "192.168.1.255", "192.168.1.127"),
            ("::1", "::1", "::2"),
            ("[::1]", "::1", "0.0.0.1"),
            ("::/0", "ffff::1", "1.2.3.4"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::ffff:10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1"),
        ];
        for (text, inside, outside) in cases {
            let network = Network::parse(text).unwrap();
            assert!(network.contains(ip(inside)), "{text} {inside}");
            assert!(!network.contains(ip(outside)), "{text} {outside}");
        }
        let bad = [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10/8",
            "localhost",
            "10.0.0.0/8/8",
            "[10.0.0.1]",
            "fe80::1%eth0",
            "10.0.0.1:80",
            "10.0.0.0/255.0.0.0",
            "::/99999999999",
        ];
        for text in bad {
            let message = Network::parse(text).unwrap_err();
            assert!(message.contains("10.0.0.0/8"), "{text}: {message}");
        }
        assert_eq!(
            Network::parse("10.1.2.3/8").unwrap_err(),
            "10.1.2.3 is inside of that network, whose name is 10.0.0.0/8"
        );
    }
}
