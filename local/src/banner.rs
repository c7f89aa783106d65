//! What is printed when the stack is ready: for people, or as one line for programs.

use std::io::Write;

use local::stack::Stack;
use serde_json::json;

/// Prints it to standard output.
pub(crate) fn print(stack: &Stack, as_json: bool) -> std::io::Result<()> {
    let text = if as_json { for_programs(stack) } else { for_people(stack) };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn for_programs(stack: &Stack) -> String {
    let config = &stack.config;
    json!({
        "api_url": stack.api_url,
        "aws_endpoint_url": stack.aws_endpoint_url(),
        "receiver_url": stack.receiver_url,
        "root_key": stack.root_key,
        "tenant_id": stack.demo.tenant_id,
        "live_key": stack.demo.live_key,
        "test_key": stack.demo.test_key,
        "table_name": config.table_name,
        "events_queue_url": config.events_queue_url,
        "retries_queue_url": config.retries_queue_url,
        "dead_letter_queue_url": config.dead_letter_queue_url,
    })
    .to_string()
}

fn for_people(stack: &Stack) -> String {
    let Stack { api_url, receiver_url, root_key, demo, .. } = stack;
    let aws_url = stack.aws_endpoint_url();
    let key = &demo.live_key;
    format!(
        r#"Outhook is running. Ctrl-C finishes the work in hand and stops.

  API       {api_url}
  Receiver  {receiver_url}    (prints what it gets; all of it: curl {receiver_url}/requests)
  AWS       {aws_url}    (DynamoDB, SQS and Secrets Manager, for the AWS CLI)
  Root key  {root_key}
  Tenant    {tenant_id}
  Live key  {key}
  Test key  {test_key}

Three lines to paste into another terminal: an endpoint, an event, its deliveries.

curl -s {api_url}/v1/endpoints -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{{"url": "{receiver_url}/webhooks", "event_types": ["cases.*"]}}'; echo

EVENT=$(curl -s {api_url}/v1/events -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{{"type": "cases.created", "data": {{"case_id": 42, "title": "Printer on fire"}}}}' | cut -d'"' -f6); echo $EVENT

sleep 1; curl -s {api_url}/v1/events/$EVENT -H 'Authorization: Bearer {key}'; echo
"#,
        tenant_id = demo.tenant_id,
        test_key = demo.test_key,
    )
}
