//! The same source, as it ships: one thread, a real node. The broken versions pass as well, for one thread shows none of it.

use std::sync::Arc;
use std::time::Duration;

use account::{Account, Failed, Known, Receipt, Vault};
use biglock::lock::{Monitor, Outside};
use biglock::{Config, LocalNetwork, MemoryStorage, Node};

type Withdraw = fn(&Account, &mut Outside) -> Result<bool, Failed>;
type Deposit = fn(&Account, &mut Outside, u64) -> Result<Receipt, Failed>;

#[test]
fn money_comes_and_goes() {
    let versions: [Withdraw; 4] = [
        |account, outside| Ok(account.withdraw(outside, 10)?.done),
        |account, outside| account.withdraw_what_was_seen(outside, 10),
        |account, outside| account.withdraw_and_overwrite(outside, 10),
        |account, outside| Ok(account.withdraw_before_it_is_committed(outside, 10)),
    ];
    let deposits: [Deposit; 2] = [
        |account, outside, session| account.deposit_once(outside, session, 10),
        |account, outside, _| account.deposit_again(outside, 10),
    ];
    for withdraw in versions {
        let vault = Vault::default();
        let transport = LocalNetwork::new().transport(1);
        let node = Node::start(
            Config::new(1, [1]),
            MemoryStorage::new(),
            transport,
            vault.clone(),
        );
        let node = Arc::new(node.expect("it starts"));
        node.wait_for_leader(Duration::from_secs(30))
            .expect("it is alone");
        let account = Account::new(node.clone(), Arc::new(Monitor::new(Known::default())));
        let mut outside = Outside::claim("client");

        account.deposit(&mut outside, 15).expect("it leads");
        assert!(account.wait_for(&mut outside, 15));
        assert!(withdraw(&account, &mut outside).expect("it leads"));
        assert!(!withdraw(&account, &mut outside).expect("it leads"));
        assert_eq!(account.balance(&mut outside), 5);
        node.read().expect("it leads");
        assert_eq!(vault.balance(), 5);

        // With an answer at once, nothing needs to be sent again.
        let session = account.open_session(&outside).expect("it leads");
        for (number, deposit) in (1..).zip(deposits) {
            deposit(&account, &mut outside, session).expect("it leads");
            assert_eq!(vault.balance(), 5 + 10 * number);
        }
    }
}
