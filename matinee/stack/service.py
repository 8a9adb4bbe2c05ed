"""A service as data: what to run, when it is ready, how to stop it."""

import ctypes
import os
import pwd
import signal
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Service:
    """One long-running process of the stack.

    `ready` answers whether the service can be used now; it must not raise and must not block for more than a second.
    `after` names the services that must be ready first. `prepare` runs before each start, `once_ready` after each
    start as soon as `ready` says yes and before anybody who waits for the service goes on; both in the parent.
    `address` is what `matinee status` shows: a URL, a port or a socket. `user`: run as this user when we are root.
    `env` is added to the parent's environment. `cwd` is the root folder unless given, because the user that the
    service runs as may not be able to enter the folder that the stack was started in.
    """

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    address: str = ""
    after: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    prepare: Callable[[], None] | None = None
    once_ready: Callable[[], None] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 10.0
    ready_timeout: float = 60.0
    user: str | None = None

    def in_child(self) -> Callable[[], None]:
        """What the child does between fork and exec: give up root if told to, and die when the parent dies.

        "The parent" is the thread that forks: call it from one that lives as long as the service should.
        """
        user = self.user if os.getuid() == 0 else None
        ids = pwd.getpwnam(user) if user else None
        parent = os.getpid()

        def before_exec() -> None:
            if ids:
                _own_pipes(ids.pw_uid, ids.pw_gid)
                _become(ids.pw_uid, ids.pw_gid)
            # After the change of user, which clears it.
            _libc.prctl(_PR_SET_PDEATHSIG, int(self.stop_signal), 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above, and nobody will tell us any more
                os._exit(1)

        return before_exec


def _own_pipes(uid: int, gid: int) -> None:
    """Let the child open its standard output once more by name (/dev/stdout), as NGINX does."""
    for stream in (1, 2):
        if stat.S_ISFIFO(os.fstat(stream).st_mode):
            os.fchown(stream, uid, gid)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _become(uid: int, gid: int) -> None:
    """Give up root for an unprivileged user that may still pass through folders.

    PostgreSQL refuses to run as root, and a home (or the environment with the binaries) may lie below a folder of
    mode 0700 that no other user can enter. Changing modes up there is not ours to do, so the child keeps one
    capability: to read and search (where the machine does not grant that: to override) file permissions.
    """
    _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    # access(2) forgets the capabilities of whoever is not root, unless this bit is set; initdb looks for postgres so.
    _libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if _keep_only(1 << capability):
            _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            return
    _keep_only(0)


def _keep_only(capabilities: int) -> bool:
    """Reduce this process to these capabilities (a bit mask below 2^32); False where it has not got them."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapData * 2)(_CapData(capabilities, capabilities, capabilities), _CapData(0, 0, 0))
    return _libc.capset(ctypes.byref(header), ctypes.byref(data)) == 0
