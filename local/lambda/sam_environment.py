"""Prints the environment that `sam local` gives each function with an `--env-vars` file, as JSON. Run with the SAM CLI's own Python.

    python sam_environment.py local/lambda/env.json
"""

import json
import logging
import os
import pathlib
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
logging.disable(logging.WARNING)

from samcli.lib.providers.sam_function_provider import SamFunctionProvider  # noqa: E402
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider  # noqa: E402
from samcli.local.lambdafn.env_vars import EnvironmentVariables  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def environments(env_vars):
    """What each function of the template is told, by its logical name."""
    stacks, _ = SamLocalStackProvider.get_stacks(template_file=str(ROOT / "template.yaml"))
    told = {}
    for function in SamFunctionProvider(stacks, ignore_code_extraction_warnings=True).get_all():
        variables = (function.environment or {}).get("Variables")
        resolved = EnvironmentVariables(
            function_name=function.name,
            function_memory=function.memory,
            function_timeout=function.timeout,
            function_handler=function.handler,
            function_logging_config=function.logging_config,
            variables=variables,
            override_values={**env_vars.get("Parameters", {}), **env_vars.get(function.name, {})},
        )
        told[function.name] = resolved.resolve()
    return told


if __name__ == "__main__":
    print(json.dumps(environments(json.loads(pathlib.Path(sys.argv[1]).read_text()))))
