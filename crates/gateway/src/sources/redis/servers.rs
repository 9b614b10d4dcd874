//! The servers of `--source-redis-url`.

use events::RedisServers;

use crate::config::{ConfigError, RedisSourceConfig};

/// The servers of the URL. `key` selects the server of a Cluster; empty: any server.
pub(super) fn find(config: &RedisSourceConfig, key: &str) -> Result<RedisServers, ConfigError> {
    let authorities = config.ca.as_ref().map(|path| {
        std::fs::read(path)
            .map_err(|error| ConfigError::new(format!("--source-redis-ca {}: {error}", path.display())))
    });
    RedisServers::parse(config.url.expose(), key, authorities.transpose()?)
        .map_err(|error| ConfigError::new(format!("--source-redis-url: {error}")))
}
