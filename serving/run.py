"""One API process: uvicorn, with a way out that drops nobody.

At SIGTERM (or SIGINT) readiness says `draining` for `drain_s` seconds, as long as a load balancer takes to notice, and
every request is still served; then the door closes, requests under way are finished (five seconds at most), and
connections, queues and pools are closed. A second signal closes the door at once.

    python -m serving.run --port 8000
"""

import argparse
import asyncio
import gc
import importlib
import signal
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from fastapi import FastAPI

    from matinee.settings import Settings

FINISH_S = 5
# Longer than the gateway keeps an idle connection: else it might use one that is just being closed.
KEEP_ALIVE_S = 75
# So many new objects are looked through at once, in two milliseconds. Of Python's own 700 a page makes more, and what
# is looked through so often soon counts as old: then everything that is not frozen is.
YOUNG = 5_000


class Server(uvicorn.Server):
    """Uvicorn's, which first tells that it is about to go."""

    def __init__(self, app: "FastAPI", settings: "Settings", port: int, *, host: str = "127.0.0.1") -> None:
        from serving.context import context_of

        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                access_log=False,
                server_header=False,
                log_config=None,
                forwarded_allow_ips=trusted(settings),
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=FINISH_S,
            )
        )
        self._context = context_of(app)
        self._drain_s = settings.drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._context.draining or not self._drain_s or not self.started:
            self._context.draining = True
            super().handle_exit(sig, frame)
            return
        self._context.draining = True
        asyncio.get_running_loop().call_later(self._drain_s, super().handle_exit, signal.SIGTERM, None)


def trusted(settings: "Settings") -> str:
    """Whose X-Forwarded-For and X-Forwarded-Proto are believed: the settings' proxies, and the gateway."""
    given = settings.trusted_proxies
    ours = settings.gateway and given != "*" and "127.0.0.1" not in given.split(",")
    return f"{given},127.0.0.1" if ours else given


def main() -> None:
    gc.disable()  # imports leave no garbage, and looking for it takes a fifth of the start
    parser = argparse.ArgumentParser(prog="python -m serving.run")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--factory", default="serving.app:main_app", help="makes the app: module:function")
    given = parser.parse_args()
    module, _, function = given.factory.partition(":")
    app = getattr(importlib.import_module(module), function)()
    from serving.context import context_of

    gc.freeze()  # nor does what lives as long as the process have to be looked through again and again
    gc.set_threshold(YOUNG)
    gc.enable()
    Server(app, context_of(app).settings, given.port, host=given.host).run()


if __name__ == "__main__":
    main()
