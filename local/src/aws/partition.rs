//! A partition of DynamoDB that is throttled while the rest of the table is not, as a hot partition is on AWS.
//!
//! Batches are answered in part: what is of the partition comes back as an unprocessed key, or as a statement's own error, and the rest is done. Other
//! operations that touch the partition are refused as a whole.

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::faults;
use super::protocol::{Answer, Service};

/// What the throttled partitions leave of a request.
#[derive(Debug)]
pub(super) enum Throttled {
    /// All of it: it touches none of them.
    Nothing,
    /// Nothing: it is answered with this.
    Whole(Answer),
    /// A smaller request, and what becomes of its answer.
    Part(Bytes, Left),
}

/// What was taken out of a batch.
#[derive(Debug)]
pub(super) enum Left {
    /// Keys, by table.
    Keys(Map<String, Json>),
    /// Places of statements.
    Statements(Vec<bool>),
}

/// Takes out of a DynamoDB request what touches one of `partitions`, which are texts within keys, or within the parameters of a statement.
pub(super) fn throttle(operation: &str, body: &[u8], partitions: &[String]) -> Throttled {
    let is_hit = |text: &str| partitions.iter().any(|partition| text.contains(partition.as_str()));
    if partitions.is_empty() || !std::str::from_utf8(body).is_ok_and(is_hit) {
        return Throttled::Nothing;
    }
    let whole = || Throttled::Whole(faults::throttled(Service::DynamoDb));
    let Ok(mut request) = serde_json::from_slice::<Json>(body) else { return Throttled::Nothing };
    match operation {
        "BatchGetItem" => {
            let mut left = Map::new();
            let tables = request["RequestItems"].as_object_mut();
            for (table, wanted) in tables.into_iter().flatten() {
                let Some(keys) = wanted["Keys"].as_array_mut() else { continue };
                let taken: Vec<_> = keys.extract_if(.., |key| is_hit(&key.to_string())).collect();
                if keys.is_empty() {
                    return whole();
                }
                left.insert(table.clone(), json!({ "Keys": taken }));
            }
            Throttled::Part(Bytes::from(request.to_string()), Left::Keys(left))
        }
        "BatchExecuteStatement" => {
            let Some(statements) = request["Statements"].as_array_mut() else { return whole() };
            let hit: Vec<_> = statements.iter().map(|statement| is_hit(&statement["Parameters"].to_string())).collect();
            let mut places = hit.iter();
            statements.retain(|_| !places.next().copied().unwrap_or_default());
            let is_empty = statements.is_empty();
            let left = Left::Statements(hit);
            if is_empty {
                let mut answer = Answer::new(left.put_back(b"{\"Responses\":[]}"));
                let json = http::HeaderValue::from_static("application/x-amz-json-1.0");
                answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
                return Throttled::Whole(answer);
            }
            Throttled::Part(Bytes::from(request.to_string()), left)
        }
        _ => whole(),
    }
}

impl Left {
    /// The answer to the whole batch, of the answer to what was left of it.
    pub(super) fn put_back_into(self, answer: Answer) -> Answer {
        let (mut head, body) = answer.into_parts();
        head.headers.remove(http::header::CONTENT_LENGTH);
        head.headers.remove("x-amz-crc32");
        Answer::from_parts(head, self.put_back(&body))
    }

    fn put_back(self, body: &[u8]) -> Bytes {
        let Ok(mut answer) = serde_json::from_slice::<Json>(body) else { return Bytes::copy_from_slice(body) };
        match self {
            Self::Keys(keys) => {
                let unprocessed = answer["UnprocessedKeys"].as_object_mut().map(std::mem::take).unwrap_or_default();
                let mut all = keys;
                for (table, left) in unprocessed {
                    let left = left["Keys"].as_array().cloned().unwrap_or_default();
                    let entry = all.entry(table).or_insert_with(|| json!({ "Keys": [] }));
                    entry["Keys"].as_array_mut().into_iter().for_each(|keys| keys.extend(left.iter().cloned()));
                }
                answer["UnprocessedKeys"] = Json::Object(all);
            }
            Self::Statements(hit) => {
                let done = answer["Responses"].as_array_mut().map(std::mem::take).unwrap_or_default();
                let mut done = done.into_iter();
                let responses = hit.into_iter().map(|is_hit| match is_hit {
                    true => json!({ "Error": { "Code": "ThrottlingError", "Message": "The partition is throttled." } }),
                    false => done.next().unwrap_or_else(|| json!({})),
                });
                answer["Responses"] = responses.collect();
            }
        }
        Bytes::from(answer.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(operation: &str, body: Json) -> (Json, Left) {
        match throttle(operation, body.to_string().as_bytes(), &["ten_bad".to_owned()]) {
            Throttled::Part(body, left) => (serde_json::from_slice(&body).unwrap(), left),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn batch_of_reads_leaves_the_keys_of_a_throttled_partition_unprocessed() {
        let key = |pk: &str| json!({ "PK": { "S": pk }, "SK": { "S": "META" } });
        let (asked, left) = part(
            "BatchGetItem",
            json!({ "RequestItems": { "t": { "Keys": [key("TENANT#ten_bad"), key("TENANT#ten_good")] } } }),
        );
        assert_eq!(asked["RequestItems"]["t"]["Keys"], json!([key("TENANT#ten_good")]));
        let answer = left.put_back(br#"{"Responses":{"t":[]},"UnprocessedKeys":{}}"#);
        let answer: Json = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["UnprocessedKeys"]["t"]["Keys"], json!([key("TENANT#ten_bad")]));
    }

    #[test]
    fn batch_of_statements_answers_each_in_its_place() {
        let statement = |text: &str| json!({ "Statement": "UPDATE", "Parameters": [{ "S": text }] });
        let statements = [statement("x"), statement("of ten_bad"), statement("y")];
        let (asked, left) = part("BatchExecuteStatement", json!({ "Statements": statements }));
        assert_eq!(asked["Statements"], json!([statement("x"), statement("y")]));
        let answer = left.put_back(br#"{"Responses":[{"TableName":"1"},{"TableName":"2"}]}"#);
        let answer: Json = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["Responses"][0]["TableName"], "1");
        assert_eq!(answer["Responses"][1]["Error"]["Code"], "ThrottlingError");
        assert_eq!(answer["Responses"][2]["TableName"], "2");
    }

    #[test]
    fn request_that_touches_no_throttled_partition_is_left_alone() {
        let body = br#"{"Key":{"PK":{"S":"TENANT#ten_good"}}}"#;
        assert!(matches!(throttle("GetItem", body, &["ten_bad".to_owned()]), Throttled::Nothing));
        assert!(matches!(throttle("GetItem", body, &["ten_good".to_owned()]), Throttled::Whole(_)));
    }
}
