//! Where a request carries its token.

use std::fmt;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};

/// The cookie that may hold a token.
const COOKIE_NAME: &str = "throughline_token";

/// Where a token was found. The order is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `Authorization: Bearer TOKEN`.
    Header,
    /// The subprotocol `bearer.TOKEN`, offered next to `throughline.v1`. Never to be echoed.
    Subprotocol,
    /// The cookie `throughline_token`: the browser sends it for any page, so the `Origin` must be checked.
    Cookie,
    /// The query parameter `access_token` or `token`.
    Query,
}

/// A token, not yet verified, and where it was found. `Debug` does not show the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    token: String,
    source: Source,
}

impl Credential {
    /// The token of a request, first found wins; `query` holds its decoded query parameters, of which the last of a name
    /// counts. Empty ones do not.
    #[must_use]
    pub fn find<N, V>(headers: &HeaderMap, query: &[(N, V)]) -> Option<Self>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let parameter = |wanted: &str| {
            query
                .iter()
                .rev()
                .filter(|(name, _)| name.as_ref() == wanted)
                .map(|(_, value)| value.as_ref())
                .find(|value| !value.is_empty())
        };
        let in_query = || parameter("access_token").or_else(|| parameter("token"));
        bearer(headers)
            .map(|token| (token, Source::Header))
            .or_else(|| subprotocol(headers).map(|token| (token, Source::Subprotocol)))
            .or_else(|| cookie(headers).map(|token| (token, Source::Cookie)))
            .or_else(|| in_query().map(|token| (token, Source::Query)))
            .map(|(token, source)| Self { token: token.to_owned(), source })
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where it was found.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The scheme's name has no case (RFC 9110, section 11.1). Another scheme is for a proxy, and no token.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(AUTHORIZATION).iter().find_map(|value| {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    })
}

fn subprotocol(headers: &HeaderMap) -> Option<&str> {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offers
        .flat_map(|value| value.split(','))
        .filter_map(|offer| offer.trim().strip_prefix("bearer."))
        .find(|token| !token.is_empty())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
        .find(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn find(headers: &[(&'static str, &'static str)], query: &[(&str, &str)]) -> Option<(String, Source)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Credential::find(&map, query).map(|found| (found.token().to_owned(), found.source()))
    }

    #[test]
    fn first_found_wins() {
        let mut headers = vec![
            ("authorization", "Bearer h"),
            ("sec-websocket-protocol", "throughline.v1, bearer.s"),
            ("cookie", "a=b; throughline_token=c; d=e"),
        ];
        let query = [("after", "latest"), ("token", "t"), ("access_token", "q")];
        for expected in [("h", Source::Header), ("s", Source::Subprotocol), ("c", Source::Cookie)] {
            assert_eq!(find(&headers, &query), Some((expected.0.to_owned(), expected.1)));
            headers.remove(0);
        }
        assert_eq!(find(&headers, &query), Some(("q".to_owned(), Source::Query)));
        assert_eq!(find(&headers, &query[..2]), Some(("t".to_owned(), Source::Query)));
        assert_eq!(find(&headers, &query[..1]), None);
    }

    #[test]
    fn reads_the_shapes_that_clients_send() {
        for (name, value, token) in [
            ("authorization", "bearer  x.y.z ", Some("x.y.z")),
            ("authorization", "BEARER x", Some("x")),
            ("authorization", "Basic dXNlcjpwYXNz", None),
            ("authorization", "Bearer", None),
            ("authorization", "Bearer ", None),
            ("sec-websocket-protocol", "bearer.x,throughline.v1", Some("x")),
            ("sec-websocket-protocol", "throughline.v1", None),
            ("sec-websocket-protocol", "bearer.", None),
            ("cookie", "throughline_token=\"x\"", Some("x")),
            ("cookie", "throughline_token=", None),
            ("cookie", "xthroughline_token=y; throughline_tokenx=z", None),
            ("cookie", "throughline_token=a=b", Some("a=b")),
        ] {
            assert_eq!(find(&[(name, value)], &[]).map(|found| found.0).as_deref(), token, "{name}: {value}");
        }
    }

    #[test]
    fn what_is_empty_or_for_a_proxy_hides_nothing() {
        let headers = [("authorization", "Basic x"), ("cookie", "throughline_token=c")];
        assert_eq!(find(&headers, &[]), Some(("c".to_owned(), Source::Cookie)));
        assert_eq!(find(&[], &[("access_token", ""), ("token", "t")]), Some(("t".to_owned(), Source::Query)));
    }

    #[test]
    fn several_header_lines_are_one_list() {
        let headers = [("sec-websocket-protocol", "throughline.v1"), ("sec-websocket-protocol", "bearer.x")];
        assert_eq!(find(&headers, &[]), Some(("x".to_owned(), Source::Subprotocol)));
    }
}
