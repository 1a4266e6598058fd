------------------------------ MODULE Figure8 ------------------------------
(***************************************************************************)
(* Figure 8 of the paper, for three servers, from (c) on: s1 led term 1    *)
(* and made an entry that nobody else has; s2 was elected in term 2, by s3 *)
(* and itself, and made another; s1 leads again, in term 3, by s3. What    *)
(* may become of the two entries within four terms, if only entries of a   *)
(* leader's own term are committed by counting (5.4.2)? Without that, this *)
(* is the smallest place from which the paper's warning comes true.        *)
(***************************************************************************)
EXTENDS Raft
CONSTANTS s1, s2, s3

First == <<[term |-> 1, by |-> s1]>>
Second == <<[term |-> 2, by |-> s2]>>

Start ==
  /\ term = (s1 :> 3 @@ s2 :> 2 @@ s3 :> 3) /\ dTerm = term
  /\ vote = (s1 :> s1 @@ s2 :> s2 @@ s3 :> s1) /\ dVote = vote
  /\ log = (s1 :> First @@ s2 :> Second @@ s3 :> <<>>) /\ dLog = log
  /\ role = (s1 :> "leader" @@ s2 :> "follower" @@ s3 :> "follower")
  /\ commit = [n \in Server |-> 0]
  /\ requests = {[term |-> 1, candidate |-> s1, last |-> Last(<<>>)], [term |-> 2, candidate |-> s2, last |-> Last(<<>>)],
                 [term |-> 3, candidate |-> s1, last |-> Last(First)]}
  /\ votes = {<<1, s1, s1>>, <<1, s3, s1>>, <<2, s2, s2>>, <<2, s3, s2>>, <<3, s1, s1>>, <<3, s3, s1>>}
  /\ elections = {[term |-> 1, leader |-> s1, voters |-> {s1, s3}, log |-> <<>>],
                  [term |-> 2, leader |-> s2, voters |-> {s2, s3}, log |-> <<>>],
                  [term |-> 3, leader |-> s1, voters |-> {s1, s3}, log |-> First]}
  /\ leaderLog = (1 :> First @@ 2 :> Second @@ 3 :> First @@ 4 :> <<>>)
  /\ acked = [t \in Term |-> [n \in Server |-> 0]]
  /\ committed = [t \in Term |-> <<>>]
  /\ restarts = MaxRestarts

FromFigure8 == Start /\ [][Next]_vars
=============================================================================
