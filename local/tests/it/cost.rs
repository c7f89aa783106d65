//! What a delivery costs: calls to AWS, by who makes them and when.

use std::sync::Arc;

use local::aws::Call;
use serde_json::json;
use shared::store::keys::{CLEANUP_SHARDS, SWEEP_SHARDS};
use tokio::sync::Semaphore;

use crate::world::{Reply, World};

/// What each function called since the last look: operation and number of entries, in the order of the calls.
fn calls_of(world: &World, identity: &str) -> Vec<(String, usize)> {
    let calls = world.aws.calls().take().into_iter();
    calls.filter(|call| call.identity == identity).map(|call| (call.operation, call.items)).collect()
}

fn named(calls: &[(&str, usize)]) -> Vec<(String, usize)> {
    calls.iter().map(|(operation, items)| ((*operation).to_owned(), *items)).collect()
}

async fn send_batch(world: &World, events: usize) {
    for n in 0..events {
        world.send("a", json!({ "n": n })).await;
    }
    let _ = world.aws.calls().take();
    assert_eq!(world.poll_once().await, events);
}

#[tokio::test]
async fn ten_events_cost_one_read_and_one_write_once_an_instance_is_warm() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    send_batch(&world, 1).await;
    let _ = world.aws.calls().take();
    send_batch(&world, 10).await;
    let calls = calls_of(&world, "DeliverEventsFunction");
    assert_eq!(calls, named(&[("BatchGetItem", 2), ("BatchExecuteStatement", 20)]));
    send_batch(&world, 1).await;
    let calls = calls_of(&world, "DeliverEventsFunction");
    assert_eq!(calls, named(&[("BatchGetItem", 2), ("BatchExecuteStatement", 2)]));
    assert_eq!(world.receiver.got("/a").len(), 12);
}

#[tokio::test]
async fn cold_instance_reads_each_list_and_each_signing_key_once() {
    let mut world = World::start().await;
    world.endpoint("/a", json!({ "event_types": ["a"] })).await;
    world.endpoint("/b", json!({ "event_types": ["b"] })).await;
    world.restart_functions().await;
    for _ in 0..5 {
        world.send("b", json!({})).await;
    }
    for _ in 0..5 {
        world.send("a", json!({})).await;
    }
    let _ = world.aws.calls().take();
    assert_eq!(world.poll_once().await, 10);
    let calls = calls_of(&world, "DeliverEventsFunction");
    let expected = [
        ("BatchGetItem", 1),
        ("Query", 0),
        // The flows of the endpoints; from the second batch on they are asked for with the tenant.
        ("BatchGetItem", 2),
        ("GetSecretValue", 0),
        ("GetSecretValue", 0),
        ("BatchExecuteStatement", 20),
    ];
    assert_eq!(calls, named(&expected));
}

#[tokio::test]
async fn nothing_is_written_before_the_request() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/a", [Reply::Gate(Arc::clone(&gate), 200)]);
    world.send("a", json!({})).await;
    let _ = world.aws.calls().take();
    let look_while_it_is_under_way = async {
        while world.receiver.got("/a").is_empty() {
            tokio::task::yield_now().await;
        }
        let calls = calls_of(&world, "DeliverEventsFunction");
        gate.add_permits(1);
        calls
    };
    let (_, before) = tokio::join!(world.poll_once(), look_while_it_is_under_way);
    assert_eq!(before, named(&[("BatchGetItem", 1), ("Query", 0), ("BatchGetItem", 1), ("GetSecretValue", 0)]));
    assert_eq!(calls_of(&world, "DeliverEventsFunction"), named(&[("BatchExecuteStatement", 2)]));
}

#[tokio::test]
async fn batch_of_many_tenants_reads_them_with_one_call() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for n in 0..8 {
        let client = world.tenant_with(json!({ "name": "Other" })).await;
        world.endpoint_of(&client, &format!("/{n}"), json!({})).await;
        clients.push(client);
    }
    for _ in 0..2 {
        for client in &clients {
            client.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
        }
        let _ = world.aws.calls().take();
        assert_eq!(world.poll_once().await, 8);
    }
    let calls = calls_of(&world, "DeliverEventsFunction");
    assert_eq!(calls, named(&[("BatchGetItem", 16), ("BatchExecuteStatement", 16)]));
}

#[tokio::test]
async fn ten_retries_at_once_cost_as_many_calls_as_one() {
    let world = World::start().await;
    world.endpoint("/a", json!({ "retry": { "schedule_seconds": [5, 5, 5] } })).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    send_batch(&world, 10).await;
    let first = calls_of(&world, "DeliverEventsFunction");
    // The batch that sees the failures asks for one look at the backlog and sends one message for it.
    let written_and_asked = named(&[("BatchExecuteStatement", 20), ("UpdateItem", 0), ("SendMessageBatch", 1)]);
    assert!(first.ends_with(&written_and_asked), "{first:?}");
    // The first round makes the instance warm, the second shows the cost.
    for _ in 0..2 {
        world.advance_seconds(7);
        let _ = world.aws.calls().take();
        assert_eq!(world.poll_once().await, 1);
    }
    let expected = [
        // The tenant and the flow; then the lease.
        ("BatchGetItem", 2),
        ("BatchExecuteStatement", 1),
        // What waits, from both index partitions; then the tenant, ten deliveries and their events.
        ("Query", 0),
        ("Query", 0),
        ("BatchGetItem", 21),
        ("BatchExecuteStatement", 10),
        // The end of the lease with the next look, and its wake.
        ("UpdateItem", 0),
        ("SendMessageBatch", 1),
    ];
    assert_eq!(calls_of(&world, "DeliverRetriesFunction"), named(&expected));
}

#[tokio::test]
async fn accepting_an_event_is_one_send_and_with_a_known_key_nothing_else() {
    let world = World::start().await;
    world.advance_seconds(60);
    world.send("a", json!({})).await;
    // The key, or portal session, with its tenant, and the catalogue's entry of the type, if there were one; both are remembered for a while.
    assert_eq!(calls_of(&world, "ApiFunction"), named(&[("BatchGetItem", 3), ("GetItem", 0), ("SendMessage", 0)]));
    world.send("a", json!({})).await;
    assert_eq!(calls_of(&world, "ApiFunction"), named(&[("SendMessage", 0)]));
    let keyed = json!({ "type": "a", "data": {}, "idempotency_key": "k" });
    world.api.post("/v1/events", keyed.clone()).await.expect(202);
    assert_eq!(
        calls_of(&world, "ApiFunction"),
        named(&[("PutItem", 0), ("SendMessage", 0), ("BatchExecuteStatement", 1)])
    );
    world.api.post("/v1/events", keyed).await.expect(202);
    assert_eq!(calls_of(&world, "ApiFunction"), named(&[("PutItem", 0)]));
}

#[tokio::test]
async fn idle_stack_is_asked_by_nobody_but_the_sweeper() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    world.send("a", json!({})).await;
    world.settle().await;
    let _ = world.aws.calls().take();
    world.sweep().await;
    let calls: Vec<Call> = world.aws.calls().take();
    assert!(calls.iter().all(|call| call.identity == "SweepFunction"), "{calls:?}");
    let of = |operation: &str| calls.iter().filter(|call| call.operation == operation).count();
    // The index, and whether secrets are to be converted.
    assert_eq!((of("Query"), of("GetItem")), (usize::from(SWEEP_SHARDS + CLEANUP_SHARDS), 1));
    assert_eq!(calls.len(), of("Query") + of("GetItem"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_that_fails_to_the_end_takes_what_the_cost_page_says() {
    let world = World::start().await;
    let body = "x".repeat(1_024);
    world.receiver.reply("/a", [Reply::Full(500, "x-a", "1".to_owned(), body)]);
    world.endpoint("/a", json!({})).await;
    let _ = world.aws.calls().take();
    world.send("a", json!({})).await;
    world.run(2 * 86_400).await;
    assert_eq!(world.receiver.got("/a").len(), 8);
    let calls = world.aws.calls().take();
    let writes = calls.iter().filter(|call| ["BatchExecuteStatement", "UpdateItem"].contains(&call.operation.as_str()));
    let units: f64 = writes.filter_map(|call| call.consumed_capacity).sum();
    let row = format!("takes {units:.0} write units together");
    assert!(include_str!("../../../docs/costs.md").contains(&row), "the page does not say: {row}");
}
