"""Keeps every request that the tested endpoints make on this machine: whatever URL is invented for them, they get the local receiver's."""

import os
import re

import schemathesis

RECEIVER_URL = os.environ["OUTHOOK_RECEIVER_URL"]
# What the document says of a URL that can be accepted; what is not of this form is refused, and stays as it is.
ACCEPTABLE = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?:[^\s#]{1,2042}")


@schemathesis.hook
def before_call(context, case, kwargs):
    if not case.path.startswith("/v1/endpoints") or not isinstance(case.body, dict):
        return
    url = case.body.get("url")
    if isinstance(url, str) and ACCEPTABLE.fullmatch(url):
        case.body["url"] = f"{RECEIVER_URL}/schemathesis"
