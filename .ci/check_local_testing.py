"""Holds what local/lambda/README.md and docs/operations.md show of the SAM CLI against the SAM CLI: every command line is one that it takes, and what it tells
the functions is all that they ask for. Run by check-template, with the SAM CLI's own Python."""

import json
import os
import pathlib
import re
import shlex
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "local" / "lambda"))
PAGES = ("README.md", "docs/operations.md", "docs/configuration.md", "local/lambda/README.md")

import click  # noqa: E402
from sam_environment import environments  # noqa: E402
from samcli.cli.context import Context as SamContext  # noqa: E402
from samcli.cli.main import cli  # noqa: E402
from samcli.yamlhelper import yaml_parse  # noqa: E402


def shown():
    """The SAM command lines of the pages, with the page that each stands in."""
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|;|\|", line.split(" #")[0]):
                    words = part.split("<<")[0].split(">")[0].strip()
                    if re.match(r"([A-Z_]+=\S+ )*sam ", words):
                        yield page, re.sub(r"^([A-Z_]+=\S+ )*", "", words)


def parse(line):
    """Has the SAM CLI read a command line without carrying it out."""
    sys.argv = shlex.split(line)
    words = sys.argv[1:]
    command = cli
    # Commands are looked up only where the context has been set up.
    context = click.Context(cli, info_name="sam", obj=SamContext())
    while isinstance(command, click.Group):
        name = words.pop(0)
        command = command.get_command(context, name) or sys.exit(f"no such command: {name}")
        if isinstance(command, click.Group):
            context = click.Context(command, info_name=name, parent=context)
    command.make_context(name, words, parent=context)


def main():
    os.chdir(ROOT)
    wrong = []
    lines = list(shown())
    if not any("local start-api" in line for _, line in lines) or not any("local invoke" in line for _, line in lines):
        wrong.append("the pages show no sam local")
    for page, line in lines:
        try:
            parse(line)
        except SystemExit as error:
            wrong.append(f"{page}: {line}: exit {error.code}")
        except Exception as error:  # noqa: BLE001: whatever it is that the SAM CLI does not like
            wrong.append(f"{page}: {line}: {error}")
    source = yaml_parse((ROOT / "template.yaml").read_text())
    expected = set(source["Globals"]["Function"]["Environment"]["Variables"])
    env = json.loads((ROOT / "local/lambda/env.json").read_text())
    if set(env["Parameters"]) != expected:
        wrong.append(f"env.json and the template differ in {sorted(set(env['Parameters']) ^ expected)}")
    for function, told in environments(env).items():
        if not expected <= told.keys():
            wrong.append(f"{function} is not told {sorted(expected - told.keys())}")
    dotenv = (ROOT / "local/lambda/local.env").read_text().splitlines()
    same = dict(line.split("=", 1) for line in dotenv if "=" in line and not line.startswith("#"))
    same = {name: value for name, value in same.items() if name in expected}
    container = {name: value.replace("host.docker.internal", "127.0.0.1") for name, value in env["Parameters"].items()}
    if same != container:
        wrong.append(f"local.env and env.json differ in {sorted(name for name in expected if same.get(name) != container.get(name))}")
    for what in wrong:
        print(f"check-template: {what}", file=sys.stderr)
    print(f"{len(lines)} command lines for the SAM CLI")
    sys.exit(bool(wrong))


main()
