//! The address of a client behind proxies.
//!
//! The client is the last hop that is no trusted proxy. Each trusted proxy appends the address that it
//! saw, so the list is read from its end. Text that a client wrote itself comes before, and is never
//! believed.
//!
//! `X-Forwarded-For` is read where it is present, else `Forwarded` (RFC 7239). A trusted proxy must write one of
//! the two, and must remove `X-Forwarded-For` from its clients' requests if it writes only `Forwarded`.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

/// The proxies whose forwarding headers are believed. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Believes proxies in these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether this address is a trusted proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address, for a request that came from `peer`. IPv4 in IPv6 is told as IPv4.
    ///
    /// When a hop cannot be read or hides its address (`unknown`, `_name`), the trusted proxy that reported it is
    /// the answer.
    #[must_use]
    pub fn client_address(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.ip().to_canonical();
        if !self.contains(client) {
            return client;
        }
        let x_forwarded_for = text_from_end(headers, X_FORWARDED_FOR);
        if headers.contains_key(X_FORWARDED_FOR) {
            self.walk(&mut client, x_forwarded_for.flat_map(|value| value.rsplit(',')).map(node));
        } else {
            let elements = text_from_end(headers, FORWARDED).flat_map(|value| split_quoted(value, ',').rev());
            self.walk(&mut client, elements.map(forwarded_for));
        }
        client
    }

    /// Follows the hops, nearest first, until one is not a trusted proxy or cannot be read.
    fn walk(&self, client: &mut IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) {
        for hop in hops {
            let Some(hop) = hop else { return };
            *client = hop;
            if !self.contains(hop) {
                return;
            }
        }
    }
}

/// The values of a header, the last one first. One that is not text ends the reading as an unreadable hop.
fn text_from_end<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    values.into_iter().rev().map(|value| value.to_str().unwrap_or("unknown"))
}

/// A parameter of the last element of `Forwarded`, which the nearest proxy wrote. `None` where it is not there, or
/// where the header cannot be read.
pub(crate) fn last_forwarded(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = text_from_end(headers, FORWARDED).next()?;
    forwarded_parameter(split_quoted(value, ',').next_back()?, name)
}

/// The `for` of one element of `Forwarded`: `for="[2001:db8::1]:47011";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    node(&forwarded_parameter(element, "for")?)
}

/// The value of a parameter, unquoted, of one element of `Forwarded`. One that is there twice cannot be read.
fn forwarded_parameter(element: &str, name: &str) -> Option<String> {
    let mut found = None;
    for pair in split_quoted(element, ';') {
        let (given, value) = pair.split_once('=')?;
        if given.trim().eq_ignore_ascii_case(name) {
            if found.is_some() {
                return None;
            }
            found = Some(value.trim());
        }
    }
    let value = found?;
    match value.strip_prefix('"') {
        Some(rest) => unescaped(rest.strip_suffix('"')?),
        None => Some(value.to_owned()),
    }
}

/// The text of a quoted string (RFC 9110, section 5.6.4), its quotes taken off.
fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' { characters.next()? } else { character });
    }
    Some(plain)
}

/// An address with or without a port, IPv6 with or without brackets.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port_is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        if !port_is_whole {
            return None;
        }
        IpAddr::V6(address.parse().ok()?)
    } else if let Some((address, port)) = text.split_once(':').filter(|(_, port)| !port.contains(':')) {
        if !is_port(port) {
            return None;
        }
        IpAddr::V4(address.parse().ok()?)
    } else {
        text.parse().ok()?
    };
    Some(address.to_canonical())
}

/// A port, which may be obfuscated as `_name` (RFC 7239, section 6.3).
fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok() || (text.len() > 1 && text.starts_with('_'))
}

/// Splits at `separator`, save inside quoted strings.
fn split_quoted(text: &str, separator: char) -> std::vec::IntoIter<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + character.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn seen(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let networks = ["10.0.0.0/8", "127.0.0.1/32", "2001:db8:1::/48"];
        let proxies = TrustedProxies::new(networks.iter().map(|text| text.parse().unwrap()).collect());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        proxies.client_address(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let lie = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(seen("203.0.113.9:1", &lie), "203.0.113.9");
        assert_eq!(seen("10.0.0.1:1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_last_untrusted_hop_of_x_forwarded_for() {
        for (value, client) in [
            ("198.51.100.7", "198.51.100.7"),
            ("1.1.1.1, 198.51.100.7", "198.51.100.7"),
            ("198.51.100.7, 10.1.1.1", "198.51.100.7"),
            ("198.51.100.7:5123,10.1.1.1:80", "198.51.100.7"),
            ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
            ("2001:db8::1, 2001:db8:1::5", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("1.1.1.1, unknown", "10.0.0.1"),
            ("1.1.1.1, _hidden, 10.1.1.1", "10.1.1.1"),
            ("1.1.1.1, 10.1.1.1,", "10.0.0.1"),
            ("198.51.100.7:99999", "10.0.0.1"),
            ("é", "10.0.0.1"),
        ] {
            assert_eq!(seen("10.0.0.1:1", &[("x-forwarded-for", value)]), client, "{value}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let headers = [("x-forwarded-for", "9.9.9.9, 198.51.100.7"), ("x-forwarded-for", "10.1.1.1")];
        assert_eq!(seen("[::ffff:10.0.0.1]:1", &headers), "198.51.100.7");
    }

    #[test]
    fn the_last_untrusted_hop_of_forwarded() {
        for (value, client) in [
            ("for=198.51.100.7", "198.51.100.7"),
            ("For=\"198.51.100.7:8080\";proto=https;by=10.0.0.1", "198.51.100.7"),
            ("for=1.1.1.1, for=198.51.100.7, for=10.1.1.1", "198.51.100.7"),
            ("proto=https ; for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8:cafe::17]:_port\"", "2001:db8:cafe::17"),
            ("for=1.1.1.1;host=\"a,b;c=\\\"\", for=198.51.100.7", "198.51.100.7"),
            ("for=1.1.1.1, for=_secret", "10.0.0.1"),
            ("for=1.1.1.1, for=unknown, for=10.1.1.1", "10.1.1.1"),
            ("for=1.1.1.1, by=10.1.1.1", "10.0.0.1"),
            ("for=1.1.1.1;for=2.2.2.2", "10.0.0.1"),
            ("for=\"1.1.1.1", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(seen("10.0.0.1:1", &[("forwarded", value)]), client, "{value}");
        }
    }

    #[test]
    fn x_forwarded_for_wins_over_forwarded() {
        let headers = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(seen("127.0.0.1:1", &headers), "198.51.100.7");
    }

    proptest! {
        /// Whatever a client writes itself, its own address, which the proxy appends, is the answer.
        #[test]
        fn no_text_of_a_client_is_believed(text in "[ -~]{0,60}", listed: bool) {
            let (name, value) = if listed {
                ("x-forwarded-for", format!("{text}, 198.51.100.7"))
            } else {
                // A quote left open would swallow what the proxy appends, so the proxy is then the answer.
                ("forwarded", format!("{text}, for=198.51.100.7"))
            };
            let client = seen("10.0.0.1:1", &[(name, &value)]);
            let quoted = !listed && text.contains('"');
            prop_assert!(client == "198.51.100.7" || (quoted && client == "10.0.0.1"), "{client}");
        }

        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(32_u8.., 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let proxies = TrustedProxies::new(vec!["0.0.0.0/0".parse().unwrap()]);
                for name in [X_FORWARDED_FOR, FORWARDED] {
                    let mut headers = HeaderMap::new();
                    headers.insert(name, value.clone());
                    let _ = proxies.client_address(([10, 0, 0, 1], 1).into(), &headers);
                }
            }
        }
    }
}
