//! A state as large as it is told to be: about 48 bytes of JSON for each item.

aether_guest::aggregate!("bench.storm.yaml", "basket", Basket);

/// The rules of baskets.
pub struct Basket;

impl Aggregate for Basket {
    fn initial(_id: String) -> State {
        State { items: Vec::new() }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        Ok(vec![match command {
            Command::Fill(Fill { items }) => Event::Filled(Filled { items }),
            Command::Change(Change { quantity }) => Event::Changed(Changed { quantity }),
        }])
    }

    fn evolve(mut state: State, events: Vec<Event>) -> State {
        for event in events {
            match event {
                Event::Filled(Filled { items }) => state.items = (0..items).map(item).collect(),
                Event::Changed(Changed { quantity }) => {
                    if let Some(first) = state.items.first_mut() {
                        first.quantity = quantity;
                    }
                }
            }
        }
        state
    }
}

fn item(number: u32) -> Item {
    Item { key: format!("item-{number:07}"), quantity: 1, price: u64::from(number) + 100 }
}
