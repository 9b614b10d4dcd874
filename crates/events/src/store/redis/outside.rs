//! Redis servers for readers outside the log: sources of events.

use std::time::Duration;

use redis::{Client, Value, cmd};

use super::options::RedisError;
use super::reply::{Failure, text};
use super::servers::{Servers, connect};

/// The servers of a URL: one server, a list, Sentinels or a Cluster, in the same form as for the
/// store ([`RedisOptions::url`](super::RedisOptions::url)).
pub struct RedisServers(Servers);

impl RedisServers {
    /// Parses a URL. `key` selects the server in a Cluster; without a key any server is used.
    /// `authorities`: trusted root certificates for TLS, in PEM; `None`: those of the system.
    ///
    /// # Errors
    /// When the text is not a URL of Redis.
    pub fn parse(url: &str, key: &str, authorities: Option<Vec<u8>>) -> Result<Self, RedisError> {
        Servers::parse(url, key, authorities).map(Self)
    }

    /// The master. In a Cluster, the master that has the key.
    ///
    /// # Errors
    /// When no master can be reached, as one line for the log. It may quote the server.
    pub async fn master(&self, patience: Duration) -> Result<Client, String> {
        self.first(patience, None).await
    }

    /// A reachable master. In a Cluster, any of them, and a different one for each `turn`.
    ///
    /// # Errors
    /// When no master can be reached, as one line for the log. It may quote the server.
    pub async fn any_master(&self, patience: Duration, turn: usize) -> Result<Client, String> {
        self.first(patience, Some(turn)).await
    }

    /// `turn`: the index of the first master to try; `None`: only the master that has the key.
    async fn first(&self, patience: Duration, turn: Option<usize>) -> Result<Client, String> {
        let mut why = "no server is configured".to_owned();
        for seed in self.0.seeds() {
            let named = match turn {
                None => self.0.named_by(seed, patience).await.map(|server| vec![server]),
                Some(_) => self.0.all_named_by(seed, patience).await,
            };
            let mut servers = match named {
                Ok(servers) => servers,
                Err(error) => {
                    why = error.to_string();
                    continue;
                }
            };
            let first = turn.unwrap_or(0) % servers.len().max(1);
            servers.rotate_left(first);
            for server in servers {
                match is_master(&server, patience).await {
                    Ok(true) => return Ok(server),
                    Ok(false) => why = "the server is not a master".to_owned(),
                    Err(error) => why = error.to_string(),
                }
            }
        }
        Err(why)
    }
}

/// Asks a server for its role. A server that refuses the question counts as a master.
async fn is_master(server: &Client, patience: Duration) -> Result<bool, Failure> {
    let mut connection = connect(server, patience).await?;
    match cmd("ROLE").query_async::<Value>(&mut connection).await.map_err(Failure::from) {
        Ok(Value::Array(parts)) => Ok(parts.first().and_then(text) == Some("master")),
        Err(Failure::Broken(error)) => Err(Failure::Broken(error)),
        Ok(_) | Err(Failure::Refused(_)) => Ok(true),
    }
}
