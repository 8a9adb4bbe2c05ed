"""`matinee billing sandbox`: the embedded provider's switches, disputes, webhooks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from matinee.settings import Settings

if TYPE_CHECKING:
    from serving.billing.providers.sandbox.core import Sandbox

app = typer.Typer(no_args_is_help=True, help="The embedded payment provider, where no money moves.")
T = TypeVar("T")


@app.command()
def faults(
    switches: Annotated[
        str, typer.Argument(help='For example "declines=0.1 after=0.05 seed=7"; nothing: show what is on.')
    ] = "",
    off: Annotated[bool, typer.Option("--off", help="Back to MATINEE_SANDBOX_FAULTS.")] = False,
) -> None:
    """Make payments go wrong, at once and for every process of this home."""
    from matinee.console import console
    from serving.billing.providers.sandbox.faults import Faults

    if switches:
        Faults.parse(switches)

    async def work(sandbox: "Sandbox") -> Faults:
        if switches or off:
            await sandbox.switch(None if off else switches)
        return await sandbox.switches()

    console.print(f"the sandbox now: {_with(work)}")
    console.print(
        'again as it was: matinee billing sandbox faults --off; pay at /sandbox/pay/…, "test cards" are there'
    )


@app.command()
def dispute(
    payment: Annotated[str, typer.Argument(help="The provider's reference of a payment: sbx_pay_…")],
    reason: Annotated[str, typer.Option(help="What the owner of the card tells the bank.")] = "fraudulent",
) -> None:
    """Have the bank take a payment back until the dispute is decided."""
    from matinee.console import console

    async def work(sandbox: "Sandbox") -> str | None:
        return await sandbox.dispute(payment, reason)

    made = _with(work)
    if made is None:
        console.print(f"{payment}: not disputed; it is not paid, given back already, or disputed before")
        raise typer.Exit(1)
    console.print(f"dispute {made} is open: end it by `matinee billing sandbox decide {made} --won` (or --lost)")


@app.command()
def decide(
    dispute: Annotated[str, typer.Argument(help="The dispute: sbx_dispute_…")],
    won: Annotated[bool, typer.Option("--won/--lost", help="For us, or for the owner of the card.")],
) -> None:
    """End a dispute."""
    from matinee.console import console

    async def work(sandbox: "Sandbox") -> None:
        await sandbox.close_dispute(dispute, won=won)

    _with(work)
    console.print(
        f"dispute {dispute} is {'won' if won else 'lost'}: `matinee billing balances` shows what became of it"
    )


@app.command()
def tell() -> None:
    """Tell the running API's webhook what it was not told yet (it does so itself while it runs)."""
    from matinee.console import console
    from matinee.ports import known_port
    from serving.billing.providers.sandbox.notices import ROUTE, deliver

    url = f"http://127.0.0.1:{known_port(Settings.load().home, 'api')}"

    async def work(sandbox: "Sandbox") -> int:
        import httpx

        async with httpx.AsyncClient(base_url=url, timeout=10) as client:

            async def post(body: bytes, headers: Mapping[str, str]) -> int:
                try:
                    return (await client.post(ROUTE, content=body, headers=dict(headers))).status_code
                except httpx.TransportError:
                    return 503

            return await deliver(sandbox, post)

    console.print(f"{_with(work)} notices were taken by {url}{ROUTE}")


def _with(work: "Callable[[Sandbox], Awaitable[T]]") -> T:
    from matinee.stack.session import services

    settings = Settings.load()

    async def run() -> T:
        from serving.billing.providers.sandbox.core import Sandbox

        sandbox = Sandbox(settings)
        try:
            return await work(sandbox)
        finally:
            await sandbox.aclose()

    with services(settings):
        return asyncio.run(run())
