//! Messages as earlier versions have sent them: every one can be read, and is sent today as its latest version has it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::messages::RetryMessage;
use crate::domain::event::NewEvent;

#[test]
fn every_message_that_was_ever_sent_is_read_and_its_latest_version_is_what_is_sent() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages");
    let mut read = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("event.") {
            let (scope, event) = NewEvent::from_message(text.as_bytes()).unwrap();
            assert_eq!(value["tenant_id"], scope.tenant_id.to_string());
            assert_eq!((event.event_type.to_string(), event.channels.len()), ("a.b".to_owned(), 1));
        } else {
            let message: RetryMessage = serde_json::from_str(&text).unwrap();
            assert_eq!(value, serde_json::from_str::<Value>(&message.body()).unwrap(), "{name}");
        }
        read += 1;
    }
    assert_eq!(read, 4);
}
