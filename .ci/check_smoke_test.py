"""Runs deploy/smoke-test against a local stack: it passes where all is well, and fails, and still cleans up, where the receiver does not answer.

    check_smoke_test.py <the built `outhook`>
"""

import json
import os
import pathlib
import subprocess
import sys
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
SECONDS_MAX = 120


def run(said, receiver):
    command = [sys.executable, str(ROOT / "deploy" / "smoke-test"), "--api", said["api_url"], "--receiver", receiver]
    environment = {**os.environ, "ROOT_KEY": said["root_key"]}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX)


def tenants(said):
    request = urllib.request.Request(f"{said['api_url']}/v1/tenants", headers={"authorization": f"Bearer {said['root_key']}"})
    with urllib.request.urlopen(request, timeout=SECONDS_MAX) as answer:
        return [tenant["id"] for tenant in json.load(answer)["data"]]


def main(program):
    ports = ["--api-port", "0", "--aws-port", "0", "--receiver-port", "0"]
    stack = subprocess.Popen([program, "--json", *ports], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        said = json.loads(stack.stdout.readline())
        before = tenants(said)
        good = run(said, f"{said['receiver_url']}/smoke")
        bad = run(said, f"{said['receiver_url']}/status/500")
        after = tenants(said)
    finally:
        stack.terminate()
        stack.wait(SECONDS_MAX)
    print(good.stdout, end="")
    wrong = good.returncode != 0 or bad.returncode == 0 or "did not take the event" not in bad.stderr or before != after
    if wrong:
        sys.exit(f"check-deploy: smoke-test: {good} {bad} {before} {after}")


main(*sys.argv[1:])
