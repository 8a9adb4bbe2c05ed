"""`matinee gateway`: look at the configuration, take a new certificate."""

import typer

from matinee.settings import Settings

app = typer.Typer(no_args_is_help=True, help="NGINX before the API.")


@app.command()
def show() -> None:
    """Print the configuration that the running gateway was started with."""
    from serving.gateway.process import configuration

    typer.echo(configuration(Settings.load()).read_text(), nl=False)


@app.command()
def reload() -> None:
    """Take a new certificate and new settings into the running gateway; requests under way are finished."""
    from matinee.console import console
    from serving.gateway import process

    settings = Settings.load()
    process.reload(settings)
    console.print(f"reloaded; what it says: {settings.home.logs / 'gateway.log'}", soft_wrap=True, highlight=False)
