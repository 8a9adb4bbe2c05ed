"""What a person sees at the end of a build: what was made and where to look."""

import re

from rich.markup import escape
from rich.tree import Tree

from matinee.console import console, table
from matinee.errors import MatineeError
from matinee.settings import Settings
from orchestration.build import SNAPSHOT, TRANSFORMS, Build, BuildError
from orchestration.lineage import Step


def show_build(settings: Settings, built: Build) -> None:
    """One line an asset, with what it said of itself; failed checks in red; links to the pages."""
    rows = [(made.asset, _words(made.metadata)) for made in built.assets if not made.asset.startswith("transforms/")]
    marts = [made for made in built.assets if made.asset.startswith("transforms/")]
    if marts:
        rows.append(("transforms/*", f"{len(marts)} models built and tested"))
    console.print(table("built", ("asset", "what"), rows))
    if told := who_recommends(built):
        console.print(told, markup=False, soft_wrap=True)
    for check in built.failed_checks:
        console.print(f"[red]check failed:[/red] {check.name}")
    for check in (check for check in built.failed_checks if check.rows):
        columns = list(check.rows[0])
        console.print(table(check.name, columns, ([row[name] for name in columns] for row in check.rows)))
    if any("landing_gate" in check.name for check in built.failed_checks):
        console.print("landed batches are held back, the rest went on: `matinee held list | recheck | accept`")
    for name, address in pages(settings):
        console.print(f"{name:<12} [link={address}]{address}[/link]")


def who_recommends(built: Build) -> str:
    """In a sentence, which model serves, and what the gate said of the one that was trained; empty where a build had
    nothing to do with models."""
    from models.recommenders.assemble import POPULARITY

    said = {made.asset: made.metadata for made in built.assets}
    serves, trained = said.get("models/exported"), said.get("models/recommender", {})
    if serves is None:
        return ""
    if serves["name"] == POPULARITY:
        who = "what was popular lately, for no model has passed the promotion gate yet"
    else:
        who = f"{serves['name']} {serves['version']} ({serves['kind']})"
    return f"recommended is by {who}" + (f"; the gate: {trained['verdict']}" if "verdict" in trained else "")


def tree(title: str, step: Step) -> Tree:
    """A way of `matinee lineage`, one line a step with what is known of it."""
    root = Tree(f"[bold]{title}[/bold]")
    _grow(root, step)
    return root


def _grow(branch: Tree, step: Step) -> None:
    facts = ", ".join(f"{name} {_short(value)}" for name, value in step.facts.items())
    grown = branch.add(
        f"[cyan]{step.kind}[/cyan] {escape(step.name)}" + (f"  [dim]{escape(facts)}[/dim]" if facts else "")
    )
    for below in step.steps:
        _grow(grown, below)


def _short(value: object) -> str:
    """Numbers with separators, hashes by their first digits."""
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return f"{text[:12]}…" if re.fullmatch(r"[0-9a-f]{40,}", text) else text


def show_what_failed(settings: Settings, error: BuildError) -> None:
    """The rows behind a failed audit; the error itself is the closing line."""
    from warehouse.anomalies.record import known_anomalies
    from warehouse.failures import last_failures
    from warehouse.show import show_failures, show_looks

    if error.step == TRANSFORMS:
        show_failures([failure for failure in last_failures(settings) if failure.by_itself])
    elif error.step == SNAPSHOT:
        show_looks([look for look in known_anomalies(settings) if not look.passed])


def pages(settings: Settings) -> list[tuple[str, str]]:
    """Pages that open from disk."""
    reports = settings.home.reports
    candidates = {
        "report": reports / "index.html",
        "dbt docs": reports / "dbt" / "index.html",
        "data docs": reports / "data-docs" / "index.html",
    }
    return [(name, path.as_uri()) for name, path in candidates.items() if path.exists()]


def links(settings: Settings) -> list[tuple[str, str]]:
    """Everything that can be opened in a browser while the stack runs."""
    from matinee.db.connect import connect
    from matinee.ports import known_port

    def at(service: str, path: str = "") -> str | None:
        try:
            return f"http://127.0.0.1:{known_port(settings.home, service)}{path}"
        except MatineeError:
            return None

    with connect(settings) as connection:
        row = connection.execute("SELECT title_id FROM playable ORDER BY created_at LIMIT 1").fetchone()
    candidates = [
        ("watch", at("api", "/")),
        ("a title", at("api", f"/#/title/{row[0]}") if row else None),
        ("API docs", at("api", "/api/docs")),
        ("Dagster", at("dagster")),
        ("MLflow", settings.mlflow_url or at("mlflow", "/#/models/matinee-recommender")),
        *pages(settings),
    ]
    return [(name, address) for name, address in candidates if address]


def _words(metadata: dict[str, object]) -> str:
    short = {key: value for key, value in metadata.items() if "\n" not in str(value) and not key.startswith("dagster")}
    return ", ".join(f"{key}: {value}" for key, value in short.items())
