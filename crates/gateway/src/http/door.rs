//! The gateway's listeners, and the endpoints behind each.

use crate::metrics::labels::Route;

/// A listener of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The only one: clients and backends.
    Both,
    /// Clients, where backends have a listener of their own.
    Clients,
    /// Backends and Prometheus.
    Backends,
}

impl Door {
    /// Whether the endpoint is behind this door.
    #[must_use]
    pub(crate) fn leads_to(self, route: Route) -> bool {
        let backend = matches!(
            route,
            Route::Publish
                | Route::Disconnect
                | Route::Reload
                | Route::Stats
                | Route::Explain
                | Route::Metrics
        );
        match self {
            Self::Both => true,
            Self::Clients => !backend,
            Self::Backends => {
                backend || matches!(route, Route::Health | Route::Ready | Route::History | Route::State)
            }
        }
    }
}
