//! The servers that can be put under load: how each is started, and in what language it is spoken to.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::dialect::{Dialect, Transport, floor, gateway};
use crate::scenario::{Case, Kind};
use crate::server::Server;

/// What a gateway under test is given as its publish key.
const PUBLISH_KEY: &str = "loadtest-publish-key-0123456789abcdef";
/// What it is given as its JWT secret.
const JWT_SECRET: &str = "loadtest-jwt-secret-0123456789abcdef";

/// A server to compare.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    /// This project's gateway.
    Gateway,
    /// The bare epoll server of `loadtest floor`.
    Floor,
}

impl Target {
    /// The name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Floor => "floor",
        }
    }

    /// Its language.
    pub(crate) fn dialect(self) -> Box<dyn Dialect> {
        match self {
            Self::Gateway => Box::new(gateway::Gateway::new(PUBLISH_KEY, JWT_SECRET)),
            Self::Floor => Box::new(floor::Floor),
        }
    }

    /// Whether a case means anything for it.
    pub(crate) fn can_play(self, kind: Kind, case: &Case) -> bool {
        let dialect = self.dialect();
        let transports = match kind {
            Kind::Mixed => &Transport::ALL[..],
            _ => &[case.transport][..],
        };
        let resumes = dialect.resumes() || !matches!(kind, Kind::Storm);
        let holds_topics = self == Self::Gateway || !matches!(kind, Kind::IdleTopics | Kind::Slow);
        resumes && holds_topics && transports.iter().all(|&transport| dialect.serves(transport))
    }

    /// The case as it is played on this server. The floor's figure is one write a delivery, so bursts are not for it.
    pub(crate) fn adapt(self, mut case: Case) -> Case {
        if self == Self::Floor && !case.floor_joins {
            case.burst = 1;
        }
        case
    }

    /// Starts it.
    pub(crate) fn start(self, case: &Case, gateway: &Path) -> Result<Server> {
        match self {
            Self::Gateway => start_gateway(gateway, case),
            Self::Floor => {
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
        }
    }
}

fn start_gateway(path: &Path, case: &Case) -> Result<Server> {
    let mut command = Command::new(path);
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(&case.gateway_options);
    // Secrets go by the environment: a command line can be read by everybody.
    command.env("GATEWAY_PUBLISH_KEY", PUBLISH_KEY).env("GATEWAY_JWT_SECRET", JWT_SECRET);
    command.env("RUST_LOG", "error").stderr(Stdio::null());
    Server::start_announcing(command)
}

/// Where `gateway` is when nobody says: beside this program.
pub(crate) fn default_gateway() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name("gateway")
}
