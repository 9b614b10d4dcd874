//! A gateway process of the test's own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::wire::{Answer, request};

/// A running gateway; ends with the value.
pub(crate) struct Gateway {
    process: Child,
    address: SocketAddr,
}

impl Gateway {
    /// `gateway dev` on a free port, with more options.
    pub(crate) fn dev(options: &[String]) -> Self {
        let mut process = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/bound"))
            .args([env!("CARGO_BIN_EXE_gateway"), "dev", "--listen", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the gateway starts");
        let stdout = BufReader::new(process.stdout.take().expect("its output is piped"));
        let mut lines = stdout.lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned))
            .expect("the gateway says where it listens");
        // What else it prints must go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.trim_end_matches('/').parse().expect("an address") }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request without a body.
    pub(crate) fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        request(self.address, "GET", target, headers, b"")
    }

    /// A request with a body and the publish key.
    pub(crate) fn post(&self, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("authorization", "Bearer dev"), ("content-type", "application/json")];
        all.retain(|(name, _)| !headers.iter().any(|(given, _)| given == name));
        all.extend_from_slice(headers);
        request(self.address, "POST", target, &all, body.as_bytes())
    }

    /// Asks it to stop.
    pub(crate) fn drain(&self) {
        let status = Command::new("kill").arg(self.process.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "the gateway runs");
    }

    /// Waits for its end after [`Gateway::drain`].
    pub(crate) fn exit_code(&mut self, patience: Duration) -> Option<i32> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if let Some(status) = self.process.try_wait().expect("a child can be asked") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
