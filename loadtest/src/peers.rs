//! What others would use instead, each started in its best configuration for the case; the files are in `loadtest/peers/`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::server::Server;

/// Debian's module of nginx.
pub(crate) const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// nginx with nchan.
pub(crate) fn nchan() -> Result<Server> {
    let place = Place::new("nchan")?;
    let config = place.write("nginx.conf", include_str!("../peers/nginx.conf"), &[])?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(config).arg("-p").arg(&place.folder).args(["-e", "stderr"]);
    place.start(command)
}

/// The version of Debian's package.
pub(crate) fn nchan_version() -> String {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", "libnginx-mod-nchan"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// Centrifugo with its memory engine. History is kept only where sessions come back for it.
pub(crate) fn centrifugo(peers: &Path, resumable: bool) -> Result<Server> {
    let place = Place::new("centrifugo")?;
    let [history, ttl, recovery] = if resumable { ["256", "10m", "true"] } else { ["0", "0s", "false"] };
    let words = [("@HISTORY@", history), ("@TTL@", ttl), ("@RECOVERY@", recovery)];
    let config = place.write("config.json", include_str!("../peers/centrifugo.json"), &words)?;
    let mut command = Command::new(peers.join("centrifugo"));
    command.arg("-c").arg(config);
    place.start(command)
}

/// Mercure's hub. Its database is used only where sessions come back for what is in it.
pub(crate) fn mercure(peers: &Path, resumable: bool, jwt_secret: &str) -> Result<Server> {
    let place = Place::new("mercure")?;
    let mut command = Command::new(peers.join("mercure"));
    command.arg(place.address.to_string()).env("MERCURE_JWT_SECRET", jwt_secret);
    if resumable {
        command.arg(place.folder.join("updates.db"));
    }
    place.start(command)
}

/// socket.io with its in-memory adapter.
pub(crate) fn socketio(peers: &Path, resumable: bool) -> Result<Server> {
    let place = Place::new("socketio")?;
    let mut command = Command::new("node");
    command
        .arg(peers.join("socketio/server.js"))
        .arg(place.address.port().to_string())
        .env("NODE_ENV", "production");
    if resumable {
        command.arg("recovery");
    }
    place.start(command)
}

/// uWebSockets by way of socketify.
pub(crate) fn uws(peers: &Path) -> Result<Server> {
    let place = Place::new("uws")?;
    let mut command = Command::new(peers.join("uws/bin/python"));
    command.arg(peers.join("uws/server.py")).arg(place.address.port().to_string());
    place.start(command)
}

/// A folder and a port for one run of one peer.
struct Place {
    folder: PathBuf,
    address: SocketAddr,
}

impl Place {
    fn new(name: &str) -> Result<Self> {
        // Nothing else here takes ports, so the one that was free a moment ago still is.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder =
            std::env::temp_dir().join(format!("loadtest-{name}-{}-{}", std::process::id(), address.port()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder, address })
    }

    fn write(&self, name: &str, template: &str, words: &[(&str, &str)]) -> Result<PathBuf> {
        let port = self.address.port().to_string();
        let mut text = template.replace("@FOLDER@", &self.folder.to_string_lossy()).replace("@PORT@", &port);
        for (mark, word) in words {
            text = text.replace(mark, word);
        }
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn start(self, mut command: Command) -> Result<Server> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Server::start_at(command, self.address, Some(self.folder))
    }
}
