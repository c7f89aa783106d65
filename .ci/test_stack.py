"""Tests of deploy/stack: what it refuses, and that a parameter that changes changes the functions."""

import importlib.machinery
import importlib.util
import pathlib
import tempfile
import unittest
from unittest import mock

PATH = pathlib.Path(__file__).resolve().parents[1] / "deploy" / "stack"
LOADER = importlib.machinery.SourceFileLoader("stack", str(PATH))
stack = importlib.util.module_from_spec(importlib.util.spec_from_loader("stack", LOADER))
LOADER.exec_module(stack)


def program(machine):
    return b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + bytes(40)


class Stack(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.built = pathlib.Path(folder.name)
        mock.patch.object(stack, "BUILT", self.built).start()
        mock.patch.object(stack, "say").start()
        self.addCleanup(mock.patch.stopall)

    def test_parameters_are_read_as_the_sam_cli_reads_them(self):
        arguments = ["--guided", "--parameter-overrides", "LogLevel=DEBUG", "RetentionDays=7", "--region", "eu-west-1"]
        self.assertEqual(stack.overrides_in(arguments), {"LogLevel": "DEBUG", "RetentionDays": "7"})
        self.assertEqual(stack.overrides_in(["--parameter-overrides=LogLevel=DEBUG AllowHttp=true"]), {"LogLevel": "DEBUG", "AllowHttp": "true"})
        self.assertEqual(stack.pairs(["Architecture=arm64", "AllowedRanges=10.0.0.0/8, ::1/128"])["AllowedRanges"], "10.0.0.0/8, ::1/128")
        name, overrides, _ = stack.settings(["--stack-name", "hooks", "--parameter-overrides", "LogLevel=WARN"])
        self.assertEqual((name, overrides), ("hooks", {"Architecture": "arm64", "LogLevel": "WARN"}))

    def test_defaults_are_those_of_the_template(self):
        defaults = stack.defaults((PATH.parents[1] / "template.yaml").read_text())
        self.assertEqual((defaults["EventsConcurrency"], defaults["Architecture"], defaults["AllowedRanges"]), ("100", "arm64", ""))
        self.assertTrue(set(stack.STAMPED) <= defaults.keys())

    def test_name_that_is_too_long_is_refused(self):
        stack.check_name("o" * 48)
        for name in ("o" * 49, "1st", "with_underscore"):
            with self.assertRaises(SystemExit):
                stack.check_name(name)

    def test_more_concurrency_than_the_account_has_is_refused_with_what_would_fit(self):
        account = {"AccountLimit": {"UnreservedConcurrentExecutions": 10}}
        with mock.patch.object(stack, "aws", return_value=account):
            with self.assertRaises(SystemExit) as refused:
                stack.check_concurrency({"EventsConcurrency": "100", "RetriesConcurrency": "50"}, [])
            self.assertIn("EventsConcurrency=3 RetriesConcurrency=2", str(refused.exception))
            stack.check_concurrency({"EventsConcurrency": "3", "RetriesConcurrency": "2"}, [])
        with mock.patch.object(stack, "aws", return_value=None):
            stack.check_concurrency({"EventsConcurrency": "100", "RetriesConcurrency": "50"}, [])

    def test_retention_that_is_shorter_than_the_retry_schedule_is_refused_with_what_would_do(self):
        schedule = {"RetryScheduleSeconds": "36000, 36000"}
        stack.check_retention({**schedule, "RetentionDays": "1"})
        with self.assertRaises(SystemExit) as refused:
            stack.check_retention({"RetryScheduleSeconds": "36000,36001", "RetentionDays": "1"})
        self.assertIn("RetentionDays=2", str(refused.exception))

    def test_program_of_another_architecture_is_refused(self):
        with self.assertRaises(SystemExit):
            stack.check_architecture("arm64")
        (self.built / "ApiFunction").mkdir()
        (self.built / "ApiFunction" / "bootstrap").write_bytes(program(0xB7))
        stack.check_architecture("arm64")
        for wanted, built in (("x86_64", program(0xB7)), ("arm64", program(0x3E)), ("arm64", b"MZ" + bytes(40))):
            (self.built / "ApiFunction" / "bootstrap").write_bytes(built)
            with self.assertRaises(SystemExit):
                stack.check_architecture(wanted)

    def test_parameter_that_reaches_a_function_changes_its_description_and_no_other_does(self):
        def stamped(parameters):
            (self.built / "template.yaml").write_text((PATH.parents[1] / "template.yaml").read_text())
            stack.stamp(parameters)
            text = (self.built / "template.yaml").read_text()
            self.assertNotIn("API (parameters unstamped", text)
            stack.stamp(parameters)
            self.assertEqual((self.built / "template.yaml").read_text(), text)
            return text

        first = stamped({"LogLevel": "INFO", "EventsConcurrency": "100"})
        self.assertEqual(first, stamped({"LogLevel": "INFO", "EventsConcurrency": "50", "DeliveryEnabled": "false"}))
        self.assertNotEqual(first, stamped({"LogLevel": "DEBUG", "EventsConcurrency": "100"}))


if __name__ == "__main__":
    unittest.main()
