"""The gateway as a service of the local stack: one NGINX, with all that it writes below `gateway/` of the home.

As root it runs as `nobody` who may read everywhere (see `matinee.stack.service`): its workers reach the media folder of
a home below a folder of mode 0700, and write nowhere but in their own folder.
"""

import os
import pwd
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from matinee.errors import StackError
from matinee.ports import claim_port, known_port
from matinee.settings import Settings
from matinee.stack import nginx
from matinee.stack.service import Service
from serving.gateway.certificate import certificate
from serving.gateway.plan import GatewayError, folder, plan
from serving.gateway.render import render

if TYPE_CHECKING:
    import psutil

UNPRIVILEGED = "nobody"
_MOST_WORKERS = 4


def service(settings: Settings) -> Service | None:
    """What the supervisor runs; None where the settings want no gateway, or the machine has no NGINX.

    Raises:
        StackError: a port in the settings is taken.
    """
    if not settings.gateway:
        return None
    try:
        binary = nginx.binary()
    except StackError:  # the API alone does as well; `matinee doctor` says what is missing
        return None
    https = claim_port(settings.home, "gateway", settings.gateway_port)
    http = claim_port(settings.home, "gateway_http", settings.gateway_http_port)
    return Service(
        name="gateway",
        argv=_argv(settings, binary),
        ready=lambda: answers(https),
        address=f"https://{_first_name(settings)}:{https}",
        after=("api",),
        cwd=Path("/"),
        prepare=lambda: prepare(settings, binary, https, http),
        stop_signal=signal.SIGQUIT,  # finishes what it began
        stop_timeout=15.0,
        user=UNPRIVILEGED,
    )


@contextmanager
def running(settings: Settings) -> Iterator[Service]:
    """The gateway for the length of the block, without a supervisor; its lines go to `logs/gateway.log`.

    Raises:
        StackError: there is no NGINX, or it does not come up.
    """
    made = service(settings)
    if made is None or made.prepare is None:
        nginx.binary()
        raise StackError("MATINEE_GATEWAY=0: there is no gateway")
    made.prepare()
    log = settings.home.logs / "gateway.log"
    with log.open("ab") as lines:
        give(lines.fileno())
        process = subprocess.Popen(
            made.argv,
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=lines,
            cwd="/",
            preexec_fn=made.in_child(),  # noqa: PLW1509 - only system calls between fork and exec
        )
    try:
        deadline = time.monotonic() + made.ready_timeout
        while not made.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"the gateway did not come up: see {log}")
            time.sleep(0.01)
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(made.stop_timeout)


def prepare(settings: Settings, binary: Path, https_port: int, http_port: int) -> None:
    """Folders, certificate and configuration, checked by NGINX itself.

    Raises:
        GatewayError: a setting is wrong, or NGINX refuses the configuration.
    """
    made = plan(
        settings,
        api_port=known_port(settings.home, "api"),
        https_port=https_port,
        http_port=http_port,
        certificate=certificate(settings, datetime.now(UTC)),
        version=nginx.version(binary),
        workers=min(_MOST_WORKERS, os.cpu_count() or 1),
    )
    folders(settings)
    file = configuration(settings)
    file.touch(mode=0o600)
    file.write_text(render(made))
    check(settings, binary)


def folders(settings: Settings) -> None:
    """Make what the gateway writes to, for the user that it runs as."""
    own = folder(settings)
    for each in (own, own / "cache", own / "temp", own / "empty"):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        give(each)
    settings.media.mkdir(parents=True, exist_ok=True)


def give(what: Path | int) -> None:
    """Let the user that the gateway runs as own a file; nothing where that is ourselves."""
    if os.getuid() == 0:
        entry = pwd.getpwnam(UNPRIVILEGED)
        os.chown(what, entry.pw_uid, entry.pw_gid)


def check(settings: Settings, binary: Path) -> None:
    """Let NGINX read its configuration.

    Raises:
        GatewayError: it refuses.
    """
    as_user = Service("gateway", (*_argv(settings, binary), "-t", "-q"), ready=lambda: True, user=UNPRIVILEGED)
    done = subprocess.run(as_user.argv, capture_output=True, text=True, cwd="/", preexec_fn=as_user.in_child())
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "[emerg]" in line] or [done.stderr.strip()]
        raise GatewayError(f"nginx refuses its configuration: {lines[0].partition('[emerg] ')[2] or lines[0]}")


def reload(settings: Settings) -> None:
    """Let the running gateway take its settings and certificate anew; requests under way are finished.

    Raises:
        GatewayError: it does not run or is another user's, or a setting is wrong (it then goes on as it was).
    """
    import psutil

    home, master = settings.home, _master(settings)
    prepare(settings, nginx.binary(), known_port(home, "gateway"), known_port(home, "gateway_http"))
    try:
        master.send_signal(signal.SIGHUP)
    except psutil.Error as error:
        raise GatewayError(f"the gateway could not be reloaded: {error}") from None


def _master(settings: Settings) -> "psutil.Process":
    import psutil

    try:
        master = psutil.Process(int((folder(settings) / "nginx.pid").read_text()))
        command = " ".join(master.cmdline())
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        raise GatewayError("the gateway does not run: start it by `matinee up`") from None
    except (PermissionError, psutil.Error):
        raise GatewayError("the gateway is another user's: reload it as the user who started it") from None
    # The file may have been left over, and its process may be somebody else's by now.
    if str(configuration(settings)) not in command:
        raise GatewayError("the gateway does not run: start it by `matinee up`")
    return master


def answers(port: int) -> bool:
    """Whether the gateway passes a request on to the API and back."""
    url = f"https://127.0.0.1:{port}/health/live"
    unchecked = ssl._create_unverified_context()  # noqa: S323 - our own certificate on loopback
    try:
        with urllib.request.urlopen(url, timeout=0.9, context=unchecked) as response:
            return response.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _argv(settings: Settings, binary: Path) -> tuple[str, ...]:
    return (str(binary), "-e", "stderr", "-p", f"{folder(settings)}/", "-c", str(configuration(settings)))


def configuration(settings: Settings) -> Path:
    """Where `nginx.conf` lies: among the secrets, as it holds the mark."""
    return settings.home.secrets / "nginx.conf"


def _first_name(settings: Settings) -> str:
    name = settings.gateway_name.split(",")[0].strip()
    return "localhost" if name in ("", "*") else name
