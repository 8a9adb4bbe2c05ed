"""The exported system follows the registry: whatever version is the champion is brought to where the API looks.

`bring` does it once, through MLflow's client (a build). `follow` is a process of small memory that asks MLflow's server
again and again (`matinee worker models`).
"""

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import httpx

from matinee.console import console
from matinee.lake import NoSnapshotError
from matinee.ports import known_port
from matinee.settings import Settings
from models.errors import ModelError
from models.recommenders import export
from models.recommenders.files import FILES
from models.recommenders.system import System
from warehouse.snapshot import current

_POLL_S = 1.5
_RETRY_S = 60.0  # what could not be exported is tried again
_MODEL, _ALIAS = "matinee-recommender", "champion"  # as the registry says, which would import MLflow
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


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
    from models.recommenders import registry

    champion = registry.by_alias(settings, registry.CHAMPION)
    if champion is None:
        return _popularity(settings)
    try:
        return _exported(settings, registry.system_of(settings, champion))
    except ModelError as error:
        return kept(settings, str(error))


def kept(settings: Settings, why: str) -> Serving:
    """What served before goes on; popularity, where nothing did.

    Raises:
        ModelError: there is no snapshot for popularity either.
    """
    try:
        serving = System.load(folder) if (folder := export.current(settings.home)) else None
    except ModelError:
        serving = None
    if serving is not None:
        return _of(serving, changed=False, why=why)
    try:
        return _of(_popularity_system(settings), changed=True, why=why)
    except NoSnapshotError as error:
        raise ModelError(f"{why}; and nothing else can serve: {error}") from error


def _popularity(settings: Settings) -> Serving:
    return _of(_popularity_system(settings), changed=True)


def _popularity_system(settings: Settings) -> System:
    from models.recommenders.assemble import popularity_system
    from models.recommenders.marts import read_marts

    system = popularity_system(read_marts(settings))
    export.export(system, settings.home)
    return system


def _exported(settings: Settings, system: System) -> Serving:
    """Export the system unless it serves already, unharmed."""
    folder = export.current(settings.home)
    if folder is not None and _same(folder, system):
        return _of(system, changed=False)
    export.export(system, settings.home)
    return _of(system, changed=True)


def _same(folder: Path, system: System) -> bool:
    try:
        found = System.load(folder)
        found.check()
    except ModelError:
        return False
    return found.about == system.about and found.golden == system.golden


def _of(system: System, *, changed: bool, why: str = "") -> Serving:
    about = system.about
    return Serving(about.name, about.version, about.snapshot_id, about.kind, len(system.items), changed, why)


@dataclass(frozen=True)
class Named:
    """The version that the alias names, and where its files are."""

    version: str
    files: str  # a URI of the folder with `model.npz` and the others


class Server:
    """MLflow's REST API, as documented: an alias, its version, its files."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)

    def champion(self) -> Named | None:
        """What the alias names; None where no version has it.

        Raises:
            httpx.HTTPError: the server does not answer, or not as documented.
        """
        found = self._client.get("/api/2.0/mlflow/registered-models/alias", params={"name": _MODEL, "alias": _ALIAS})
        if found.status_code in (400, 404) and found.json().get("error_code") in _MISSING:
            return None
        version = found.raise_for_status().json()["model_version"]
        return Named(str(version["version"]), f"{self._folder(version)}/artifacts/model")

    def fetch(self, named: Named, folder: Path) -> None:
        """Copy the version's files into `folder`.

        Raises:
            ModelError: they are gone, or lie where this process cannot read.
        """
        where = urlsplit(named.files)
        try:
            for name in FILES:
                if where.scheme in ("", "file"):
                    shutil.copyfile(Path(unquote(where.path)) / name, folder / name)
                elif where.scheme == "mlflow-artifacts":
                    path = f"/api/2.0/mlflow-artifacts/artifacts/{quote(where.path.lstrip('/'))}/{name}"
                    (folder / name).write_bytes(self._client.get(path).raise_for_status().content)
                else:
                    raise ModelError(f"files of model {named.version} lie at {named.files}: nothing here reads that")
        except (OSError, httpx.HTTPError) as error:
            raise ModelError(f"the files of model {named.version} at {named.files} cannot be read: {error}") from error

    def _folder(self, version: dict[str, str]) -> str:
        source = version.get("source", "")
        if not source.startswith("models:/m-"):
            return source
        found = self._client.get(f"/api/2.0/mlflow/logged-models/{source.removeprefix('models:/')}")
        return found.raise_for_status().json()["model"]["info"]["artifact_uri"]


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
    while not stop.wait(_POLL_S):
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


class Follower:
    """Looks at the alias; what fails is said once, and tried again after a minute."""

    def __init__(self, settings: Settings, server: Server, now: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._server, self._now = settings, server, now
        self._tried: Named | None = None
        self._failed_at: float | None = None
        self._said = ""

    def look(self) -> Serving | None:
        """Export what the alias names, if that is new; returns what was exported."""
        try:
            named = self._server.champion()
        except (httpx.HTTPError, KeyError, ValueError) as error:
            return self._keep(f"MLflow does not answer ({type(error).__name__}: {error})")
        if named is None:
            return self._keep("no version is the champion")
        due = self._failed_at is not None and self._now() - self._failed_at >= _RETRY_S
        if named == self._tried and not due:
            return None
        self._tried = named
        try:
            made = self._export(named)
        except (ModelError, OSError) as error:
            self._failed_at = self._now()
            return self._keep(f"model {named.version} is not taken: {error}")
        self._failed_at, self._said = None, ""
        _tell(made)
        return made

    def _export(self, named: Named) -> Serving:
        with tempfile.TemporaryDirectory() as folder:
            self._server.fetch(named, Path(folder))
            system = System.load(Path(folder))
        return _exported(self._settings, replace(system, about=replace(system.about, version=named.version)))

    def _keep(self, why: str) -> None:
        if why != self._said:
            self._said = why
            folder = export.current(self._settings.home)
            serves = f"version {folder.name} goes on serving" if folder else "nothing serves"
            console.print(f"{why}; {serves}", markup=False, soft_wrap=True)


def _tell(made: Serving) -> None:
    what = "serves now" if made.changed else "serves already"
    console.print(
        f"{made.name} {made.version} ({made.kind}, {made.titles} titles) {what}", markup=False, soft_wrap=True
    )
    if made.kept_because:
        console.print(made.kept_because, style="red", markup=False, soft_wrap=True)
