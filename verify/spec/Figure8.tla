------------------------------ MODULE Figure8 ------------------------------
(***************************************************************************)
(* Figure 8 of the paper, for three servers, from (b) on: s1 led term 1    *)
(* and made an entry that nobody else has; s2 was elected in term 2, by s3 *)
(* and itself, and made another. What may become of them within four       *)
(* terms, if only entries of a leader's own term are committed by counting *)
(* (5.4.2)? Without that, this is the smallest place from which the paper's*)
(* warning comes true.                                                     *)
(***************************************************************************)
EXTENDS Raft
CONSTANTS s1, s2, s3

First == <<[term |-> 1, by |-> s1]>>
Second == <<[term |-> 2, by |-> s2]>>

Start ==
  /\ term = (s1 :> 1 @@ s2 :> 2 @@ s3 :> 2) /\ dTerm = term
  /\ vote = (s1 :> s1 @@ s2 :> s2 @@ s3 :> s2) /\ dVote = vote
  /\ log = (s1 :> First @@ s2 :> Second @@ s3 :> <<>>) /\ dLog = log
  /\ role = (s1 :> "follower" @@ s2 :> "follower" @@ s3 :> "follower")
  /\ commit = [n \in Server |-> 0]
  /\ requests = {[term |-> 1, candidate |-> s1, last |-> Last(<<>>)], [term |-> 2, candidate |-> s2, last |-> Last(<<>>)]}
  /\ votes = {<<1, s1, s1>>, <<1, s3, s1>>, <<2, s2, s2>>, <<2, s3, s2>>}
  /\ elections = {[term |-> 1, leader |-> s1, voters |-> {s1, s3}, log |-> <<>>],
                  [term |-> 2, leader |-> s2, voters |-> {s2, s3}, log |-> <<>>]}
  /\ leaderLog = [t \in Term |-> IF t = 1 THEN First ELSE IF t = 2 THEN Second ELSE <<>>]
  /\ acked = [t \in Term |-> [n \in Server |-> IF <<t, n>> \in {<<1, s1>>, <<2, s2>>} THEN 1 ELSE 0]]
  /\ committed = [t \in Term |-> <<>>]
  /\ restarts = MaxRestarts

FromFigure8 == Start /\ [][Next]_vars
=============================================================================
