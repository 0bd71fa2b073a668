#!/usr/bin/env python3
"""One call with Python's own HTTP client. No signing library, no key."""

import json
import os
import sys
import urllib.error
import urllib.request

GATEWAY = os.environ.get("TENCENT_API", "http://127.0.0.1:8080")


def call(api, body):
    """The answer as Tencent, or the gateway in its place, gave it."""
    request = urllib.request.Request(
        f"{GATEWAY}/v4/{api}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json", "x-caller": "example-python"},
    )
    try:
        with urllib.request.urlopen(request, timeout=25) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        # The gateway's refusals have a status of their own, and the same shape.
        return json.load(refused)


answer = call("live_config/get_callback", {})
print(json.dumps(answer))
sys.exit(0 if answer["ErrorCode"] == 0 else 1)
