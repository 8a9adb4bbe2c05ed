"""The exported system follows the registry: whatever version is the champion is brought to where the API looks.

`bring` does it once, through MLflow's client (a build). `follow` is a process of small memory that asks MLflow's server
again and again (`matinee worker models`). Either may find that the other, or a person, was faster: each asks once more
whether what it made is still wanted, and the worker looks at what serves, not at what it remembers.
"""

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from matinee.clock import Clock, SystemClock
from matinee.console import console
from matinee.errors import MatineeError
from matinee.home import Home
from matinee.lake import NoSnapshotError
from matinee.ports import known_port
from matinee.settings import Settings
from models.errors import ModelError
from models.recommenders import export
from models.recommenders.mlflow_server import AwayError, Named, Server
from models.recommenders.system import System
from warehouse.snapshot import current

_POLL_S = 1.5
_MOST_S = 30.0  # between two looks while MLflow is away
_RETRY_S = 60.0  # what could not be exported is tried again
_TRIES = 5  # a champion that changes while it is exported


@dataclass(frozen=True)
class Serving:
    """What serves. `changed`: this call brought it; `kept_because`: why it is not what the registry wants."""

    name: str
    version: str
    snapshot_id: str
    kind: str
    titles: int
    changed: bool = True
    kept_because: str = ""


def bring(settings: Settings) -> Serving:
    """Export the champion; without one, popularity on the current snapshot. What cannot be exported changes nothing.

    Raises:
        NoSnapshotError: nothing is published yet.
        ModelError: nothing serves, and neither the champion nor popularity can be exported.
    """
    current(settings.lake)  # says so at once where nothing is built: asking MLflow takes seconds
    for _ in range(_TRIES):
        try:
            return _brought(settings)
        except export.OvertakenError:
            continue  # somebody promoted another meanwhile: that one, then
        except ModelError as error:
            return kept(settings, str(error))
    return kept(settings, f"the champion changed {_TRIES} times while it was exported")


def kept(settings: Settings, why: str) -> Serving:
    """What served before goes on; popularity, where nothing did.

    Raises:
        ModelError: there is no snapshot for popularity either.
    """
    serving = _serving(settings.home)
    if serving is not None:
        return _of(serving, changed=False, why=why)
    try:
        made = _popularity(settings)
        export.export(made, settings.home, wanted=lambda: _serving(settings.home) is None)
    except export.OvertakenError:
        return kept(settings, why)
    except NoSnapshotError as error:
        raise ModelError(f"{why}; and nothing else can serve: {error}") from error
    return _of(made, changed=True, why=why)


def _serving(home: Home) -> System | None:
    """What serves, if it loads and answers."""
    folder = export.current(home)
    try:
        return folder and export.checked(folder)
    except ModelError:
        return None


def _brought(settings: Settings) -> Serving:
    from models.recommenders import registry

    def named() -> registry.Version | None:
        return registry.by_alias(settings, registry.CHAMPION)

    try:
        champion = named()
        if champion is None:
            return _exported(settings, _popularity(settings), lambda: named() is None)
        system = registry.system_of(settings, champion)
        return _exported(settings, system, lambda: (now := named()) is not None and now.version == champion.version)
    except _mlflow_exception() as error:
        raise ModelError(f"MLflow cannot give the champion ({str(error).splitlines()[0]})") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"the champion is damaged ({type(error).__name__}: {error}): promote another") from error


def _mlflow_exception() -> type[Exception]:
    """Asked for when something was raised: the registry sets MLflow's variables before its first import."""
    from mlflow.exceptions import MlflowException

    return MlflowException


def _popularity(settings: Settings) -> System:
    from models.recommenders.assemble import popularity_system
    from models.recommenders.marts import read_marts

    return popularity_system(read_marts(settings))


def _exported(settings: Settings, system: System, wanted: Callable[[], bool]) -> Serving:
    """Export the system; `changed` unless it serves already, unharmed."""
    before = export.current(settings.home)
    return _of(system, changed=export.export(system, settings.home, wanted) != before)


def _of(system: System, *, changed: bool, why: str = "") -> Serving:
    about = system.about
    return Serving(about.name, about.version, about.snapshot_id, about.kind, len(system.items), changed, why)


def follow(settings: Settings, drain_only: bool = False) -> None:
    """The worker: exports what the alias `champion` names, again whenever it changes, until SIGTERM or SIGINT."""
    if drain_only:
        _tell(bring(settings))
        return
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    following = Follower(settings, Server(server_url(settings)))
    while not stop.wait(following.pause):
        following.look()


def server_url(settings: Settings) -> str:
    """Where MLflow's server answers.

    Raises:
        ModelError: there is none: `MATINEE_MLFLOW_URL` names a database.
        StackError: the embedded one never started in this home.
    """
    if settings.mlflow_url is None:
        return f"http://127.0.0.1:{known_port(settings.home, 'mlflow')}"
    if not settings.mlflow_url.startswith(("http://", "https://")):
        raise ModelError("following the champion needs an MLflow server: MATINEE_MLFLOW_URL=http://host:port")
    return settings.mlflow_url


@dataclass(frozen=True)
class Following:
    """How the worker fares: `failures` in a row `since` when (ISO 8601, UTC), the last of them `why`."""

    wanted: str = ""
    failures: int = 0
    since: str = ""
    why: str = ""


def status(home: Home) -> Following | None:
    """What the worker wrote last; None where it never ran."""
    try:
        return Following(**json.loads(_status_file(home).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _status_file(home: Home) -> Path:
    return home.run / "models.json"


class Follower:
    """Looks at the alias and at what serves. What fails is said once, counted in `status`, and tried again."""

    def __init__(
        self, settings: Settings, server: Server, now: Callable[[], float] = time.monotonic, clock: Clock | None = None
    ) -> None:
        self._settings, self._server, self._now = settings, server, now
        self._clock = clock or SystemClock()
        self._good: tuple[Named, object] | None = None  # what was exported, and the mark of its files
        self._bad: tuple[Named, float] | None = None  # what could not be, and when
        self._away = 0
        self._said = ""
        self._status: Following | None = None
        self._write(Following())

    @property
    def pause(self) -> float:
        """Seconds until the next look: ever longer while MLflow is away."""
        return min(_POLL_S * 2.0**self._away, _MOST_S)

    def look(self) -> Serving | None:
        """Export what the alias names, unless just that serves unharmed; returns what was exported."""
        try:
            named = self._server.champion()
        except AwayError as error:
            self._away = min(self._away + 1, 10)
            return self._failed("", str(error), key="away")
        if self._away:
            self._away = 0
            self._said = ""
            console.print("MLflow answers again")
        if named is None:
            self._write(Following())
            return self._keep("no version is the champion")
        if self._good == (named, self._mark()):
            self._write(Following(named.version))
            self._said = ""
            return None
        if self._bad is not None and self._bad[0] == named and self._now() - self._bad[1] < _RETRY_S:
            return None
        return self._take(named)

    def _take(self, named: Named) -> Serving | None:
        try:
            made = self._export(named)
        except export.OvertakenError:
            return None  # the next look sees what is wanted now
        except AwayError as error:  # between the look and the switch
            return self._failed(named.version, str(error), key="away")
        except (MatineeError, OSError) as error:
            self._bad = named, self._now()
            return self._failed(named.version, f"model {named.version} is not taken: {error}")
        self._bad, self._said = None, ""
        self._write(Following(named.version))
        _tell(made)
        return made

    def _export(self, named: Named) -> Serving:
        with tempfile.TemporaryDirectory() as folder:
            self._server.fetch(named, Path(folder))
            system = export.checked(Path(folder), f"model {named.version}")
        system = replace(system, about=replace(system.about, version=named.version))
        home, before = self._settings.home, export.current(self._settings.home)
        folder = export.export(system, home, lambda: self._server.champion() == named)
        self._good = named, export.mark(folder)  # not what `current` names by now
        return _of(system, changed=folder != before)

    def _mark(self) -> object | None:
        folder = export.current(self._settings.home)
        return folder and export.mark(folder)

    def _failed(self, version: str, why: str, key: str = "") -> None:
        before = self._status or Following()
        since = before.since if before.failures else f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ}"
        self._write(Following(version or before.wanted, before.failures + 1, since, why))
        self._keep(why, key)

    def _keep(self, why: str, key: str = "") -> None:
        if (key or why) != self._said:
            self._said = key or why
            folder = export.current(self._settings.home)
            serves = f"version {_version(folder)} goes on serving" if folder else "nothing serves"
            console.print(f"{why}; {serves}", markup=False, soft_wrap=True)

    def _write(self, status: Following) -> None:
        if status == self._status:
            return
        self._status, file = status, _status_file(self._settings.home)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(".tmp")
            draft.write_text(json.dumps(asdict(status)))
            os.replace(draft, file)
        except OSError as error:  # a full disk: what serves goes on, and the log says the rest
            console.print(f"cannot write {file}: {error}", markup=False, soft_wrap=True)


def _version(folder: Path) -> str:
    try:
        return json.loads((folder / "model.json").read_text())["about"]["version"]
    except (OSError, ValueError, LookupError, TypeError):
        return folder.name  # damaged: as it was called


def _tell(made: Serving) -> None:
    what = "serves now" if made.changed else "serves already"
    console.print(
        f"{made.name} {made.version} ({made.kind}, {made.titles} titles) {what}", markup=False, soft_wrap=True
    )
    if made.kept_because:
        console.print(made.kept_because, style="red", markup=False, soft_wrap=True)
