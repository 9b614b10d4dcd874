//! The three outboxes: how each is set up, written into and started.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use gateway::config::{self, Command};

use crate::postgres::Postgres;
use crate::support::{Directory, Program, SECRET, bound, serving};

/// Events are spread over so many topics, so that the shards of the stream broker have work.
const TOPICS: u64 = 8;
/// What stands in an event beside its number.
const REST: &str = r#""jobId":"0190-7f3a","status":"running","stage":"syncing","message":"45 of 100 files"}"#;

/// An outbox in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// `--source-outbox`.
    Gateway,
    /// Centrifugo with an outbox table and the default limit of rows.
    Consumer,
    /// The same with as many rows a turn as the gateway takes.
    ConsumerOf500,
    /// Centrifugo with PostgreSQL as its stream broker.
    Broker,
}

/// A server that runs. Killed when dropped.
pub(crate) struct Running {
    pub(crate) system: System,
    pub(crate) address: SocketAddr,
    pid: u32,
    _process: Process,
}

enum Process {
    Gateway { _program: Program },
    Centrifugo { child: Child, _directory: Directory },
}

impl System {
    /// Those that are there.
    pub(crate) fn installed() -> Vec<Self> {
        if centrifugo().exists() {
            vec![Self::Gateway, Self::Consumer, Self::ConsumerOf500, Self::Broker]
        } else {
            println!("without Centrifugo: `loadtest/peers/install` installs it");
            vec![Self::Gateway]
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Consumer => "Centrifugo 6.9, outbox consumer",
            Self::ConsumerOf500 => "Centrifugo 6.9, outbox consumer, 500 rows",
            Self::Broker => "Centrifugo 6.9, stream broker",
        }
    }

    /// The table whose rows go, if they do.
    pub(crate) fn outbox(self) -> Option<&'static str> {
        match self {
            Self::Gateway => Some("throughline_outbox"),
            Self::Consumer | Self::ConsumerOf500 => Some("centrifugo_outbox"),
            Self::Broker => None,
        }
    }

    /// What makes the table, empty, with the trigger that wakes the server up. Of Centrifugo it is
    /// that of its documentation.
    pub(crate) fn script(self) -> Option<String> {
        match self {
            Self::Gateway => {
                let arguments = ["gateway", "outbox-sql", "--wake-up"];
                let Ok(Command::OutboxSql(outbox)) = config::read(arguments) else { return None };
                Some(outbox.script() + "truncate throughline_outbox;")
            }
            Self::Consumer | Self::ConsumerOf500 => Some(CONSUMER_SQL.to_owned()),
            // It makes its tables itself.
            Self::Broker => None,
        }
    }

    /// What empties tables that the server makes itself.
    pub(crate) fn script_once_started(self) -> Option<&'static str> {
        (self == Self::Broker).then_some("truncate cf_stream, cf_stream_meta")
    }

    /// Writes the events 1 to `rows`, in one transaction.
    pub(crate) fn insert_many(self, rows: u64) -> String {
        let (topic, data) = (format!("'b' || n % {TOPICS}"), format!(r#"'{{"n":' || n || ',{REST}'"#));
        let from = format!("from generate_series(1, {rows}) n");
        match self {
            Self::Gateway => format!("select throughline_publish({topic}, 'b', ({data})::json) {from}"),
            Self::Consumer | Self::ConsumerOf500 => format!(
                r#"insert into centrifugo_outbox (method, payload)
                   select 'publish', ('{{"channel":"' || {topic} || '","data":' || {data} || '}}')::jsonb {from}"#
            ),
            Self::Broker => format!("select cf_stream_publish({topic}, ({data})::jsonb) {from}"),
        }
    }

    /// Writes the event `n`.
    pub(crate) fn insert_one(self, n: u64) -> String {
        let (topic, data) = (format!("b{}", n % TOPICS), format!(r#"{{"n":{n},{REST}"#));
        match self {
            Self::Gateway => format!("select throughline_publish('{topic}', 'b', '{data}')"),
            Self::Consumer | Self::ConsumerOf500 => format!(
                r#"insert into centrifugo_outbox (method, payload)
                   values ('publish', '{{"channel":"{topic}","data":{data}}}')"#
            ),
            Self::Broker => format!("select cf_stream_publish('{topic}', '{data}')"),
        }
    }

    /// Starts it.
    pub(crate) fn start(self, server: &Postgres) -> Running {
        let url = server.url();
        if self == Self::Gateway {
            let options = ["--database-url", &url, "--source-outbox", "throughline_outbox"];
            // The ring holds what the client has not read yet, as the queue of Centrifugo does.
            let keeps = ["--ring-events", "1000000", "--log", "error"];
            let mut program = Program::start(&serving(&[&options[..], &keeps].concat()));
            program.read_log();
            let (address, pid) = (program.address, program.pid());
            return Running { system: self, address, pid, _process: Process::Gateway { _program: program } };
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = Directory::new(&format!("centrifugo-{port}"));
        std::fs::create_dir_all(&directory.0).unwrap();
        let file = directory.0.join("config.json");
        std::fs::write(&file, self.configuration(&url, port).to_string()).unwrap();
        let child = bound(centrifugo().to_str().unwrap())
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (address, pid) = (SocketAddr::from(([127, 0, 0, 1], port)), child.id());
        Running { system: self, address, pid, _process: Process::Centrifugo { child, _directory: directory } }
    }

    /// The topics, as they stand in a token or a query.
    pub(crate) fn topics() -> Vec<String> {
        (0..TOPICS).map(|topic| format!("b{topic}")).collect()
    }

    fn configuration(self, database: &str, port: u16) -> serde_json::Value {
        let mut configuration = serde_json::json!({
            "http_server": { "address": "127.0.0.1", "port": port.to_string() },
            "client": {
                "token": { "hmac_secret_key": SECRET },
                "allowed_origins": ["*"],
                "queue_max_size": 1 << 30,
            },
            // As much as the gateway keeps of a topic by default.
            "channel": { "without_namespace": { "history_size": 256, "history_ttl": "600s" } },
            "log": { "level": "error" },
        });
        if self == Self::Broker {
            let postgres = serde_json::json!({ "dsn": database, "use_notify": true });
            configuration["broker"] =
                serde_json::json!({ "enabled": true, "type": "postgres", "postgres": postgres });
        } else {
            configuration["consumers"] = serde_json::json!([{
                "enabled": true,
                "name": "outbox",
                "type": "postgresql",
                "postgresql": {
                    "dsn": database,
                    "outbox_table_name": "centrifugo_outbox",
                    "partition_select_limit": if self == Self::Consumer { 100 } else { 500 },
                    "partition_notification_channel": "centrifugo_partition_change",
                },
            }]);
        }
        configuration
    }
}

impl Running {
    /// The processor time that it has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // The name of the program may contain anything but a closing bracket.
        let behind = stat.rsplit_once(')').unwrap().1;
        let ticks: u64 =
            behind.split_whitespace().skip(11).take(2).map(|text| text.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Centrifugo { child, .. } = self {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn centrifugo() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/centrifugo6"))
}

const CONSUMER_SQL: &str = "
create table if not exists centrifugo_outbox (
  id bigserial primary key,
  method text not null,
  payload jsonb not null,
  partition integer not null default 0,
  created_at timestamp with time zone default now() not null
);
create or replace function centrifugo_notify_partition_change() returns trigger as $$
begin
  perform pg_notify('centrifugo_partition_change', new.partition::text);
  return new;
end;
$$ language plpgsql;
create or replace trigger centrifugo_notify_partition_trigger
  after insert on centrifugo_outbox for each row execute function centrifugo_notify_partition_change();
truncate centrifugo_outbox;";
