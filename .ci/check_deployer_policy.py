"""Holds deploy/deployer-policy.json against what parliament knows of IAM, and against what the template has to be deployed."""

import json
import pathlib
import re
import sys

from parliament import analyze_policy_string

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What may stand though parliament objects: actions that it does not know yet, and what it takes for wider than it is.
EXPECTED = {
    ("UNKNOWN_ACTION", "lambda:PutFunctionRecursionConfig"): "of 2024",
    ("RESOURCE_POLICY_PRIVILEGE_ESCALATION", "s3:PutBucketPolicy"): "it is the SAM CLI's own bucket, whose policy the SAM CLI makes",
    ("INVALID_ARN", "transform/Serverless-2016-10-31"): "the transform belongs to no account",
}
# What CloudFormation calls to make a resource of a type of the template.
MAKES = {
    "AWS::ApiGatewayV2::ApiMapping": "apigateway:POST",
    "AWS::ApiGatewayV2::DomainName": "apigateway:POST",
    "AWS::CloudWatch::Alarm": "cloudwatch:PutMetricAlarm",
    "AWS::CloudWatch::Dashboard": "cloudwatch:PutDashboard",
    "AWS::DynamoDB::Table": "dynamodb:CreateTable",
    "AWS::IAM::Role": "iam:CreateRole",
    "AWS::Logs::LogGroup": "logs:CreateLogGroup",
    "AWS::Logs::MetricFilter": "logs:PutMetricFilter",
    "AWS::SQS::Queue": "sqs:CreateQueue",
    "AWS::SQS::QueuePolicy": "sqs:SetQueueAttributes",
    "AWS::SecretsManager::Secret": "secretsmanager:CreateSecret",
    "AWS::Serverless::Function": "lambda:CreateFunction",
    "AWS::Serverless::HttpApi": "apigateway:POST",
}
# Made only where a parameter asks for it; operations.md says what it needs beside this policy.
OPTIONAL = {"AWS::Events::Rule", "AWS::Route53::RecordSetGroup"}


def objections(statement):
    """What parliament has against a statement by itself."""
    literal = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).replace("ACCOUNT_ID", "123456789012")
    for finding in analyze_policy_string(text).findings:
        # A wildcard takes in actions that know no such resource, and so does not allow them.
        if finding.issue == "RESOURCE_MISMATCH" and not any(one["action"] in literal for one in finding.detail):
            continue
        subject = f"{finding.detail} {finding.location}"
        if not any(finding.issue == issue and word in subject for issue, word in EXPECTED):
            yield f"{statement['Sid']}: {finding.issue}: {subject}"


def main():
    text = (ROOT / "deploy" / "deployer-policy.json").read_text()
    statements = json.loads(text)["Statement"]
    wrong = [objection for statement in statements for objection in objections(statement)]
    allowed = {action for one in statements for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])}
    kinds = set(re.findall(r"^    Type: (AWS::\S+)$", (ROOT / "template.yaml").read_text().split("\nResources:\n")[1], re.M))
    for kind in sorted(kinds - OPTIONAL):
        if MAKES.get(kind) not in allowed:
            wrong.append(f"it does not allow to make {kind}")
    for what in wrong:
        print(f"check-deploy: deployer-policy.json: {what}", file=sys.stderr)
    # The longest managed policy has 6,144 characters without white space (IAM quotas).
    size = len(re.sub(r"\s", "", text))
    print(f"{size} characters of 6,144")
    sys.exit(bool(wrong) or size > 6144)


main()
