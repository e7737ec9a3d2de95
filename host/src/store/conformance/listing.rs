//! Listing actors.

use std::sync::Arc;

use super::{
    Subject,
    kit::{self, account, plain},
};
use crate::{address::Address, record::Position, store::EventStore};

pub(super) async fn actors_are_listed_in_order_and_paged(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mut expected: Vec<Address> =
        ["b", "a", "a.b", "a-b", "a/b", "A", "é", "ab", "=", "10", "9"].map(account).into();
    expected.extend((0..50).map(|n| account(&format!("many {n}"))));
    for actor in &expected {
        write(&store, actor).await;
    }
    expected.sort_by_key(Address::id_token);
    assert_eq!(store.actors("bank", "account", None, 1000).await.unwrap(), expected);
    for size in [1, 7, 61] {
        let mut paged: Vec<Address> = Vec::new();
        loop {
            let after = paged.last().map(|actor| actor.id().to_owned());
            let page = store.actors("bank", "account", after.as_deref(), size).await.unwrap();
            assert!(page.len() <= size);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, expected, "in pages of {size}");
    }
    let behind = store.actors("bank", "account", Some("a.c"), 1).await.unwrap();
    let expected = expected.into_iter().find(|actor| actor.id_token() > account("a.c").id_token());
    assert_eq!(behind.into_iter().next(), expected, "after an id that was never used");
}

pub(super) async fn actors_of_other_aggregates_are_not_listed(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let names = [("bank", "account"), ("bank", "transfer"), ("shop", "account")];
    for (context, aggregate) in names {
        write(&store, &Address::new(context, aggregate, context).unwrap()).await;
    }
    for (context, aggregate) in names {
        let listed = store.actors(context, aggregate, None, 10).await.unwrap();
        assert_eq!(listed, [Address::new(context, aggregate, context).unwrap()]);
    }
    assert!(store.actors("shop", "transfer", None, 10).await.unwrap().is_empty());
    let refused = store.append(plain(&account("refused"), Position(7), 2, b"x")).await;
    assert!(refused.is_err());
    assert_eq!(store.actors("bank", "account", None, 10).await.unwrap().len(), 1);
}

async fn write(store: &Arc<dyn EventStore>, actor: &Address) {
    store.append(plain(actor, Position(0), 1, b"1")).await.unwrap();
}
