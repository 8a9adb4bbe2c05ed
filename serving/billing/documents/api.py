"""HTTP of papers: /api/billing/invoices."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from serving.auth import SignedIn
from serving.billing import views
from serving.billing.documents import core, paper
from serving.billing.documents.model import Sheet
from serving.billing.types import Invoices, InvoiceView
from serving.context import Context, Ctx
from serving.db import Row
from serving.profiles.core import adult

router = APIRouter(prefix="/api/billing", tags=["billing"])
InvoiceId = Annotated[str, Path(max_length=64, pattern=r"^[0-9A-Za-z-]+$")]
Spoken = Annotated[Literal["en", "ru"] | None, Query(description="else that of the invoice")]
# A page of its own, which may have its style in it and nothing else; it stands beside our cookies, but runs nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@router.get("/invoices")
async def list_invoices(
    request: Request,
    context: Ctx,
    claims: SignedIn,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Invoices:
    """The account's invoices, receipts and credit notes, the newest first."""
    language, purpose = views.language_of(request), f"invoices {claims.account_id}"
    before = None
    if cursor:
        issued_at, invoice_id = context.cursors.open(purpose, cursor)
        before = datetime.fromisoformat(issued_at), invoice_id
    async with context.transaction() as connection:
        await adult(connection, claims.account_id, claims.session_id)
        found = await core.listed(connection, claims.account_id, limit, before)
    last = found[-1] if len(found) == limit else None
    return Invoices(
        items=[_invoice(one, language) for one in found],
        cursor=context.cursors.seal(purpose, [last["issued_at"].isoformat(), last["invoice_id"]]) if last else None,
    )


def _invoice(found: Row, language: str) -> InvoiceView:
    names, address = found["names"] or {}, f"/api/billing/invoices/{found['invoice_id']}"
    return InvoiceView(
        invoice_id=found["invoice_id"],
        number=found["number"],
        purpose=found["purpose"],
        state=found["state"],
        name=names.get(language) or names.get("en") or next(iter(names.values()), ""),
        total=views.amount(found["total_minor"], found["currency"], language),
        given_back=views.amount(found["credited_minor"], found["currency"], language),
        issued_at=found["issued_at"],
        paid_at=found["paid_at"],
        html=f"{address}.html",
        pdf=f"{address}.pdf",
    )


@router.get("/invoices/{invoice_id}.html", response_class=Response)
async def invoice_page(
    invoice_id: InvoiceId, request: Request, context: Ctx, claims: SignedIn, language: Spoken = None
) -> Response:
    """An invoice, receipt or credit note to read and print."""
    sheet = await _sheet(context, claims.account_id, claims.session_id, invoice_id, language)
    request.scope["matinee.headers"] = {"content-security-policy": _POLICY}
    return Response(paper.html(sheet), media_type="text/html; charset=utf-8")


@router.get("/invoices/{invoice_id}.pdf", response_class=Response)
async def invoice_pdf(invoice_id: InvoiceId, context: Ctx, claims: SignedIn, language: Spoken = None) -> Response:
    """The same as PDF."""
    sheet = await _sheet(context, claims.account_id, claims.session_id, invoice_id, language)
    made = await run_in_threadpool(paper.pdf, sheet)
    headers = {"content-disposition": f'attachment; filename="{sheet.number}.pdf"'}
    return Response(made, headers=headers, media_type="application/pdf")


async def _sheet(
    context: Context, account_id: str, session_id: str, invoice_id: str, language: str | None
) -> Sheet:  # fmt: skip
    async with context.transaction() as connection:
        await adult(connection, account_id, session_id)
        return await core.paper(connection, context.settings, account_id, invoice_id, language)
