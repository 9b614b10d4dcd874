//! A connection to the current master, with the log's scripts loaded.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, Pipeline, Value, cmd};

use super::backoff::random;
use super::keys::Keys;
use super::log_state::LogState;
use super::pubsub::Subscription;
use super::reply::{Failure, text};
use super::retention::Marks;
use super::servers::{Servers, connect};

pub(super) struct Connection {
    client: Client,
    inner: MultiplexedConnection,
    /// The SHA1 of `publish.lua`.
    publish: String,
    /// The SHA1 of `log_state.lua`.
    log_state: String,
}

impl Connection {
    /// Connects to the master. `patience` is the timeout of each reply.
    pub(super) async fn to_master(servers: &Servers, patience: Duration) -> Result<Self, Failure> {
        let mut why = Failure::Broken("no server is configured".to_owned());
        for seed in servers.seeds() {
            let opening = async { Self::open(servers.named_by(seed, patience).await?, patience).await };
            match opening.await {
                Ok(connection) => return Ok(connection),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    async fn open(client: Client, patience: Duration) -> Result<Self, Failure> {
        let mut inner = connect(&client, patience).await?;
        let role: Value = cmd("ROLE").query_async(&mut inner).await?;
        let is_master =
            matches!(&role, Value::Array(parts) if parts.first().and_then(text) == Some("master"));
        if !is_master {
            return Err(Failure::Broken("the server is not a master".to_owned()));
        }
        let mut load =
            async |script: &str| cmd("SCRIPT").arg("LOAD").arg(script).query_async(&mut inner).await;
        let (publish, log_state): (String, String) =
            (load(include_str!("publish.lua")).await?, load(include_str!("log_state.lua")).await?);
        Ok(Self { client, inner, publish, log_state })
    }

    /// Subscribes to a channel of the same server, on a connection of its own.
    pub(super) async fn listen(&self, channel: &str, patience: Duration) -> Result<Subscription, Failure> {
        Subscription::open(&self.client, channel, patience).await
    }

    pub(super) async fn call(&mut self, command: &Cmd) -> Result<Value, Failure> {
        Ok(command.query_async(&mut self.inner).await?)
    }

    /// Runs commands one after the other and returns their replies.
    pub(super) async fn call_all(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        Ok(pipeline.query_async(&mut self.inner).await?)
    }

    /// Runs commands whose replies are not needed.
    pub(super) async fn run(&mut self, pipeline: &Pipeline) -> Result<(), Failure> {
        if pipeline.is_empty() {
            return Ok(());
        }
        Ok(pipeline.query_async(&mut self.inner).await?)
    }

    /// Whether the server evicts keys when its memory is full.
    pub(super) async fn evicts(&mut self) -> Result<bool, Failure> {
        let answer = self.call(cmd("INFO").arg("memory")).await?;
        let info = text(&answer).unwrap_or_default();
        let fact = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
        let keeps = |policy| policy == "noeviction";
        Ok(fact("maxmemory:") != Some("0") && !fact("maxmemory_policy:").is_none_or(keeps))
    }

    /// A call of the publishing script. The caller adds `more` keys and the arguments.
    pub(super) fn publishing(&self, keys: &Keys, more: usize) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(&self.publish).arg(5 + more);
        call.arg(&keys.stream).arg(&keys.fence).arg(&keys.retention).arg(&keys.marks).arg(&keys.checkpoints);
        call
    }

    /// Asks for the state of the log.
    pub(super) async fn log_state(&mut self, keys: &Keys) -> Result<LogState, Failure> {
        let mut call = cmd("EVALSHA");
        call.arg(&self.log_state).arg(2).arg(&keys.stream).arg(&keys.fence);
        let answer = self.call(&call).await?;
        let unknown = || Failure::Broken("the log's keys hold something else".to_owned());
        LogState::parse(&answer).ok_or_else(unknown)
    }

    /// Asks how many bytes were appended at which times.
    pub(super) async fn marks(&mut self, keys: &Keys) -> Result<Marks, Failure> {
        let marks = self.call(cmd("LRANGE").arg(&keys.marks).arg(0).arg(-1)).await?;
        let held = self.call(cmd("HMGET").arg(&keys.retention).arg("bytes").arg("last")).await?;
        let time = self.call(&cmd("TIME")).await?;
        let unknown = || Failure::Broken("the log's marks are something else".to_owned());
        Marks::parse(&marks, &held, &time).ok_or_else(unknown)
    }

    /// Makes the next write open a new generation, although the server is the same.
    pub(super) async fn unseal(&mut self, keys: &Keys) -> Result<(), Failure> {
        let mut call = cmd("HDEL");
        call.arg(&keys.fence).arg("id");
        self.call(&call).await.map(drop)
    }

    /// Opens the log, unless the server has done so since its start or promotion, and asks for its
    /// state.
    pub(super) async fn open_log(&mut self, keys: &Keys) -> Result<LogState, Failure> {
        let mut state = self.log_state(keys).await?;
        if !state.is_master {
            return Err(Failure::Broken("the server is not a master any more".to_owned()));
        }
        if !state.is_open {
            // With 0 bytes the script trims nothing.
            let mut call = self.publishing(keys, 0);
            call.arg(random()).arg(random()).arg(0).arg(0).arg(0).arg(0).arg("").arg(0);
            self.call(&call).await?;
            state = self.log_state(keys).await?;
        }
        if state.is_open { Ok(state) } else { Err(Failure::Broken("the log could not be opened".to_owned())) }
    }
}
