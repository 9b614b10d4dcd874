//! Connections without a session, counted by the address at their other end.
//!
//! The cap of an address counts sessions, and a session is known only after a whole request. Without an allowance of
//! their own, silent connections of one address could take every place that the gateway has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::current::Current;

/// The connections without a session, by peer. They are counted from the moment they are accepted.
#[derive(Debug)]
pub(crate) struct Sessionless {
    /// The most of one address; `None`: no limit, and nothing is counted.
    allowance: Current<Option<usize>>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection. Dropped, the connection has a session, or is closed.
#[derive(Debug)]
pub(crate) struct SessionlessPlace(Option<(Arc<Sessionless>, IpAddr)>);

/// The address has as many connections without a session as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AllowanceUsed;

/// The connections without a session that an address may have, by its cap of sessions.
fn allowance(sessions_max: Option<usize>) -> Option<usize> {
    sessions_max.map(|max| max.saturating_mul(2).saturating_add(8))
}

impl Sessionless {
    /// `sessions_max` is the cap of sessions of one address. A browser keeps one or two connections beside each session
    /// for other requests, so the allowance is twice the cap and 8 more.
    #[must_use]
    pub(crate) fn new(sessions_max: Option<usize>) -> Self {
        Self { allowance: Current::new(allowance(sessions_max)), by_address: Mutex::default() }
    }

    /// The cap of sessions of one address is this from now on.
    pub(crate) fn set_cap(&self, sessions_max: Option<usize>) {
        self.allowance.set(allowance(sessions_max));
    }

    /// A connection from this address has been accepted. `is_proxy`: a trusted proxy speaks for many clients, whose
    /// addresses are not known yet, and is not counted.
    ///
    /// # Errors
    /// When the address has used its allowance.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        is_proxy: bool,
    ) -> Result<SessionlessPlace, AllowanceUsed> {
        let Some(allowance) = self.allowance.get().filter(|_| !is_proxy) else {
            return Ok(SessionlessPlace(None));
        };
        let address = address.to_canonical();
        let mut by_address = self.by_address.lock();
        let count = by_address.entry(address).or_default();
        if *count >= allowance {
            return Err(AllowanceUsed);
        }
        *count += 1;
        Ok(SessionlessPlace(Some((Arc::clone(self), address))))
    }

    /// A connection from this address has no session any more, and stays open for other requests: it is counted, and
    /// never refused.
    #[must_use]
    pub(crate) fn readmit(self: &Arc<Self>, address: IpAddr, is_proxy: bool) -> SessionlessPlace {
        if self.allowance.get().is_none() || is_proxy {
            return SessionlessPlace(None);
        }
        let address = address.to_canonical();
        *self.by_address.lock().entry(address).or_default() += 1;
        SessionlessPlace(Some((Arc::clone(self), address)))
    }
}

impl Drop for SessionlessPlace {
    fn drop(&mut self) {
        let Some((sessionless, address)) = self.0.take() else { return };
        let mut by_address = sessionless.by_address.lock();
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_address_cannot_use_the_places_of_others() {
        let sessionless = Arc::new(Sessionless::new(Some(5)));
        let [one, other] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        let taken: Vec<SessionlessPlace> =
            (0..60).filter_map(|_| sessionless.admit(one, false).ok()).collect();
        assert_eq!(taken.len(), 18);
        assert!(sessionless.admit(other, false).is_ok());
        assert!((0..100).all(|_| sessionless.admit(one, true).is_ok()), "a proxy is many clients");
        let kept = sessionless.readmit(one, false);
        drop(taken);
        assert_eq!(*sessionless.by_address.lock(), HashMap::from([(one, 1)]));
        drop(kept);
        assert!(sessionless.by_address.lock().is_empty(), "nothing is left behind");
        let unlimited = Arc::new(Sessionless::new(None));
        let all: Vec<_> = (0..100).map(|_| unlimited.admit(one, false)).collect();
        assert!(all.iter().all(Result::is_ok) && unlimited.by_address.lock().is_empty());
    }
}
