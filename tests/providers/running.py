"""A local server in a thread of the test's process, on loopback; it can go away and come back on its port."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp


class Running:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._port = 0
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> str:
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", self._port))
        self._port = door.getsockname()[1]
        config = uvicorn.Config(self.app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self._server = server = uvicorn.Server(config)
        self._thread = threading.Thread(target=server.run, args=([door],), daemon=True)
        self._thread.start()
        until = time.monotonic() + 10
        while not server.started:
            if time.monotonic() > until or not self._thread.is_alive():
                raise RuntimeError("the provider's local server did not start")
            time.sleep(0.005)
        return self.url

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout=10)
        self._server = self._thread = None

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """Connections are refused meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def __enter__(self) -> "Running":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
