//! Delivery logs and event lists: filtered, sorted, complete, and no dearer than what they show.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};
use shared::domain::attempt::{Attempt, Outcome, Trigger};
use shared::domain::delivery::{Delivery, DeliveryStatus};
use shared::domain::event::NewEvent;
use shared::domain::id::{EndpointId, EventId};
use shared::domain::tenant::{Mode, Scope};
use shared::domain::time::plus_seconds;
use shared::store::deliveries::insert_delivery;

use crate::world::{Reply, World};

/// Follows the cursor to the end; every entry, and how many pages that were.
async fn all_pages(world: &World, path: &str) -> (Vec<Value>, usize) {
    let mut entries = Vec::new();
    let mut cursor = None::<String>;
    for page in 1..=200 {
        let separator = if path.contains('?') { '&' } else { '?' };
        let more = cursor.as_ref().map_or_else(String::new, |cursor| format!("{separator}cursor={cursor}"));
        let answer = world.api.get(&format!("{path}{more}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        entries.extend(answer.body["data"].as_array().unwrap().iter().cloned());
        cursor = answer.body["next_cursor"].as_str().map(str::to_owned);
        assert_eq!(answer.body["has_more"], cursor.is_some());
        if cursor.is_none() {
            return (entries, page);
        }
    }
    panic!("the list never ends");
}

fn ids(entries: &[Value]) -> Vec<String> {
    entries.iter().map(|entry| entry["event_id"].as_str().unwrap().to_owned()).collect()
}

/// Puts deliveries on record as deliver would have: one a second, every hundredth failed.
async fn fill(world: &World, endpoint: &str, count: usize) {
    let now = world.clock.now();
    let scope = Scope { tenant_id: world.demo.tenant_id, mode: Mode::Live };
    let event = NewEvent::from_body(br#"{"type":"a.b","data":{}}"#).unwrap();
    let writes: Vec<_> = (0..count)
        .map(|n| {
            let at = plus_seconds(now, i64::try_from(n).unwrap() - i64::try_from(count).unwrap());
            let id = EventId::from_parts(at, [u8::try_from(n % 251).unwrap(); 10]);
            let event = event.clone().accepted(id, scope, at);
            let status = if n % 100 == 0 { DeliveryStatus::Failed } else { DeliveryStatus::Succeeded };
            let mut delivery = Delivery::new(&event, endpoint.parse().unwrap(), at).ended(status, at);
            delivery.attempt_count = 1;
            delivery.attempts = vec![Attempt {
                at,
                trigger: Trigger::Automatic,
                outcome: Outcome::Succeeded,
                status_code: Some(200),
                error: None,
                duration_ms: 12,
                response_body: "ok".to_owned(),
                counted: true,
            }];
            insert_delivery(&delivery, plus_seconds(now, 86_400)).unwrap()
        })
        .collect();
    for result in world.services.store.record(&writes).await {
        assert!(matches!(result, shared::store::Recorded::Done));
    }
}

fn units(world: &World) -> f64 {
    world
        .aws
        .calls()
        .take()
        .iter()
        .filter(|call| call.operation == "Query")
        .filter_map(|call| call.consumed_capacity)
        .sum()
}

#[tokio::test]
async fn log_of_ten_thousand_deliveries_costs_what_it_shows() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    fill(&world, &endpoint, 10_000).await;
    let path = format!("/v1/endpoints/{endpoint}/deliveries");
    let _ = world.aws.calls().take();

    let first = world.api.get(&path).await.expect(200);
    assert_eq!(first.as_array().unwrap().len(), 50);
    // 51 items of some 500 bytes from each of two shards, eventually consistent: 8 KB a unit.
    let first_units = units(&world);
    assert!(first_units <= 8.0, "{first_units}");

    let failed = world.api.get(&format!("{path}?status=failed")).await;
    assert_eq!(failed.body["data"].as_array().unwrap().len(), 50);
    assert!(failed.body["data"].as_array().unwrap().iter().all(|one| one["status"] == "failed"));
    // The index holds nothing else: 51 items and no more.
    let failed_units = units(&world);
    assert!(failed_units <= 4.5, "{failed_units}");

    let (failures, pages) = all_pages(&world, &format!("{path}?status=failed&limit=30")).await;
    assert_eq!((failures.len(), pages), (100, 4));

    let (all, _) = all_pages(&world, &format!("{path}?limit=100")).await;
    let _ = units(&world);
    assert_eq!(all.len(), 10_000);
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>().len(), 10_000);
    assert!(ids(&all).is_sorted_by(|newer, older| newer > older));

    // The last page, reached from the other end.
    let last = world.api.get(&format!("{path}?sort_by=%2Bcreated_at")).await.expect(200);
    assert_eq!(last[0], all[9_999]);
    let last_units = units(&world);
    assert!(last_units <= 8.0, "{last_units}");
}

#[tokio::test]
async fn pages_are_complete_while_new_deliveries_keep_coming() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let send = async |from: usize, count: usize| {
        for n in from..from + count {
            world.send(if n % 2 == 0 { "even" } else { "odd" }, json!({ "n": n })).await;
            world.advance_seconds(1);
        }
        world.settle().await;
    };
    send(0, 24).await;
    let path = format!("/v1/endpoints/{endpoint}/deliveries");
    let there: BTreeSet<_> = ids(&all_pages(&world, &path).await.0).into_iter().collect();
    assert_eq!(there.len(), 24);
    for sort in ["-created_at", "%2Bcreated_at", "status,-event_type", "event_type,%2Bcreated_at"] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let answer = world.api.get(&format!("{path}?limit=5&sort_by={sort}{cursor}")).await;
            seen.extend(ids(answer.body["data"].as_array().unwrap()));
            send(100, 1).await;
            match answer.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let distinct: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(distinct.len(), seen.len(), "{sort}: something came twice");
        assert!(there.is_subset(&distinct), "{sort}: something is missing");
    }
}

#[tokio::test]
async fn log_is_filtered_by_status_type_and_time_and_sorted_by_several_fields() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(200), Reply::Status(500), Reply::Status(200)]);
    let mut events = Vec::new();
    for event_type in ["b", "a", "a", "b"] {
        events.push(world.send(event_type, json!({ "of": event_type })).await);
        world.settle().await;
        world.advance_seconds(10);
    }
    let [b_failed, a_done, a_failed, b_done] = [0, 1, 2, 3].map(|n| events[n].clone());
    let path = format!("/v1/endpoints/{endpoint}/deliveries");
    let list = async |query: &str| ids(world.api.get(&format!("{path}?{query}")).await.expect(200).as_array().unwrap());
    assert_eq!(list("").await, [&b_done, &a_failed, &a_done, &b_failed].map(String::clone));
    assert_eq!(list("status=failed").await, [&a_failed, &b_failed].map(String::clone));
    assert_eq!(list("status=failed&status=succeeded&event_type=b").await, [&b_done, &b_failed].map(String::clone));
    assert_eq!(
        list("sort_by=%2Bstatus,-event_type").await,
        [&b_failed, &a_failed, &b_done, &a_done].map(String::clone)
    );
    assert_eq!(
        list("created_after=2026-11-20T00:00:10Z&created_before=2026-11-20T00:00:30Z").await,
        [&a_failed, &a_done].map(String::clone)
    );
    let with_payload = world.api.get(&format!("{path}?include=payload&limit=1")).await.expect(200);
    assert_eq!(with_payload[0]["payload"]["data"], json!({ "of": "b" }));
    let wrong = format!("{path}?status=x&event_type=a..b&sort_by=name&include=y&created_after=z&limit=0&odd=1");
    let named = world.api.get(&wrong).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["limit", "created_after", "status", "event_type", "include", "sort_by", "odd"]);
}

#[tokio::test]
async fn events_are_listed_newest_first_and_filtered_by_type_and_time() {
    let world = World::start().await;
    let mut events = Vec::new();
    for n in 0..7 {
        events.push(world.send(if n < 3 { "a" } else { "b" }, json!({ "n": n })).await);
        world.advance_seconds(10);
    }
    world.settle().await;
    let list = async |query: &str| {
        let (entries, _) = all_pages(&world, &format!("/v1/events?limit=2{query}")).await;
        entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let newest_first: Vec<_> = events.iter().rev().cloned().collect();
    assert_eq!(list("").await, newest_first);
    assert_eq!(list("&event_type=a").await, newest_first[4..]);
    assert_eq!(list("&created_before=2026-11-20T00:00:20Z").await, newest_first[5..]);
    assert!(list("&created_after=2027-01-01T00:00:00Z").await.is_empty());
}

#[tokio::test]
async fn what_has_expired_is_not_there_though_the_table_still_has_it() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let event = world.send("a", json!({})).await;
    world.settle().await;
    world.advance_seconds(30 * 86_400 + 1);
    let gone = world.api.get(&format!("/v1/events/{event}")).await;
    gone.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    let gone = world.api.get(&format!("/v1/endpoints/{endpoint}/deliveries/{event}")).await;
    gone.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    for path in ["/v1/events".to_owned(), format!("/v1/endpoints/{endpoint}/deliveries")] {
        assert_eq!(world.api.get(&path).await.expect(200), json!([]));
    }
}

#[tokio::test]
async fn what_is_kept_is_kept_for_as_long_as_the_operator_says() {
    let mut world = World::start().await;
    world.redeploy(&[("RetentionDays", "2")]).await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let event = world.send("a", json!({})).await;
    world.settle().await;
    let paths = [format!("/v1/events/{event}"), format!("/v1/endpoints/{endpoint}/deliveries/{event}")];
    world.advance_seconds(2 * 86_400 - 1);
    for path in &paths {
        world.api.get(path).await.expect(200);
    }
    world.advance_seconds(1);
    for path in &paths {
        world.api.get(path).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    }
    let id: EndpointId = endpoint.parse().unwrap();
    let name = (id, event.parse().unwrap());
    assert!(
        world.services.store.deliveries(&[name]).await.unwrap().contains_key(&name),
        "DynamoDB is slow to remove it"
    );
}
