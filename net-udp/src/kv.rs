//! The key-value store over UDP.

use biglock::codec;
use biglock::kv::{KvStore, Reply};
use bytes::Bytes;

/// Serves clients' reads from a key-value store: the question is a key, the answer a [`Reply::Value`]. For
/// [`UdpTransport::with_reader`](crate::UdpTransport::with_reader).
pub fn kv_reader(store: KvStore) -> impl Fn(&[u8]) -> Bytes + Send + Sync + 'static {
    move |key| {
        let value = std::str::from_utf8(key).ok().and_then(|key| store.get(key));
        codec::encode(&Reply::Value(value)).into()
    }
}
