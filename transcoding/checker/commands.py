"""The command `check-package`."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command("check-package")
def check_package(
    location: Annotated[str, typer.Argument(help="A folder with a master.m3u8, a playlist file, or an http(s) URL.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Show passed and skipped rules too.")] = False,
    other_origins: Annotated[
        bool, typer.Option("--other-origins", help="Follow playlists of a URL to other servers.")
    ] = False,
    inside: Annotated[
        bool, typer.Option("--inside", help="The URL's server stands in my own network: its address may be private.")
    ] = False,
) -> None:
    """Check an HLS package, ours or not, against Apple's authoring rules (and DASH beside it).

    Reads every file once and decodes none. Exits with 1 when a MUST is broken.
    """
    import json

    from matinee.console import console, errors
    from transcoding.checker import check
    from transcoding.checker.report import summary, tables

    with errors.status(f"Reading {location}"):
        report = check(location, other_origins=other_origins, inside=inside)
    if as_json:
        typer.echo(json.dumps(report.as_json(), ensure_ascii=False, indent=1))
    else:
        for table in tables(report, every=every):
            console.print(table)
        console.print(summary(report), highlight=False)
    if report.musts_broken:
        raise typer.Exit(1)
