//! What a client can learn of a nats-server and of the streams below a prefix, and what it cannot.

use async_nats::{
    ServerInfo,
    jetstream::{
        self,
        account::Account,
        stream::{Config as StreamConfig, StorageType},
    },
};
use futures::TryStreamExt as _;

use super::{Finding, Level, finding};
use crate::{
    config::{Config, NatsConfig},
    gateway::nats,
    store::jetstream::places,
};

/// Room that a message needs beside its record.
const MESSAGE_ROOM: usize = 64 << 10;

/// Oldest server that has what the store stands on.
const OLDEST_SERVER: (u64, u64) = (2, 12);

/// Looks at the server of `server`, with the host's settings `config`.
pub(super) async fn findings(server: &NatsConfig, config: &Config) -> Vec<Finding> {
    let client = match nats::connect(server).await {
        Ok(client) => client,
        Err(error) => {
            let place = places(&server.url);
            let found = format!("{place}: {error:#}: is nats-server running there?");
            return vec![finding(Level::Fail, "nats", found)];
        }
    };
    let info = client.server_info();
    let context = jetstream::new(client);
    let mut found = vec![
        version(&info.version),
        payload(info.max_payload, config.limits.record_bytes),
        access(&info),
    ];
    match context.query_account().await {
        Err(error) => found.push(finding(
            Level::Fail,
            "jetstream",
            format!("{error}: start nats-server with -js and a store folder"),
        )),
        Ok(told) => {
            let streams: Result<Vec<_>, _> = context.streams().try_collect().await;
            let own = format!("{}_", config.prefix);
            let streams = streams.map_err(|error| error.to_string()).map(|all| {
                let own = all.into_iter().filter(|stream| stream.config.name.starts_with(&own));
                own.map(|stream| stream.config).collect::<Vec<_>>()
            });
            found.extend([
                account(&told),
                copies(server.replicas, info.cluster.as_deref()),
                kept(streams.as_deref(), server.replicas, &config.prefix),
                sync(server.replicas),
            ]);
        }
    }
    found
}

fn version(version: &str) -> Finding {
    let (major, minor) = OLDEST_SERVER;
    let mut numbers = version.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= OLDEST_SERVER {
        finding(Level::Ok, "nats version", version.to_owned())
    } else {
        let todo =
            format!("{version}: at least {major}.{minor} is needed, install a newer nats-server");
        finding(Level::Fail, "nats version", todo)
    }
}

fn payload(most: usize, record: usize) -> Finding {
    let need = record + MESSAGE_ROOM;
    if most >= need {
        finding(Level::Ok, "nats payload", format!("max_payload {most} bytes"))
    } else {
        let todo = format!(
            "max_payload {most} bytes: records of {record} need {need}; raise it, or lower `record-bytes`"
        );
        finding(Level::Fail, "nats payload", todo)
    }
}

fn access(info: &ServerInfo) -> Finding {
    let who =
        if info.auth_required { "callers must say who they are" } else { "open to everybody" };
    let tls = if info.tls_required { "TLS required" } else { "TLS not required" };
    let more = "only hosts may write records where docs/guarantees.md's permissions are set";
    finding(Level::Ok, "nats access", format!("{who}, {tls}; {more}, which a client cannot see"))
}

fn account(told: &Account) -> Finding {
    let limit = |most: Option<i64>, unit: &str| {
        most.map_or_else(|| "no limit".to_owned(), |most| format!("at most {most}{unit}"))
    };
    let streams = format!("{} streams ({})", told.streams, limit(told.limits.max_streams, ""));
    let room = limit(told.limits.max_storage, " bytes");
    let found = format!("{streams}, {} bytes stored ({room} of the account)", told.storage);
    finding(Level::Ok, "jetstream", found)
}

/// Whether so many copies can be made there.
fn copies(wanted: usize, cluster: Option<&str>) -> Finding {
    match (wanted, cluster) {
        (1, None) => finding(Level::Ok, "replicas", "1, on a server that stands alone".to_owned()),
        (_, None) => finding(
            Level::Fail,
            "replicas",
            format!(
                "{wanted} are asked for, and this server stands alone: ask a cluster, or `--replicas 1`"
            ),
        ),
        (1, Some(cluster)) => finding(
            Level::Warn,
            "replicas",
            format!(
                "1, in the cluster `{cluster}`: the loss of its server loses records; `--replicas 3` survives it"
            ),
        ),
        (_, Some(cluster)) => {
            finding(Level::Ok, "replicas", format!("{wanted}, in the cluster `{cluster}`"))
        }
    }
}

/// How the streams below the prefix keep what is in them.
fn kept(streams: Result<&[StreamConfig], &String>, wanted: usize, prefix: &str) -> Finding {
    let what = "streams";
    let streams = match streams {
        Ok([]) => {
            let found = format!("none below `{prefix}` yet: the first host makes them");
            return finding(Level::Ok, what, found);
        }
        Ok(streams) => streams,
        Err(error) => {
            return finding(Level::Warn, what, format!("they cannot be listed: {error}"));
        }
    };
    let replicas = streams.iter().map(|stream| stream.num_replicas.max(1));
    let (least, most) = (replicas.clone().min().unwrap_or(1), replicas.max().unwrap_or(1));
    let replicas = if least == most { most.to_string() } else { format!("{least} to {most}") };
    let in_memory = streams.iter().filter(|stream| stream.storage != StorageType::File).count();
    let storage = match in_memory {
        0 => "storage file".to_owned(),
        some => format!("{some} of them in memory"),
    };
    let found = format!("{} below `{prefix}`: replicas {replicas}, {storage}", streams.len());
    if in_memory > 0 {
        finding(Level::Fail, what, format!("{found}: a host refuses them; use another prefix"))
    } else if least < wanted {
        let todo = format!(
            "{found}: {wanted} are asked for; `nats stream edit --replicas {wanted}`, or ask for {least}"
        );
        finding(Level::Fail, what, todo)
    } else {
        finding(Level::Ok, what, found)
    }
}

/// What the protocol does not tell.
fn sync(replicas: usize) -> Finding {
    let lost = if replicas > 1 {
        "a majority that loses power at once loses what is younger than that"
    } else {
        "a loss of power loses what is younger than that"
    };
    let found = format!(
        "not known: a server tells its `sync_interval` to nobody; unless its configuration says otherwise it is 2 min, and {lost}; `sync_interval: always` excludes it"
    );
    finding(Level::Warn, "nats sync", found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(num_replicas: usize, storage: StorageType) -> StreamConfig {
        StreamConfig { num_replicas, storage, ..StreamConfig::default() }
    }

    #[test]
    fn servers_are_judged() {
        assert_eq!(version("2.12.1").level, Level::Ok);
        assert_eq!(version("2.9.25").level, Level::Fail);
        assert_eq!(payload(1 << 20, 768 << 10).level, Level::Ok);
        assert_eq!(payload(800 << 10, 768 << 10).level, Level::Fail);
        assert_eq!(copies(1, None).level, Level::Ok);
        assert_eq!(copies(3, None).level, Level::Fail);
        assert_eq!(copies(1, Some("c")).level, Level::Warn);
        assert_eq!(copies(3, Some("c")).level, Level::Ok);
    }

    #[test]
    fn streams_are_judged() {
        let [one, three] = [1, 3].map(|n| stream(n, StorageType::File));
        let memory = stream(1, StorageType::Memory);
        let judge = |streams: &[StreamConfig], wanted| kept(Ok(streams), wanted, "aether");
        assert!(judge(&[], 1).found.contains("none below `aether`"));
        let found = judge(&[one.clone(), one.clone()], 1);
        assert_eq!(found.found, "2 below `aether`: replicas 1, storage file");
        assert_eq!(judge(std::slice::from_ref(&three), 1).level, Level::Ok);
        let mixed = judge(&[one.clone(), three], 3);
        assert!(mixed.level == Level::Fail && mixed.found.contains("replicas 1 to 3"));
        assert_eq!(judge(&[one, memory], 1).level, Level::Fail);
        let unknown = kept(Err(&"no answer".to_owned()), 1, "aether");
        assert!(unknown.level == Level::Warn && unknown.found.contains("no answer"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_fails() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = NatsConfig {
            url: format!("nats://{closed}"),
            credentials: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            replicas: 1,
            partitions: 8,
        };
        let config = crate::config::settings::Draft::new().unwrap().build(false);
        let found = findings(&server, &config).await;
        assert_eq!((found.len(), found[0].level), (1, Level::Fail));
    }
}
