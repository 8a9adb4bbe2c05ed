"""`matinee erase`: the right to be forgotten, from the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matinee.settings import Settings

if TYPE_CHECKING:
    from orchestration.erase import Proof

app = typer.Typer(no_args_is_help=True)


@app.command()
def erase(
    accounts: Annotated[list[str] | None, typer.Argument(metavar="ACCOUNT...", help="Ids or e-mails.")] = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also write files, logs and tables anew, so that the bytes are gone.")
    ] = False,
    file: Annotated[Path | None, typer.Option("--file", help="A text file that names one account a line.")] = None,
    requested: Annotated[
        bool,
        typer.Option("--requested", help="Also those who asked for it on their page; `matinee up` does it by itself."),
    ] = False,
) -> None:
    """Forget accounts: every trace of them becomes unreadable, and no later event brings one back.

    Without --purge the lake's files keep rows under keys that lead to nobody; `matinee erase --purge` alone finishes
    what was erased before. Ends with a proof: what was removed where, which models have learnt from them, what remains.
    """
    from matinee.console import console
    from matinee.db.connect import connect
    from matinee.stack.session import services
    from orchestration.erase import erase as run
    from serving.erase import requested as waiting

    settings = Settings.load()
    names = [*(accounts or ()), *(_lines(file) if file else ())]
    with services(settings), console.status("forgetting"):
        if requested:
            with connect(settings) as connection:
                names += waiting(connection)
        proof = run(settings, names, purge=purge)
    show(proof)


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text().splitlines() if line.strip()]


def show(proof: "Proof") -> None:
    from matinee.console import console, table

    rows = [(trace.where, trace.removed, trace.what, trace.seconds) for trace in proof.traces]
    purged = f", their bytes gone after {proof.seconds:.2f} s" if proof.purged else f" ({proof.seconds:.2f} s in all)"
    title = f"{len(proof.accounts)} accounts forgotten: unreadable after {proof.unreadable_after:.2f} s{purged}"
    console.print(table(title, ("where", "removed", "what", "seconds"), rows))
    for model in proof.models:
        named = f" ({model.aliases})" if model.aliases else ""
        console.print(f"{model.model} version {model.version}{named} has learnt from them: `matinee build` trains anew")
    for line in proof.remains:
        console.print(f"remains: {line}", highlight=False)
    console.print(f"proof: {proof.path}", soft_wrap=True)
