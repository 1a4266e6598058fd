//! What a running cluster can be asked: keys and values, members, leadership, snapshots.

mod members;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use biglock_udp::{ClientConfig, ClientError, KvClient, Swapped};

use crate::peer::{self, Peer};
pub use members::{Members, Snapshot, Transfer, members, snapshot, transfer};

/// Which cluster, and how to ask it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// Nodes of the cluster, at least one that runs, e.g. `1=127.0.0.1:7001,2=127.0.0.1:7002`
    #[arg(long, value_name = "ID=ADDR", value_delimiter = ',', global = true)]
    servers: Vec<Peer>,
    /// The cluster's number, as its nodes have it
    #[arg(long, value_name = "N", default_value_t = 1, global = true)]
    cluster: u64,
    /// How long to try, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = peer::millis, global = true)]
    timeout_ms: u64,
    /// The longest datagram to send, in bytes, as `biglock node --max-datagram`; key and value together must be 200 bytes shorter
    #[arg(long, value_name = "BYTES", default_value_t = 1200, global = true)]
    max_datagram: usize,
}

impl Cluster {
    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    fn client(&self) -> anyhow::Result<KvClient> {
        ensure!(
            !self.servers.is_empty(),
            "which cluster? Name some of its nodes, e.g. --servers 1=127.0.0.1:7001,2=127.0.0.1:7002"
        );
        let servers = peer::by_number(&self.servers).map_err(|why| anyhow!("--servers: {why}"))?;
        let mut config = ClientConfig::new(self.cluster, servers);
        config.timeout = self.timeout();
        config.patience = config.patience.max(config.timeout * 2);
        config.max_datagram = self.max_datagram;
        Ok(KvClient::connect(config)?)
    }
}

/// Set the value of a key.
#[derive(Debug, clap::Args)]
pub struct Put {
    /// The key
    key: String,
    /// Its new value
    value: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// Print the value of a key, as it is now: a linearizable read. Fails if there is no such key.
#[derive(Debug, clap::Args)]
pub struct Get {
    /// The key
    key: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// Add to the end of the value of a key: once, whatever gets lost on the way.
#[derive(Debug, clap::Args)]
pub struct Append {
    /// The key
    key: String,
    /// What to add
    value: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// Remove a key.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// The key
    key: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// Compare and swap: set the value of a key if it is what is expected. Fails, and prints the value, if it is not.
#[derive(Debug, clap::Args)]
pub struct Cas {
    /// The key
    key: String,
    /// Its new value
    value: String,
    /// The value that is expected [default: the key is missing]
    #[arg(long, value_name = "VALUE")]
    expect: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
}

const KEY: &str = "the key has";
const KEY_AND_VALUE: &str = "key and value together have";

/// What a client says, in the words of this program; `counted` is what was sent, and has so many bytes.
fn told<T>(
    answer: Result<T, ClientError>,
    verb: &str,
    key: &str,
    counted: &str,
) -> anyhow::Result<T> {
    let answer = answer.map_err(|error| match error {
        ClientError::TooLarge {
            size,
            limit,
            may_have_run,
        } => anyhow!(
            "{counted} {size} bytes, and {limit} are the most: \
             shorten them, or start every node with a longer --max-datagram, and give it here too{}",
            match may_have_run {
                true => " (and it may have run, by way of a node that has a longer one)",
                false => "",
            }
        ),
        ClientError::AnswerTooLarge { size } => anyhow!(
            "the value is so long that its node can't send it, in {size} bytes: start every node with a longer --max-datagram"
        ),
        other => other.into(),
    });
    // A key may be as long as a page.
    let start: String = key.chars().take(40).collect();
    let dots = if start == key { "" } else { "..." };
    answer.with_context(|| format!("can't {verb} {start:?}{dots}"))
}

/// What `biglock put` does.
pub fn put(args: Put) -> anyhow::Result<ExitCode> {
    let Put {
        key,
        value,
        cluster,
    } = args;
    told(
        cluster.client()?.put(&key, value),
        "put",
        &key,
        KEY_AND_VALUE,
    )?;
    Ok(ExitCode::SUCCESS)
}

/// What `biglock get` does.
pub fn get(args: Get) -> anyhow::Result<ExitCode> {
    let Get { key, cluster } = args;
    match told(cluster.client()?.get(&key), "get", &key, KEY)? {
        Some(value) => {
            io::stdout().write_all(&value)?;
            writeln!(io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        None => bail!("there is no key {key:?}"),
    }
}

/// What `biglock append` does.
pub fn append(args: Append) -> anyhow::Result<ExitCode> {
    let Append {
        key,
        value,
        cluster,
    } = args;
    told(
        cluster.client()?.append(&key, value),
        "append to",
        &key,
        KEY_AND_VALUE,
    )?;
    Ok(ExitCode::SUCCESS)
}

/// What `biglock delete` does.
pub fn delete(args: Delete) -> anyhow::Result<ExitCode> {
    let Delete { key, cluster } = args;
    told(cluster.client()?.delete(&key), "delete", &key, KEY)?;
    Ok(ExitCode::SUCCESS)
}

/// What `biglock cas` does.
pub fn cas(args: Cas) -> anyhow::Result<ExitCode> {
    let Cas {
        key,
        value,
        expect,
        cluster,
    } = args;
    let expected = expect.clone().map(Into::into);
    let counted = match expect {
        Some(_) => "key, value and --expect together have",
        None => KEY_AND_VALUE,
    };
    let swapped = cluster.client()?.compare_and_swap(&key, expected, value);
    match told(swapped, "swap", &key, counted)? {
        Swapped::Done => Ok(ExitCode::SUCCESS),
        Swapped::Found(None) => bail!("nothing was changed: there is no key {key:?}"),
        Swapped::Found(Some(value)) => bail!(
            "nothing was changed: the value of {key:?} is {:?}{}",
            String::from_utf8_lossy(&value),
            match expect {
                Some(_) => "",
                None => "; without --expect the key must be missing",
            }
        ),
    }
}
