"""The books: held against themselves and against the payment providers, before anybody reads figures from them."""

from typing import TYPE_CHECKING

import dagster as dg

from orchestration.markdown import table
from orchestration.policies import room
from orchestration.resources import MatineeResource

if TYPE_CHECKING:
    from matinee.settings import Settings
    from serving.billing.reconcile.core import Reconciled
    from serving.billing.reconcile.verify import Verified

_SHOWN = 50
WHOLE = dg.AssetCheckSpec(
    "whole",
    asset=["serving", "books"],
    blocking=True,
    description="Every transaction sums to zero; invoices, payments, refunds and disputes are what the ledger says.",
)
AGREES = dg.AssetCheckSpec(
    "agrees_with_providers",
    asset=["serving", "books"],
    description="What payment providers list of the last 35 days is what the ledger has in `clearing`.",
)


@dg.asset(**room("serving"), check_specs=[WHOLE, AGREES], kinds={"postgres"})
def books(matinee: MatineeResource) -> dg.MaterializeResult:
    """The ledger: what was on its way is settled, payouts are booked, and what differs is named with its remedy."""
    import asyncio

    verified, made = asyncio.run(_looked(matinee.settings()))
    metadata = {
        "facts": verified.facts,
        "postings": verified.postings,
        **{f"sum of all postings, {currency}": minor for currency, minor in verified.sums.items()},
        **{f"movements at {each.provider}": each.movements for each in made},
        "booked by this run": sum(len(each.booked) for each in made),
    }
    return dg.MaterializeResult(metadata=metadata, check_results=[_whole(verified), _agrees(made)])


async def _looked(settings: "Settings") -> "tuple[Verified, list[Reconciled]]":
    from serving.billing.payments.desk import desk
    from serving.billing.reconcile import core
    from serving.billing.reconcile.verify import verify

    async with desk(settings) as office:
        async with office.transaction() as connection:
            names = await core.providers(connection, settings)
        made = [await core.reconcile(office, name, office.clock.now() - core.RECENT) for name in names]
        async with office.transaction() as connection:
            return await verify(connection), made


def _whole(verified: "Verified") -> dg.AssetCheckResult:
    metadata: dict[str, dg.MetadataValue] = {"findings": dg.MetadataValue.int(len(verified.findings))}
    if verified.findings:
        lines = [[each.what, each.id, each.detail, each.remedy] for each in verified.findings[:_SHOWN]]
        metadata["what is wrong"] = table(["what", "id", "how", "what to do"], lines)
    return dg.AssetCheckResult(check_name=WHOLE.name, passed=verified.whole, metadata=metadata)


def _agrees(made: "list[Reconciled]") -> dg.AssetCheckResult:
    from serving.billing.reconcile.core import remedy

    found = [
        [made.provider, each.kind, each.id, each.wrong, each.here, each.there, each.currency, remedy(each)]
        for made in made
        for each in made.differences
    ]
    metadata: dict[str, dg.MetadataValue] = {"differences": dg.MetadataValue.int(len(found))}
    if found:
        columns = ["provider", "what", "id", "wrong", "here", "there", "currency", "what to do"]
        metadata["what differs"] = table(columns, found[:_SHOWN])
    return dg.AssetCheckResult(check_name=AGREES.name, passed=not found, metadata=metadata)
