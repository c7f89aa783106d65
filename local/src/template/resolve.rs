//! CloudFormation's intrinsics, as far as one machine can tell what they give.

use serde_json::{Map, Value as Json};

use super::{ACCOUNT, REGION, STACK_NAME, Template, TemplateError, scalar};

impl Template {
    /// A value without intrinsics; null where it is `AWS::NoValue`, which lists and maps leave out.
    pub(super) fn resolve(&self, value: &Json) -> Result<Json, TemplateError> {
        match value {
            Json::Object(map) => {
                if let [(name, argument)] = map.iter().collect::<Vec<_>>()[..] {
                    match name.as_str() {
                        "Ref" if argument == "AWS::NoValue" => return Ok(Json::Null),
                        "Fn::If" => return self.choose(argument),
                        "Fn::Join" => return self.join(argument).map(Json::String),
                        "Ref" => return self.reference(argument).map(Json::String),
                        "Fn::GetAtt" => return self.attribute(argument).map(Json::String),
                        "Fn::Sub" => return self.substitute(argument).map(Json::String),
                        other if other.starts_with("Fn::") => {
                            return Err(TemplateError(format!("{other} cannot be resolved on one machine")));
                        }
                        _ => {}
                    }
                }
                let mut resolved = Map::new();
                for (name, value) in map {
                    let value = self.resolve(value)?;
                    if !value.is_null() {
                        resolved.insert(name.clone(), value);
                    }
                }
                Ok(Json::Object(resolved))
            }
            Json::Array(values) => {
                let resolved: Vec<_> = values.iter().map(|value| self.resolve(value)).collect::<Result<_, _>>()?;
                Ok(Json::Array(resolved.into_iter().filter(|value| !value.is_null()).collect()))
            }
            plain => Ok(plain.clone()),
        }
    }

    fn choose(&self, argument: &Json) -> Result<Json, TemplateError> {
        let name = argument[0].as_str().unwrap_or_default();
        self.resolve(&argument[if self.holds(&self.root["Conditions"][name])? { 1 } else { 2 }])
    }

    /// Whether a condition holds.
    fn holds(&self, condition: &Json) -> Result<bool, TemplateError> {
        let unknown = || TemplateError(format!("a condition cannot be evaluated on one machine: {condition}"));
        let (function, argument) = condition.as_object().and_then(|map| map.iter().next()).ok_or_else(unknown)?;
        let parts = argument.as_array().map(Vec::as_slice).unwrap_or_default();
        match (function.as_str(), parts) {
            ("Fn::Equals", [left, right]) => Ok(self.scalar_of(left)? == self.scalar_of(right)?),
            ("Fn::Not", [negated]) => Ok(!self.holds(negated)?),
            ("Fn::And", all) => all.iter().try_fold(true, |holds, part| Ok(holds && self.holds(part)?)),
            ("Condition", _) => self.holds(&self.root["Conditions"][argument.as_str().unwrap_or_default()]),
            _ => Err(unknown()),
        }
    }

    /// Parts of a list, or a parameter that is one, put together.
    fn join(&self, argument: &Json) -> Result<String, TemplateError> {
        let between = argument[0].as_str().unwrap_or_default();
        let parts = match self.resolve(&argument[1])? {
            Json::Array(parts) => parts.iter().filter_map(scalar).collect(),
            list => scalar(&list).unwrap_or_default().split(',').map(str::to_owned).collect::<Vec<_>>(),
        };
        Ok(parts.join(between))
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
}
