//! Where a webhook may go: rules against requests that reach what is only meant for the inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

const URL_BYTES_MAX: usize = 2048;

/// Checks a webhook's URL as far as that needs no name resolution.
///
/// # Errors
/// The rule that it breaks.
pub fn check_url(text: &str) -> Result<(), String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("the URL must have at most {URL_BYTES_MAX} bytes"));
    }
    let url = Url::parse(text).map_err(|e| format!("{text:?} is not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the URL must begin with http:// or https://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL must not hold a user name or password".into());
    }
    match url.host() {
        None => Err("the URL must name a host".into()),
        Some(Host::Domain("")) => Err("the URL must name a host".into()),
        Some(_) => Ok(()),
    }
}

/// Why an address must not be reached; `None` = it is a public one.
pub fn inside(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => inside_v4(v4),
        IpAddr::V6(v6) => inside_v6(v6),
    }
}

fn inside_v4(v4: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = v4.octets();
    if v4.is_loopback() {
        Some("a loopback address")
    } else if v4.is_private() || (a == 100 && (64..128).contains(&b)) {
        Some("a private address")
    } else if v4.is_link_local() {
        Some("a link-local address")
    } else if v4.is_multicast() || v4.is_broadcast() {
        Some("a multicast or broadcast address")
    } else if a == 0
        || a >= 240
        || v4.is_documentation()
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b))
    {
        Some("a reserved address")
    } else {
        None
    }
}

fn inside_v6(v6: Ipv6Addr) -> Option<&'static str> {
    let s = v6.segments();
    // An IPv4 address in another dress is judged as what it is.
    let low = || Ipv4Addr::from(((u32::from(s[6])) << 16) | u32::from(s[7]));
    if let Some(v4) = v6.to_ipv4_mapped() {
        return inside_v4(v4);
    }
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return inside_v4(low());
    }
    if s[0] == 0x2002 {
        return inside_v4(Ipv4Addr::from(((u32::from(s[1])) << 16) | u32::from(s[2])));
    }
    if v6.is_loopback() {
        Some("a loopback address")
    } else if s[0] & 0xfe00 == 0xfc00 {
        Some("a private address")
    } else if s[0] & 0xffc0 == 0xfe80 {
        Some("a link-local address")
    } else if v6.is_multicast() {
        Some("a multicast or broadcast address")
    } else if s[0] & 0xe000 != 0x2000 || (s[0] == 0x2001 && (s[1] == 0xdb8 || s[1] < 0x200)) {
        Some("a reserved address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_outside() {
        for (text, public) in [
            ("93.184.216.34", true),
            ("1.1.1.1", true),
            ("2606:4700::1111", true),
            ("127.0.0.1", false),
            ("127.8.8.8", false),
            ("10.0.0.1", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("198.18.0.1", false),
            ("192.0.2.1", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("::127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::808:808", true),
            ("2002:7f00:1::", false),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(inside(address).is_none(), public, "{text}");
        }
    }

    #[test]
    fn urls_that_cannot_be_meant_are_refused() {
        for (url, ok) in [
            ("https://hooks.slack.com/services/T/B/X", true),
            ("http://127.0.0.1:8080/x", true),
            ("https://user:secret@example.com/", false),
            ("ftp://example.com/", false),
            ("https://", false),
            ("example.com", false),
        ] {
            assert_eq!(check_url(url).is_ok(), ok, "{url}");
        }
        assert!(check_url(&format!("https://example.com/{}", "x".repeat(2048))).is_err());
    }
}
