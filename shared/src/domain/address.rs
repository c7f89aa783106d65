//! Where webhooks may go: the URL's form, and whether an address is public. Pure; `sending::address_guard` enforces it at each connection.
//!
//! The ranges are those of the IANA special-purpose registries (RFC 6890 and successors) that are not globally reachable, with the ways to
//! write an IPv4 address inside an IPv6 one. Whatever embeds IPv4 is judged by the address inside it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

/// The longest URL of an endpoint, in characters.
pub const URL_CHARACTERS_MAX: usize = 2_048;

/// What the operator allows beyond public `https` receivers; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Whether `http` URLs are allowed.
    pub allow_http: bool,
    /// Address ranges that are allowed although they are not public.
    pub allowed_ranges: Vec<IpNet>,
}

impl AddressPolicy {
    /// Whether a connection may go to this address.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        is_public(address) || self.allowed_ranges.iter().any(|range| range.contains(&address))
    }

    /// Whether a host name may be asked for at all: `localhost` and what is below it only where a loopback range is allowed, internal zones only where
    /// another range is. What a name resolves to is judged in any case.
    #[must_use]
    pub fn permits_name(&self, name: &str) -> bool {
        let is_loopback = |range: &IpNet| range.addr().is_loopback();
        if is_in_zone(name, "localhost") {
            return self.allowed_ranges.iter().any(is_loopback);
        }
        let internal = INTERNAL_ZONES.iter().any(|zone| is_in_zone(name, zone));
        !internal || self.allowed_ranges.iter().any(|range| !is_loopback(range))
    }

    /// Checks the host of a parsed URL as far as that can be done without resolving it.
    ///
    /// # Errors
    /// The rule.
    pub fn check_host(&self, url: &Url) -> Result<(), String> {
        let permitted = match url.host() {
            Some(Host::Ipv4(address)) => self.permits(address.into()),
            Some(Host::Ipv6(address)) => self.permits(address.into()),
            Some(Host::Domain(name)) if name.trim_matches('.').is_empty() => false,
            Some(Host::Domain(name)) => self.permits_name(name),
            None => false,
        };
        if permitted { Ok(()) } else { Err("must not point to an internal name or address".to_owned()) }
    }

    /// Reads an endpoint's URL: absolute, `https` (or `http` where allowed), without credentials and fragment, not internal.
    ///
    /// The URL comes back as the URL standard writes it, so odd spellings of an address (`0x7f.1`, `2130706433`) are judged by what they mean.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check_url(&self, text: &str) -> Result<Url, String> {
        if text.chars().count() > URL_CHARACTERS_MAX {
            return Err(format!("must be at most {URL_CHARACTERS_MAX} characters"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("must not contain white space or control characters".to_owned());
        }
        let url = Url::parse(text).map_err(|error| format!("must be an absolute URL: {error}"))?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err("must be an https URL".to_owned()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not contain credentials; use the authorization field".to_owned());
        }
        if url.fragment().is_some() {
            return Err("must not contain a fragment".to_owned());
        }
        if url.port() == Some(0) {
            return Err("must not use port 0".to_owned());
        }
        self.check_host(&url)?;
        Ok(url)
    }
}

/// Zones that no public name is in.
const INTERNAL_ZONES: &[&str] = &["internal", "local"];

/// Whether the name is the zone or lies in it. Case and a trailing dot do not matter.
fn is_in_zone(name: &str, zone: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether the address is one that anybody on the internet could be at.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let blocked = a == 0 // "this network", RFC 791
        || a == 10 // private, RFC 1918
        || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT, RFC 6598
        || a == 127 // loopback
        || (a == 169 && b == 254) // link-local, cloud metadata, RFC 3927
        || (a == 172 && (16..32).contains(&b)) // private
        || (a == 192 && b == 0 && c == 0) // IETF protocol assignments, RFC 6890
        || (a == 192 && b == 0 && c == 2) // documentation, RFC 5737
        || (a == 192 && b == 88 && c == 99) // 6to4 relay anycast, RFC 7526
        || (a == 192 && b == 168) // private
        || (a == 198 && (b == 18 || b == 19)) // benchmarking, RFC 2544
        || (a == 198 && b == 51 && c == 100) // documentation
        || (a == 203 && b == 0 && c == 113) // documentation
        || a >= 224; // multicast, reserved, broadcast
    !blocked
}

/// IPv4 inside IPv6 is never public, for any IPv4 address: where a connection to it goes is the network's to say, and what is at a public
/// IPv4 address is reached by that.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    // Only 2000::/3 is handed out at all. Outside it lie loopback, unique local fc00::/7 (with fd00:ec2::254), link-local fe80::/10, site-local fec0::/10,
    // multicast ff00::/8, discard 100::/64, and IPv4 mapped and compatible (RFC 4291 2.5.5), translated (RFC 2765) and behind NAT64 (RFC 6052, 8215).
    if s[0] & 0xe000 != 0x2000 {
        return false;
    }
    #[expect(clippy::nonminimal_bool, reason = "one line per registry entry")]
    let blocked = (s[0] == 0x2001 && s[1] < 0x200) // IETF protocol assignments 2001::/23, Teredo 2001::/32 among them
        || (s[0] == 0x2001 && s[1] == 0xdb8) // documentation, RFC 3849
        || s[0] == 0x2002 // 6to4, RFC 3056
        || (s[0] == 0x3fff && s[1] < 0x1000) // documentation, RFC 9637
        || s[0] == 0x3ffe; // the former 6bone, RFC 3701
    !blocked
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn internal_addresses_are_not_public_however_they_are_written() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:0:1::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
        ] {
            assert!(public(text), "{text}");
        }
    }

    #[test]
    fn urls_are_judged_by_what_they_mean() {
        let policy = AddressPolicy::default();
        for text in [
            "https://127.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://db.internal/",
            "https://printer.local./",
            "https://[::1]/",
            "https://[::ffff:7f00:1]/",
            "https://169.254.169.254/latest",
            "https://①②⑦.0.0.1/",
            "https://user:pass@example.com/",
            "https://example.com/#a",
            "http://example.com/",
            "ftp://example.com/",
            "example.com",
            "https://",
            "https://exa mple.com/",
            "https://example.com/\r\n",
            "https://example.com:0/",
        ] {
            assert!(policy.check_url(text).is_err(), "{text}");
        }
        for text in [
            "https://example.com/hook?a=b",
            "https://bücher.example/",
            "https://8.8.8.8:8443/",
            "https://localhost.example/",
        ] {
            assert!(policy.check_url(text).is_ok(), "{text}");
        }
        let long = format!("https://example.com/{}", "x".repeat(URL_CHARACTERS_MAX));
        assert!(policy.check_url(&long).unwrap_err().contains("2048"));
    }

    #[test]
    fn operator_can_allow_http_and_ranges() {
        let policy = AddressPolicy { allow_http: true, allowed_ranges: vec!["127.0.0.0/8".parse().unwrap()] };
        assert!(policy.check_url("http://localhost:8081/").is_ok());
        assert!(policy.check_url("http://127.0.0.1:8081/").is_ok());
        assert!(policy.check_url("http://10.0.0.1/").is_err());
        assert!(policy.check_url("http://169.254.169.254/").is_err());
        assert!(policy.check_url("http://a.localhost./").is_ok());
        assert!(policy.check_url("http://metadata.google.internal/").is_err());
        let inside = AddressPolicy { allow_http: false, allowed_ranges: vec!["10.0.0.0/8".parse().unwrap()] };
        assert!(inside.check_url("https://billing.internal/").is_ok());
        assert!(inside.check_url("https://localhost/").is_err());
    }

    /// Written down again from the registries, as networks and not as bit tests, so that a slip in one shows against the other.
    const NOT_PUBLIC: &[&str] = &[
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    ];

    const NOT_PUBLIC_V6: &[&str] = &[
        "::/128",
        "::1/128",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3ffe::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ];

    proptest! {
        #[test]
        fn any_v4_address_is_public_exactly_if_no_registry_range_holds_it(bits: u32) {
            let address = Ipv4Addr::from(bits);
            let listed = NOT_PUBLIC.iter().any(|net| net.parse::<IpNet>().unwrap().contains(&IpAddr::V4(address)));
            prop_assert_eq!(is_public_v4(address), !listed);
        }

        #[test]
        fn any_v6_address_is_public_exactly_if_it_is_global_unicast_and_no_registry_range_holds_it(
            bits: u128,
            within in proptest::sample::select(NOT_PUBLIC_V6),
        ) {
            let held = |address: Ipv6Addr, net: &str| net.parse::<IpNet>().unwrap().contains(&IpAddr::V6(address));
            let judged_right = |address: Ipv6Addr| {
                let listed = NOT_PUBLIC_V6.iter().any(|net| held(address, net));
                is_public_v6(address) == (held(address, "2000::/3") && !listed)
            };
            let net = within.parse::<ipnet::Ipv6Net>().unwrap();
            let host = bits & u128::from(net.hostmask());
            let inside = Ipv6Addr::from(u128::from(net.network()) | host);
            prop_assert!(held(inside, within) && !is_public_v6(inside));
            // Just anywhere, among what is handed out, and near the edges of a range.
            let global = Ipv6Addr::from((bits >> 3) | (1 << 125));
            let beyond = Ipv6Addr::from(u128::from(net.broadcast()).wrapping_add(1));
            for address in [Ipv6Addr::from(bits), global, beyond] {
                prop_assert!(judged_right(address), "{}", address);
            }
        }

        #[test]
        fn v4_inside_v6_is_never_public(bits: u32) {
            let [high, low] = [(bits >> 16) as u16, bits as u16];
            for address in [
                Ipv4Addr::from(bits).to_ipv6_mapped(),
                Ipv4Addr::from(bits).to_ipv6_compatible(),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !high, !low),
            ] {
                prop_assert!(!is_public_v6(address), "{}", address);
            }
        }

        #[test]
        fn operator_allows_just_what_the_ranges_hold(bits: u32, allowed: u32, length in 0_u8..=32) {
            let range = IpNet::from(ipnet::Ipv4Net::new(Ipv4Addr::from(allowed), length).unwrap());
            let policy = AddressPolicy { allow_http: false, allowed_ranges: vec![range] };
            // One anywhere, and one in the range.
            for address in [Ipv4Addr::from(bits), Ipv4Addr::from(allowed)] {
                let permitted = is_public_v4(address) || range.contains(&IpAddr::V4(address));
                prop_assert_eq!(policy.permits(IpAddr::V4(address)), permitted);
            }
        }
    }
}
