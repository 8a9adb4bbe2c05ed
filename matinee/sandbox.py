"""A process that reads what a stranger sent: little memory, little time, no network, and no file but the named ones.

Files are closed off by Landlock (Linux 5.13), network system calls by seccomp; both need no privilege, hold for every
child, and cannot be taken back. A kernel without them is told of by `matinee doctor`; the limits of `setrlimit` hold
everywhere, and whoever opens a film names its formats and protocols anyway.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from matinee.errors import MatineeError

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_PR_GET_SECCOMP, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 21, 22, 2

# linux/landlock.h
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE = 1 << 7, 1 << 8, 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_KNOWN = {1: (1 << 13) - 1, 2: (1 << 14) - 1}  # access rights by version of the interface; later ones below
_LATER = (1 << 15) - 1
_NO_SIGNALS = 1 << 1  # to processes outside; from version 6 on
# What a program needs to start and to learn how many cores there are.
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/dev/null", "/dev/urandom",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/sys/devices/system/node",
)  # fmt: skip

# linux/audit.h; the numbers of socket, socketpair, io_uring_setup (which makes sockets, too).
_NETWORK = {"x86_64": (0xC000003E, (41, 53, 425)), "aarch64": (0xC00000B7, (198, 199, 425))}
_X32 = 0x40000000  # another way to the same calls on x86-64


class SandboxError(MatineeError):
    """A process could not be closed off, or broke out of its limits; the message says which."""


@dataclass(frozen=True)
class Limits:
    """What a process may use: files and folders to `read`, folders to `write` into, and what it may take up.

    `memory_mb` is of data (heap, stacks, private maps); `cpu_s` of all its threads together; `file_mb` of one file.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    memory_mb: int = 2048
    cpu_s: int = 60
    file_mb: int = 64


@cache
def landlock_version() -> int:
    """The version of Landlock's interface in this kernel; 0 where it has none or has it switched off."""
    if platform.system() != "Linux":
        return 0
    return max(0, _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))


@cache
def has_seccomp() -> bool:
    """Whether network system calls can be refused here."""
    return platform.machine() in _NETWORK and _libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def describe() -> str:
    """What holds a process that reads uploads on this machine.

    Raises:
        SandboxError: something of it is missing.
    """
    files, network = landlock_version(), has_seccomp()
    if files and network:
        return f"Landlock {files} (files), seccomp (network), limits of memory and time"
    missing = [name for name, here in (("Landlock", files), ("seccomp", network)) if not here]
    raise SandboxError(f"no {' and no '.join(missing)}: films are opened with limits and whitelists only")


def die_with(parent: int) -> None:
    """Kill this process when the thread that made it ends; `parent` is the process of that thread."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above, and nobody will tell us any more
        os._exit(1)


def limits(
    read: Sequence[Path],
    write: Sequence[Path],
    *,
    memory_mb: int,
    cpu_s: int,
    file_mb: int,
    execute: Sequence[Path] = (),
) -> Callable[[], None]:
    """What closes off the process that calls it, after it has loaded all that it needs (`launcher`, `confined`).

    Everything is prepared here, so that between fork and exec there are only system calls.

    Raises:
        SandboxError: a path is not there (now), or the kernel refuses (in the process that is closed off).
    """
    version = landlock_version()
    rules = _rules(read, write, execute, version) if version else []
    program = _no_network() if has_seccomp() else None
    sizes = (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 5),  # a signal that says why, and five seconds later the end
        (resource.RLIMIT_FSIZE, file_mb * 2**20, file_mb * 2**20),
        (resource.RLIMIT_DATA, memory_mb * 2**20, memory_mb * 2**20),
    )

    def close_off() -> None:
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        if version:
            _restrict(rules, _handled(version))
        if program is not None:
            _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")
        # Last, because a fork of a large process may already hold more than it is about to be allowed.
        for kind, soft, hard in sizes:
            ceiling = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (soft, hard) if ceiling < 0 else (min(soft, ceiling), min(hard, ceiling)))

    return close_off


def _handled(version: int) -> int:
    return _KNOWN.get(version, _LATER)


def _rules(
    read: Sequence[Path], write: Sequence[Path], execute: Sequence[Path], version: int
) -> list[tuple[bytes, int]]:
    wanted = [(path, _READ) for path in read] + [(path, _WRITE) for path in write]
    wanted += [(path, _READ | _EXECUTE) for path in execute]
    for path, _ in wanted:
        if not path.exists():
            raise SandboxError(f"{path} is not there, so no process can be allowed to use it")
    wanted += [(Path(name), _READ | _EXECUTE) for name in _SYSTEM if Path(name).exists()]
    return [  # absolute: a child may have changed its folder by then
        (os.fsencode(path.absolute()), rights & _handled(version) & (-1 if path.is_dir() else _OF_FILES))
        for path, rights in wanted
    ]


def _restrict(rules: Sequence[tuple[bytes, int]], handled: int) -> None:
    attributes = struct.pack("QQQ", handled, 0, _NO_SIGNALS) if landlock_version() >= 6 else struct.pack("Q", handled)
    ruleset = _check(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0), "Landlock")
    for path, rights in rules:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        _check(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, beneath), 0), "Landlock")
        os.close(beneath)
    _check(_libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


class _Program(ctypes.Structure):
    """`struct sock_fprog`: a filter of classic BPF."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _no_network() -> _Program:
    """A seccomp filter that fails the making of sockets with EACCES, and everything of a foreign calling convention."""
    architecture, calls = _NETWORK[platform.machine()]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EACCES
    steps = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 0, len(calls) + 3, architecture),
        (load, 0, 0, 0),  # seccomp_data.nr
        (at_least, len(calls) + 1, 0, _X32),
        *((equal, len(calls) - number, 0, call) for number, call in enumerate(calls)),
        (give, 0, 0, allow),
        (give, 0, 0, refuse),
    ]
    return _Program(len(steps), b"".join(struct.pack("=HBBI", *step) for step in steps))


def _check(result: int, what: str) -> int:
    if result < 0:
        raise SandboxError(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result
