//! The allowed origins, and the check of one request.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::ORIGIN;
use parking_lot::Mutex;

use super::asked::{is_loopback_name, is_own, only};
use super::name::Origin;
use super::refusal::ForeignOrigin;
use crate::current::Current;
use crate::http::address::TrustedProxies;

/// Most refused origins that get a log line of their own.
const LOGGED_MAX: usize = 64;

/// The result of comparing a request's `Origin` header with the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No `Origin`: the request is not from a page, or it is from a page of the gateway itself.
    Absent,
    /// An allowed origin, or the gateway's own.
    Allowed,
    /// Any other origin, including `null`.
    Foreign,
}

/// The policy for origins.
#[derive(Debug)]
pub struct OriginPolicy {
    allowed: Current<Vec<Origin>>,
    proxies: TrustedProxies,
    /// `gateway dev`: every page of this machine is allowed, and every proxy on it is trusted.
    is_dev: bool,
    /// The refused origins that already have a log line; at most [`LOGGED_MAX`].
    logged: Mutex<HashSet<String>>,
}

impl OriginPolicy {
    /// Allows these origins in addition to the gateway's own, as seen through these proxies.
    #[must_use]
    pub fn new(allowed: Vec<Origin>, proxies: TrustedProxies) -> Self {
        Self { allowed: Current::new(allowed), proxies, is_dev: false, logged: Mutex::default() }
    }

    /// As [`OriginPolicy::new`], for `gateway dev`: the pages and the proxies of this machine are
    /// allowed too.
    #[must_use]
    pub fn for_development(allowed: Vec<Origin>, proxies: TrustedProxies) -> Self {
        Self { is_dev: true, ..Self::new(allowed, proxies) }
    }

    /// Replaces the allowed origins.
    pub fn allow(&self, allowed: Vec<Origin>) {
        self.allowed.set(allowed);
    }

    /// Classifies a request. `peer` is the sender: a trusted proxy may give the public host.
    #[must_use]
    pub fn standing(&self, peer: SocketAddr, headers: &HeaderMap) -> Standing {
        if !headers.contains_key(ORIGIN) {
            return Standing::Absent;
        }
        let believed = self.believes(peer.ip());
        let is_allowed = only(headers, ORIGIN.as_str())
            .and_then(|text| text.parse::<Origin>().ok())
            .is_some_and(|origin| self.allows(&origin) || is_own(&origin, headers, believed));
        if is_allowed { Standing::Allowed } else { Standing::Foreign }
    }

    /// Refuses a request, or a WebSocket handshake, that a cookie authenticates for a foreign page.
    /// `is_ambient`: the browser added the request's credentials by itself.
    ///
    /// # Errors
    /// When the request's authority is ambient and its `Origin` is foreign.
    pub fn check(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        is_ambient: bool,
    ) -> Result<(), ForeignOrigin> {
        if !is_ambient || self.standing(peer, headers) != Standing::Foreign {
            return Ok(());
        }
        let foreign = ForeignOrigin::of(peer.ip(), headers, self.believes(peer.ip()));
        let mut logged = self.logged.lock();
        if logged.len() < LOGGED_MAX && logged.insert(foreign.origin().to_owned()) {
            drop(logged);
            tracing::warn!("{foreign} (said once for each origin)");
        }
        Err(foreign)
    }

    fn allows(&self, origin: &Origin) -> bool {
        let is_local = || matches!(&*origin.scheme, "http" | "https") && is_loopback_name(&origin.host);
        self.allowed.get().contains(origin) || (self.is_dev && is_local())
    }

    /// Whether the forwarding headers of this peer are trusted.
    fn believes(&self, peer: IpAddr) -> bool {
        self.proxies.contains(peer) || (self.is_dev && peer.to_canonical().is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_refused_origin_is_logged_once_and_the_memory_of_it_is_bounded() {
        let policy = OriginPolicy::new(Vec::new(), TrustedProxies::default());
        let peer = "203.0.113.9:5000".parse().unwrap();
        for n in 0..3 * LOGGED_MAX {
            let mut list = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("gw"))]);
            list.insert(ORIGIN, format!("https://evil-{n}.example").parse().unwrap());
            assert!(policy.check(peer, &list, true).is_err() && policy.check(peer, &list, true).is_err());
        }
        assert_eq!(policy.logged.lock().len(), LOGGED_MAX);
    }
}
