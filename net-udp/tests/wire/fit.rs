//! What the transport says that a message may carry fits into a datagram, to the byte.

use std::time::Duration;

use biglock::rules::{Beat, Body, Change, Chunk, SnapshotHead};
use biglock::{
    Entry, Members, Message, NodeId, Payload, Position, SessionRequest, Term, Time, Transport,
};
use biglock_udp::codec::{
    Frame, MAX_DATAGRAM, Request, SAFE_DATAGRAM, decode_request, encode_message,
};
use biglock_udp::{UdpConfig, UdpTransport};
use bytes::Bytes;

use crate::common::CLUSTER;

const MOST: u64 = u64::MAX;
const FAR: Position = Position {
    term: Term(MOST),
    index: MOST,
};
const BEAT: Beat = Beat {
    round: MOST,
    sent: Time::NEVER,
};

fn entry(payload: Payload) -> Entry {
    Entry {
        term: Term(MOST),
        time: Time::NEVER,
        payload,
    }
}

/// The largest cluster, with the longest addresses.
fn everybody() -> Members {
    let mut members = Members::voting([NodeId(1)]);
    for id in 2..=9 {
        let (id, address) = (NodeId(id), "x".repeat(64));
        members = members.with(&Change::AddLearner { id, address }).unwrap();
    }
    members
}

fn call(length: usize) -> Payload {
    let request = SessionRequest::Call {
        session: MOST,
        sequence: MOST,
        seen: MOST,
        command: vec![7; length].into(),
    };
    Payload::Session(request.into())
}

/// Entries of each kind, which together take exactly `size` bytes as the core counts them.
fn entries(size: usize) -> Vec<Vec<Entry>> {
    let session = |request| Payload::Session(Box::new(request));
    let open = session(SessionRequest::Open {
        patience: Duration::MAX,
    });
    let close = session(SessionRequest::Close { session: MOST });
    let fill = |one: Payload| {
        let one = entry(one);
        let many = (size - Entry::OVERHEAD) / one.size();
        let rest = size - many * one.size() - Entry::OVERHEAD;
        let mut all = vec![one; many];
        all.push(entry(Payload::Command(vec![7; rest].into())));
        all
    };
    let command = Payload::Command(vec![7; size - Entry::OVERHEAD].into());
    let mut kinds: Vec<Vec<Entry>> = [
        Payload::Noop,
        Payload::Command(Bytes::new()),
        Payload::Command(b"some".as_slice().into()),
        open,
        close,
        call(0),
        Payload::Members(everybody()),
    ]
    .map(fill)
    .into();
    kinds.push(vec![entry(command)]);
    kinds.push(vec![entry(call(size - Entry::OVERHEAD - 48))]);
    for kind in &kinds {
        assert_eq!(kind.iter().map(Entry::size).sum::<usize>(), size);
    }
    kinds
}

fn chunk(head: Option<SnapshotHead>, length: usize) -> Body {
    Body::InstallSnapshot {
        chunk: Chunk {
            last: FAR,
            head,
            offset: MOST,
            bytes: vec![7; length].into(),
        },
        beat: BEAT,
    }
}

fn message(body: Body) -> Message {
    Message {
        from: NodeId(MOST),
        to: NodeId(MOST - 1),
        term: Term(MOST),
        body,
    }
}

fn transport(max_datagram: usize) -> UdpTransport {
    let mut config = UdpConfig::new(NodeId(1), CLUSTER, "127.0.0.1:0".parse().unwrap());
    config.max_datagram = max_datagram;
    UdpTransport::bind(config).unwrap()
}

#[test]
fn the_most_that_a_message_may_carry_fits() {
    for max_datagram in [SAFE_DATAGRAM, 1400, 8900, MAX_DATAGRAM] {
        let size = transport(max_datagram).max_payload();
        assert!(size > max_datagram - 120, "{size} of {max_datagram}");
        let append = |entries: Vec<Entry>| Body::AppendEntries {
            prev: FAR,
            entries: entries.into(),
            commit: MOST,
            beat: BEAT,
        };
        let members = everybody();
        // So much the core leaves free for it.
        let with_head = size - members.size() - 64;
        let head = SnapshotHead {
            last: FAR,
            time: Time::NEVER,
            members,
            length: MOST,
        };
        let mut bodies: Vec<Body> = entries(size).into_iter().map(append).collect();
        bodies.extend([chunk(None, size), chunk(Some(head), with_head)]);
        for body in bodies {
            let message = message(body);
            let mut buffer = vec![0; max_datagram];
            let datagram = encode_message(&mut buffer, CLUSTER, &message).unwrap();
            let Ok(Request::Messages(read)) = decode_request(datagram, CLUSTER) else {
                panic!("{message:?} was not read again");
            };
            assert_eq!(read.collect::<Result<Vec<_>, _>>(), Ok(vec![message]));
        }
    }
}

#[test]
fn a_datagram_that_no_network_carries_is_refused() {
    for wrong in [0, 1, 1000, MAX_DATAGRAM + 1] {
        let mut config = UdpConfig::new(NodeId(1), CLUSTER, "127.0.0.1:0".parse().unwrap());
        config.max_datagram = wrong;
        let error = UdpTransport::bind(config).err().unwrap().to_string();
        assert!(
            error.contains(&format!("max_datagram is {wrong}")),
            "{error}"
        );
    }
}

/// As many as fit, each once and in order; the first that does not fit is not half there.
#[test]
fn a_frame_takes_messages_until_it_is_full() {
    let mut buffer = [0; SAFE_DATAGRAM];
    let mut frame = Frame::new(&mut buffer, CLUSTER, NodeId(MOST), NodeId(MOST - 1)).unwrap();
    for _ in 0..2 {
        let read = |read| message(Body::ReadIndex { read });
        let many = (0..)
            .take_while(|&number| frame.push(&read(number)).is_ok())
            .count();
        assert!(many > 40, "{many}");
        assert_eq!(frame.messages(), many);
        let Ok(Request::Messages(got)) = decode_request(frame.bytes(), CLUSTER) else {
            panic!("the frame was not read");
        };
        let sent: Vec<Message> = (0..many as u64).map(read).collect();
        assert_eq!(got.collect::<Result<Vec<_>, _>>(), Ok(sent));
        frame.clear();
    }
}
