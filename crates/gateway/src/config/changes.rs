//! The options that may change while the gateway runs.

use std::path::{Path, PathBuf};

use super::{Config, Limits};

impl Limits {
    /// These limits with those of `other` that may change while the gateway runs.
    #[must_use]
    pub(crate) fn with_changeable(&self, other: &Self) -> Self {
        Self {
            ring_events: self.ring_events,
            ring_age: self.ring_age,
            log_bytes: self.log_bytes,
            data_bytes_max: self.data_bytes_max,
            replay_bytes: self.replay_bytes,
            ids_bytes: self.ids_bytes,
            presence_ttl: self.presence_ttl,
            ..*other
        }
    }

    /// Whether `other` has the same rates for users.
    #[must_use]
    pub(crate) fn has_rates_of(&self, other: &Self) -> bool {
        let rates = |limits: &Self| {
            (limits.commands_per_minute, limits.publishes_per_minute, limits.ephemerals_per_second)
        };
        rates(self) == rates(other)
    }
}

impl Config {
    /// The files from which the configuration was read.
    #[must_use]
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let tls = self.tls.iter().flat_map(|tls| [&*tls.cert, &*tls.key]);
        self.file.as_deref().into_iter().chain(self.auth.files()).chain(tls).map(Path::to_owned).collect()
    }

    /// The names of the options that differ in `other` and cannot change while the gateway runs.
    #[must_use]
    pub(crate) fn fixed_changes(&self, other: &Self) -> Vec<&'static str> {
        let limits = &self.limits;
        [
            (self.listen != other.listen, "listen"),
            (self.admin_listen != other.admin_listen, "admin-listen"),
            (self.tls.is_some() != other.tls.is_some(), "whether there is TLS"),
            (self.store != other.store, "store and its options"),
            (self.trusted_proxies != other.trusted_proxies, "trusted-proxy"),
            (self.sources != other.sources, "the sources"),
            (self.state != other.state, "the options of state"),
            (self.streams != other.streams, "the options of streams"),
            (self.socketio != other.socketio, "the options of Socket.IO"),
            (self.deployment != other.deployment, "deployment"),
            (self.logs.format != other.logs.format, "log-format"),
            (limits.ring_events != other.limits.ring_events, "ring-events"),
            (limits.ring_age != other.limits.ring_age, "ring-seconds"),
            (limits.log_bytes != other.limits.log_bytes, "log-bytes"),
            (limits.data_bytes_max != other.limits.data_bytes_max, "max-data-bytes"),
            (limits.replay_bytes != other.limits.replay_bytes, "replay-bytes"),
            (limits.ids_bytes != other.limits.ids_bytes, "ids-bytes"),
            (limits.presence_ttl != other.limits.presence_ttl, "presence-ttl-seconds"),
        ]
        .into_iter()
        .filter_map(|(differs, name)| differs.then_some(name))
        .collect()
    }
}
