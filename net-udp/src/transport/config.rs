//! What a transport is told, and the socket that it makes of it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};

use biglock::{NodeId, TransportError};
use socket2::SockRef;

use crate::codec::{MAX_DATAGRAM, SAFE_DATAGRAM, is_max_datagram};

/// What a [`UdpTransport`](crate::UdpTransport) is told. Make one with [`UdpConfig::new`] and change what you need.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UdpConfig {
    /// This node.
    pub id: NodeId,
    /// The cluster's id, the same on every node: a number that no other cluster in the network has.
    pub cluster: u64,
    /// The address to listen on, and to send from. Port 0 lets the system choose; see
    /// [`UdpTransport::local_addr`](crate::UdpTransport::local_addr).
    pub listen: SocketAddr,
    /// Where the other nodes listen. This node may be among them and is ignored. What is said here counts, whatever address the log names
    /// for a member; members that are not here are found where the log says. Default: nobody; can be set
    /// [later](crate::UdpTransport::with_peers).
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// The longest datagram to send, in bytes: as much of the log or of a snapshot goes in one. Default: 1,200, which every network carries
    /// in one piece. Up to 65,507 where the network carries more, as loopback does (65,536 with headers), or where none of the pieces
    /// into which IP then cuts a datagram is likely to be lost. A command must fit into one. Nodes take datagrams of any length, and
    /// what one leader took the next sends on in a datagram that is as long as it must be. But make it the same on all nodes: else the limit
    /// of a command changes with the leader.
    pub max_datagram: usize,
    /// The size of the system's receive buffer, in bytes (`SO_RCVBUF`): what does not fit is lost. Default: 4 MiB, or what the system
    /// allows of it.
    pub receive_buffer: Option<usize>,
    /// The size of the system's send buffer, in bytes (`SO_SNDBUF`): a sender waits while it is full. Default: 1 MiB, or what the system
    /// allows of it.
    pub send_buffer: Option<usize>,
}

/// What a node receives while its receiver is busy for as long as a slow write takes.
const RECEIVE_BUFFER: usize = 4 << 20;
const SEND_BUFFER: usize = 1 << 20;

impl UdpConfig {
    /// A node of this cluster that listens here, knows nobody, and has the defaults above.
    pub fn new(id: NodeId, cluster: u64, listen: SocketAddr) -> UdpConfig {
        UdpConfig {
            id,
            cluster,
            listen,
            peers: BTreeMap::new(),
            max_datagram: SAFE_DATAGRAM,
            receive_buffer: None,
            send_buffer: None,
        }
    }

    /// Checks it, and binds the socket.
    pub(super) fn bind(&self) -> Result<UdpSocket, TransportError> {
        let listen = self.listen;
        let failed = |what: String| move |e: io::Error| TransportError::new(what, Some(e));
        if !is_max_datagram(self.max_datagram) {
            let asked = self.max_datagram;
            let what = format!(
                "max_datagram is {asked} bytes: make it {SAFE_DATAGRAM}, which every network carries in one piece, or up to {MAX_DATAGRAM}"
            );
            return Err(TransportError::new(what, None));
        }
        let socket = UdpSocket::bind(listen).map_err(failed(format!(
            "can't listen on {listen} (is another node using it, and is it an address of this machine?)"
        )))?;
        let sizes = SockRef::from(&socket);
        let receive = self.receive_buffer;
        sizes
            .set_recv_buffer_size(receive.unwrap_or(RECEIVE_BUFFER))
            .or_else(|error| receive.map_or(Ok(()), |_| Err(error)))
            .map_err(failed(format!("can't receive into {receive:?} bytes")))?;
        // Linux takes any size, and gives at most what its administrator allows.
        if let (Some(asked), Ok(got)) = (receive, sizes.recv_buffer_size())
            && got < asked
        {
            tracing::warn!(
                asked,
                got,
                "the receive buffer is smaller than asked for; raise net.core.rmem_max"
            );
        }
        let send = self.send_buffer;
        sizes
            .set_send_buffer_size(send.unwrap_or(SEND_BUFFER))
            .or_else(|error| send.map_or(Ok(()), |_| Err(error)))
            .map_err(failed(format!("can't send from {send:?} bytes")))?;
        Ok(socket)
    }
}
