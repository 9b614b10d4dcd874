//! Finds the master: the server of the URL whose role is master, or the one that Sentinel or the
//! Cluster names. Each connection asks again, because the master changes.

use std::ops::RangeInclusive;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo,
    TlsCertificates, Value, cmd,
};

use super::options::RedisError;
use super::reply::{Failure, text};

/// The servers of a URL.
pub(super) struct Servers {
    topology: Topology,
    /// The hosts of the URL: servers, Sentinels or members of the Cluster.
    seeds: Vec<Client>,
    /// Credentials and database for a server that Sentinel or the Cluster names.
    settings: RedisConnectionInfo,
    is_tls: bool,
    /// Trusted root certificates, in PEM; `None`: those of the system.
    authorities: Option<Vec<u8>>,
}

enum Topology {
    Plain,
    /// Sentinels that know a master by this name.
    Sentinel(String),
    /// A Cluster. The master is the owner of this key's slot.
    Cluster(String),
}

/// Timeout of connecting.
pub(super) const CONNECT: Duration = Duration::from_secs(1);

impl Servers {
    /// Parses a URL:
    ///
    /// * `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, or several separated by commas: the first that
    ///   is a master;
    /// * `redis-sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]/NAME[?db=N&sentinel_user=U&sentinel_password=P]`;
    /// * `redis-cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]`;
    ///
    /// with `rediss` for TLS, `valkey` as an alias of `redis`, and `+` as an alias of `-`.
    pub(super) fn parse(url: &str, key: &str, authorities: Option<Vec<u8>>) -> Result<Self, RedisError> {
        let (scheme, rest) = url.split_once("://").ok_or(NO_URL)?;
        let scheme = scheme.replace('+', "-").replace("valkeys", "rediss").replace("valkey", "redis");
        let (scheme, sort) = scheme.split_once('-').unwrap_or((&scheme, ""));
        if scheme == "rediss" {
            // This is one choice for the whole process: the first caller's.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut servers = Self {
            topology: Topology::Plain,
            seeds: Vec::new(),
            settings: RedisConnectionInfo::default(),
            is_tls: scheme == "rediss",
            authorities,
        };
        if sort == "unix" || scheme == "unix" || sort.is_empty() {
            servers.seeds = url.split(',').map(|url| servers.client(url.trim())).collect::<Result<_, _>>()?;
            return Ok(servers);
        }
        servers.read_seeds(scheme, sort, rest, key)?;
        Ok(servers)
    }

    /// Parses the part of a `redis-sentinel` or `redis-cluster` URL after `://`.
    fn read_seeds(&mut self, scheme: &str, sort: &str, rest: &str, key: &str) -> Result<(), RedisError> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
            None => (String::new(), authority),
        };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parameters = SentinelParameters::parse(query)?;
        let (seed_credentials, port) = match sort {
            "sentinel" if path.is_empty() => {
                return Err(RedisError("it lacks the name of the master behind the /"));
            }
            "sentinel" => {
                self.topology = Topology::Sentinel(path.to_owned());
                (parameters.credentials(), 26379)
            }
            "cluster" => {
                self.topology = Topology::Cluster(key.to_owned());
                (credentials.clone(), 6379)
            }
            _ => return Err(NO_URL),
        };
        let any = format!("{scheme}://{credentials}localhost/{}", parameters.database)
            .into_connection_info()
            .map_err(|_| NO_URL)?;
        self.settings = any.redis_settings().clone();
        self.seeds = hosts
            .split(',')
            .map(|host| {
                let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                let port = if has_port { String::new() } else { format!(":{port}") };
                self.client(&format!("{scheme}://{seed_credentials}{}{port}", host.trim()))
            })
            .collect::<Result<_, _>>()?;
        Ok(())
    }

    fn client(&self, url: &str) -> Result<Client, RedisError> {
        let info = url.into_connection_info().map_err(|_| NO_URL)?;
        self.client_of(info).map_err(|_| RedisError("its certificates cannot be used"))
    }

    fn client_of(&self, info: redis::ConnectionInfo) -> redis::RedisResult<Client> {
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match (&self.authorities, info.addr()) {
            (Some(pem), ConnectionAddr::TcpTls { .. }) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) };
                Client::build_with_tls(info, certificates)
            }
            _ => Client::open(info),
        }
    }

    /// The hosts of the URL, in the order of the URL.
    pub(super) fn seeds(&self) -> &[Client] {
        &self.seeds
    }

    /// The server that a seed names as the master; in a plain list, the seed itself. The caller
    /// checks that it is a master.
    pub(super) async fn named_by(&self, seed: &Client, patience: Duration) -> Result<Client, Failure> {
        if let Topology::Plain = self.topology {
            return Ok(seed.clone());
        }
        let (host, port) = self.ask(seed, patience).await?;
        self.client_at(host, port)
    }

    /// The servers that a seed names if no particular key is needed: the masters of a Cluster,
    /// otherwise the server of [`Servers::named_by`].
    pub(super) async fn all_named_by(
        &self,
        seed: &Client,
        patience: Duration,
    ) -> Result<Vec<Client>, Failure> {
        let Topology::Cluster(_) = self.topology else {
            return Ok(vec![self.named_by(seed, patience).await?]);
        };
        let mut connection = connect(seed, patience).await?;
        let slots: Value = cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
        let mut servers: Vec<(String, u16)> = Vec::new();
        for (_, server) in ranges(&slots) {
            let server = (named_or_asked(server.0, seed), server.1);
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        servers.into_iter().map(|(host, port)| self.client_at(host, port)).collect()
    }

    fn client_at(&self, host: String, port: u16) -> Result<Client, Failure> {
        let addr = match self.is_tls {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        };
        let info = addr.into_connection_info()?.set_redis_settings(self.settings.clone());
        Ok(self.client_of(info)?)
    }

    /// The address of the master, according to a seed.
    async fn ask(&self, seed: &Client, patience: Duration) -> Result<(String, u16), Failure> {
        let mut connection = connect(seed, patience).await?;
        let unknown = || Failure::Broken("nobody knows the master".to_owned());
        match &self.topology {
            Topology::Plain => Err(unknown()),
            Topology::Sentinel(name) => {
                let mut which = cmd("SENTINEL");
                which.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
                let address: Option<(String, u16)> = which.query_async(&mut connection).await?;
                address.ok_or_else(unknown)
            }
            Topology::Cluster(key) => {
                let slot = cmd("CLUSTER").arg("KEYSLOT").arg(key).query_async(&mut connection).await?;
                let slots: Value = cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
                let (host, port) = owner(&slots, slot).ok_or_else(unknown)?;
                Ok((named_or_asked(host, seed), port))
            }
        }
    }
}

/// The query parameters of a URL.
struct SentinelParameters<'a> {
    database: &'a str,
    user: &'a str,
    password: Option<&'a str>,
}

impl<'a> SentinelParameters<'a> {
    fn parse(query: &'a str) -> Result<Self, RedisError> {
        let mut parameters = Self { database: "0", user: "", password: None };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "db" => parameters.database = value,
                "sentinel_user" => parameters.user = value,
                "sentinel_password" => parameters.password = Some(value),
                _ => {
                    return Err(RedisError(
                        "it has a parameter other than db, sentinel_user, sentinel_password",
                    ));
                }
            }
        }
        Ok(parameters)
    }

    /// The credentials for the Sentinels themselves, in URL syntax.
    fn credentials(&self) -> String {
        self.password.map_or_else(String::new, |password| format!("{}:{password}@", self.user))
    }
}

/// The master of a slot.
fn owner(slots: &Value, slot: i64) -> Option<(String, u16)> {
    ranges(slots).find(|(range, _)| range.contains(&slot)).map(|(_, master)| master)
}

/// Ranges of slots and their masters: `[[first slot, last slot, [host, port, …], …], …]`.
fn ranges(slots: &Value) -> impl Iterator<Item = (RangeInclusive<i64>, (String, u16))> {
    let ranges = if let Value::Array(ranges) = slots { ranges.as_slice() } else { &[] };
    ranges.iter().filter_map(|range| {
        let Value::Array(parts) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else { return None };
        let [host, Value::Int(port), ..] = &master[..] else { return None };
        let master = (text(host).unwrap_or_default().to_owned(), u16::try_from(*port).ok()?);
        Some((*first..=*last, master))
    })
}

/// Replaces an empty host, which means the server that was asked.
fn named_or_asked(host: String, seed: &Client) -> String {
    match (host.is_empty(), seed.get_connection_info().addr()) {
        (true, ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => host.clone(),
        _ => host,
    }
}

/// Opens a connection. `patience` is the timeout of each reply.
pub(super) async fn connect(client: &Client, patience: Duration) -> Result<MultiplexedConnection, Failure> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(patience));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let connecting = tokio::time::timeout(CONNECT + patience, connecting).await;
    Ok(connecting.map_err(|_| Failure::Broken("connecting took too long".to_owned()))??)
}

const NO_URL: RedisError = RedisError("not a URL of Redis");

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Servers, RedisError> {
        Servers::parse(url, "{log}:s", None)
    }

    fn seeds(servers: &Servers) -> Vec<String> {
        servers.seeds.iter().map(|seed| seed.get_connection_info().addr().to_string()).collect()
    }

    #[test]
    fn urls_of_servers() {
        let servers = parse("redis://a,redis://:secret@b:6380/2").unwrap();
        assert_eq!(seeds(&servers), ["a:6379", "b:6380"]);
        let second = servers.seeds[1].get_connection_info().redis_settings();
        assert_eq!((second.password(), second.db()), (Some("secret"), 2));
        assert_eq!(seeds(&parse("valkey://a").unwrap()), ["a:6379"]);
        assert!(parse("rediss://a").unwrap().is_tls);
        for wrong in ["a", "http://a", "redis-x://a", "redis://a:b", "redis://"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls_of_sentinels() {
        let servers =
            parse("rediss-sentinel://app:pw@a,b:5000/main?db=3&sentinel_user=s&sentinel_password=t").unwrap();
        assert_eq!(seeds(&servers), ["a:26379", "b:5000"]);
        assert!(matches!(&servers.topology, Topology::Sentinel(name) if name == "main"));
        assert!(servers.is_tls);
        let master = &servers.settings;
        assert_eq!((master.username(), master.password(), master.db()), (Some("app"), Some("pw"), 3));
        let sentinel = servers.seeds[0].get_connection_info().redis_settings();
        assert_eq!((sentinel.username(), sentinel.password(), sentinel.db()), (Some("s"), Some("t"), 0));
        assert!(parse("redis-sentinel://a").is_err(), "whose master?");
        assert!(parse("redis-sentinel://a/main?databse=1").is_err());
    }

    #[test]
    fn urls_of_clusters() {
        let servers = parse("redis+cluster://:pw@[::1]:7000,b").unwrap();
        assert_eq!(seeds(&servers), ["::1:7000", "b:6379"]);
        assert_eq!(servers.seeds[1].get_connection_info().redis_settings().password(), Some("pw"));
        assert!(matches!(servers.topology, Topology::Cluster(_)));
    }
}
