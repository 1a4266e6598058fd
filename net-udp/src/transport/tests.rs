use std::sync::mpsc;

use biglock::{Clock, Config, MemoryStorage, Node};

use super::*;

/// Longer than anything here takes; it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn bind(listen: &str) -> UdpTransport {
    let config = UdpConfig::new(NodeId(1), 1, listen.parse().unwrap());
    UdpTransport::bind(config).unwrap()
}

/// Node 1 of two, whose time stands still: its receiver waits for datagrams and for nothing else.
fn start(transport: UdpTransport) -> Node {
    let mut config = Config::new(1, [1, 2]);
    config.clock = Clock::manual();
    Node::start(config, MemoryStorage::new(), transport, ()).unwrap()
}

fn must_stop(node: Node) {
    let (stopped, stops) = mpsc::channel();
    let stop = move || stopped.send(node.shutdown()).unwrap();
    thread::Builder::new().spawn(stop).unwrap();
    stops.recv_timeout(PATIENCE).expect("it hangs").unwrap();
}

/// The knock comes before or after it waits: both must do.
fn knock_wakes(listen: &str) {
    for _ in 0..20 {
        let link = bind(listen).link;
        // So that nothing else wakes it in time.
        link.socket.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        let (awake, woken) = mpsc::channel();
        let socket = link.socket.try_clone().unwrap();
        let receive = move || awake.send(socket.recv_from(&mut [0; 9])).unwrap();
        thread::Builder::new().spawn(receive).unwrap();
        link.knock();
        let woken = woken.recv_timeout(PATIENCE);
        let (length, _) = woken.expect("the receiver did not wake").unwrap();
        assert_eq!(length, 0);
    }
}

#[test]
fn a_knock_wakes_the_receiver() {
    knock_wakes("127.0.0.1:0");
    knock_wakes("0.0.0.0:0");
    if UdpSocket::bind("[::1]:0").is_ok() {
        knock_wakes("[::1]:0");
        knock_wakes("[::]:0");
    }
}

#[test]
fn it_stops_when_the_knock_is_lost() {
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    elsewhere.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut transport = bind("127.0.0.1:0");
    // As if the address had changed meanwhile, and were somebody else's.
    Arc::get_mut(&mut transport.link).unwrap().local = elsewhere.local_addr().unwrap();
    let link = transport.link.clone();
    must_stop(start(transport));
    let (length, _) = elsewhere.recv_from(&mut [0; 9]).unwrap();
    assert_eq!(length, 0, "the knock");
    assert_eq!(link.counts.snapshot(), Counters::default());
}

/// A socket that fails again and again, and can't even be knocked at: `stop` must get through the pauses in between.
#[test]
#[cfg(unix)]
fn a_socket_that_fails_is_counted_and_stops() {
    let mut transport = bind("127.0.0.1:0");
    let no_socket = std::fs::File::open("/dev/null").unwrap();
    Arc::get_mut(&mut transport.link).unwrap().socket =
        std::os::fd::OwnedFd::from(no_socket).into();
    let link = transport.link.clone();
    let node = start(transport);
    while link.counts.snapshot().receive_errors < 4 {
        thread::yield_now();
    }
    must_stop(node);
    let counters = link.counts.snapshot();
    assert_eq!(counters.dropped() + counters.delivered, 0, "{counters}");
}
