//! The documentation tells the truth: its shell examples run and print what the page says, its links lead somewhere.
//!
//! The info string of a code block says what it is:
//!
//! * `sh`: the example runs as it stands and prints something;
//! * `sh serves`: the example starts a gateway, which the examples below it talk to;
//! * `sh not run: REASON`: a shell example that cannot run in a test;
//! * `text output`: what the example above prints, line by line; `…` stands for any text;
//! * any other word: not an example for a shell.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "../../events/tests/redis/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod server;
mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use postgres::Postgres;
use regex::Regex;
use server::Server;
use support::Directory;

/// One fenced code block.
struct Block {
    info: String,
    body: String,
    /// Of its first fence, from 1.
    line: usize,
}

/// One file of the documentation.
struct Page {
    /// From the root of the repository.
    name: String,
    text: String,
}

impl Page {
    fn read(path: &Path) -> Self {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        Self { text: std::fs::read_to_string(path).expect("text"), name }
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (index, line) in self.text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match (&mut open, fence) {
                (None, Some(info)) => {
                    open = Some(Block { info: info.trim().to_owned(), body: String::new(), line: index + 1 });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => block.body += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a code block does not end", self.name);
        blocks
    }

    /// The text without its code blocks.
    fn prose(&self) -> String {
        let fenced = Regex::new(r"(?ms)^ *```.*?^ *```$").expect("a pattern");
        fenced.replace_all(&self.text, "").into_owned()
    }

    /// What a link to `#…` may name: headings in the spelling of GitHub, and explicit anchors.
    fn anchors(&self) -> BTreeSet<String> {
        let explicit = Regex::new(r#"<a id="([^"]+)""#).expect("a pattern");
        let headings = self.prose();
        let headings = headings.lines().filter(|line| line.starts_with('#')).map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        });
        headings.chain(explicit.captures_iter(&self.text).map(|found| found[1].to_owned())).collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// The pages whose examples run: README.md and all of docs/.
fn pages() -> Vec<Page> {
    let mut paths = vec![root().join("README.md")];
    markdown_below(&root().join("docs"), &mut paths);
    assert!(paths.len() > 3, "the pages are there");
    paths.iter().map(|path| Page::read(path)).collect()
}

/// Every Markdown file of the repository.
fn all_documents() -> Vec<Page> {
    let mut paths = Vec::new();
    markdown_below(&root(), &mut paths);
    paths.iter().map(|path| Page::read(path)).collect()
}

fn markdown_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if path.is_dir() && !matches!(name, "target" | "node_modules") && !name.starts_with('.') {
            markdown_below(&path, found);
        } else if path.extension() == Some(OsStr::new("md")) {
            found.push(path);
        }
    }
}

/// Whether each line of `printed` is the one of `documented`, in which `…` stands for any text.
fn prints(documented: &str, printed: &str) -> bool {
    let (documented, printed): (Vec<&str>, Vec<&str>) =
        (documented.trim_end().lines().collect(), printed.trim_end().lines().collect());
    documented.len() == printed.len()
        && documented.iter().zip(printed).all(|(documented, printed)| {
            let pattern = regex::escape(documented.trim_end()).replace('…', ".*");
            Regex::new(&format!("^{pattern}$")).expect("a pattern").is_match(printed.trim_end())
        })
}

/// A PostgreSQL server for the examples of a page.
struct Database(Postgres);

impl Database {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        Self(runtime.block_on(Postgres::start(&[])))
    }

    /// What psql and the client libraries read, and where `make setup` has put the libraries.
    fn environment(&self) -> [(&'static str, String); 7] {
        let tools = root().join("target/tools");
        [
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", self.0.port.to_string()),
            ("PGUSER", "postgres".to_owned()),
            ("PGDATABASE", "postgres".to_owned()),
            ("PYTHONPATH", tools.join("python").display().to_string()),
            ("NODE_PATH", tools.join("pg/node_modules").display().to_string()),
            ("HOME", std::env::var("HOME").unwrap_or_default()),
        ]
    }
}

/// A Redis server for the examples of a page.
struct Channels(Server);

impl Channels {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        Self(runtime.block_on(Server::start(&[])))
    }

    /// Where the server is, and where `make setup` has put the client libraries.
    fn environment(&self) -> [(&'static str, String); 4] {
        let tools = root().join("target/tools");
        [
            ("REDIS_URL", self.0.url()),
            ("PYTHONPATH", tools.join("python").display().to_string()),
            ("NODE_PATH", tools.join("redis/node_modules").display().to_string()),
            ("HOME", std::env::var("HOME").unwrap_or_default()),
        ]
    }
}

/// What became of one example.
struct Printed {
    /// The place of its block in the page.
    index: usize,
    out: String,
    error: String,
    code: String,
}

/// Runs the examples of a page in one shell. `purpose` keeps the folders of two tests apart.
fn run_examples(page: &Page, purpose: &str) -> Vec<Printed> {
    let server = page.text.contains("psql").then(Database::start);
    let channels = page.text.contains("--source-redis-url \"$REDIS_URL\"").then(Channels::start);
    let folder = Directory::new(&format!("{purpose}-{}", page.name.replace(['/', '.'], "-")));
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let mut examples = Vec::new();
    for (index, block) in page.blocks().iter().enumerate() {
        let kind = match block.info.as_str() {
            "sh" => "sh",
            "sh serves" => "serves",
            _ => continue,
        };
        std::fs::write(folder.0.join(format!("{index:02}.{kind}")), &block.body).expect("written");
        examples.push(index);
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_gateway")).parent().expect("a folder").display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").expect("a search path"));
    let run = Command::new("timeout")
        .args(["300", "bash"])
        .args([root().join("crates/gateway/tests/docs/run_page.bash").as_os_str(), folder.0.as_os_str()])
        .env_clear()
        .env("PATH", path)
        .envs(server.iter().flat_map(Database::environment))
        .envs(channels.iter().flat_map(Channels::environment))
        .current_dir(&folder.0)
        .output()
        .expect("bash runs");
    let driver_said = String::from_utf8_lossy(&run.stderr);
    let read = |index: usize, kind: &str| {
        std::fs::read_to_string(folder.0.join(format!("{index:02}.{kind}"))).unwrap_or_default()
    };
    let printed = |index| Printed {
        index,
        out: read(index, "out"),
        error: read(index, "err") + &driver_said,
        code: read(index, "code").trim().to_owned(),
    };
    examples.into_iter().map(printed).collect()
}

/// Fails when an example fails, or prints what the page does not say.
fn check_examples(page: &Page) {
    let blocks = page.blocks();
    for Printed { index, out, error, code } in run_examples(page, "documented") {
        let block = &blocks[index];
        let place = format!("{}:{}\n{}", page.name, block.line, block.body);
        // curl ends a stream by its own time limit: 28.
        assert!(matches!(code.as_str(), "0" | "28"), "{place}\nexit {code}\n{out}\n{error}");
        if let Some(expected) = blocks.get(index + 1).filter(|next| next.info == "text output") {
            assert!(prints(&expected.body, &out), "{place}\nprints\n{out}\n{error}");
            continue;
        }
        let only_sets = block.body.lines().all(|line| line.starts_with("export "));
        assert!(only_sets || !out.trim().is_empty(), "{place}\nprints nothing\n{error}");
        let failed = out.contains("urn:throughline:problem") || out.contains("\"error\":");
        assert!(!failed, "{place}\n{out}");
    }
}

#[test]
fn every_shell_example_runs_as_it_stands() {
    let pages = pages();
    let examples = pages.iter().flat_map(Page::blocks).filter(|block| block.info.starts_with("sh")).count();
    assert!(examples >= 8, "only {examples} examples");
    std::thread::scope(|scope| {
        for page in &pages {
            scope.spawn(|| check_examples(page));
        }
    });
}

#[test]
fn every_code_block_says_what_it_is() {
    for page in pages() {
        let blocks = page.blocks();
        for (index, block) in blocks.iter().enumerate() {
            let place = format!("{}:{}", page.name, block.line);
            let mut words = block.info.splitn(2, ' ');
            match (words.next().unwrap_or_default(), words.next()) {
                ("", _) => panic!("{place}: a code block without an info string"),
                ("bash" | "shell" | "console" | "zsh", _) => panic!("{place}: use `sh`, which runs"),
                ("sh", None | Some("serves")) => {}
                ("sh", Some(why)) => {
                    let reason = why.strip_prefix("not run: ").unwrap_or_default();
                    assert!(!reason.is_empty(), "{place}: say `sh not run: REASON`");
                }
                ("text", Some("output")) => {
                    let above = index.checked_sub(1).map(|above| blocks[above].info.as_str());
                    assert_eq!(above, Some("sh"), "{place}: the output of nothing");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_relative_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern");
    for page in all_documents() {
        let folder = root().join(&page.name).parent().expect("a folder").to_owned();
        for found in link.captures_iter(&page.prose()) {
            let target = &found[1];
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { root().join(&page.name) } else { folder.join(file) };
            assert!(path.exists(), "{} links to {target}", page.name);
            if !anchor.is_empty() {
                let path = path.canonicalize().expect("it exists");
                let anchors = Page::read(&path).anchors();
                assert!(anchors.contains(anchor), "{} links to {target}: {anchors:?}", page.name);
            }
        }
    }
}

/// The texts of the Rust sources as the compiler sees them: a string that spans lines is one line.
fn sources() -> String {
    let mut text = String::new();
    let mut folders: Vec<PathBuf> =
        ["events", "transport", "gateway"].map(|name| root().join("crates").join(name).join("src")).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text += &std::fs::read_to_string(path).expect("text");
            }
        }
    }
    let continued = Regex::new(r"\\\n\s*").expect("a pattern");
    continued.replace_all(&text, "").replace("\\\"", "\"").replace('`', "")
}

#[test]
fn every_error_line_of_troubleshooting_is_one_that_the_gateway_writes() {
    let sources = sources();
    let page = Page::read(&root().join("docs/troubleshooting.md"));
    let code = Regex::new("`([^`]+)`").expect("a pattern");
    // What stands for a value, and what comes from a library or the system.
    let placeholder = Regex::new(r"…|\b[A-Z]+\b|: Address already in use").expect("a pattern");
    let mut seen = 0;
    for table in page.text.split("\n\n").filter(|part| part.starts_with('|')) {
        let first_cells = table.lines().map(|row| row.split('|').nth(1).unwrap_or_default().trim());
        let mut first_cells = first_cells.collect::<Vec<_>>().into_iter();
        let holds_lines =
            ["line", "`detail`", "reason", "log line"].contains(&first_cells.next().unwrap_or_default());
        for line in first_cells.filter(|_| holds_lines).flat_map(|cell| code.captures_iter(cell)) {
            for part in placeholder.split(&line[1]).map(|part| part.trim_matches([' ', ':'])) {
                let is_telling = part.len() > 5;
                assert!(!is_telling || sources.contains(part), "no such text: {part:?} of {}", &line[0]);
                seen += usize::from(is_telling);
            }
        }
    }
    assert!(seen > 40, "only {seen} lines");
}

#[test]
fn lines_of_prose_have_at_most_100_columns() {
    const COLUMNS_MAX: usize = 100;
    // Tables, pictures, comments, headings, indented code, and the command that the load test writes below a section.
    let no_prose = ["|", "!", "<", "#", "    ", "`loadtest "];
    for page in all_documents().iter().filter(|page| !page.name.starts_with("clients/")) {
        for line in page.prose().lines().filter(|line| !no_prose.iter().any(|no| line.starts_with(no))) {
            let is_table = line.trim_start().starts_with('|');
            assert!(is_table || line.chars().count() <= COLUMNS_MAX, "{}: {line}", page.name);
        }
    }
}

#[test]
fn every_index_lists_the_pages_beside_it() {
    for page in pages().iter().filter(|page| page.name.starts_with("docs/")) {
        let (folder, name) = page.name.rsplit_once('/').expect("in a folder");
        let index = Page::read(&root().join(folder).join("README.md"));
        assert!(
            name == "README.md" || index.text.contains(&format!("({name})")),
            "{} does not list {name}",
            index.name
        );
    }
}

#[test]
fn what_a_client_missed_comes_over_both_transports_of_the_readme() {
    let readme = Page::read(&root().join("README.md"));
    let printed = run_examples(&readme, "resumed");
    let events = printed.iter().map(|printed| printed.out.matches("\"percent\":45").count());
    assert_eq!(events.sum::<usize>(), 2, "once over each transport");
}
