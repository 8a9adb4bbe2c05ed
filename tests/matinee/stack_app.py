"""The commands of the stack over dummy services, for tests that need a process of their own to kill.

`STACK_APP` holds the services as JSON: `[{"name", "code", "after"?, "stop_timeout"?, "port"?}]`; `code` is Python.
"""

import json
import os
import sys

from matinee.commands import make_app
from matinee.errors import MatineeError
from matinee.ports import claim_port
from matinee.settings import Settings
from matinee.stack.service import Service


def processes(settings: Settings) -> list[Service]:
    return [describe(settings, spec) for spec in json.loads(os.environ.get("STACK_APP", "[]"))]


def describe(settings: Settings, spec: dict) -> Service:
    port = claim_port(settings.home, spec["name"], settings.api_port) if spec.get("port") else None
    return Service(
        name=spec["name"],
        argv=(sys.executable, "-u", "-c", spec["code"]),
        ready=lambda: True,
        address=f"http://127.0.0.1:{port}" if port else "",
        after=tuple(spec.get("after", ())),
        env={"PORT": str(port)} if port else {},
        stop_timeout=spec.get("stop_timeout", 5.0),
    )


if __name__ == "__main__":
    try:
        make_app(processes)()
    except MatineeError as error:
        print(f"matinee: {error}", file=sys.stderr)
        sys.exit(1)
