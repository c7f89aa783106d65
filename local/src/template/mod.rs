//! `template.yaml`, read as far as one machine needs it: the one source of names, keys, indexes, redrive, visibility and environments.
//!
//! Resolves `!Ref`, `!GetAtt`, `!Sub`, `!If` with its conditions, `!Join`, and parameters' defaults. What it cannot resolve is an error, never a guess.

mod resolve;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value as Json};
use serde_yaml_ng::Value;

/// The template that this program was built with.
pub const TEMPLATE: &str = include_str!("../../../template.yaml");

/// The name of the stack that the local stack plays.
pub const STACK_NAME: &str = "outhook";
/// The account of the embedded services.
const ACCOUNT: &str = "000000000000";
/// Their region.
const REGION: &str = "us-east-1";

/// What in the template cannot be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template.yaml: {0}")]
pub struct TemplateError(String);

impl TemplateError {
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }
}

/// A template with its parameters, and where its queues are.
#[derive(Clone, Debug)]
pub struct Template {
    root: Json,
    parameters: HashMap<String, String>,
    aws_endpoint_url: String,
}

/// A queue that feeds a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSource {
    /// The function's logical name.
    pub function: String,
    /// The queue's URL.
    pub queue_url: String,
    /// The queue's ARN.
    pub queue_arn: String,
    /// How many messages one invocation gets at the most.
    pub batch_size: i32,
    /// How many invocations run at once at the most.
    pub concurrency_max: usize,
    /// How long one may last.
    pub timeout_seconds: u64,
}

impl Template {
    /// Reads a template; `overrides` replace parameters' defaults, as `sam deploy --parameter-overrides` does.
    ///
    /// # Errors
    /// When it is not YAML, or an override names no parameter.
    pub fn read(text: &str, overrides: &[(&str, &str)], aws_endpoint_url: &str) -> Result<Self, TemplateError> {
        let root: Value = serde_yaml_ng::from_str(text).map_err(|error| TemplateError(error.to_string()))?;
        let root = plain(root);
        let mut parameters = HashMap::new();
        for (name, parameter) in root["Parameters"].as_object().into_iter().flatten() {
            parameters.insert(name.clone(), scalar(&parameter["Default"]).unwrap_or_default());
        }
        for (name, value) in overrides {
            let parameter = parameters.get_mut(*name);
            *parameter.ok_or_else(|| TemplateError(format!("there is no parameter {name}")))? = (*value).to_owned();
        }
        Ok(Self { root, parameters, aws_endpoint_url: aws_endpoint_url.to_owned() })
    }

    /// The logical names of all resources of a type, `AWS::SQS::Queue`.
    #[must_use]
    pub fn resources(&self, resource_type: &str) -> Vec<String> {
        let resources = self.root["Resources"].as_object().into_iter().flatten();
        resources.filter(|(_, resource)| resource["Type"] == resource_type).map(|(name, _)| name.clone()).collect()
    }

    /// A property of a resource, resolved; `None` where the template does not set it.
    ///
    /// # Errors
    /// When it cannot be resolved here.
    pub fn property(&self, resource: &str, property: &str) -> Result<Option<Json>, TemplateError> {
        match &self.root["Resources"][resource]["Properties"][property] {
            Json::Null => Ok(None),
            value => self.resolve(value).map(|resolved| Some(resolved).filter(|resolved| !resolved.is_null())),
        }
    }

    /// The environment of a function, resolved: the globals' and its own.
    ///
    /// # Errors
    /// When it cannot be resolved here.
    pub fn environment(&self, function: &str) -> Result<BTreeMap<String, String>, TemplateError> {
        let globals = &self.root["Globals"]["Function"]["Environment"]["Variables"];
        let own = &self.root["Resources"][function]["Properties"]["Environment"]["Variables"];
        let mut environment = BTreeMap::new();
        for (name, value) in [globals, own].into_iter().filter_map(Json::as_object).flatten() {
            let resolved = self.resolve(value)?;
            if resolved.is_null() {
                continue;
            }
            let text = scalar(&resolved).ok_or_else(|| TemplateError(format!("{name} is not a text")))?;
            environment.insert(name.clone(), text);
        }
        Ok(environment)
    }

    /// The logical name of a function's role.
    ///
    /// # Errors
    /// When the function has no role of its own in this template.
    pub fn role_of(&self, function: &str) -> Result<String, TemplateError> {
        let role = &self.root["Resources"][function]["Properties"]["Role"]["Fn::GetAtt"];
        let role = role.as_str().and_then(|path| path.strip_suffix(".Arn"));
        role.map(str::to_owned).ok_or_else(|| TemplateError(format!("{function} has no role of its own")))
    }

    /// The physical name of a resource: the one that the template gives, or stack and logical name.
    ///
    /// # Errors
    /// When it cannot be resolved here.
    pub fn name_of(&self, resource: &str) -> Result<String, TemplateError> {
        for property in ["QueueName", "TableName", "LogGroupName", "FunctionName", "Name"] {
            if let Some(name) = self.property(resource, property)? {
                return scalar(&name).ok_or_else(|| TemplateError(format!("{property} of {resource} is not a text")));
            }
        }
        Ok(format!("{STACK_NAME}-{resource}"))
    }

    /// The queues that feed functions.
    ///
    /// # Errors
    /// When one cannot be resolved here.
    pub fn queue_sources(&self) -> Result<Vec<QueueSource>, TemplateError> {
        let mut sources = Vec::new();
        for function in self.resources("AWS::Serverless::Function") {
            let events = &self.root["Resources"][&function]["Properties"]["Events"];
            for event in events.as_object().into_iter().flatten().map(|(_, event)| event) {
                if event["Type"] != "SQS" {
                    continue;
                }
                let properties = &event["Properties"];
                let queue_arn = self.scalar_of(&properties["Queue"])?.unwrap_or_default();
                let queue_name = queue_arn.rsplit(':').next().unwrap_or_default();
                let batch_size = self.scalar_of(&properties["BatchSize"])?;
                let concurrency = self.scalar_of(&properties["ScalingConfig"]["MaximumConcurrency"])?;
                sources.push(QueueSource {
                    function: function.clone(),
                    queue_url: self.queue_url(queue_name),
                    timeout_seconds: self
                        .property(&function, "Timeout")?
                        .and_then(|seconds| seconds.as_u64())
                        .unwrap_or(3),
                    batch_size: batch_size.and_then(|text| text.parse().ok()).unwrap_or(10),
                    concurrency_max: concurrency.and_then(|text| text.parse().ok()).unwrap_or(10),
                    queue_arn,
                });
            }
        }
        Ok(sources)
    }

    /// The URL of the queue of this name.
    #[must_use]
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.aws_endpoint_url)
    }

    fn scalar_of(&self, value: &Json) -> Result<Option<String>, TemplateError> {
        self.resolve(value).map(|resolved| scalar(&resolved))
    }

    fn type_of(&self, resource: &str) -> Result<&str, TemplateError> {
        let kind = self.root["Resources"][resource]["Type"].as_str();
        kind.ok_or_else(|| TemplateError(format!("there is no resource or parameter {resource}")))
    }
}

/// Short forms become long ones: `!Ref x` is `{"Ref": x}`, `!Sub x` is `{"Fn::Sub": x}`.
fn plain(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(bool) => Json::Bool(bool),
        Value::Number(number) => serde_json::to_value(number).unwrap_or_default(),
        Value::String(text) => Json::String(text),
        Value::Sequence(values) => Json::Array(values.into_iter().map(plain).collect()),
        Value::Mapping(map) => {
            let entries = map.into_iter().map(|(name, value)| (scalar(&plain(name)).unwrap_or_default(), plain(value)));
            Json::Object(entries.collect())
        }
        Value::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = match tag.trim_start_matches('!') {
                "Ref" => "Ref".to_owned(),
                "Condition" => "Condition".to_owned(),
                other => format!("Fn::{other}"),
            };
            Json::Object(Map::from_iter([(name, plain(tagged.value))]))
        }
    }
}

/// A text, number or truth value as text.
#[must_use]
pub fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(bool) => Some(bool.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
Parameters:
  Days: {Type: Number, Default: 30}
Conditions:
  IsLong: !Not [!Equals [!Ref Days, 30]]
  IsLongAndNamed: !And [!Condition IsLong, !Equals [!Join ['', [a, b]], ab]]
Resources:
  Q:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: !Sub "${AWS::StackName}-q"
      Tags: [!If [IsLong, long, !Ref AWS::NoValue], !If [IsLongAndNamed, named, short]]
      KmsMasterKeyId: !If [IsLong, key, !Ref AWS::NoValue]
      RedrivePolicy: {deadLetterTargetArn: !GetAtt D.Arn, maxReceiveCount: 5}
  D: {Type: AWS::SQS::Queue}
  F:
    Type: AWS::Serverless::Function
    Properties:
      Environment: {Variables: {URL: !Ref Q, DAYS: !Ref Days}}
      Odd: !If [A, 1, 2]
      Odder: !Select [0, [1]]
"#;

    fn template() -> Template {
        Template::read(SMALL, &[], "http://127.0.0.1:1").unwrap()
    }

    #[test]
    fn references_resolve_to_what_cloudformation_would_give() {
        let template = template();
        assert_eq!(template.name_of("Q").unwrap(), "outhook-q");
        assert_eq!(template.name_of("D").unwrap(), "outhook-D");
        let redrive = template.property("Q", "RedrivePolicy").unwrap().unwrap();
        assert_eq!(redrive["deadLetterTargetArn"], "arn:aws:sqs:us-east-1:000000000000:outhook-D");
        let environment = template.environment("F").unwrap();
        assert_eq!(environment["URL"], "http://127.0.0.1:1/000000000000/outhook-q");
        assert_eq!(environment["DAYS"], "30");
    }

    #[test]
    fn overrides_replace_defaults_and_unknown_ones_are_refused() {
        let template = Template::read(SMALL, &[("Days", "7")], "").unwrap();
        assert_eq!(template.environment("F").unwrap()["DAYS"], "7");
        assert!(Template::read(SMALL, &[("Weeks", "7")], "").is_err());
    }

    #[test]
    fn conditions_choose_and_what_has_no_value_is_left_out() {
        let queue = |overrides: &[(&str, &str)], property: &str| {
            Template::read(SMALL, overrides, "").unwrap().property("Q", property).unwrap()
        };
        assert_eq!(queue(&[], "Tags"), Some(serde_json::json!(["short"])));
        assert_eq!(queue(&[], "KmsMasterKeyId"), None);
        assert_eq!(queue(&[("Days", "31")], "Tags"), Some(serde_json::json!(["long", "named"])));
        assert_eq!(queue(&[("Days", "31")], "KmsMasterKeyId"), Some(serde_json::json!("key")));
    }

    #[test]
    fn what_cannot_be_resolved_is_an_error() {
        assert!(template().property("F", "Odd").is_err());
        assert!(template().property("F", "Odder").is_err());
    }
}
