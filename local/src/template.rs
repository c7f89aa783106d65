//! `template.yaml`, read as far as one machine needs it: the one source of names, keys, indexes, redrive, visibility and environments.
//!
//! Resolves `!Ref`, `!GetAtt`, `!Sub` and parameters' defaults. What it cannot resolve is an error, never a guess.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value as Json};
use serde_yaml_ng::Value;

/// The template that this program was built with.
pub const TEMPLATE: &str = include_str!("../../template.yaml");

/// The name of the stack that the local stack plays.
pub const STACK_NAME: &str = "outhook";
/// The account and region of the embedded services.
const ACCOUNT: &str = "000000000000";
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
            value => self.resolve(value).map(Some),
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

    fn resolve(&self, value: &Json) -> Result<Json, TemplateError> {
        match value {
            Json::Object(map) => {
                if let [(name, argument)] = map.iter().collect::<Vec<_>>()[..] {
                    match name.as_str() {
                        "Ref" => return self.reference(argument).map(Json::String),
                        "Fn::GetAtt" => return self.attribute(argument).map(Json::String),
                        "Fn::Sub" => return self.substitute(argument).map(Json::String),
                        other if other.starts_with("Fn::") => {
                            return Err(TemplateError(format!("{other} cannot be resolved on one machine")));
                        }
                        _ => {}
                    }
                }
                let resolved: Result<Map<_, _>, _> =
                    map.iter().map(|(name, value)| Ok((name.clone(), self.resolve(value)?))).collect();
                resolved.map(Json::Object)
            }
            Json::Array(values) => {
                values.iter().map(|value| self.resolve(value)).collect::<Result<_, _>>().map(Json::Array)
            }
            plain => Ok(plain.clone()),
        }
    }

    fn reference(&self, argument: &Json) -> Result<String, TemplateError> {
        let name = argument.as_str().unwrap_or_default();
        if let Some(value) = self.parameters.get(name) {
            return Ok(value.clone());
        }
        match name {
            "AWS::StackName" => return Ok(STACK_NAME.to_owned()),
            "AWS::Region" => return Ok(REGION.to_owned()),
            "AWS::AccountId" => return Ok(ACCOUNT.to_owned()),
            "AWS::Partition" => return Ok("aws".to_owned()),
            _ => {}
        }
        match self.type_of(name)? {
            "AWS::SQS::Queue" => Ok(self.queue_url(&self.name_of(name)?)),
            // Without the six letters that Secrets Manager puts behind the name.
            "AWS::SecretsManager::Secret" => {
                Ok(format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{}", self.name_of(name)?))
            }
            _ => self.name_of(name),
        }
    }

    fn attribute(&self, argument: &Json) -> Result<String, TemplateError> {
        let path = match argument {
            Json::String(path) => path.clone(),
            Json::Array(parts) => parts.iter().filter_map(Json::as_str).collect::<Vec<_>>().join("."),
            _ => String::new(),
        };
        let (name, attribute) = path.split_once('.').unwrap_or((path.as_str(), ""));
        let physical = self.name_of(name)?;
        match (self.type_of(name)?, attribute) {
            ("AWS::SQS::Queue", "Arn") => Ok(format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{physical}")),
            ("AWS::SQS::Queue", "QueueName") => Ok(physical),
            ("AWS::DynamoDB::Table", "Arn") => Ok(format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{physical}")),
            ("AWS::Logs::LogGroup", "Arn") => Ok(format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{physical}:*")),
            ("AWS::Serverless::Function", "Arn") => {
                Ok(format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{physical}"))
            }
            (kind, _) => Err(TemplateError(format!("{path} of {kind} cannot be resolved on one machine"))),
        }
    }

    fn substitute(&self, argument: &Json) -> Result<String, TemplateError> {
        let text =
            argument.as_str().ok_or_else(|| TemplateError("Fn::Sub with a list cannot be resolved".to_owned()))?;
        let mut resolved = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) =
                after.split_once('}').ok_or_else(|| TemplateError(format!("unclosed variable in {text}")))?;
            resolved.push_str(before);
            let value = if self.root["Resources"].get(name.split('.').next().unwrap_or_default()).is_some()
                && name.contains('.')
            {
                self.attribute(&Json::String(name.to_owned()))?
            } else {
                self.reference(&Json::String(name.to_owned()))?
            };
            resolved.push_str(&value);
            rest = after;
        }
        resolved.push_str(rest);
        Ok(resolved)
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
Resources:
  Q:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: !Sub "${AWS::StackName}-q"
      RedrivePolicy: {deadLetterTargetArn: !GetAtt D.Arn, maxReceiveCount: 5}
  D: {Type: AWS::SQS::Queue}
  F:
    Type: AWS::Serverless::Function
    Properties:
      Environment: {Variables: {URL: !Ref Q, DAYS: !Ref Days}}
      Odd: !If [A, 1, 2]
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
    fn what_cannot_be_resolved_is_an_error() {
        assert!(template().property("F", "Odd").is_err());
    }
}
