"""The hosted page of the sandbox, as a bank's page would be: HTML and forms alone, ru and en.

Who knows the name of a payment may pay it, as with other providers' pages; there is no session and
no cookie. Cards are test cards by name (PCI DSS has nothing to say here): what is typed is compared and forgotten.
"""

import asyncio
import re
from html import escape
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from serving.auth import check_origin
from serving.billing.ledger.money import show
from serving.billing.providers.sandbox.books import Payment
from serving.billing.providers.sandbox.cards import BY_NAME, CARDS, card_of
from serving.billing.providers.sandbox.core import PAGE, Sandbox
from serving.billing.providers.sandbox.notices import run
from serving.billing.providers.sandbox.words import WORDS
from serving.context import Context, context_of
from serving.headers import SECURITY
from serving.problems import Problem

PATH = PAGE + "{ref}"
_REF = re.compile(r"sbx_pay_[A-Za-z0-9_-]{24}")
_LONGEST_FORM = 2_000


async def show_page(request: Request) -> Response:
    """What is to be paid, and how; or what became of it."""
    payment = await _payment(request)
    return _answer(request, payment)


async def take_form(request: Request) -> Response:
    """A card, the answer to the bank's question, or a change of mind; then back to where the buyer came from."""
    check_origin(request)
    sandbox, payment = _sandbox(request), await _payment(request)
    form = parse_qs((await request.body())[:_LONGEST_FORM].decode(errors="replace"))
    match form.get("do", [""])[0]:
        case "pay":
            card = card_of(form.get("number", [""])[0])
            if card is None and not payment.settled:
                return _answer(request, payment, refused=True)
            if card is not None:
                payment = await sandbox.submit(payment.ref, card, save="save" in form)
        case "confirm" | "refuse" as said:
            payment = await sandbox.confirm(payment.ref, is_owner=said == "confirm")
        case "cancel":
            payment = await sandbox.abandon(payment.ref)
    back = payment.return_url if payment.settled and payment.return_url else PAGE + payment.ref
    _headers(request, payment)
    return RedirectResponse(back, 303)


def telling(app: FastAPI) -> asyncio.Task[None] | None:
    """Begin to tell this app's own webhook what happens in its sandbox; None where others take the money.

    Raises:
        SettingsError: MATINEE_SANDBOX_FAULTS names what is no fault.
    """
    context = context_of(app)
    return asyncio.create_task(run(_of(context), app)) if context.settings.payments == "sandbox" else None


def _sandbox(request: Request) -> Sandbox:
    context = context_of(request.app)
    if context.settings.payments != "sandbox":
        raise _no_payment()
    return _of(context)


def _of(context: Context) -> Sandbox:
    found = context.billing.provider("sandbox")
    assert isinstance(found, Sandbox)
    return found


async def _payment(request: Request) -> Payment:
    ref = request.path_params["ref"]
    found = await _sandbox(request).payment(ref) if _REF.fullmatch(ref) else None
    if found is None:
        raise _no_payment()
    return found


def _no_payment() -> Problem:
    return Problem(404, "not_found", "there is no such payment in the sandbox")


def _headers(request: Request, payment: Payment) -> None:
    # The form comes here, and leads back to where the buyer came from; with no-referrer it would tell no origin.
    back = urlsplit(payment.return_url or "")
    origin = f" {back.scheme}://{back.netloc}" if back.netloc else ""
    policy = dict(SECURITY)["content-security-policy"].replace("form-action 'none'", f"form-action 'self'{origin}")
    request.scope["matinee.headers"] = {"content-security-policy": policy, "referrer-policy": "same-origin"}


def _answer(request: Request, payment: Payment, *, refused: bool = False) -> Response:
    _headers(request, payment)
    return HTMLResponse(render(payment, refused=refused), 422 if refused else 200)


def render(payment: Payment, *, refused: bool = False) -> str:
    """The page of a payment. `refused`: what was typed is no test card."""
    language = payment.language if payment.language in WORDS else "en"
    words = {name: escape(text) for name, text in WORDS[language].items()}
    amount = escape(show(payment.money, language))
    if payment.settled:
        body = _settled(payment, words)
    elif payment.waits_for_bank:
        body = _challenge(payment, words, amount)
    else:
        body = _form(payment, words, amount, refused=refused)
    return f"""<!doctype html>
<html lang="{language}">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="dark">
  <meta name="robots" content="noindex">
  <title>{words["title"]}</title>
  <link rel="icon" href="/static/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/static/style.css">
</head>
<body>
  <main>
    <h1>{words["title"]}</h1>
    <p class="refusal"><strong>{words["loud"]}</strong></p>
    <dl class="people">
      <dt>{words["invoice"]}</dt><dd>{escape(payment.description)}</dd>
      <dt>{words["to_pay"]}</dt><dd>{amount}</dd>
    </dl>
{body}
  </main>
</body>
</html>
"""


def _settled(payment: Payment, words: dict[str, str]) -> str:
    said = words[payment.state].format(failure=escape(payment.failure or ""))
    link = f'<a class="button" href="{escape(payment.return_url)}">{words["back"]}</a>' if payment.return_url else ""
    return f'    <p role="status">{said}</p>\n    <p>{link}</p>'


def _challenge(payment: Payment, words: dict[str, str], amount: str) -> str:
    asked = words["challenge"].format(amount=amount, card=escape(BY_NAME[payment.card or ""].label))
    return f"""    <form class="form" method="post">
      <p>{asked}</p>
      <p class="buttons"><button class="button" name="do" value="confirm">{words["confirm"]}</button>
      <button class="button quiet" name="do" value="refuse">{words["refuse"]}</button></p>
    </form>"""


def _form(payment: Payment, words: dict[str, str], amount: str, *, refused: bool) -> str:
    wrong = f'<p class="refusal" role="alert" id="wrong">{words["unknown"]}</p>' if refused else ""
    tied = ' aria-invalid="true" aria-describedby="wrong"' if refused else ""
    save = f'<label class="tick"><input type="checkbox" name="save" checked> {words["save"]}</label>'
    known = "".join(f'<option value="{card.grouped}">{words[card.name]}</option>' for card in CARDS)
    lines = "\n".join(
        f"      <dt><code>{card.grouped}</code></dt><dd>{escape(card.brand)}: {words[card.name]}</dd>" for card in CARDS
    )
    return f"""    <form class="form" method="post">
      <label>{words["number"]}
        <input name="number" list="cards" inputmode="numeric" autocomplete="off" maxlength="40"{tied}>
      </label>
      <datalist id="cards">{known}</datalist>
      {wrong}
      {save if payment.save_method else ""}
      <p class="buttons"><button class="button" name="do" value="pay">{words["pay"].format(amount=amount)}</button>
      <button class="button quiet" name="do" value="cancel">{words["cancel"]}</button></p>
    </form>
    <h2>{words["cards"]}</h2>
    <dl class="people">
{lines}
    </dl>"""
