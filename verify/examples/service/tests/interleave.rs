//! The account in every interleaving: `cargo interleave`, `cargo interleave --list`, `cargo interleave deposed --show`.

#[cfg(not(biglock_loom))]
compile_error!("this is a build without the checker: run `cargo interleave`");

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use account::{Account, Failed, Known, Receipt, Vault};
use biglock::{Node, Outside, Time, Undecided};
use biglock_verify::check::{Check, Setup, Stage, main as check};

fn main() -> ExitCode {
    check(
        CHECKS,
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interleave.golden"),
    )
}

const CHECKS: &[Check] = &[
    Check::new(
        "withdraw",
        "of two clients who want all there is one is paid, whatever the other does, and who looks on sees the balance fall once",
        3,
        |stage| two_clients(stage, |account, outside| Ok(account.withdraw(outside, 10)?.done)),
    )
    .reaches(&["paid", "not covered", "seen before", "seen after"]),
    Check::new(
        "withdraw-what-was-seen",
        "broken: the balance is read in one section and set by a proposal",
        3,
        |stage| two_clients(stage, |account, outside| account.withdraw_what_was_seen(outside, 10)),
    )
    .finds("more was paid out than there was"),
    Check::new(
        "withdraw-and-overwrite",
        "broken: a receipt is noted, although a later one is known",
        3,
        |stage| two_clients(stage, |account, outside| account.withdraw_and_overwrite(outside, 10)),
    )
    .finds("what is known of the balance went back"),
    Check::new("wait", "who waits for money sleeps until it is there, or the account is closed", 3, wait)
        .reaches(&["money", "the money came", "closed before"]),
    Check::new(
        "wait-for-the-disk",
        "the same with a disk that takes time, on a thread of its own",
        3,
        wait_for_the_disk,
    )
    .reaches(&["money", "something to write", "the money came"]),
    Check::new(
        "given-up",
        "nobody answers: whoever deposits hears that it is in doubt, by time or by the end of the node",
        3,
        given_up,
    )
    .reaches(&["the next heartbeat", "given up", "shut down"]),
    Check::new(
        "in-doubt",
        "a deposit in doubt is sent again, with its number in a session, and made once",
        3,
        |stage| in_doubt(stage, |account, outside, session| account.deposit_once(outside, session, 10)),
    )
    .reaches(&["sent once", "sent again"]),
    Check::new(
        "in-doubt-without-a-session",
        "broken: a deposit in doubt is sent again, although it may have been made",
        3,
        |stage| in_doubt(stage, |account, outside, _| account.deposit_again(outside, 10)),
    )
    .finds("was wanted once, and made twice"),
    Check::new(
        "deposed",
        "the node is deposed and shut down at any moment: who hears that it was paid was paid, and everybody hears something",
        3,
        |stage| deposed(stage, |account, outside| Ok(account.withdraw(outside, 10)?.done)),
    )
    .reaches(&["paid", "in doubt", "refused"]),
    Check::new(
        "deposed-before-it-is-committed",
        "broken: the client is answered before the withdrawal is committed",
        3,
        |stage| {
            deposed(stage, |account, outside| Ok(account.withdraw_before_it_is_committed(outside, 10)));
        },
    )
    .finds("was told that it was paid"),
];

type Withdraw = fn(&Account, &mut Outside) -> Result<bool, Failed>;

/// The account, with 10 in it, on a node that leads.
fn open(stage: &Stage) -> (Arc<Node>, Vault, Arc<Account>) {
    let vault = Vault::default();
    let node = stage.leader(Setup::default(), vault.clone());
    let known = stage.monitor(Known::default(), |known| format!("{known:?}"));
    let account = Arc::new(Account::new(node.clone(), known));
    account
        .deposit(&mut Outside::claim("setup"), 10)
        .expect("it leads");
    (node, vault, account)
}

fn account_on(stage: &Stage, node: Arc<Node>) -> Arc<Account> {
    let known = stage.monitor(Known::default(), |known| {
        let closed = if known.closed { ", closed" } else { "" };
        format!(
            "balance {}, receipt {}{closed}",
            known.balance, known.number
        )
    });
    Arc::new(Account::new(node, known))
}

fn two_clients(stage: &Stage, withdraw: Withdraw) {
    let (_, _, account) = open(stage);
    // What was paid: the judge's own, and no part of the program.
    let paid = Arc::new(AtomicU64::new(0));
    let sum = paid.clone();
    stage.law(move || {
        assert!(
            sum.load(Ordering::Relaxed) <= 10,
            "more was paid out than there was"
        )
    });
    for name in ["ann", "bob"] {
        let (there, account, paid) = (stage.clone(), account.clone(), paid.clone());
        stage.thread(name, move |outside| match withdraw(&account, outside) {
            Ok(true) => {
                paid.fetch_add(10, Ordering::Relaxed);
                there.reached("paid");
            }
            Ok(false) => there.reached("not covered"),
            Err(why) => panic!("it leads all the time: {why}"),
        });
    }
    let there = stage.clone();
    stage.thread("carol", move |outside| {
        there.reached(match account.balance(outside) {
            10 => "seen before",
            _ => "seen after",
        });
    });
}

fn wait(stage: &Stage) {
    let (_, _, account) = open(stage);
    let (there, waits) = (stage.clone(), account.clone());
    stage.thread("ann", move |outside| {
        there.reached(match waits.wait_for(outside, 20) {
            true => "the money came",
            false => "closed before",
        });
    });
    let closes = account.clone();
    stage.thread("bob", move |outside| {
        account.deposit(outside, 10).expect("it leads all the time");
    });
    stage.thread("the end", move |outside| closes.close(outside));
}

fn deposed(stage: &Stage, withdraw: Withdraw) {
    let (node, vault, account) = open(stage);
    let told = Arc::new(AtomicU64::new(0));
    let (there, tells) = (stage.clone(), told.clone());
    let asks = account.clone();
    stage.thread("ann", move |outside| match withdraw(&asks, outside) {
        Ok(true) => {
            tells.store(10, Ordering::Relaxed);
            there.reached("paid");
        }
        Ok(false) => panic!("there is enough"),
        Err(Failed::Undecided(_)) => there.reached("in doubt"),
        Err(Failed::Refused(_)) => there.reached("refused"),
    });
    stage.thread("carol", move |outside| {
        account.balance(outside);
    });
    let there = stage.clone();
    stage.thread("the end", move |outside| {
        there.depose(outside, &node);
        // It had not stopped before.
        assert!(node.shutdown().is_ok());
    });
    stage.finally(move || {
        let paid = 10 - vault.balance();
        let told = told.load(Ordering::Relaxed);
        assert!(
            told <= paid,
            "ann was told that it was paid, and the vault has never heard of it"
        );
    });
}

fn wait_for_the_disk(stage: &Stage) {
    let node = stage.leader(Setup::default().slow_disk(), Vault::default());
    let account = account_on(stage, node);
    let (there, waits) = (stage.clone(), account.clone());
    stage.thread("ann", move |outside| {
        assert!(waits.wait_for(outside, 10));
        there.reached("the money came");
    });
    stage.thread("bob", move |outside| {
        account.deposit(outside, 10).expect("it leads all the time");
    });
}

fn given_up(stage: &Stage) {
    let node = stage.leader(Setup::default().silent().upkeep(), Vault::default());
    let account = account_on(stage, node.clone());
    let there = stage.clone();
    stage.thread("ann", move |outside| match account.deposit(outside, 10) {
        Err(Failed::Undecided(Undecided::Unknown)) => there.reached("given up"),
        Err(_) => there.reached("shut down"),
        Ok(receipt) => panic!("nobody answers: {receipt:?}"),
    });
    let there = stage.clone();
    stage.thread("time", move |outside| {
        there.pass_time(outside, Time::from_millis(600));
        assert!(node.shutdown().is_ok());
    });
}

type Deposit = fn(&Account, &mut Outside, u64) -> Result<Receipt, Failed>;

/// Time may pass while a deposit is under way: then the node says that it can't tell what becomes of it, and commits it all the same.
fn in_doubt(stage: &Stage, deposit: Deposit) {
    let vault = Vault::default();
    let node = stage.leader(Setup::default().upkeep(), vault.clone());
    let account = account_on(stage, node.clone());
    let session = account.open_session(&Outside::claim("setup"));
    let session = session.expect("it leads");
    let before = node.status().last.index;
    let there = stage.clone();
    stage.thread("ann", move |outside| {
        deposit(&account, outside, session).expect("time passes once");
        there.reached(match node.status().last.index - before {
            1 => "sent once",
            _ => "sent again",
        });
    });
    let there = stage.clone();
    stage.thread("time", move |outside| {
        there.pass_time(outside, Time::from_millis(600));
    });
    stage.finally(move || {
        assert!(
            vault.balance() == 10,
            "a deposit was wanted once, and made twice"
        );
    });
}
