//! Opens the configured store, and reports its state in the log and in the metrics.

use std::path::Path;
use std::sync::Arc;

use events::{
    Board, Disk, DiskOptions, Log, Memory, Options, Redis, RedisOptions, SourceLeases, Store, StoreStatus,
    Unavailable,
};

use crate::config::{ConfigError, DiskFsync, Limits, RedisConfig, RedisDown, StoreConfig};
use crate::metrics::Metrics;
use crate::presence::{Keep, OnDisk, OnRedis, TellOnly};
use crate::secret::Secret;

/// The least that an event takes of the log's memory.
const EVENT_BYTES_MIN: u64 = 256;

/// An open store, with the parts of the gateway that depend on it.
pub(crate) struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The storage of members.
    pub keep: Arc<dyn Keep>,
    /// The other gateways, if the store is shared with any.
    pub board: Option<Arc<Board>>,
    /// The leases by which one of them publishes for a source.
    pub leases: Option<Arc<SourceLeases>>,
}

/// Opens the store and the keep.
///
/// # Errors
/// When it cannot be opened, as one line.
pub(crate) fn open(config: &StoreConfig, log: &Arc<Log>, limits: &Limits) -> Result<Opened, ConfigError> {
    let store: Arc<dyn Store> = match config {
        StoreConfig::Memory => Memory::open_with(Arc::clone(log), limits.ids_bytes),
        StoreConfig::Disk { data_dir, fsync } => {
            let disk = open_disk(log, data_dir, *fsync, limits)?;
            let keep = Arc::new(OnDisk::new(Arc::clone(&disk), log.clock().clone()));
            return Ok(Opened { store: disk, keep, board: None, leases: None });
        }
        StoreConfig::Redis(config) => {
            let redis = open_redis(log, config, limits)?;
            let (keep, board) = (Arc::new(OnRedis(Arc::clone(&redis))), Arc::clone(redis.board()));
            let leases = Some(Arc::new(redis.source_leases()));
            return Ok(Opened { store: redis, keep, board: Some(board), leases });
        }
    };
    Ok(Opened { store: Arc::clone(&store), keep: Arc::new(TellOnly(store)), board: None, leases: None })
}

/// What the log can replay decides what is kept on disk.
fn open_disk(
    log: &Arc<Log>,
    data_dir: &Path,
    fsync: DiskFsync,
    limits: &Limits,
) -> Result<Arc<Disk>, ConfigError> {
    let options = DiskOptions {
        dir: data_dir.to_owned(),
        fsync: match fsync {
            DiskFsync::Always => events::Fsync::Always,
            DiskFsync::Interval => events::Fsync::Interval,
            DiskFsync::Never => events::Fsync::Never,
        },
        events_max: limits.log_bytes / EVENT_BYTES_MIN,
        bytes_max: limits.log_bytes,
        age_max: limits.ring_age,
        topic_idle_max: Options::default().topic_idle_max,
        token_bytes_max: limits.ids_bytes,
    };
    let opened = Disk::open(Arc::clone(log), options);
    let (disk, recovered) = opened.map_err(|error| ConfigError::new(format!("--data-dir {error}")))?;
    if let Some(damage) = &recovered.damage {
        tracing::error!(epoch_changed = recovered.epoch_changed, "{damage}");
    }
    tracing::info!(events = recovered.events, cursor = %log.tail_cursor(), "the log on disk is open");
    Ok(disk)
}

fn open_redis(log: &Arc<Log>, config: &RedisConfig, limits: &Limits) -> Result<Arc<Redis>, ConfigError> {
    let authorities = config.ca.as_ref().map(|path| {
        std::fs::read(path)
            .map_err(|error| ConfigError::new(format!("--redis-ca {}: {error}", path.display())))
    });
    let options = RedisOptions {
        url: config.url.expose().to_owned(),
        authorities: authorities.transpose()?,
        log_name: config.log_name.clone(),
        wait_replicas: config.wait_replicas,
        bytes_max: limits.log_bytes,
        age_max: limits.ring_age,
        alone_when_down: config.when_down == RedisDown::Local,
    };
    let opened = Redis::open(Arc::clone(log), &options);
    opened.map_err(|error| ConfigError::new(format!("--redis-url: {error}")))
}

/// The state of the store that was reported last.
pub(crate) struct Watch {
    /// Nothing of it is shown, also where the server quotes it.
    url: Option<Secret>,
    ready: Result<(), Unavailable>,
    said: StoreStatus,
}

impl Watch {
    /// A store that was just opened. It is not ready yet, which is not reported.
    #[must_use]
    pub(crate) fn new(store: &dyn Store, config: &StoreConfig) -> Self {
        let url = match config {
            StoreConfig::Redis(config) => Some(config.url.clone()),
            StoreConfig::Memory | StoreConfig::Disk { .. } => None,
        };
        Self { url, ready: store.ready(), said: StoreStatus::default() }
    }

    /// The last error of the store as it may be logged.
    fn shown(&self, status: &StoreStatus) -> String {
        let error = status.error.as_deref().unwrap_or("not known");
        self.url.as_ref().map_or_else(|| error.to_owned(), |url| url.scrub(error))
    }

    /// Counts, and reports changes.
    pub(crate) fn look(&mut self, store: &dyn Store, log: &Log, metrics: &Metrics) {
        let (ready, now) = (store.ready(), store.status());
        metrics.set_store(ready.is_ok(), now.lag.as_secs_f64());
        metrics.store_counted(now.failures - self.said.failures, now.epochs - self.said.epochs);
        metrics.ids_evicted(now.tokens_evicted - self.said.tokens_evicted);
        if now.epochs != self.said.epochs {
            tracing::info!(cursor = %log.tail_cursor(), "the log is in a new epoch");
        }
        if let Some(warning) = now.warning.filter(|_| now.warning != self.said.warning) {
            tracing::warn!("{warning}");
        }
        if now.alone && !self.said.alone {
            tracing::warn!(
                error = self.shown(&now),
                "Redis cannot be reached: this gateway continues alone, in an epoch of its own"
            );
        }
        match (self.ready, ready) {
            (_, Err(why)) if self.ready != ready || now.error != self.said.error => {
                tracing::warn!(error = self.shown(&now), lag_seconds = now.lag.as_secs(), "{why}");
            }
            (Err(_), Ok(())) => {
                tracing::info!(cursor = %log.tail_cursor(), "the store is ready");
            }
            _ => {}
        }
        self.ready = ready;
        self.said = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_store_is_shown_without_the_secrets_of_its_url() {
        let watch = Watch {
            url: Some(Secret::new("redis://app:hunter2@h")),
            ready: Ok(()),
            said: StoreStatus::default(),
        };
        let error = Some("unknown command 'HELLO', beginning with: '3' 'AUTH' 'app' 'hunter2'".to_owned());
        let shown = watch.shown(&StoreStatus { error, ..StoreStatus::default() });
        assert_eq!(shown, "unknown command 'HELLO', beginning with: '3' 'AUTH' '…' '…'");
    }
}
