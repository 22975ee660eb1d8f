//! The fair queue against a slow, obvious model.

use balance::{Entry, FairQueue, QueueFull};
use proptest::prelude::*;

type Queue = FairQueue<u32, &'static str, u8, ()>;
type Item = Entry<u32, &'static str, u8, ()>;

fn item(key: u32, tenant: &'static str, priority: i32, time: i64, class: u8) -> Item {
    Entry { key, tenant, priority, time, class, item: () }
}

fn drain(queue: &mut Queue) -> Vec<u32> {
    std::iter::from_fn(|| queue.pop()).map(|e| e.key).collect()
}

#[test]
fn priority_first_then_tenants_in_turn_then_time() {
    let mut queue = Queue::new(100);
    for entry in [
        item(1, "a", 0, 10, 0),
        item(2, "a", 0, 5, 0),
        item(3, "a", 0, 5, 0),
        item(4, "b", 0, 99, 0),
        item(5, "c", 0, 99, 0),
        item(6, "b", 7, 50, 0),
        item(7, "c", 0, 100, 0),
    ] {
        queue.push(entry).unwrap();
    }
    let positions: Vec<(u32, usize)> = (1..=7).map(|k| (k, queue.position(&k).unwrap())).collect();
    let order = drain(&mut queue);
    assert_eq!(order, [6, 2, 4, 5, 3, 7, 1]);
    for (key, position) in positions {
        assert_eq!(order[position], key, "the position that was told");
    }
}

#[test]
fn a_tenant_with_one_item_at_a_time_does_not_starve_the_others() {
    let mut queue = Queue::new(100);
    (0..5).for_each(|k| queue.push(item(k, "many", 0, 0, 0)).unwrap());
    let mut order = Vec::new();
    for k in 10..14 {
        queue.push(item(k, "one", 0, 0, 0)).unwrap();
        order.push(queue.pop().unwrap().tenant);
        order.push(queue.pop().unwrap().tenant);
    }
    assert_eq!(order, ["many", "one"].repeat(4));
}

#[test]
fn items_of_a_closed_class_stand_in_nobodys_way() {
    let mut queue = Queue::new(10_000);
    (0..5000).for_each(|k| queue.push(item(k, "a", 9, 0, 1)).unwrap());
    queue.push(item(9001, "a", 1, 0, 2)).unwrap();
    queue.push(item(9002, "b", 1, 0, 1)).unwrap();
    queue.close(&1);
    assert_eq!(drain(&mut queue), [9001]);
    assert!(!queue.has_ready() && queue.len() == 5001 && queue.waits_for(&1) && !queue.waits_for(&2));
    queue.push(item(9003, "a", 99, 0, 1)).unwrap();
    assert!(queue.pop().is_none(), "a push into a closed class opens nothing");
    queue.open(&1);
    assert_eq!(queue.pop().unwrap().key, 9003);
    assert_eq!(queue.pop().unwrap().key, 0);
}

#[test]
fn the_bound_holds_and_a_key_stands_once() {
    let mut queue = Queue::new(2);
    queue.push(item(1, "a", 0, 0, 0)).unwrap();
    queue.push(item(2, "a", 0, 0, 0)).unwrap();
    assert_eq!(queue.push(item(3, "a", 0, 0, 0)), Err(QueueFull { max: 2 }));
    queue.push(item(1, "a", 5, 0, 0)).unwrap();
    assert_eq!((queue.len(), queue.get(&1).unwrap().priority), (2, 5));
    assert!(queue.remove(&3).is_none() && queue.position(&3).is_none());
    assert_eq!(queue.remove(&1).unwrap().priority, 5);
    assert_eq!(drain(&mut queue), [2]);
    assert!(queue.is_empty() && queue.peek().is_none());
    assert_eq!(format!("{queue:?}"), "FairQueue(0 of 2)");
}

/// Everything in one list; what is next is found by looking at all of it.
#[derive(Default)]
struct Model {
    items: Vec<(Item, u64)>,
    stamps: Vec<((i32, &'static str), u64)>,
    closed: Vec<u8>,
    arrivals: u64,
    turns: u64,
}

impl Model {
    fn stamp(&self, e: &Item) -> u64 {
        self.stamps.iter().find(|(k, _)| *k == (e.priority, e.tenant)).map_or(0, |s| s.1)
    }
    fn forget(&mut self) {
        let items = &self.items;
        self.stamps.retain(|(k, _)| items.iter().any(|(e, _)| (e.priority, e.tenant) == *k));
    }
    fn push(&mut self, e: Item) {
        self.remove(e.key);
        self.arrivals += 1;
        if !self.stamps.iter().any(|(k, _)| *k == (e.priority, e.tenant)) {
            self.turns += 1;
            self.stamps.push(((e.priority, e.tenant), self.turns));
        }
        self.items.push((e, self.arrivals));
    }
    fn remove(&mut self, key: u32) -> bool {
        let before = self.items.len();
        self.items.retain(|(e, _)| e.key != key);
        self.forget();
        before != self.items.len()
    }
    fn pop(&mut self) -> Option<u32> {
        let open = self.items.iter().filter(|(e, _)| !self.closed.contains(&e.class));
        let (next, _) =
            open.min_by_key(|(e, arrival)| (-e.priority, self.stamp(e), e.time, *arrival))?.clone();
        self.turns += 1;
        let turn = self.turns;
        self.stamps.iter_mut().filter(|(k, _)| *k == (next.priority, next.tenant)).for_each(|s| s.1 = turn);
        self.remove(next.key);
        Some(next.key)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u32, usize, i32, i64, u8),
    Pop,
    Remove(u32),
    Close(u8),
    Open(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..40, 0usize..4, 0i32..3, 0i64..4, 0u8..4).prop_map(|(k, t, p, at, c)| Step::Push(k, t, p, at, c)),
        3 => Just(Step::Pop),
        1 => (0u32..40).prop_map(Step::Remove),
        1 => (0u8..4).prop_map(Step::Close),
        1 => (0u8..4).prop_map(Step::Open),
    ]
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(steps in proptest::collection::vec(step(), 0..120)) {
        let tenants = ["a", "b", "c", "d"];
        let (mut queue, mut model) = (Queue::new(1000), Model::default());
        for step in steps {
            match step {
                Step::Push(k, t, p, at, c) => {
                    queue.push(item(k, tenants[t], p, at, c)).unwrap();
                    model.push(item(k, tenants[t], p, at, c));
                }
                Step::Pop => {
                    let peeked = queue.peek().map(|e| e.key);
                    let got = queue.pop().map(|e| e.key);
                    prop_assert_eq!(peeked, got);
                    prop_assert_eq!(got, model.pop());
                }
                Step::Remove(k) => prop_assert_eq!(queue.remove(&k).is_some(), model.remove(k)),
                Step::Close(c) => { queue.close(&c); model.closed.push(c); prop_assert!(queue.is_closed(&c)); }
                Step::Open(c) => { queue.open(&c); model.closed.retain(|x| *x != c); }
            }
            prop_assert_eq!(queue.len(), model.items.len());
        }
        (0..4).for_each(|c| { queue.open(&c); });
        let told: Vec<(u32, usize)> = model.items.iter().map(|(e, _)| (e.key, queue.position(&e.key).unwrap())).collect();
        let order = drain(&mut queue);
        for (key, position) in told {
            prop_assert_eq!(order[position], key, "position told, order {:?}", order);
        }
        prop_assert!(queue.is_empty());
    }
}
