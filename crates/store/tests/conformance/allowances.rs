//! What servers may have of a quota: never more together, but for what runs already.

use std::time::Duration;

use serde_json::json;
use windlass_resource::records::tenants::TENANTS;
use windlass_store::{AllowanceWish, By, Store, Target};

use crate::harness::{Fixture, TENANT};

/// What one server may have, and what the others take it to have, after it asked; nothing when it is dead.
async fn ask(store: &Store, used: u32, wanted: u32) -> Option<(u32, u32)> {
    let wish = AllowanceWish { tenant: TENANT, used, wanted };
    let given = store.settle_allowances(vec![wish]).await.expect("an answer");
    given.first().map(|given| (given.runs, given.counted))
}

async fn quota(store: &Store, quota: u32) {
    let id = store.tenant_by_key(TENANT).await.expect("an answer").expect("a tenant").id;
    let body = json!({ "max_concurrent_runs": quota });
    let target = Target { id, expect: None };
    store.update_record((TENANT, &TENANTS), target, &body, By::system()).await.expect("a quota");
}

#[tokio::test]
async fn allowances_add_up_to_the_quota() {
    let fixture = Fixture::postgres().await;
    let stores =
        [Store::open(fixture.options.clone()).await.unwrap(), Store::open(fixture.options.clone()).await.unwrap()];
    quota(&stores[0], 5).await;
    for (who, used, wanted, given) in [
        (0, 0, 3, (3, 3)),
        (1, 0, 4, (2, 2)),
        // It gives two back, which the other one takes.
        (0, 1, 1, (1, 1)),
        (1, 2, 9, (4, 4)),
        // Runs of it woke up: they count, and nobody follows them.
        (0, 3, 3, (1, 3)),
        (1, 0, 9, (2, 2)),
        (1, 4, 4, (2, 4)),
        (0, 0, 9, (1, 1)),
        (1, 1, 9, (4, 4)),
        (0, 0, 0, (0, 0)),
        (1, 0, 9, (5, 5)),
    ] {
        assert_eq!(ask(&stores[who], used, wanted).await, Some(given), "{who}: {used}, {wanted}");
    }
    quota(&stores[0], 2).await;
    assert_eq!(ask(&stores[0], 1, 3).await, Some((0, 1)), "the other one has more than all");
    assert_eq!(ask(&stores[1], 4, 5).await, Some((1, 4)));
    // A dead one's part counts for a moment, until its runs are counted elsewhere, and it gets nothing itself.
    let die = "update nodes set state = 'dead' where id = $1";
    stores[0].database().across_tenants().execute(die, vec![stores[1].node().into()]).await.expect("a death");
    assert_eq!(ask(&stores[1], 0, 2).await, None);
    assert_eq!(ask(&stores[0], 0, 2).await, Some((0, 0)));
    let comes_back = async {
        while ask(&stores[0], 0, 2).await != Some((2, 2)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), comes_back).await.expect("it comes back");
}
