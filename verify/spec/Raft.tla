-------------------------------- MODULE Raft --------------------------------
(***************************************************************************)
(* Raft as the paper has it (Ongaro and Ousterhout, extended version of    *)
(* 2014; "dissertation" is Ongaro's), in one page. Written from the paper  *)
(* and not from the code: README.md says how the two are compared.         *)
(*                                                                         *)
(* There are no messages. A message can only tell what its sender had on   *)
(* its disk, at some time; so what was ever told is kept in sets that only *)
(* grow (the ghosts), and whoever acts may use any of it, however old, as  *)
(* often as it likes, or never: that is a network which loses, repeats,    *)
(* delays and reorders.                                                    *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets, Sequences, TLC

CONSTANTS Server,       \* the servers; all of them vote
          MaxTerm,      \* bounds, for the model checker alone
          MaxLog,
          MaxRestarts,
          Nobody        \* no vote

VARIABLES
  \* Figure 2, for each server. The second three are what its disk holds of the first three.
  term, vote, log, dTerm, dVote, dLog,
  role, commit,
  \* Ghosts: what was ever told, and what happened.
  requests,   \* [term, candidate, last]: RequestVote, of a candidacy that is durable
  votes,      \* <<term, voter, candidate>>: votes that are durable
  elections,  \* [term, leader, voters, log]: who was elected, by whom, with which log
  leaderLog,  \* term -> the log of the leader of that term, as far as it got
  acked,      \* term -> server -> up to which index it told the leader of that term that its disk has what the leader has
  committed,  \* term -> what the leader of that term knew to be committed
  restarts

vars == <<term, vote, log, dTerm, dVote, dLog, role, commit,
          requests, votes, elections, leaderLog, acked, committed, restarts>>

Term == 1..MaxTerm
Quorum == {Q \in SUBSET Server : Cardinality(Q) * 2 > Cardinality(Server)}
Prefix(s, k) == SubSeq(s, 1, IF k < Len(s) THEN k ELSE Len(s))
IsPrefix(s, t) == Len(s) <= Len(t) /\ Prefix(t, Len(s)) = s
Last(s) == IF s = <<>> THEN [term |-> 0, index |-> 0]
           ELSE [term |-> s[Len(s)].term, index |-> Len(s)]
\* 5.4.1: "If the logs have last entries with different terms, then the log with the later term is more up-to-date. If the logs end with
\* the same term, then whichever log is longer is more up-to-date."
AtLeastAsUpToDate(a, b) == a.term > b.term \/ (a.term = b.term /\ a.index >= b.index)
\* Somebody else was elected in the term in which n is.
HasLeader(n) == \E e \in elections : e.term = term[n] /\ e.leader # n

Init ==
  /\ term = [n \in Server |-> 0] /\ vote = [n \in Server |-> Nobody] /\ log = [n \in Server |-> <<>>]
  /\ dTerm = term /\ dVote = vote /\ dLog = log
  /\ role = [n \in Server |-> "follower"] /\ commit = [n \in Server |-> 0]
  /\ requests = {} /\ votes = {} /\ elections = {}
  /\ leaderLog = [t \in Term |-> <<>>] /\ committed = [t \in Term |-> <<>>]
  /\ acked = [t \in Term |-> [n \in Server |-> 0]]
  /\ restarts = 0

\* 5.2: "To begin an election, a follower increments its current term and transitions to candidate state. It then votes for itself."
Timeout(n) ==
  /\ role[n] # "leader" /\ term[n] < MaxTerm
  /\ term' = [term EXCEPT ![n] = @ + 1]
  /\ vote' = [vote EXCEPT ![n] = n]
  /\ role' = [role EXCEPT ![n] = "candidate"]
  /\ UNCHANGED <<log, dTerm, dVote, dLog, commit, requests, votes, elections, leaderLog, acked, committed, restarts>>

\* Figure 2, all servers: "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to follower" (5.1).
\* A term is told by nobody before its first candidate asks for votes.
UpdateTerm(n, t) ==
  /\ t > term[n] /\ \E r \in requests : r.term = t
  /\ term' = [term EXCEPT ![n] = t]
  /\ vote' = [vote EXCEPT ![n] = Nobody]
  /\ role' = [role EXCEPT ![n] = "follower"]
  /\ UNCHANGED <<log, dTerm, dVote, dLog, commit, requests, votes, elections, leaderLog, acked, committed, restarts>>

\* 5.2, 5.4.1: "If votedFor is null or candidateId, and candidate's log is at least as up-to-date as receiver's log, grant vote."
GrantVote(n, c) ==
  /\ role[n] = "follower" /\ vote[n] = Nobody
  /\ \E r \in requests : /\ r.term = term[n] /\ r.candidate = c
                         /\ AtLeastAsUpToDate(r.last, Last(log[n]))
  /\ vote' = [vote EXCEPT ![n] = c]
  /\ UNCHANGED <<term, log, dTerm, dVote, dLog, role, commit, requests, votes, elections, leaderLog, acked, committed, restarts>>

\* 5.2: "A candidate wins an election if it receives votes from a majority of the servers in the full cluster for the same term." Its own
\* counts when it is durable, like any other (figure 2: "updated on stable storage before responding").
BecomeLeader(n) ==
  LET voters == {v \in Server : <<term[n], v, n>> \in votes} IN
  /\ role[n] = "candidate" /\ voters \in Quorum
  /\ role' = [role EXCEPT ![n] = "leader"]
  /\ elections' = elections \cup {[term |-> term[n], leader |-> n, voters |-> voters, log |-> log[n]]}
  /\ leaderLog' = [leaderLog EXCEPT ![term[n]] = log[n]]
  /\ committed' = [committed EXCEPT ![term[n]] = Prefix(log[n], commit[n])]
  /\ UNCHANGED <<term, vote, log, dTerm, dVote, dLog, commit, requests, votes, acked, restarts>>

\* 5.3: "The leader appends the command to its log as a new entry." The no-op with which a term begins (section 8) is one, too.
ClientRequest(n) ==
  /\ role[n] = "leader" /\ Len(log[n]) < MaxLog
  /\ log' = [log EXCEPT ![n] = Append(@, [term |-> term[n], by |-> n])]
  /\ leaderLog' = [leaderLog EXCEPT ![term[n]] = log'[n]]
  /\ UNCHANGED <<term, vote, dTerm, dVote, dLog, role, commit, requests, votes, elections, acked, committed, restarts>>

\* 5.3, and the receiver's rules 2 to 4 of AppendEntries in figure 2, for a request of the leader of this term whose last entry stands at
\* k: "If an existing entry conflicts with a new one, delete the existing entry and all that follow it; append any new entries not already
\* in the log." So what is equal stays, with all that follows it. 5.2: a candidate that hears the leader of its term follows it.
AcceptEntries(n, k) ==
  LET leaders == leaderLog[term[n]] IN
  /\ term[n] > 0 /\ role[n] # "leader" /\ HasLeader(n) /\ k <= Len(leaders)
  /\ log' = [log EXCEPT ![n] = IF Prefix(@, k) = Prefix(leaders, k) THEN @ ELSE Prefix(leaders, k)]
  /\ role' = [role EXCEPT ![n] = "follower"]
  /\ UNCHANGED <<term, vote, dTerm, dVote, dLog, commit, requests, votes, elections, leaderLog, acked, committed, restarts>>

\* Figure 2, leaders: "If there exists an N such that N > commitIndex, a majority of matchIndex[i] >= N, and log[N].term == currentTerm:
\* set commitIndex = N" (5.3, 5.4.2). The leader counts itself when its own disk has the entry (dissertation, 10.2.1).
AdvanceCommit(n, k) ==
  /\ role[n] = "leader" /\ k > commit[n] /\ k <= Len(log[n])
  /\ log[n][k].term = term[n]
  /\ {v \in Server : acked[term[n]][v] >= k} \in Quorum
  /\ commit' = [commit EXCEPT ![n] = k]
  /\ committed' = [committed EXCEPT ![term[n]] = Prefix(log[n], k)]
  /\ UNCHANGED <<term, vote, log, dTerm, dVote, dLog, role, requests, votes, elections, leaderLog, acked, restarts>>

\* Figure 2, AppendEntries, receiver's rule 5: "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new
\* entry)": no further than the log is known to equal the leader's.
LearnCommit(n, k) ==
  /\ term[n] > 0 /\ role[n] = "follower" /\ HasLeader(n)
  /\ k > commit[n] /\ k <= Len(committed[term[n]]) /\ k <= Len(log[n])
  /\ Prefix(log[n], k) = Prefix(leaderLog[term[n]], k)
  /\ commit' = [commit EXCEPT ![n] = k]
  /\ UNCHANGED <<term, vote, log, dTerm, dVote, dLog, role, requests, votes, elections, leaderLog, acked, committed, restarts>>

\* Dissertation, 6.2: a leader that hears no majority steps down. The term goes on, and so does the vote that was given in it.
StepDown(n) ==
  /\ role[n] = "leader"
  /\ role' = [role EXCEPT ![n] = "follower"]
  /\ UNCHANGED <<term, vote, log, dTerm, dVote, dLog, commit, requests, votes, elections, leaderLog, acked, committed, restarts>>

\* Figure 2, persistent state: it reaches the disk, and from then on others may be told. A write that is under way while memory moves on
\* is a Persist that came before; one that a crash swallows never came.
Persist(n) ==
  /\ dTerm' = [dTerm EXCEPT ![n] = term[n]]
  /\ dVote' = [dVote EXCEPT ![n] = vote[n]]
  /\ dLog' = [dLog EXCEPT ![n] = log[n]]
  /\ <<dTerm', dVote', dLog'>> # <<dTerm, dVote, dLog>>
  /\ votes' = IF vote[n] = Nobody THEN votes ELSE votes \cup {<<term[n], n, vote[n]>>}
  /\ requests' = IF role[n] # "candidate" THEN requests
                 ELSE requests \cup {[term |-> term[n], candidate |-> n, last |-> Last(log[n])]}
  /\ UNCHANGED <<term, vote, log, role, commit, elections, leaderLog, acked, committed, restarts>>

\* Figure 2, the answer to AppendEntries, which becomes matchIndex: up to which index the log is the leader's, and on the disk. The leader
\* tells itself as well.
Acknowledge(n) ==
  LET same(k) == /\ k <= Len(dLog[n]) /\ k <= Len(log[n]) /\ k <= Len(leaderLog[term[n]])
                 /\ Prefix(dLog[n], k) = Prefix(leaderLog[term[n]], k)
                 /\ Prefix(log[n], k) = Prefix(leaderLog[term[n]], k)
  IN \E k \in 1..MaxLog :
    /\ term[n] > 0 /\ dTerm[n] = term[n] /\ k > acked[term[n]][n]
    /\ same(k) /\ (k = MaxLog \/ ~same(k + 1))
    /\ acked' = [acked EXCEPT ![term[n]][n] = k]
    /\ UNCHANGED <<term, vote, log, dTerm, dVote, dLog, role, commit, requests, votes, elections, leaderLog, committed, restarts>>

\* 5.2: "When servers start up, they begin as followers", with what figure 2 calls persistent and nothing else.
Restart(n) ==
  /\ restarts < MaxRestarts /\ restarts' = restarts + 1
  /\ term' = [term EXCEPT ![n] = dTerm[n]]
  /\ vote' = [vote EXCEPT ![n] = dVote[n]]
  /\ log' = [log EXCEPT ![n] = dLog[n]]
  /\ role' = [role EXCEPT ![n] = "follower"]
  /\ commit' = [commit EXCEPT ![n] = 0]
  /\ UNCHANGED <<dTerm, dVote, dLog, requests, votes, elections, leaderLog, acked, committed>>

Next == \E n \in Server :
  \/ Timeout(n) \/ BecomeLeader(n) \/ ClientRequest(n) \/ StepDown(n) \/ Persist(n) \/ Acknowledge(n) \/ Restart(n)
  \/ \E t \in Term : UpdateTerm(n, t)
  \/ \E c \in Server : GrantVote(n, c)
  \/ \E k \in 0..MaxLog : AcceptEntries(n, k) \/ AdvanceCommit(n, k) \/ LearnCommit(n, k)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
\* Figure 3.

\* "At most one leader can be elected in a given term" (5.2).
ElectionSafety == \A a, b \in elections : a.term = b.term => a.leader = b.leader

\* "A leader never overwrites or deletes entries in its log; it only appends new entries" (5.3).
LeaderAppendOnly ==
  [][\A n \in Server : role[n] = "leader" /\ role'[n] = "leader" => IsPrefix(log[n], log'[n])]_vars

\* "If two logs contain an entry with the same index and term, then the logs are identical in all entries up through the given index" (5.3).
LogMatching ==
  \A a, b \in Server : \A k \in 1..MaxLog :
    k <= Len(log[a]) /\ k <= Len(log[b]) /\ log[a][k].term = log[b][k].term => Prefix(log[a], k) = Prefix(log[b], k)

\* "If a log entry is committed in a given term, then that entry will be present in the logs of the leaders for all higher-numbered terms"
\* (5.4).
LeaderCompleteness == \A t \in Term : \A e \in elections : e.term > t => IsPrefix(committed[t], e.log)

\* "If a server has applied a log entry at a given index to its state machine, no other server will ever apply a different log entry for
\* the same index" (5.4.3). What is committed may be applied.
StateMachineSafety ==
  /\ \A s, t \in Term : IsPrefix(committed[s], committed[t]) \/ IsPrefix(committed[t], committed[s])
  /\ \A n \in Server : \A t \in Term :
       LET known == Prefix(log[n], commit[n]) IN IsPrefix(known, committed[t]) \/ IsPrefix(committed[t], known)

\* Servers are alike.
Symmetry == Permutations(Server)
=============================================================================
