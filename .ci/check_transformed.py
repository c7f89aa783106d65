"""Holds what SAM makes of template.yaml, not what stands in it, against what the code relies on. Run by check-template, with the SAM CLI's own Python."""

import pathlib
import sys

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Deliver's timeout times six is what a queue hides a message for, and a record of a batch fails alone.
LANES = {"DeliverEventsFunction": "EventsQueue", "DeliverRetriesFunction": "RetriesQueue"}
FUNCTIONS = {"ApiFunction": "ApiRole", **{name: name.replace("Function", "Role") for name in LANES}, "SweepFunction": "SweepRole"}
ROLES = {*FUNCTIONS.values(), "ScheduleRole"}


class NoManagedPolicies:
    """The template names no managed policy."""

    def load(self):
        return {}


def main():
    source = yaml_parse((ROOT / "template.yaml").read_text())
    variables = set(source["Globals"]["Function"]["Environment"]["Variables"])
    # As after `sam deploy`, which uploads what was built.
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    made = transform(source, {}, NoManagedPolicies())["Resources"]
    of = lambda kind: {name: one["Properties"] for name, one in made.items() if one["Type"] == kind}
    wrong = []

    def hold(what, holds):
        if not holds:
            wrong.append(what)

    functions = of("AWS::Lambda::Function")
    hold("there are exactly the four functions", set(functions) == set(FUNCTIONS))
    hold("there are no roles but those that are written out", set(of("AWS::IAM::Role")) == ROLES)
    for name, role in FUNCTIONS.items():
        function = functions[name]
        hold(f"{name} has its own role", function["Role"] == {"Fn::GetAtt": [role, "Arn"]})
        hold(f"{name} is told every variable", set(function["Environment"]["Variables"]) == variables)
        hold(f"{name} runs on Amazon Linux 2023", function["Runtime"] == "provided.al2023")
    sources = {one["FunctionName"]["Ref"]: one for one in of("AWS::Lambda::EventSourceMapping").values()}
    hold("each lane has one event source, and nothing else has", set(sources) == set(LANES))
    for name, queue in LANES.items():
        mapping, properties = sources[name], made[queue]["Properties"]
        hold(f"{name} is fed by {queue}", mapping["EventSourceArn"] == {"Fn::GetAtt": [queue, "Arn"]})
        hold(f"{name} answers with partial failures", mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"])
        hold(f"{name} gets batches of ten at once", (mapping["BatchSize"], mapping["MaximumBatchingWindowInSeconds"]) == (10, 0))
        hold(f"{name} has a bound", "MaximumConcurrency" in mapping["ScalingConfig"])
        hold(f"{queue} hides a message long enough", properties["VisibilityTimeout"] >= 6 * functions[name]["Timeout"])
        hold(f"{queue} gives up late", properties["RedrivePolicy"]["maxReceiveCount"] >= 5)
    table = of("AWS::DynamoDB::Table")["Table"]
    hold("the table has its keys", [key["AttributeName"] for key in table["KeySchema"]] == ["PK", "SK"])
    hold("the table has its index", [one["IndexName"] for one in table["GlobalSecondaryIndexes"]] == ["GSI1"])
    hold("the table forgets by expires_at", table["TimeToLiveSpecification"]["AttributeName"] == "expires_at")
    hold("the API has one stage, $default", [one["StageName"] for one in of("AWS::ApiGatewayV2::Stage").values()] == ["$default"])
    formats = {
        integration["payloadFormatVersion"]
        for api in of("AWS::ApiGatewayV2::Api").values()
        for path in api["Body"]["paths"].values()
        for method in path.values()
        if (integration := method.get("x-amazon-apigateway-integration"))
    }
    hold("the API speaks payload 2.0", formats == {"2.0"})
    for what in wrong:
        print(f"check-template: not so after SAM's transformation: {what}", file=sys.stderr)
    sys.exit(bool(wrong))


main()
