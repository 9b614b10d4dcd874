//! A connection to the server that is the master now, with the log's scripts loaded.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, ErrorKind, Pipeline, ServerErrorKind, Value, cmd};

use super::Keys;
use super::heard::Channel;
use super::id::Id;
use super::servers::{Servers, connect};
use crate::Seq;

/// Why a command had no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The connection is of no more use; what became of the command is not known.
    #[error("{0}")]
    Broken(String),
    /// The server refuses. Of a script it may have done what comes before the part that it refuses.
    #[error("{0}")]
    Refused(String),
}

impl From<redis::RedisError> for LinkError {
    fn from(error: redis::RedisError) -> Self {
        // The last is what a script is told that may not do something.
        const REFUSALS: [&str; 7] = [
            "OOM",
            "NOPERM",
            "WRONGTYPE",
            "MISCONF",
            "NOREPLICAS",
            "NOAUTH",
            "The user executing the script can't",
        ];
        let refused = error.code().is_some_and(|code| REFUSALS.contains(&code))
            || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError))
                && REFUSALS.iter().any(|code| error.to_string().contains(code));
        if refused { Self::Refused(error.to_string()) } else { Self::Broken(error.to_string()) }
    }
}

/// What the server says of itself and of the log.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) is_master: bool,
    /// Whether the log was opened by the server as it is now: since then no restart, no promotion, no other stream.
    pub(super) is_open: bool,
    /// The last id that was given; `None`: there is no stream.
    pub(super) last: Option<Id>,
    /// The oldest entry that is kept; `None`: there is none.
    pub(super) first: Option<Id>,
    /// The newest entry that is kept.
    pub(super) newest: Option<Id>,
    /// Where each earlier generation ended.
    pub(super) ends: BTreeMap<u64, Seq>,
}

impl Look {
    /// How many ends a server remembers.
    const ENDS_MAX: usize = 256;

    /// Whether a generation is part of the log that survives, or was, longer ago than the server remembers.
    pub(super) fn knows(&self, generation: u64) -> bool {
        let is_forgotten =
            |(oldest, _): (&u64, &Seq)| self.ends.len() >= Self::ENDS_MAX && generation < *oldest;
        self.end_of(generation).is_some() || self.ends.first_key_value().is_some_and(is_forgotten)
    }

    /// Up to where a generation is part of the log that survives.
    pub(super) fn end_of(&self, generation: u64) -> Option<Seq> {
        match self.last {
            Some(last) if last.generation == generation => Some(last.seq),
            _ => self.ends.get(&generation).copied(),
        }
    }
}

pub(super) struct Link {
    client: Client,
    connection: MultiplexedConnection,
    publish: String,
    look: String,
}

impl Link {
    /// Connects to the master.
    pub(super) async fn to_master(servers: &Servers, patience: Duration) -> Result<Self, LinkError> {
        let mut why = LinkError::Broken("no server is configured".to_owned());
        for seed in servers.seeds() {
            let opening = async { Self::open(servers.named_by(seed, patience).await?, patience).await };
            match opening.await {
                Ok(link) => return Ok(link),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    async fn open(client: Client, patience: Duration) -> Result<Self, LinkError> {
        let mut connection = connect(&client, patience).await?;
        let role: Value = cmd("ROLE").query_async(&mut connection).await?;
        let is_master =
            matches!(&role, Value::Array(parts) if parts.first().and_then(text) == Some("master"));
        if !is_master {
            return Err(LinkError::Broken("the server is not a master".to_owned()));
        }
        let mut load =
            async |script: &str| cmd("SCRIPT").arg("LOAD").arg(script).query_async(&mut connection).await;
        let (publish, look): (String, String) =
            (load(include_str!("publish.lua")).await?, load(include_str!("look.lua")).await?);
        Ok(Self { client, connection, publish, look })
    }

    /// Listens to a channel, on the same server.
    pub(super) async fn listen(&self, channel: &str, patience: Duration) -> Result<Channel, LinkError> {
        Channel::open(&self.client, channel, patience).await
    }

    pub(super) async fn call(&mut self, command: &Cmd) -> Result<Value, LinkError> {
        Ok(command.query_async(&mut self.connection).await?)
    }

    /// Runs commands of which no answer is needed.
    pub(super) async fn run(&mut self, pipeline: &Pipeline) -> Result<(), LinkError> {
        if pipeline.is_empty() {
            return Ok(());
        }
        Ok(pipeline.query_async(&mut self.connection).await?)
    }

    /// Whether the server throws keys away when its memory is full.
    pub(super) async fn evicts(&mut self) -> Result<bool, LinkError> {
        let answer = self.call(cmd("INFO").arg("memory")).await?;
        let info = text(&answer).unwrap_or_default();
        let fact = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
        let keeps = |policy| policy == "noeviction";
        Ok(fact("maxmemory:") != Some("0") && !fact("maxmemory_policy:").is_none_or(keeps))
    }

    /// The call of the publishing script, to which keys and arguments are added.
    pub(super) fn publishing(&self, keys: usize) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(&self.publish).arg(keys);
        call
    }

    /// Asks how far the log goes.
    pub(super) async fn look(&mut self, keys: &Keys) -> Result<Look, LinkError> {
        let mut call = cmd("EVALSHA");
        call.arg(&self.look).arg(2).arg(&keys.stream).arg(&keys.fence);
        let answer = self.call(&call).await?;
        let look = || {
            let Value::Array(parts) = &answer else { return None };
            let [role, identity, last, first, newest, Value::Array(fields)] = &parts[..] else { return None };
            let id = |value: &Value| match text(value)? {
                "" => Some(None),
                id => id.parse().ok().map(Some),
            };
            let mut look = Look {
                is_master: text(role)? == "master",
                is_open: false,
                last: id(last)?,
                first: id(first)?,
                newest: id(newest)?,
                ends: BTreeMap::new(),
            };
            let generation = look.last.map(|last| last.generation.to_string()).unwrap_or_default();
            let (mut is_same_server, mut is_same_stream) = (false, false);
            for pair in fields.chunks_exact(2) {
                match (text(&pair[0])?, text(&pair[1])?) {
                    ("id", held) => is_same_server = held == text(identity)?,
                    ("gen", held) => is_same_stream = held == generation,
                    (generation, end) => {
                        look.ends.insert(generation.parse().ok()?, Seq::new(end.parse().ok()?)?);
                    }
                }
            }
            look.is_open = is_same_server && is_same_stream;
            Some(look)
        };
        look().ok_or_else(|| LinkError::Broken("the log's keys hold something else".to_owned()))
    }

    /// Has the log opened anew, though the server is the same.
    pub(super) async fn unseal(&mut self, keys: &Keys) -> Result<(), LinkError> {
        let mut call = cmd("HDEL");
        call.arg(&keys.fence).arg("id");
        self.call(&call).await.map(drop)
    }

    /// As [`Link::look`], after the log was opened if it had to be.
    pub(super) async fn look_open(&mut self, keys: &Keys) -> Result<Look, LinkError> {
        let mut look = self.look(keys).await?;
        if !look.is_master {
            return Err(LinkError::Broken("the server is not a master any more".to_owned()));
        }
        if !look.is_open {
            let mut call = self.publishing(2);
            call.arg(&keys.stream).arg(&keys.fence).arg(super::random()).arg(super::random());
            call.arg(0).arg(0).arg("").arg(0);
            self.call(&call).await?;
            look = self.look(keys).await?;
        }
        if look.is_open { Ok(look) } else { Err(LinkError::Broken("the log could not be opened".to_owned())) }
    }
}

/// A text of the server's answer.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
