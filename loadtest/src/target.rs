//! The servers that can be put under load: what each can do, how it is started, and in what language it is spoken to.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::dialect::{Dialect, Transport, centrifugo, floor, gateway, mercure, nchan, socketio, uws};
use crate::peers;
use crate::scenario::{Case, Kind};
use crate::server::Server;

/// What servers under test are given as the key to publish with.
const PUBLISH_KEY: &str = "loadtest-publish-key-0123456789abcdef";
/// What they are given as their JWT secret.
const JWT_SECRET: &str = "loadtest-jwt-secret-0123456789abcdef";

/// A server to compare.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub(crate) enum Target {
    /// This project's gateway
    Gateway,
    /// The bare epoll server of `loadtest floor`
    Floor,
    /// nchan in nginx
    Nchan,
    /// Centrifugo
    Centrifugo,
    /// Mercure's hub
    Mercure,
    /// socket.io on Node.js
    SocketIo,
    /// uWebSockets through socketify
    Uws,
}

/// Where programs are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Programs {
    /// The gateway.
    pub(crate) gateway: PathBuf,
    /// The folder that `peers/install` fills.
    pub(crate) peers: PathBuf,
}

impl Programs {
    /// `gateway` beside this program, the peers in `target/peers`, where nobody says otherwise.
    pub(crate) fn new(gateway: Option<PathBuf>, peers: Option<PathBuf>) -> Self {
        let own = std::env::current_exe().unwrap_or_default();
        Self {
            gateway: gateway.unwrap_or_else(|| own.with_file_name("gateway")),
            peers: peers.unwrap_or_else(|| own.with_file_name("../peers")),
        }
    }
}

impl Target {
    /// The name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Floor => "floor",
            Self::Nchan => "nchan",
            Self::Centrifugo => "Centrifugo",
            Self::Mercure => "Mercure",
            Self::SocketIo => "socket.io",
            Self::Uws => "uWebSockets",
        }
    }

    /// Its language. Where coming back costs something even while nobody does, only a storm is spoken with it.
    pub(crate) fn dialect(self, kind: Kind) -> Box<dyn Dialect> {
        let resumable = kind == Kind::Storm;
        match self {
            Self::Gateway => Box::new(gateway::Gateway::new(PUBLISH_KEY, JWT_SECRET)),
            Self::Floor => Box::new(floor::Floor),
            Self::Nchan => Box::new(nchan::Nchan { resumable }),
            Self::Centrifugo => Box::new(centrifugo::Centrifugo::new(PUBLISH_KEY, JWT_SECRET)),
            Self::Mercure => Box::new(mercure::Mercure::new(JWT_SECRET)),
            Self::SocketIo => Box::new(socketio::SocketIo::new(resumable)),
            Self::Uws => Box::new(uws::Uws),
        }
    }

    /// Whether a case means anything for it.
    pub(crate) fn can_play(self, kind: Kind, case: &Case) -> bool {
        let dialect = self.dialect(kind);
        let transports = if kind == Kind::Mixed { &Transport::ALL[..] } else { &[case.transport][..] };
        let able = match kind {
            Kind::Storm => dialect.resumes(),
            // A mixed session follows two topics, and what is tested in the others is the gateway's own bounds.
            Kind::Mixed | Kind::IdleTopics | Kind::Slow => self == Self::Gateway,
            _ => true,
        };
        able && transports.iter().all(|&transport| dialect.serves(transport))
    }

    /// The case as it is played on this server. The floor's figure is one write a delivery, so bursts are not for it.
    pub(crate) fn adapt(self, mut case: Case) -> Case {
        if self == Self::Floor && !case.floor_joins {
            case.burst = 1;
        }
        case
    }

    /// Starts it.
    pub(crate) fn start(self, kind: Kind, case: &Case, programs: &Programs) -> Result<Server> {
        let resumable = kind == Kind::Storm;
        match self {
            Self::Gateway => start_gateway(case, programs),
            Self::Floor => start_floor(case),
            Self::Nchan => peers::nchan(),
            Self::Centrifugo => peers::centrifugo(&programs.peers, resumable),
            Self::Mercure => peers::mercure(&programs.peers, resumable, JWT_SECRET),
            Self::SocketIo => peers::socketio(&programs.peers, resumable),
            Self::Uws => peers::uws(&programs.peers),
        }
    }

    /// Why it cannot be started, if so.
    pub(crate) fn missing(self, programs: &Programs) -> Option<String> {
        let needed = match self {
            Self::Gateway => programs.gateway.clone(),
            Self::Floor => return None,
            Self::Nchan => PathBuf::from(peers::NCHAN_MODULE),
            Self::Centrifugo => programs.peers.join("centrifugo"),
            Self::Mercure => programs.peers.join("mercure"),
            Self::SocketIo => programs.peers.join("socketio/node_modules/socket.io"),
            Self::Uws => programs.peers.join("uws/bin/python"),
        };
        (!needed.exists()).then(|| format!("there is no {} at {}", self.name(), needed.display()))
    }

    /// Its version, as far as it is not this commit's.
    pub(crate) fn version(self, programs: &Programs) -> Option<String> {
        let file = match self {
            Self::Gateway | Self::Floor => return None,
            Self::Nchan => return Some(format!("nchan {}", peers::nchan_version())),
            Self::Centrifugo => "centrifugo.version",
            Self::Mercure => "mercure.version",
            Self::SocketIo => "socketio.version",
            Self::Uws => "uws.version",
        };
        let version = std::fs::read_to_string(programs.peers.join(file)).ok()?;
        Some(format!("{} {}", self.name(), version.trim()))
    }
}

fn start_gateway(case: &Case, programs: &Programs) -> Result<Server> {
    let mut command = Command::new(&programs.gateway);
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(&case.gateway_options);
    // Secrets go by the environment: a command line can be read by everybody.
    command.env("GATEWAY_PUBLISH_KEY", PUBLISH_KEY).env("GATEWAY_JWT_SECRET", JWT_SECRET);
    command.env("RUST_LOG", "error").stderr(Stdio::null());
    Server::start_announcing(command)
}

fn start_floor(case: &Case) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe().context("where is this program?")?);
    // As long as the gateway's batch with the same data.
    let frame_bytes = (case.data_bytes + 150).to_string();
    command.args(["floor", "--frame-bytes", &frame_bytes]);
    if case.floor_joins {
        command.arg("--join");
    }
    if let Some(fault) = case.floor_fault {
        command.args(["--fault", fault.name()]);
    }
    Server::start_announcing(command)
}
