//! The TOML file.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use toml::Table;

use super::About;
use crate::peer::Peer;
use crate::tuning::Tuning;

/// Reads a file.
///
/// # Errors
/// They name the file, the key, and what to do.
pub fn read(path: &Path) -> anyhow::Result<(About, Tuning)> {
    let file = path.display();
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {file}: give --config a file that exists"))?;
    let table: Table =
        toml::from_str(&text).with_context(|| format!("{file} is not TOML: correct it"))?;
    about(Keys {
        table,
        known: Vec::new(),
    })
    .with_context(|| format!("in {file}"))
}

fn about(mut keys: Keys) -> anyhow::Result<(About, Tuning)> {
    let about = About {
        id: keys.take("id", "id = 1")?,
        cluster: keys.take("cluster", "cluster = 1")?,
        listen: keys.take("listen", "listen = \"127.0.0.1:7001\"")?,
        peers: keys.take_peers()?,
        join: keys.take("join", "join = true")?.unwrap_or(false),
        max_datagram: keys.take("max-datagram", "max-datagram = 1200")?,
        data: keys.take("data", "data = \"./node-1\"")?,
        memory: keys.take("memory", "memory = true")?.unwrap_or(false),
        seed: keys.take("seed", "seed = 42")?,
    };
    let tuning = Tuning {
        election_timeout_min_ms: keys
            .take("election-timeout-min-ms", "election-timeout-min-ms = 150")?,
        election_timeout_max_ms: keys
            .take("election-timeout-max-ms", "election-timeout-max-ms = 300")?,
        heartbeat_ms: keys.take("heartbeat-ms", "heartbeat-ms = 30")?,
        pre_vote: keys.take("pre-vote", "pre-vote = true")?,
        check_quorum: keys.take("check-quorum", "check-quorum = true")?,
    };
    keys.end()?;
    Ok((about, tuning))
}

/// A table out of which every known key is taken: what is left is unknown.
struct Keys {
    table: Table,
    known: Vec<&'static str>,
}

impl Keys {
    fn take<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> anyhow::Result<Option<T>> {
        self.known.push(key);
        let Some(value) = self.table.remove(key) else {
            return Ok(None);
        };
        let shown = value.to_string();
        match value.try_into() {
            Ok(value) => Ok(Some(value)),
            Err(_) => bail!("`{key}` can't be {shown}: write for example {example}"),
        }
    }

    fn take_peers(&mut self) -> anyhow::Result<Option<Vec<Peer>>> {
        let key = "peers";
        let texts: Option<Vec<String>> =
            self.take(key, "peers = [\"2=127.0.0.1:7002\", \"3=127.0.0.1:7003\"]")?;
        let parse = |text: String| text.parse().map_err(anyhow::Error::msg);
        texts
            .map(|texts| texts.into_iter().map(parse).collect())
            .transpose()
            .with_context(|| format!("`{key}`"))
    }

    fn end(self) -> anyhow::Result<()> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(unknown) => bail!(
                "`{unknown}` is no key: remove it or correct its name; the keys are {}",
                self.known.join(", ")
            ),
        }
    }
}
