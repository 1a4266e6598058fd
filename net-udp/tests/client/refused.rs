//! Changes of the members that are refused, maybe because another copy of the same request has made them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use biglock::NodeId;
use biglock::rules::{BadChange, Change};
use biglock_udp::codec::{Ask, ClientReply, ClientRequest, Listed, Outcome, Refused};
use biglock_udp::{Client, ClientConfig, ClientError};

use crate::cluster::{CLUSTER, PATIENCE};
use crate::doubt::{Fake, request, send};

const FOUR: NodeId = NodeId(4);

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A client of these nodes, which are all this one.
fn client(fake: &Fake, nodes: u64, timeout: Duration) -> Client {
    let servers = (1..=nodes).map(|id| (NodeId(id), fake.at));
    let mut config = ClientConfig::new(CLUSTER, servers);
    config.timeout = timeout;
    Client::connect(config).unwrap()
}

/// Something that lists node 1, and 4 if it is there, and has `answer` for changes: given how many were sent and which, it
/// says who replies what.
fn lists(
    four: Option<Listed>,
    mut answer: impl FnMut(u32, Change) -> Vec<(u64, Outcome)> + Send + 'static,
) -> Fake {
    let mut changes = 0;
    Fake::new(move |socket, datagram, from| {
        let ClientRequest { client, xid, ask } = request(datagram).unwrap();
        let replies = match ask {
            Ask::Members => {
                let one = Listed {
                    voter: true,
                    address: Some(at(1)),
                };
                let mut members = BTreeMap::from([(NodeId(1), one)]);
                members.extend(four.clone().map(|four| (FOUR, four)));
                let leader = Some(NodeId(1));
                vec![(1, Outcome::Members { members, leader })]
            }
            Ask::Change(change) => {
                changes += 1;
                answer(changes, change)
            }
            other => panic!("{other:?}"),
        };
        for (id, outcome) in replies {
            let reply = ClientReply {
                client,
                xid,
                outcome,
            };
            send(socket, id, &reply, from);
        }
    })
}

/// Another copy may have made it, however often it was sent: that is believed if the list has what was asked for, and not otherwise.
#[test]
fn a_change_that_is_refused_was_made_if_the_list_says_so() {
    let listed = |voter, port: Option<u16>| {
        let address = port.map(at);
        Some(Listed { voter, address })
    };
    let learner = || listed(false, Some(4));
    let voter = || listed(true, Some(4));
    let add = |address: &str| Change::AddLearner {
        id: FOUR,
        address: address.into(),
    };
    for (change, four, made) in [
        (add("127.0.0.1:4"), learner(), true),
        (add("127.0.0.1:4"), voter(), true),
        (add("127.0.0.1:9"), learner(), false),
        (add("127.0.0.1:9"), voter(), false),
        (add("127.0.0.1:4"), listed(false, None), false),
        (add("somewhere"), learner(), false),
        (add("127.0.0.1:4"), None, false),
        (Change::Promote(FOUR), voter(), true),
        (Change::Promote(FOUR), learner(), false),
        (Change::Promote(FOUR), None, false),
        (Change::Demote(FOUR), learner(), true),
        (Change::Demote(FOUR), voter(), false),
        (Change::Demote(FOUR), None, false),
        (Change::Remove(FOUR), None, true),
        (Change::Remove(FOUR), learner(), false),
    ] {
        let case = format!("{change:?} of {four:?}");
        let fake = lists(four, |_, change| {
            let why = match change {
                Change::AddLearner { id, .. } => BadChange::AlreadyAMember(id),
                Change::Promote(id) | Change::Demote(id) => BadChange::NoDifference(id),
                Change::Remove(id) => BadChange::NotAMember(id),
            };
            vec![(1, Outcome::Refused(Refused::Change(why)))]
        });
        match client(&fake, 1, PATIENCE).change_members(change) {
            Ok(()) => assert!(made, "told as made, and it is not: {case}"),
            Err(ClientError::Refused(Refused::Change(_))) => assert!(!made, "{case}"),
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

/// A leader that was deposed and does not know it may say that the learner lacks something, when the next one has let it vote.
#[test]
fn a_learner_that_is_said_to_lack_something_votes_if_the_list_says_so() {
    let promote = |voter| {
        let address = Some(at(4));
        let fake = lists(Some(Listed { voter, address }), |_, _| {
            vec![(1, Outcome::Refused(Refused::CatchingUp { entries: 7 }))]
        });
        client(&fake, 1, PATIENCE).change_members(Change::Promote(FOUR))
    };
    promote(true).unwrap();
    let error = promote(false).unwrap_err();
    let ClientError::Refused(Refused::CatchingUp { entries: 7 }) = error else {
        panic!("{error}");
    };
}

/// Without a list it stays in doubt, and the client says so.
#[test]
fn a_change_that_is_refused_may_have_run_if_nobody_has_the_list() {
    let fake = Fake::new(move |socket, datagram, from| {
        let ClientRequest { client, xid, ask } = request(datagram).unwrap();
        let Ask::Change(Change::Promote(id)) = ask else {
            return;
        };
        let outcome = Outcome::Refused(Refused::Change(BadChange::NoDifference(id)));
        let reply = ClientReply {
            client,
            xid,
            outcome,
        };
        send(socket, 1, &reply, from);
    });
    let timeout = Duration::from_millis(500);
    let error = client(&fake, 1, timeout).change_members(Change::Promote(FOUR));
    let error = error.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert!(error.may_have_run(), "{error}");
}

/// The change was made by the first sending, whose answer was lost; then node 1 lost the lead, and says so in a datagram that the network
/// brings twice.
#[test]
fn a_refusal_to_lead_that_comes_twice_takes_no_doubt_away() {
    let four = Some(Listed {
        voter: false,
        address: Some(at(4)),
    });
    let fake = lists(four, |sent, change| {
        let Change::AddLearner { id, .. } = change else {
            panic!("{change:?}")
        };
        match sent {
            1 => vec![],
            2 => vec![
                (1, Outcome::NotLeader { leader: None }),
                (1, Outcome::NotLeader { leader: None }),
            ],
            _ => vec![(
                1,
                Outcome::Refused(Refused::Change(BadChange::AlreadyAMember(id))),
            )],
        }
    });
    let change = Change::AddLearner {
        id: FOUR,
        address: "127.0.0.1:4".into(),
    };
    let made = client(&fake, 1, PATIENCE).change_members(change);
    assert!(made.is_ok(), "{made:?}");
}
