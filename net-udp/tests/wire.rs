//! The bytes on the wire: which they are, and that no others get through.

mod common;

use std::collections::BTreeMap;

use biglock::{Message, NodeId};
use biglock_udp::Report;
use biglock_udp::codec::{
    Buffer, HEADER, Invalid, MAX_DATAGRAM, Request, VERSION, decode_report, decode_request,
    encode_message, encode_report, encode_status_request,
};
use common::{CLUSTER, messages, report, reports};
use fastrand::Rng;
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_message(message: &Message) -> Vec<u8> {
    let mut buffer: Buffer = [0; MAX_DATAGRAM];
    encode_message(&mut buffer, CLUSTER, message)
        .unwrap()
        .into()
}

fn of_report(report: &Report) -> Vec<u8> {
    let mut buffer: Buffer = [0; MAX_DATAGRAM];
    encode_report(&mut buffer, CLUSTER, report).unwrap().into()
}

fn status_request() -> Vec<u8> {
    // What was in the buffer must not get out.
    let mut buffer: Buffer = [0xff; MAX_DATAGRAM];
    encode_status_request(&mut buffer, CLUSTER).into()
}

/// All datagrams that a node takes: every message, and the status request.
fn requests() -> Vec<Vec<u8>> {
    let messages = messages();
    let messages = messages.iter().map(of_message);
    messages.chain([status_request()]).collect()
}

/// All that it answers to the last.
fn answers() -> Vec<Vec<u8>> {
    reports().iter().map(of_report).collect()
}

/// If this fails, nodes of the version before no longer understand this one: take the change back, or raise `VERSION` and write the new
/// bytes with `BIGLOCK_GOLDEN=1 cargo test -p biglock-udp --test wire`.
#[test]
fn the_bytes_are_these() {
    assert_eq!(
        VERSION, 1,
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
        lines += &format!(
            "{:?}\n{}\n",
            report.status.no_leader,
            hex(&of_report(&report))
        );
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

/// What `decode` returns, and how many bytes it took from the heap, even if only for a while.
fn measure<R>(decode: impl FnOnce() -> R) -> (R, u64) {
    let mut result = None;
    let info = allocation_counter::measure(|| result = Some(decode()));
    (result.unwrap(), info.bytes_total)
}

/// As a node reads it: from the heap comes at most the text of serde's error, which the sender can't make longer.
fn read_request(bytes: &[u8]) -> Result<Request, Invalid> {
    let (request, heap) = measure(|| decode_request(bytes, CLUSTER));
    let most = match request {
        Err(Invalid::Malformed) => 256,
        _ => 0,
    };
    assert!(heap <= most, "{heap} bytes for {request:?}");
    request
}

/// As an asker reads it: what comes from the heap is bounded by what fits into a datagram, not by what is claimed in it.
fn read_report(bytes: &[u8]) -> Result<Report, Invalid> {
    let (report, heap) = measure(|| decode_report(bytes, CLUSTER));
    assert!(heap <= 4096, "{heap} bytes for {report:?}");
    report
}

#[test]
fn what_was_written_is_read() {
    for message in messages() {
        let bytes = of_message(&message);
        assert_eq!(read_request(&bytes), Ok(Request::Message(message)));
        assert_eq!(read_report(&bytes), Err(Invalid::Kind));
    }
    assert_eq!(
        decode_request(&status_request(), CLUSTER),
        Ok(Request::Status)
    );
    for report in reports() {
        let bytes = of_report(&report);
        assert_eq!(read_report(&bytes).unwrap(), report);
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
        for length in bytes.len() + 1..MAX_DATAGRAM + 10 {
            longer.push(0);
            let expected = match length {
                ..=MAX_DATAGRAM => Invalid::Trailing,
                _ => Invalid::Oversized,
            };
            let decoded = read_request(&longer);
            assert_eq!(decoded, Err(expected), "{length} bytes");
        }
    }
    for bytes in answers() {
        for length in 0..bytes.len() {
            let decoded = read_report(&bytes[..length]);
            assert_eq!(decoded, Err(Invalid::Truncated), "{length} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(read_report(&longer), Err(Invalid::Trailing));
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
        for kind in 2..=u8::MAX {
            assert_eq!(changed(17, kind), Err(Invalid::Kind));
        }
        assert_eq!(decode_request(&bytes, CLUSTER + 1), Err(Invalid::Cluster));
    }
}

/// Wherever a length may stand, a sender claims a huge one.
#[test]
fn a_claimed_length_is_not_believed() {
    for bytes in answers() {
        for at in HEADER..bytes.len() - 8 {
            for claim in [
                u64::MAX,
                u64::MAX / 2,
                1 << 60,
                1 << 40,
                1 << 32,
                1 << 20,
                2000,
            ] {
                let mut bytes = bytes.clone();
                bytes[at..at + 8].copy_from_slice(&claim.to_be_bytes());
                if let Ok(report) = read_report(&bytes) {
                    // It was a number, and no length.
                    assert!(of_report(&report).len() <= bytes.len());
                }
            }
        }
    }
}

/// The most that a sender can make an asker keep: he has to send it all.
#[test]
fn a_report_full_of_elements_is_small() {
    let votes: BTreeMap<u64, &str> = (1..=70).map(|id| (id, "LogBehind")).collect();
    let votes = json!({ "needed": 2, "granted": [], "refused": votes, "silent": [] });
    let mut members = report(Value::Null);
    members.status.members = (1..=115).map(NodeId).collect();
    for full in [members, report(json!({ "VotesMissing": votes }))] {
        let bytes = of_report(&full);
        assert!(bytes.len() > MAX_DATAGRAM - 100, "{} bytes", bytes.len());
        assert_eq!(read_report(&bytes).unwrap(), full);
    }
}

#[test]
fn a_report_that_is_too_long_is_an_error() {
    let mut long = report(Value::Null);
    long.threads = "x".repeat(MAX_DATAGRAM);
    let mut buffer: Buffer = [0; MAX_DATAGRAM];
    assert!(encode_report(&mut buffer, CLUSTER, &long).is_err());
}

#[test]
fn a_million_random_and_mutated_datagrams_do_no_harm() {
    let mut rng = Rng::with_seed(0x0b16_10c4);
    let valid: Vec<Vec<u8>> = requests().into_iter().chain(answers()).collect();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut bytes = Vec::with_capacity(2 * MAX_DATAGRAM);
    for _ in 0..1_000_000 {
        invent(&mut rng, &valid, &mut bytes);

        let request = read_request(&bytes);
        if let Ok(Request::Message(message)) = &request {
            // No two datagrams say the same.
            assert_eq!(of_message(message), bytes);
        }
        let told = match request {
            Ok(Request::Message(message)) => message.body.name().into(),
            Ok(Request::Status) => "status".into(),
            Err(why) => agree(why, &bytes),
        };
        count(&mut seen, told);

        match read_report(&bytes) {
            // Sets may repeat an element, and so be shorter than they were.
            Ok(report) => {
                let again = of_report(&report);
                assert!(again.len() <= bytes.len());
                assert_eq!(read_report(&again).unwrap(), report);
                count(&mut seen, "report".into());
            }
            Err(why) => count(&mut seen, format!("report: {}", agree(why, &bytes))),
        }
    }
    // The million went everywhere.
    let mut everywhere: Vec<String> = messages().iter().map(|m| m.body.name().into()).collect();
    everywhere.extend(["status", "report"].map(String::from));
    for why in [
        Invalid::Oversized,
        Invalid::Truncated,
        Invalid::Trailing,
        Invalid::Malformed,
        Invalid::Version,
        Invalid::Cluster,
        Invalid::Kind,
    ] {
        everywhere.extend([format!("{why:?}"), format!("report: {why:?}")]);
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

/// Makes up a datagram: noise, noise behind a good header, or a valid one that was damaged in one or several ways.
fn invent(rng: &mut Rng, valid: &[Vec<u8>], bytes: &mut Vec<u8>) {
    bytes.clear();
    match rng.u8(..16) {
        0 => noise(rng, 2 * MAX_DATAGRAM, bytes),
        1 | 2 => noise(rng, 100, bytes),
        3 | 4 => {
            let header = &valid[rng.usize(..valid.len())][..HEADER];
            bytes.extend(header);
            noise(rng, 80, bytes);
        }
        damages => {
            bytes.extend(&valid[rng.usize(..valid.len())]);
            for _ in 0..damages / 4 {
                damage(rng, valid, bytes);
            }
        }
    }
}

fn noise(rng: &mut Rng, longest: usize, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(..longest) / 8 {
        bytes.extend(rng.u64(..).to_ne_bytes());
    }
    bytes.truncate(bytes.len() - rng.usize(..8).min(bytes.len()));
}

fn damage(rng: &mut Rng, valid: &[Vec<u8>], bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(..bytes.len());
    match rng.u8(..8) {
        0 => bytes[at] ^= 1 << rng.u8(..8),
        1 => bytes[at] = rng.u8(..),
        2 => bytes.truncate(at),
        3 => noise(rng, 40, bytes),
        4 => {
            bytes.remove(at);
        }
        5 => bytes.insert(at, rng.u8(..)),
        6 => {
            let other = &valid[rng.usize(..valid.len())];
            bytes.truncate(at);
            bytes.extend(&other[at.min(other.len())..]);
        }
        _ => {
            // The numbers at which lengths, tags and ids go wrong.
            let number = [0, 1, 2, 5, 255, 1 << 20, 1 << 32, 1 << 60, u64::MAX];
            let number = number[rng.usize(..number.len())].to_be_bytes();
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
    }
}
