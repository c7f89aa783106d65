"""Deploys what SAM makes of the template into moto's emulator of CloudFormation, as far as that goes, and says how far.

    check_emulated.py <packaged template> <Python of the SAM CLI>

An emulator proves little: it makes what it knows and leaves out the rest without a word. What it made is listed, and what it left out is held against a
list, so that neither changes unseen. It does show that references, conditions and names hold together, with every parameter off and with each on.
"""

import contextlib
import io
import json
import os
import subprocess
import sys

os.environ.update(AWS_DEFAULT_REGION="us-east-1", AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none")

import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402

# What moto 5.2 does not know, or makes for some of these properties only.
LEFT_OUT = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::ApiMapping",
    "AWS::ApiGatewayV2::DomainName",
    "AWS::ApiGatewayV2::Stage",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Logs::MetricFilter",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
    "AWS::SecretsManager::Secret",
}
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PARAMETERS = [
    {},
    {"Alarms": "All", "MetricsEnabled": "false"},
    {"DeliveryEnabled": "false", "Tracing": "Active", "DeletionProtection": "true"},
    {"KmsKeyArn": KEY, "EventSenderAccounts": "111122223333,444455556666", "PermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/bound"},
    {"VpcSubnetIds": "subnet-0a,subnet-0b", "VpcSecurityGroupIds": "sg-0a", "ApiProvisionedConcurrency": "2"},
    {"AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:topic", "EventBusName": "default", "DomainName": "hooks.example.com", "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/1"},
]
TRANSFORM = """
import json, logging, os, pathlib, sys
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
logging.disable(logging.WARNING)
from samtranslator.translator.transform import transform
class Policies:
    def load(self): return {}
source = json.loads(pathlib.Path(sys.argv[1]).read_text())
print(json.dumps(transform(source, json.loads(sys.argv[2]), Policies())))
"""


def transformed(packaged, python, parameters):
    done = subprocess.run([python, "-W", "ignore", "-c", TRANSFORM, packaged, json.dumps(parameters)], check=True, capture_output=True, text=True)
    template = json.loads(done.stdout)
    # Rules are for CloudFormation's own eyes, and moto knows no ARNs of alarms, which the dashboard asks for.
    template.pop("Rules", None)
    template["Resources"]["Dashboard"]["Properties"]["DashboardBody"] = "{}"
    # Nor does it know aliases, which call the functions.
    aliases = {name: one["Properties"]["FunctionName"]["Ref"] for name, one in template["Resources"].items() if one["Type"] == "AWS::Lambda::Alias"}
    text = json.dumps(template)
    for alias, function in aliases.items():
        text = text.replace(json.dumps({"Ref": alias}), json.dumps({"Ref": function}))
    return json.loads(text)


@mock_aws
def deployed(template, parameters):
    """The types of resources that were made, by logical name."""
    client = boto3.client("cloudformation")
    boto3.client("s3").create_bucket(Bucket="bucket")
    boto3.client("s3").put_object(Bucket="bucket", Key="key", Body=b"")
    given = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    # moto prints what it does not know once for each resource; it is listed below.
    with contextlib.redirect_stdout(io.StringIO()):
        client.create_stack(StackName="outhook", TemplateBody=json.dumps(template), Parameters=given, Capabilities=["CAPABILITY_IAM"])
    stack = client.describe_stacks(StackName="outhook")["Stacks"][0]
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack
    pages = client.get_paginator("list_stack_resources").paginate(StackName="outhook")
    return {one["LogicalResourceId"]: one["ResourceType"] for page in pages for one in page["StackResourceSummaries"]}


def main(packaged, python):
    wrong = []
    for parameters in PARAMETERS:
        template = transformed(packaged, python, parameters)
        made = deployed(template, parameters)
        off = {name for name, one in template["Resources"].items() if "Condition" in one}
        missing = {one["Type"] for name, one in template["Resources"].items() if name not in made and name not in off}
        print(f"{', '.join(parameters) or 'as it stands'}: {len(made)} of {len(template['Resources'])} resources")
        if not missing <= LEFT_OUT:
            wrong.append(f"not made with {parameters}: {sorted(missing - LEFT_OUT)}")
    print(f"not covered: {', '.join(sorted(LEFT_OUT))}")
    for what in wrong:
        print(f"check-deploy: {what}", file=sys.stderr)
    sys.exit(bool(wrong))


main(*sys.argv[1:])
