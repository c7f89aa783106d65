"""Holds that check_transformed finds what it is about: each mistake is put back into a copy of the template, and has to be named."""

import copy
import unittest

import check_transformed

SOURCE, SAMCONFIG = check_transformed.read()


def property_of(template, path):
    """The map in which the last name of a dotted path stands, and that name."""
    *places, last = path.split(".")
    for place in places:
        template = template[place]
    return template, last


class Mistakes(unittest.TestCase):
    def found(self, **changes):
        """What is found with these properties changed; `None` takes one away."""
        template = copy.deepcopy(SOURCE)
        for path, value in changes.items():
            place, name = property_of(template, path.replace("__", "."))
            if value is None:
                place.pop(name, None)
            else:
                place[name] = value
        return check_transformed.wrongs(template, SAMCONFIG)

    def assert_found(self, words, **changes):
        found = self.found(**changes)
        self.assertTrue(any(words in one for one in found), f"{words!r} is not in {found}")

    def test_template_as_it_stands_is_sound(self):
        self.assertEqual(self.found(), [])

    def test_warning_of_an_import_that_is_fatal(self):
        self.assert_found("is imported", Resources__HttpApi__Properties__FailOnWarnings=True)

    def test_name_that_a_failed_deployment_leaves_taken(self):
        self.assert_found("Table is taken back", Resources__Table__DeletionPolicy="Retain")
        self.assert_found("RootKey is taken back", Resources__RootKey__DeletionPolicy="Retain")
        self.assert_found("can be taken back", Parameters__DeletionProtection__Default="true")

    def test_dashboard_with_one_name_in_all_regions(self):
        self.assert_found("in every region", Resources__Dashboard__Properties__DashboardName={"Ref": "AWS::StackName"})

    def test_policy_that_a_function_does_not_wait_for(self):
        policy = {"PolicyName": "tracing", "Roles": [{"Ref": "ApiRole"}], "PolicyDocument": {}}
        self.assert_found("stands in the role", Resources__TracingPolicy={"Type": "AWS::IAM::Policy", "Properties": policy})
        roles = SOURCE["Resources"]["ApiRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        untraced = [one for one in roles if "xray" not in str(one)]
        document = {"PolicyName": "api", "PolicyDocument": {"Version": "2012-10-17", "Statement": untraced}}
        self.assert_found("ApiFunction may be traced", Resources__ApiRole__Properties__Policies=[document])

    def test_question_that_stops_a_guided_deployment(self):
        self.assert_found("has no authentication", Resources__HttpApi__Properties__Auth=None)

    def test_alarm_that_does_not_see_the_index(self):
        metrics = SOURCE["Resources"]["TableThrottlesAlarm"]["Properties"]["Metrics"]
        without = [one for one in metrics if "GlobalSecondaryIndexName" not in str(one)]
        self.assert_found("sees table and index", Resources__TableThrottlesAlarm__Properties__Metrics=without)

    def test_parameters_with_which_no_function_starts(self):
        self.assert_found("RetryScheduleSeconds refuses", Parameters__RetryScheduleSeconds__AllowedPattern="^[0-9]+(, *[0-9]+){0,18}$")
        self.assert_found("AllowedRanges refuses", Parameters__AllowedRanges__AllowedPattern="^[0-9a-fA-F.:/, ]*$")

    def test_version_that_cannot_start_and_replaces_one_that_can(self):
        self.assert_found("is taken back when its errors", Resources__SweepFunction__Properties__DeploymentPreference={"Type": "AllAtOnce"})

    def test_parameter_that_changes_without_a_new_version(self):
        level = {"Variables": {**SOURCE["Globals"]["Function"]["Environment"]["Variables"], "X": {"Ref": "EventBusName"}}}
        self.assert_found("makes a new version", Globals__Function__Environment=level)

    def test_lane_that_is_taken_for_a_runaway_loop(self):
        self.assert_found("may send to its own queue", Resources__DeliverEventsFunction__Properties__RecursiveLoop=None)

    def test_message_that_gets_to_the_dead_letter_queue_when_its_time_is_over(self):
        self.assert_found("for fewer days", Resources__EventsQueue__Properties__MessageRetentionPeriod=1_209_600)

    def test_age_that_falls_silent(self):
        metrics = SOURCE["Resources"]["EventsStuckAlarm"]["Properties"]["Metrics"][:2]
        self.assert_found("come back again", Resources__EventsStuckAlarm__Properties__Metrics=metrics)

    def test_alarm_that_is_missed_where_few_are_asked_for(self):
        self.assert_found("however many alarms", Resources__TroubleAlarm__Condition="HasAllAlarms")

    def test_log_whose_trouble_nobody_counts(self):
        self.assert_found("in every log", Resources__SweepTrouble__Properties__LogGroupName={"Ref": "ApiLogs"})
        counted = {**SOURCE["Resources"]["SweepTrouble"]["Properties"]["MetricTransformations"][0], "DefaultValue": 0}
        self.assert_found("counts nothing", Resources__SweepTrouble__Properties__MetricTransformations=[counted])

    def test_key_that_is_charged_though_nobody_asked_for_it(self):
        self.assert_found("nobody asked for", Resources__Table__Properties__SSESpecification={"Fn::If": ["HasKmsKey", {}, {"SSEEnabled": True}]})

    def test_burst_over_the_quota_of_small_regions(self):
        self.assert_found("quota of every region", Parameters__ApiBurstRequests__Default=2000)

    def test_architecture_that_is_said_twice(self):
        twice = copy.deepcopy(SAMCONFIG)
        twice["default"]["deploy"]["parameters"]["parameter_overrides"] = ["Architecture=x86_64"]
        self.assertEqual(len(check_transformed.wrongs(copy.deepcopy(SOURCE), twice)), 1)


if __name__ == "__main__":
    unittest.main()
