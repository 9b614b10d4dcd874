//! The page of `gateway dev`, fetched as a browser would: every file that it refers to is served, none is left
//! over, and nothing in it needs more than the strict policy it is served with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

/// `gateway dev` on a free port, ended with the test.
struct Gateway {
    child: Child,
    address: String,
    /// Held open: the gateway prints more than the first line.
    _stdout: BufReader<ChildStdout>,
}

impl Gateway {
    fn start() -> Self {
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/bound"))
            .args([env!("CARGO_BIN_EXE_gateway"), "dev", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the gateway starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
        stdout.read_line(&mut line).expect("its first line");
        let address = line.trim().strip_prefix("listening on http://").expect("the address").to_owned();
        Self { child, address, _stdout: stdout }
    }

    /// Status, head in lower case, and body.
    fn get(&self, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)
            .expect("the request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_ascii_lowercase(), body.to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The paths of the page's own files that a file refers to: a quoted `/NAME.css`, `.js` or `.svg`, or `./NAME.js`.
fn references(body: &str) -> impl Iterator<Item = String> {
    body.split(['"', '\'']).filter_map(|text| {
        let name = text.strip_prefix("./").or_else(|| text.strip_prefix('/'))?;
        let kind = name.rsplit_once('.')?.1;
        ["css", "js", "svg"].contains(&kind).then(|| format!("/{name}"))
    })
}

#[test]
fn the_page_is_complete_and_fits_its_policy() {
    let gateway = Gateway::start();
    let mut files = BTreeMap::new();
    let mut wanted = BTreeSet::from(["/".to_owned()]);
    while let Some(path) = wanted.pop_first() {
        let (status, head, body) = gateway.get(&path);
        assert_eq!(status, 200, "{path}");
        let kind = match path.rsplit_once('.') {
            Some((_, "css")) => "text/css",
            Some((_, "svg")) => "image/svg+xml",
            Some(_) => "text/javascript",
            None => "text/html",
        };
        assert!(head.contains(&format!("\r\ncontent-type: {kind}")), "{path}: {head}");
        assert!(head.contains("\r\ncontent-security-policy: default-src 'self';"), "{path}: {head}");
        wanted.extend(references(&body).filter(|path| !files.contains_key(path)));
        files.insert(path, body);
    }

    let html = &files["/"];
    for inline in ["<style", " style=", " onclick=", "javascript:", "http:", "https:"] {
        assert!(!html.contains(inline), "the page contains {inline}");
    }
    let external = html.matches("<script type=\"module\" src=").count();
    assert_eq!(html.matches("<script").count(), external, "no script is inline");

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
    for entry in fs::read_dir(folder).expect("the page's folder") {
        let name = entry.expect("a file").file_name().into_string().expect("a name");
        assert!(name == "index.html" || files.contains_key(&format!("/{name}")), "nothing refers to {name}");
    }
}
