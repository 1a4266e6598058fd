//! The floor: the same messages between plain ends of a wire, with nothing behind them.
//!
//! One thread per end. The candidate's asks all others and waits for a majority of answers, once more with pre-vote; that is (a).
//! It then announces itself, and (b) is when the announcement has reached a majority. No rules, no lock, no hand-off between
//! threads, no encoding: nothing that a Raft over this wire could be without.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use biglock::rules::majority;

use crate::nodes::Wire;
use crate::stopwatch::{Moment, keep_silent, now};
use crate::{Election, PATIENCE, Rejected, SILENCE};

/// What the ends say: who, and where in the round it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    from: usize,
    /// The number of the question, of all that were ever asked. Answers bear the number of their question.
    number: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Question,
    Announcement,
    Answer,
    /// The other end is to go home.
    End,
}

/// As long as a RequestVote of Biglock's UDP transport, or a little longer.
const DATAGRAM: usize = 48;

/// One end of a wire.
enum End {
    Udp {
        socket: UdpSocket,
        others: Vec<SocketAddr>,
    },
    Channel {
        arriving: Receiver<Word>,
        others: Vec<Sender<Word>>,
    },
}

impl End {
    fn all(wire: Wire, ends: usize) -> Vec<End> {
        match wire {
            Wire::Udp | Wire::WideUdp => {
                let socket = |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
                let sockets: Vec<UdpSocket> = (0..ends).map(socket).collect();
                let address = |socket: &UdpSocket| socket.local_addr().expect("an address");
                let others: Vec<SocketAddr> = sockets.iter().map(address).collect();
                // The asker's alone: the others wait until they are told to end.
                sockets[0]
                    .set_read_timeout(Some(PATIENCE))
                    .expect("a timeout");
                let end = |socket| End::Udp {
                    socket,
                    others: others.clone(),
                };
                sockets.into_iter().map(end).collect()
            }
            Wire::Local | Wire::Direct => {
                let (others, arriving): (Vec<_>, Vec<_>) = (0..ends).map(|_| channel()).unzip();
                let end = |arriving| End::Channel {
                    arriving,
                    others: others.clone(),
                };
                arriving.into_iter().map(end).collect()
            }
        }
    }

    fn send(&self, to: usize, word: Word) {
        match self {
            End::Udp { socket, others } => {
                let mut datagram = [0; DATAGRAM];
                datagram[0] = word.kind as u8;
                datagram[1] = word.from as u8;
                datagram[8..16].copy_from_slice(&word.number.to_le_bytes());
                // What is lost shows where it is missed.
                let _ = socket.send_to(&datagram, others[to]);
            }
            End::Channel { others, .. } => {
                let _ = others[to].send(word);
            }
        }
    }

    /// What arrives next; nothing if the asker's patience ended.
    fn receive(&self) -> Option<Word> {
        match self {
            End::Udp { socket, .. } => {
                let mut datagram = [0; DATAGRAM];
                socket.recv_from(&mut datagram).ok()?;
                let [.., number] = datagram[..16].as_chunks::<8>().0 else {
                    return None;
                };
                Some(Word {
                    from: usize::from(datagram[1]),
                    number: u64::from_le_bytes(*number),
                    kind: match datagram[0] {
                        0 => Kind::Question,
                        1 => Kind::Announcement,
                        2 => Kind::Answer,
                        _ => Kind::End,
                    },
                })
            }
            End::Channel { arriving, .. } => arriving.recv_timeout(PATIENCE).ok(),
        }
    }
}

/// The ends, with a thread behind each but the first: that one is asked from.
pub struct Floor {
    asker: End,
    /// When the latest announcement reached each of the others.
    reached: Arc<Vec<AtomicU64>>,
    threads: Vec<JoinHandle<()>>,
    rounds: usize,
    number: u64,
}

impl Floor {
    /// The floor under `nodes` nodes.
    pub fn start(wire: Wire, nodes: usize, pre_vote: bool) -> Floor {
        let mut ends = End::all(wire, nodes).into_iter();
        let asker = ends.next().expect("at least one");
        let reached: Arc<Vec<AtomicU64>> =
            Arc::new((1..nodes).map(|_| AtomicU64::new(0)).collect());
        let threads = ends
            .enumerate()
            .map(|(index, end)| {
                let reached = reached.clone();
                Builder::new()
                    .name("floor".into())
                    .spawn(move || answer(&end, index + 1, &reached[index]))
                    .expect("a thread")
            })
            .collect();
        Floor {
            asker,
            reached,
            threads,
            rounds: 1 + usize::from(pre_vote),
            number: 0,
        }
    }

    /// What an election would take with nothing behind the wire, and then silence.
    ///
    /// # Errors
    /// If a message was lost. The floor can't be measured any more then.
    pub fn elect(&mut self) -> Result<Election, Rejected> {
        let others = self.threads.len();
        let needed = majority(others + 1) - 1;
        // Answers that came after a majority had been counted.
        let mut late = 0;

        let begin = now();
        for _ in 0..self.rounds {
            self.ask(Kind::Question);
            let mut answers = 0;
            while answers < needed {
                if self.hear()? == self.number {
                    answers += 1;
                } else {
                    late += 1;
                }
            }
        }
        let leader = now();
        self.ask(Kind::Announcement);

        let missing = (self.rounds + 1) * others - self.rounds * needed - late;
        for _ in 0..missing {
            self.hear()?;
        }
        let mut reached: Vec<Moment> = self
            .reached
            .iter()
            .map(|at| Moment(at.load(Ordering::Acquire)))
            .collect();
        reached.sort_unstable();
        keep_silent(SILENCE);
        Ok(Election {
            leader: leader.since(begin),
            majority: reached[needed - 1].since(begin),
        })
    }

    fn ask(&mut self, kind: Kind) {
        self.number += 1;
        for to in 1..=self.threads.len() {
            let number = self.number;
            self.asker.send(
                to,
                Word {
                    from: 0,
                    number,
                    kind,
                },
            );
        }
    }

    fn hear(&self) -> Result<u64, Rejected> {
        let lost = || Rejected("the floor lost a message".into());
        self.asker
            .receive()
            .map(|word| word.number)
            .ok_or_else(lost)
    }
}

fn answer(end: &End, me: usize, reached: &AtomicU64) {
    loop {
        // Patience ends for the channel's ends alone, and means nothing to them.
        let Some(word) = end.receive() else { continue };
        match word.kind {
            Kind::Question | Kind::Answer => {}
            Kind::Announcement => reached.store(now().0, Ordering::Release),
            Kind::End => return,
        }
        let answer = Word {
            from: me,
            number: word.number,
            kind: Kind::Answer,
        };
        end.send(word.from, answer);
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.ask(Kind::End);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
