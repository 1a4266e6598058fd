//! The bytes on the wire: which they are, and that no others get through.

#[path = "../common/mod.rs"]
mod common;
mod fit;
mod noise;

use std::collections::BTreeMap;

use biglock::rules::{Beat, Body, Entry, Payload, Position};
use biglock::{Message, NodeId, Term, Time};
use biglock_udp::Report;
use biglock_udp::codec::{
    ClientReply, ClientRequest, HEADER, Invalid, MAX_DATAGRAM, Request, SAFE_DATAGRAM,
    STATUS_DATAGRAM, VERSION, decode_client_reply, decode_report, decode_request,
    encode_client_reply, encode_client_request, encode_message, encode_report,
    encode_status_request,
};
use common::{CLUSTER, asks, messages, outcomes, report, reports};
use fastrand::Rng;
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_message(message: &Message) -> Vec<u8> {
    let mut buffer = [0; 2000];
    encode_message(&mut buffer, CLUSTER, message)
        .unwrap()
        .into()
}

fn of_ask(request: &ClientRequest) -> Vec<u8> {
    let mut buffer = [0; 2000];
    encode_client_request(&mut buffer, CLUSTER, request)
        .unwrap()
        .into()
}

fn of_reply(reply: &ClientReply) -> Vec<u8> {
    let mut buffer = [0; 2000];
    encode_client_reply(&mut buffer, CLUSTER, NodeId(2), reply)
        .unwrap()
        .into()
}

fn of_report(report: &Report) -> Vec<u8> {
    let mut buffer = [0; STATUS_DATAGRAM];
    encode_report(&mut buffer, CLUSTER, report).unwrap().into()
}

fn status_request() -> Vec<u8> {
    // What was in the buffer must not get out.
    let mut buffer = [0xff; STATUS_DATAGRAM];
    encode_status_request(&mut buffer, CLUSTER).into()
}

/// All datagrams that a node takes: every message, every request of a client, and the status request.
fn requests() -> Vec<Vec<u8>> {
    let (messages, asks) = (messages(), asks());
    let messages = messages.iter().map(of_message);
    let asks = asks.iter().map(of_ask);
    messages.chain(asks).chain([status_request()]).collect()
}

/// All that it answers.
fn answers() -> Vec<Vec<u8>> {
    let (reports, outcomes) = (reports(), outcomes());
    let reports = reports.iter().map(of_report);
    reports.chain(outcomes.iter().map(of_reply)).collect()
}

/// If this fails, nodes of the version before no longer understand this one: take the change back, or raise `VERSION` and write the new
/// bytes with `BIGLOCK_GOLDEN=1 cargo test -p biglock-udp --test wire`.
#[test]
fn the_bytes_are_these() {
    assert_eq!(
        VERSION, 2,
        "the new version has new bytes: correct this line too"
    );
    let mut lines = String::new();
    for message in messages() {
        let bytes = of_message(&message);
        lines += &format!("{:?}\n{}\n", message.body, hex(&bytes));
    }
    let request = status_request();
    lines += &format!("status request, header\n{}\n", hex(&request[..HEADER]));
    for report in reports() {
        let bytes = hex(&of_report(&report));
        lines += &format!("{:?}\n{bytes}\n", report.status.no_leader);
    }
    for request in asks() {
        lines += &format!("{:?}\n{}\n", request.ask, hex(&of_ask(&request)));
    }
    for reply in outcomes() {
        lines += &format!("{:?}\n{}\n", reply.outcome, hex(&of_reply(&reply)));
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.txt");
    if std::env::var_os("BIGLOCK_GOLDEN").is_some() {
        std::fs::write(file, &lines).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap();
    assert!(
        lines == golden,
        "the bytes have changed; they are now\n{lines}"
    );
}

/// What a node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Messages(Vec<Message>),
    Status,
    Client(ClientRequest),
}

/// What `decode` returns. It must not take more from the heap, even if only for a while, than goes with what arrived: a list grows by
/// doubling, elements are larger in memory than on the wire, a claimed length is believed up to four times what arrived.
fn measured<R>(bytes: &[u8], decode: impl FnOnce() -> R) -> R {
    let mut result = None;
    let heap = allocation_counter::measure(|| result = Some(decode())).bytes_total;
    let most = 1024 + 32 * bytes.len().min(MAX_DATAGRAM) as u64;
    assert!(
        heap <= most,
        "{heap} bytes for {} that arrived",
        bytes.len()
    );
    result.unwrap()
}

/// As a node reads it.
fn read_request(bytes: &[u8]) -> Result<Told, Invalid> {
    // The node keeps none of a datagram's messages for the next, and the list of them here is not the codec's.
    let request = measured(bytes, || decode_request(bytes, CLUSTER))?;
    Ok(match request {
        Request::Messages(mut messages) => {
            let mut all = Vec::new();
            while let Some(message) = measured(bytes, || messages.next()) {
                all.push(message?);
            }
            Told::Messages(all)
        }
        Request::Status => Told::Status,
        Request::Client(request) => Told::Client(request),
    })
}

/// As an asker reads it.
fn read_report(bytes: &[u8]) -> Result<Report, Invalid> {
    measured(bytes, || decode_report(bytes, CLUSTER))
}

/// As a client reads it.
fn read_reply(bytes: &[u8]) -> Result<ClientReply, Invalid> {
    let (from, reply) = measured(bytes, || decode_client_reply(bytes, CLUSTER))?;
    let sender = NodeId(u64::from_be_bytes(bytes[9..17].try_into().unwrap()));
    assert_eq!(from, sender);
    Ok(reply)
}

/// Of many commands that came together, none is copied on its own: in memory they stand as far apart as in the datagram.
#[test]
fn the_commands_of_a_message_are_parts_of_one_copy() {
    let command = |number: u8| Payload::Command(vec![number; 16].into());
    let entry = |number| Entry {
        term: Term(3),
        time: Time::ZERO,
        payload: command(number),
    };
    let message = |commands| Message {
        from: NodeId(1),
        to: NodeId(2),
        term: Term(3),
        body: Body::AppendEntries {
            prev: Position::default(),
            entries: (0..commands).map(entry).collect(),
            commit: 0,
            beat: Beat::default(),
        },
    };
    let distances = |commands| {
        let bytes = of_message(&message(commands));
        let Ok(Told::Messages(read)) = read_request(&bytes) else {
            panic!("it can be read");
        };
        assert_eq!(read, [message(commands)]);
        let Body::AppendEntries { entries, .. } = &read[0].body else {
            panic!("{read:?}");
        };
        let places = entries.iter().map(|entry| match &entry.payload {
            Payload::Command(command) => command.as_ptr().addr(),
            other => panic!("{other:?}"),
        });
        let places: Vec<usize> = places.collect();
        let pairs = places.windows(2);
        pairs
            .map(|of| of[1].wrapping_sub(of[0]))
            .collect::<Vec<_>>()
    };
    // Term, time, kind and length stand between the ends of two commands.
    assert_eq!(distances(20), vec![8 + 8 + 4 + 8 + 16; 19]);
    assert!(distances(1).is_empty());
}

#[test]
fn what_was_written_is_read() {
    for message in messages() {
        let bytes = of_message(&message);
        assert_eq!(read_request(&bytes), Ok(Told::Messages(vec![message])));
        assert_eq!(read_report(&bytes), Err(Invalid::Kind));
        assert_eq!(read_reply(&bytes), Err(Invalid::Kind));
    }
    assert_eq!(read_request(&status_request()), Ok(Told::Status));
    for request in asks() {
        assert_eq!(read_request(&of_ask(&request)), Ok(Told::Client(request)));
    }
    for report in reports() {
        let bytes = of_report(&report);
        assert_eq!(read_report(&bytes).unwrap(), report);
        assert_eq!(read_request(&bytes), Err(Invalid::Kind));
    }
    for reply in outcomes() {
        let bytes = of_reply(&reply);
        assert_eq!(read_reply(&bytes).unwrap(), reply);
        assert_eq!(read_request(&bytes), Err(Invalid::Kind));
    }
}

#[test]
fn another_length_is_not_taken() {
    for bytes in requests() {
        for length in 0..bytes.len() {
            let decoded = read_request(&bytes[..length]);
            assert_eq!(decoded, Err(Invalid::Truncated), "{length} bytes");
        }
        let mut longer = bytes.clone();
        for length in bytes.len() + 1..bytes.len() + 40 {
            longer.push(0);
            // After messages there may be another one, which then lacks its end.
            let expected = match bytes[17] {
                0 => Invalid::Truncated,
                _ => Invalid::Trailing,
            };
            let decoded = read_request(&longer);
            assert_eq!(decoded, Err(expected), "{length} bytes");
        }
        longer.resize(MAX_DATAGRAM + 1, 0);
        assert_eq!(read_request(&longer), Err(Invalid::Oversized));
    }
    for bytes in answers() {
        let read = |bytes: &[u8]| match bytes.get(17) {
            Some(4) => read_reply(bytes).map(|_| ()),
            _ => read_report(bytes).map(|_| ()),
        };
        for length in 0..bytes.len() {
            // What is cut may claim more than can follow what is left.
            let cut = [Err(Invalid::Truncated), Err(Invalid::Malformed)];
            let decoded = read(&bytes[..length]);
            assert!(cut.contains(&decoded), "{length} bytes: {decoded:?}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(read(&longer), Err(Invalid::Trailing));
    }
}

#[test]
fn a_message_longer_than_its_length_says_is_not_taken() {
    for message in messages() {
        let mut bytes = of_message(&message);
        bytes.push(0);
        let length = u16::try_from(bytes.len() - HEADER - 10).unwrap();
        bytes[26..28].copy_from_slice(&length.to_be_bytes());
        assert_eq!(read_request(&bytes), Err(Invalid::Trailing));
    }
}

#[test]
fn another_header_is_not_taken() {
    for bytes in requests() {
        let changed = |at: usize, to: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = to;
            read_request(&bytes)
        };
        for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
            assert_eq!(changed(0, version), Err(Invalid::Version));
        }
        for at in 1..9 {
            assert_eq!(changed(at, 0xab), Err(Invalid::Cluster));
        }
        for kind in [2].into_iter().chain(4..=u8::MAX) {
            assert_eq!(changed(17, kind), Err(Invalid::Kind));
        }
        assert_eq!(decode_request(&bytes, CLUSTER + 1), Err(Invalid::Cluster));
    }
}

/// Wherever a length may stand, a sender claims a huge one.
#[test]
fn a_claimed_length_is_not_believed() {
    for bytes in requests().into_iter().chain(answers()) {
        let end = bytes.len().min(600);
        for at in HEADER..end.saturating_sub(8) {
            for claim in [
                u64::MAX,
                u64::MAX / 2,
                1 << 60,
                1 << 40,
                1 << 32,
                1 << 20,
                60_000,
                2000,
                200,
            ] {
                let mut bytes = bytes.clone();
                bytes[at..at + 8].copy_from_slice(&claim.to_be_bytes());
                // Each measures what it takes.
                let _ = read_request(&bytes);
                let _ = read_report(&bytes);
                let _ = read_reply(&bytes);
            }
        }
    }
}

/// The most that a sender can make an asker keep: he has to send it all.
#[test]
fn a_report_full_of_elements_is_small() {
    let votes: BTreeMap<u64, &str> = (1..=60).map(|id| (id, "LogBehind")).collect();
    let votes = json!({ "needed": 2, "granted": [], "refused": votes, "silent": [] });
    let mut members = report(Value::Null);
    members.status.members = (1..=105).map(NodeId).collect();
    for full in [members, report(json!({ "VotesMissing": votes }))] {
        let bytes = of_report(&full);
        assert!(bytes.len() > SAFE_DATAGRAM - 200, "{} bytes", bytes.len());
        assert_eq!(read_report(&bytes).unwrap(), full);
    }
}

#[test]
fn a_report_that_is_too_long_is_an_error() {
    let mut long = report(Value::Null);
    long.threads = "x".repeat(STATUS_DATAGRAM);
    let mut buffer = [0; STATUS_DATAGRAM];
    assert!(encode_report(&mut buffer, CLUSTER, &long).is_err());
}

#[test]
fn a_million_random_and_mutated_datagrams_do_no_harm() {
    let mut rng = Rng::with_seed(0x0b16_10c4);
    let valid: Vec<Vec<u8>> = requests().into_iter().chain(answers()).collect();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut bytes = Vec::with_capacity(2 * SAFE_DATAGRAM);
    for _ in 0..1_000_000 {
        noise::invent(&mut rng, &valid, &mut bytes);
        let told = match read_request(&bytes) {
            Ok(Told::Messages(messages)) => messages[0].body.name().into(),
            Ok(Told::Status) => "status".into(),
            Ok(Told::Client(_)) => "client".into(),
            Err(why) => agree(why, &bytes),
        };
        count(&mut seen, told);
        let reported = match read_report(&bytes) {
            // Sets may repeat an element, and so be shorter than they were.
            Ok(report) => {
                let again = of_report(&report);
                assert!(again.len() <= bytes.len());
                assert_eq!(read_report(&again).unwrap(), report);
                String::new()
            }
            Err(why) => agree(why, &bytes),
        };
        count(&mut seen, format!("report: {reported}"));
        let replied = match read_reply(&bytes) {
            Ok(reply) => {
                assert_eq!(read_reply(&of_reply(&reply)).unwrap(), reply);
                String::new()
            }
            Err(why) => agree(why, &bytes),
        };
        count(&mut seen, format!("reply: {replied}"));
    }
    // The million went everywhere.
    let mut everywhere: Vec<String> = messages().iter().map(|m| m.body.name().into()).collect();
    everywhere.extend(["status", "client", "report: ", "reply: "].map(String::from));
    for why in [
        Invalid::Truncated,
        Invalid::Trailing,
        Invalid::Malformed,
        Invalid::Version,
        Invalid::Cluster,
        Invalid::Kind,
    ] {
        everywhere.extend(["", "report: ", "reply: "].map(|to| format!("{to}{why:?}")));
    }
    for place in everywhere {
        let times = seen.get(&place).copied().unwrap_or_default();
        assert!(times >= 100, "{place}: {times} times of {seen:#?}");
    }
}

fn count(seen: &mut BTreeMap<String, u32>, what: String) {
    *seen.entry(what).or_default() += 1;
}

/// Checks a reason against the bytes, as far as they show it.
fn agree(why: Invalid, bytes: &[u8]) -> String {
    let version = bytes.first().is_some_and(|version| *version != VERSION);
    match why {
        Invalid::Oversized => assert!(bytes.len() > MAX_DATAGRAM),
        Invalid::Version => assert!(version),
        Invalid::Cluster => assert_ne!(bytes[1..9], CLUSTER.to_be_bytes()),
        Invalid::Trailing | Invalid::Malformed => assert!(bytes.len() > HEADER),
        Invalid::Truncated => assert!(!version),
        Invalid::Kind => {}
        Invalid::Stranger | Invalid::Misaddressed => panic!("the codec knows no nodes"),
    }
    format!("{why:?}")
}
