"""Holds what SAM makes of template.yaml, not what stands in it, against what the code relies on and what AWS would refuse or do without a word.

Run by check-template, with the SAM CLI's own Python. `.ci/test_check_transformed.py` puts back what each check is about and holds that it is found.
"""

import copy
import logging
import os
import pathlib
import re
import runpy
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
# The translator warns about metrics that nobody collects.
logging.disable(logging.WARNING)

from samcli.commands.deploy.auth_utils import auth_per_resource  # noqa: E402
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider  # noqa: E402
from samcli.yamlhelper import yaml_parse  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402

# Deliver's timeout times six is what a queue hides a message for, and a record of a batch fails alone.
LANES = {"DeliverEventsFunction": "EventsQueue", "DeliverRetriesFunction": "RetriesQueue"}
FUNCTIONS = {"ApiFunction": "ApiRole", **{name: name.replace("Function", "Role") for name in LANES}, "SweepFunction": "SweepRole"}
ROLES = {*FUNCTIONS.values(), "ScheduleRole", "DeploymentRole"}
# The alarms that see everything between them, and what they cost is what an idle stack pays.
ALWAYS_WATCHED = ("DeadLettersAlarm", "EventsAgeAlarm", "SweeperSilentAlarm", "TroubleAlarm", "FailingShareAlarm")
# The least of the regions' quotas for bursts of requests (Amazon API Gateway endpoints and quotas).
BURST_MAX = 1_250
# What stops the functions at their start, and must be refused before.
WRONG_VALUES = {
    "RetryScheduleSeconds": ["5,100000", "", "5,,10", "-1"],
    "AllowedRanges": ["10.0.0.0", "10.0.0.0/33", "::/129"],
    "CorsOrigins": ["app.example.com", "https://app.example.com/"],
}


class NoManagedPolicies:
    """The template names no managed policy."""

    def load(self):
        return {}


def parameters_of_functions(source):
    """The parameters that reach a function's properties, and so need a new version of it when they change."""
    found = set()

    def look(value):
        if isinstance(value, dict):
            for name, part in value.items():
                if name == "Ref" and part in source["Parameters"]:
                    found.add(part)
                elif name == "Fn::If":
                    look(source["Conditions"][part[0]])
                    look(part[1:])
                elif name == "Condition":
                    look(source["Conditions"][part])
                else:
                    look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)

    look(source["Globals"]["Function"])
    for resource in source["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # How it is fed and deployed, and how many are kept warm, is not part of the function.
            apart = ("Events", "DeploymentPreference", "ProvisionedConcurrencyConfig")
            look({name: value for name, value in resource["Properties"].items() if name not in apart})
    return found


def wrongs(source, samconfig):
    """What is not as it has to be, in words."""
    found = []

    def hold(what, holds):
        if not holds:
            found.append(what)

    variables = set(source["Globals"]["Function"]["Environment"]["Variables"])
    defaults = {name: parameter.get("Default", "") for name, parameter in source["Parameters"].items()}
    stacks, _ = SamLocalStackProvider.get_stacks(template_dictionary=copy.deepcopy(source))
    # As after `sam deploy`, which uploads what was built.
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    stamped = parameters_of_functions(source)
    made = transform(copy.deepcopy(source), dict(defaults), NoManagedPolicies())["Resources"]
    of = lambda kind: {name: one["Properties"] for name, one in made.items() if one["Type"] == kind}

    functions = of("AWS::Lambda::Function")
    hold("there are exactly the four functions", set(functions) == set(FUNCTIONS))
    hold("there are no roles but those that are written out", set(of("AWS::IAM::Role")) == ROLES)
    hold("what a role allows stands in the role, so that nothing is made before it may be", not of("AWS::IAM::Policy"))
    aliases = {alias["FunctionName"]["Ref"]: name for name, alias in of("AWS::Lambda::Alias").items()}
    groups = of("AWS::CodeDeploy::DeploymentGroup")
    alarms = of("AWS::CloudWatch::Alarm")
    for name, role in FUNCTIONS.items():
        function = functions[name]
        hold(f"{name} has its own role", function["Role"] == {"Fn::GetAtt": [role, "Arn"]})
        hold(f"{name} may be traced where that is asked for", "xray:PutTraceSegments" in str(made[role]["Properties"]["Policies"]))
        hold(f"{name} is told every variable", set(function["Environment"]["Variables"]) == variables)
        hold(f"{name} runs on Amazon Linux 2023", function["Runtime"] == "provided.al2023")
        hold(f"{name} is called by an alias", name in aliases)
        hold(f"{name} has room for a stamp in its description", "parameters unstamped" in function["Description"])
        stops = groups.get(f"{name}DeploymentGroup", {}).get("AlarmConfiguration")
        own, always = {"Ref": name.replace("Function", "ErrorsAlarm")}, {"Ref": "TroubleAlarm"}
        asked = {"Enabled": True, "Alarms": [{"Name": {"Fn::If": ["HasAllAlarms", own, always]}}]}
        hold(f"{name} is taken back when its errors raise the alarm", stops == {"Fn::If": ["IsAtOnce", {}, asked]})
        versions = [one for one in made if one.startswith(f"{name}Version")]
        hold(f"{name} is published when a property changes", len(versions) == 1 and source["Resources"][name]["Properties"].get("AutoPublishAliasAllProperties"))
    sources = {one["FunctionName"]["Ref"]: one for one in of("AWS::Lambda::EventSourceMapping").values()}
    hold("each lane has one event source, and nothing else has", set(sources) == {aliases.get(name) for name in LANES})
    dead_letters = made["DeadLetterQueue"]["Properties"]["MessageRetentionPeriod"]
    for name, queue in LANES.items():
        mapping, properties = sources.get(aliases.get(name), {}), made[queue]["Properties"]
        hold(f"{name} is fed by {queue}", mapping.get("EventSourceArn") == {"Fn::GetAtt": [queue, "Arn"]})
        hold(f"{name} answers with partial failures", mapping.get("FunctionResponseTypes") == ["ReportBatchItemFailures"])
        hold(f"{name} gets batches of ten at once", (mapping.get("BatchSize"), mapping.get("MaximumBatchingWindowInSeconds")) == (10, 0))
        hold(f"{name} has a bound", "MaximumConcurrency" in mapping.get("ScalingConfig", {}))
        hold(f"{name} may send to its own queue", functions[name].get("RecursiveLoop") == "Allow")
        hold(f"{queue} hides a message long enough", properties["VisibilityTimeout"] >= 6 * functions[name]["Timeout"])
        hold(f"{queue} gives up late", properties["RedrivePolicy"]["maxReceiveCount"] >= 5)
        hold(f"{queue} keeps messages for fewer days than the dead-letter queue", properties["MessageRetentionPeriod"] <= dead_letters / 2)
        hold(f"{queue} takes the largest messages", properties["MaximumMessageSize"] == 1_048_576)
    table = of("AWS::DynamoDB::Table")["Table"]
    hold("the table has its keys", [key["AttributeName"] for key in table["KeySchema"]] == ["PK", "SK"])
    hold("the table has its index", [one["IndexName"] for one in table["GlobalSecondaryIndexes"]] == ["GSI1"])
    hold("the table forgets by expires_at", table["TimeToLiveSpecification"]["AttributeName"] == "expires_at")
    hold("no key is paid for that nobody asked for", "SSEEnabled" not in str(table.get("SSESpecification", {"Fn::If": [0, 0, 0]})["Fn::If"][2]))
    hold("a table can be taken back while the stack is made", defaults["DeletionProtection"] == "false")
    for name, one in made.items():
        named = {"TableName", "Name", "QueueName", "LogGroupName"} & set(one.get("Properties", {}))
        hold(f"{name} is taken back when a first deployment fails", not named or one.get("DeletionPolicy", "Delete") != "Retain")
    throttles = [metric["MetricStat"]["Metric"] for metric in alarms["TableThrottlesAlarm"]["Metrics"] if "MetricStat" in metric]
    seen = {(metric["MetricName"], len(metric["Dimensions"])) for metric in throttles}
    hold("the alarm on throttles sees table and index", seen == {(name, count) for name in ("ReadThrottleEvents", "WriteThrottleEvents") for count in (1, 2)})
    for name in ("EventsStuckAlarm", "RetriesAgeAlarm"):
        watched = {metric["MetricStat"]["Metric"]["MetricName"] for metric in alarms[name]["Metrics"] if "MetricStat" in metric}
        hold(f"{name} sees messages that come back again and again", {"ApproximateNumberOfMessagesNotVisible", "NumberOfMessagesDeleted"} <= watched)
    for name in ALWAYS_WATCHED:
        hold(f"{name} is there however many alarms are asked for", name in alarms and made[name].get("Condition") != "HasAllAlarms")
        hold(f"{name} looks at one metric, and costs as much as one", "MetricName" in alarms.get(name, {}))
    troubled = {one["LogGroupName"]["Ref"] for one in of("AWS::Logs::MetricFilter").values()}
    hold("trouble is counted in every log", troubled == set(of("AWS::Logs::LogGroup")))
    for name, one in of("AWS::Logs::MetricFilter").items():
        hold(f"{name} counts nothing where there is nothing", "DefaultValue" not in one["MetricTransformations"][0])
    hold("Lambda reports what crashed and timed out at every level", "ERROR" not in source["Parameters"]["SystemLogLevel"]["AllowedValues"])
    for name, dashboard in of("AWS::CloudWatch::Dashboard").items():
        hold(f"{name} has a name of its own in every region", "AWS::Region" in str(dashboard.get("DashboardName")))
    hold("the API has one stage, $default", [one["StageName"] for one in of("AWS::ApiGatewayV2::Stage").values()] == ["$default"])
    hold("bursts are within the quota of every region", defaults["ApiBurstRequests"] <= BURST_MAX)
    for name, api in of("AWS::ApiGatewayV2::Api").items():
        nameless = [server for server in api["Body"].get("servers", []) if "url" not in server]
        hold(f"{name} is imported, though API Gateway warns of servers without a url", not (nameless and api.get("FailOnWarnings")))
        methods = [method for path in api["Body"]["paths"].values() for method in path.values()]
        formats = {one["payloadFormatVersion"] for method in methods if (one := method.get("x-amazon-apigateway-integration"))}
        hold(f"{name} speaks payload 2.0", formats == {"2.0"})
    for function, authenticated in auth_per_resource(stacks):
        hold(f"`sam deploy --guided` does not stop because {function} has no authentication", authenticated)
    for name, values in WRONG_VALUES.items():
        pattern = source["Parameters"][name]["AllowedPattern"]
        let_through = [value for value in values if re.fullmatch(pattern, value)]
        hold(f"{name} refuses {let_through}, with which no function starts", not let_through)
    hold("build and deploy take the architecture from one place", one_architecture(samconfig["default"]))
    hold("a change of any parameter that reaches a function makes a new version of it", stamped == set(stack_script()["STAMPED"]))
    return found


def one_architecture(config):
    """Whether the architecture stands among the parameters of all commands, and of none alone."""
    everywhere = config["global"]["parameters"].get("parameter_overrides", "")
    alone = [config[command]["parameters"] for command in config if command != "global"]
    return "Architecture=" in str(everywhere) and not any("parameter_overrides" in one for one in alone)


def stack_script():
    """The constants of deploy/stack."""
    return runpy.run_path(str(ROOT / "deploy" / "stack"))


def read():
    """The template and SAM's configuration as they stand."""
    return yaml_parse((ROOT / "template.yaml").read_text()), tomllib.loads((ROOT / "samconfig.toml").read_text())


def main():
    found = wrongs(*read())
    for what in found:
        print(f"check-template: not so after SAM's transformation: {what}", file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
