"""Every route, who may call it and what it answers, as one table; and how each is called as whom."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from matinee.ids import uuid7
from serving.openapi import documented_app

ROLES = ("anonymous", "viewer", "lapsed", "kid", "moderator", "admin")

# Who is refused, and how; everybody else hears the row's own answer. `lapsed` is a viewer without a plan, `kid` a
# sign-in in a child's profile of an account with a PIN.
WHO: dict[str, dict[str, int]] = {
    "anyone": {},
    "signed": {"anonymous": 401},
    "player": {"anonymous": 403},
    "fresh": {"anonymous": 401, "kid": 403},  # within minutes of showing a password, a test of its own after them
    "adults": {"anonymous": 401, "kid": 403},
    "payers": {"anonymous": 401, "lapsed": 403},
    "staff": {"anonymous": 401, "viewer": 403, "lapsed": 403, "kid": 403},
    "admins": {"anonymous": 401, "viewer": 403, "lapsed": 403, "kid": 403, "moderator": 403},
}

# Method, path | who | the answers for one's own object, another's, and one that does not exist (or just one answer
# where the route is of no object) | the object | the body. `spends`: the caller is nobody afterwards.
TABLE = """
GET    /                                               | anyone | 200
GET    /api/docs                                       | anyone | 200
GET    /api/openapi.json                               | anyone | 200
GET    /health/live                                    | anyone | 200
GET    /health/ready                                   | anyone | 200
GET    /metrics                                        | anyone | 200
MOUNT  /static                                         | anyone | 404
GET    /sandbox/pay/{ref}                              | anyone | 200 200 404 | sandbox
POST   /sandbox/pay/{ref}                              | anyone | 303 303 404 | sandbox

POST   /api/auth/register                              | anyone | 422 |          | {}
POST   /api/auth/login                                 | anyone | 401 |         | {"email": "x@a.org", "password": "x"}
POST   /api/auth/refresh                               | anyone | 401 |          | {"refresh_token": "none"}
POST   /api/auth/logout                                | anyone | 204 | spends   | {"refresh_token": "none"}
POST   /api/auth/login/code                            | anyone | 401 |          | {"challenge": "x", "code": "123456"}
POST   /api/auth/reauthenticate                        | signed | 401 |          | {"password": "wrong one"}
POST   /api/auth/confirm                               | anyone | 400 |          | {"token": "none"}
POST   /api/auth/confirm/letter                        | signed | 202
POST   /api/auth/recover                               | anyone | 202 |          | {"email": "x@example.org"}
POST   /api/auth/reset                                 | anyone | 422 |          | {"token": "x", "password": "x"}
GET    /api/auth/sessions                              | signed | 200
DELETE /api/auth/sessions                              | signed | 204
DELETE /api/auth/sessions/{session_id}                 | signed | 204 404 404 | session
PUT    /api/auth/password                              | signed | 422 |   | {"password": "x", "new_password": "y"}
PUT    /api/auth/email                                 | fresh  | 202 |          | {"email": "new@example.org"}
GET    /api/auth/totp                                  | signed | 200
POST   /api/auth/totp                                  | fresh  | 200
POST   /api/auth/totp/confirm                          | fresh  | 401 |          | {"code": "000000"}
POST   /api/auth/totp/recovery-codes                   | fresh  | 409
DELETE /api/auth/totp                                  | fresh  | 204
POST   /api/auth/tv                                    | anyone | 200 |          | {}
POST   /api/auth/tv/token                              | anyone | 400 |          | {"device_code": "none"}
GET    /api/auth/tv/{user_code}                        | signed | 200 200 404 | code
POST   /api/auth/tv/approve                            | adults | 404 |          | {"user_code": "BCDF-GHJK"}
GET    /api/account                                    | signed | 200
GET    /api/account/export                             | adults | 200
POST   /api/account/erase                              | fresh  | 202 | spends

GET    /api/profile                                    | signed | 200
POST   /api/profile                                    | adults | 201 | spends   | {"name": "One more"}
PATCH  /api/profile/{profile_id}                       | signed | 200 404 404 | profile | {"language": "ru"}
DELETE /api/profile/{profile_id}                       | adults | 204 404 404 | profile
POST   /api/profile/{profile_id}/enter                 | signed | 200 404 404 | profile | {}
PUT    /api/profile/pin                                | fresh  | 204 |          | {"pin": "4713"}
DELETE /api/profile/pin                                | fresh  | 204
PUT    /api/profile/{profile_id}/pin                   | fresh  | 204 404 404 | profile | {"pin": "4713"}
DELETE /api/profile/{profile_id}/pin                   | fresh  | 204 404 404 | profile
GET    /api/profile/{profile_id}/favourites            | signed | 200 404 404 | profile
GET    /api/profile/{profile_id}/history               | signed | 200 404 404 | profile
GET    /api/profile/{profile_id}/ratings               | signed | 200 404 404 | profile
GET    /api/profile/{profile_id}/continue              | signed | 200 404 404 | profile
GET    /api/profile/{profile_id}/titles/{title_id}     | signed | 200 404 404 | profile
PUT    /api/profile/{profile_id}/favourites/{title_id} | signed | 204 404 404 | profile
DELETE /api/profile/{profile_id}/favourites/{title_id} | signed | 204 404 404 | profile
PUT    /api/profile/{profile_id}/ratings/{title_id}    | signed | 204 404 404 | profile | {"value": 4}
DELETE /api/profile/{profile_id}/ratings/{title_id}    | signed | 204 404 404 | profile
DELETE /api/profile/{profile_id}/history               | signed | 204 404 404 | profile
DELETE /api/profile/{profile_id}/history/{title_id}    | signed | 204 404 404 | profile

GET    /api/media                                      | anyone | 200
GET    /api/media/facets                               | anyone | 200
GET    /api/media/genres                               | anyone | 200
GET    /api/media/{title_id}                           | anyone | 200 404 404 | title
GET    /api/media/{title_id}/similar                   | anyone | 200 404 404 | title
GET    /api/people/{person_id}                         | anyone | 404
GET    /api/search                                     | anyone | 422
GET    /media-posters/{title_id}.jpg                   | anyone | 200 404 404 | title
GET    /api/recommendations                            | signed | 200

POST   /api/watch/{title_id}                           | signed | 200 404 404 | title    | {}
POST   /api/watch/{playback_id}/heartbeat              | signed | 200 404 404 | playback | {"position_ms": 1}
POST   /api/watch/{playback_id}/stop                   | signed | 204 404 404 | playback
GET    /api/watch/keys/{key_id}                        | player | 200 403 403 | key
GET    /v/{token}/{title_id}/{package_id}/{name:path}  | player | 200 403 403 | segment

GET    /api/billing/plans                              | anyone | 200
GET    /api/billing                                    | adults | 200
POST   /api/billing/preview                            | adults | 200 |          | {"price_id": "basic-month-eur"}
POST   /api/billing/checkout                           | adults | 400 |          | {"price_id": "basic-month-eur"}
POST   /api/billing/purchase                           | adults | 400 |          | {"title_id": "otters", "kind": "buy"}
GET    /api/billing/payments/{payment_id}              | adults | 200 404 404 | bought
GET    /api/billing/invoices                           | adults | 200
GET    /api/billing/invoices/{invoice_id}.html         | adults | 200 404 404 | bought
GET    /api/billing/invoices/{invoice_id}.pdf          | adults | 200 404 404 | bought
POST   /api/billing/invoices/{invoice_id}/pay          | adults | 400 400 400 | bought  | {}
DELETE /api/billing/methods/{method_id}                | adults | 204 404 404 | bought
POST   /api/billing/subscription/cancel                | adults | 404
POST   /api/billing/subscription/keep                  | adults | 404
POST   /api/billing/subscription/pause                 | adults | 404 |          | {}
POST   /api/billing/subscription/change                | adults | 400 |          | {"price_id": "basic-month-eur"}
POST   /api/billing/subscription/resume                | adults | 400
PUT    /api/billing/subscription/method                | adults | 404 |          | {"method_id": "none"}
POST   /api/billing/webhooks/{provider}                | anyone | 404

POST   /api/events                                     | anyone | 202 |          | {"events": []}
POST   /api/cmcd                                       | anyone | 200
GET    /api/admin/catalogue                            | staff  | 200
GET    /api/admin/catalogue/{title_id}                 | staff  | 200 200 404 | title
PATCH  /api/admin/catalogue/{title_id}                 | staff  | 428 428 428 | title    | {}
POST   /api/admin/catalogue/{title_id}/release         | staff  | 428 428 428 | title    | {"fields": ["year"]}
POST   /api/admin/catalogue/{title_id}/submit          | staff  | 428 428 428 | title    | {}
POST   /api/admin/catalogue/{title_id}/approve         | staff  | 428 428 428 | title    | {}
POST   /api/admin/catalogue/{title_id}/send_back       | staff  | 428 428 428 | title    | {"note": "no"}
POST   /api/admin/catalogue/{title_id}/withdraw        | staff  | 428 428 428 | title    | {"note": "no"}
GET    /api/analytics/titles                           | staff  | 503

GET    /api/admin/accounts                             | admins | 200
GET    /api/admin/accounts/{account_id}                | admins | 200 200 404 | account
PATCH  /api/admin/accounts/{account_id}                | admins | 200 200 404 | account | {"disabled": false}
DELETE /api/admin/accounts/{account_id}/sessions       | admins | 200 200 404 | account
GET    /api/admin/audit                                | admins | 200

GET    /api/admin/billing/payments                     | admins | 200
GET    /api/admin/billing/payments/{payment_id}        | admins | 200 200 404 | bought
POST   /api/admin/billing/payments/{payment_id}/refunds | admins | 400 400 400 | bought | {"reason": "x"}
GET    /api/admin/billing/disputes                     | admins | 200
GET    /api/admin/billing/promo-codes                  | admins | 200
POST   /api/admin/billing/promo-codes                  | admins | 422 |          | {"code": "X"}
DELETE /api/admin/billing/promo-codes/{promo_id}       | admins | 404
GET    /api/admin/billing/accounts/{account_id}/ledger | admins | 200 200 404 | account
POST   /api/admin/billing/accounts/{account_id}/subscription/cancel | admins | 404 404 404 | account
GET    /api/admin/billing/prices                       | admins | 200
"""


@dataclass(frozen=True)
class Rule:
    """A row of the table."""

    method: str
    path: str
    who: str
    refused: dict[str, int]
    answers: tuple[int, ...]
    kind: str
    body: Any

    @property
    def name(self) -> tuple[str, str]:
        return self.method, self.path

    def expected(self, role: str, whose: str) -> set[int]:
        """The answers that `role` may hear; whoever is refused may hear instead that the object is not there."""
        own = self.answers[("own", "other", "none").index(whose)]
        if role not in self.refused:
            return {own}
        return {self.refused[role]} | ({own} if own >= 400 else set())


def rules() -> Iterator[Rule]:
    for line in TABLE.strip().splitlines():
        if not line.strip():
            continue
        route, who, answers, kind, body = ([cell.strip() for cell in line.split("|", 4)] + ["", ""])[:5]
        method, path = route.split()
        yield Rule(
            method, path, who, WHO[who], tuple(map(int, answers.split())), kind, json.loads(body) if body else None
        )


RULES = {rule.name: rule for rule in rules()}


def routes(app: Any) -> set[tuple[str, str]]:
    """Every (method, path) that the app answers, HEAD apart, which is GET without a body."""
    found: set[tuple[str, str]] = set()
    waiting = list(app.routes)
    while waiting:
        route = waiting.pop()
        if inner := getattr(route, "original_router", None):
            waiting += inner.routes
        else:
            methods = set(getattr(route, "methods", None) or {"MOUNT"}) - {"HEAD"}
            found |= {(method, route.path) for method in methods}
    return found


class Cast:
    """People of each role, and somebody whose things are not theirs; who was spent is replaced."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self._people: dict[str, Any] = {}
        self.stranger = world.person()
        with psycopg.connect(world.settings.database()) as connection:
            from transcoding.keys import content_key

            self.key_id = content_key(connection, world.settings, "otters", "sd", 0).key_id

    def person(self, role: str) -> Any:
        if role == "anonymous":
            return None
        if role not in self._people:
            stored = {"lapsed": "viewer"}.get(role, role)
            self._people[role] = self.world.person(stored, plan=None if role == "lapsed" else "premium")
        return self._people[role]

    def spend(self, role: str) -> None:
        self._people.pop(role, None)


def asked(cast: Cast, rule: Rule, role: str, whose: str) -> tuple[dict[str, str], Any]:
    """The parameters of the path, and the browser to ask with."""
    world, me = cast.world, cast.person(role)
    owner = me if whose == "own" and me is not None else cast.stranger
    browser = world.browser(headers=me.headers if me else {})
    about = {"title_id": "otters", "person_id": "0123456789abcdef", "key_id": "none", "name": "video/180p/00001.m4s"}
    about |= dict.fromkeys(("payment_id", "invoice_id", "method_id", "provider", "promo_id"), "none")
    about |= bought(world, owner) if rule.kind == "bought" and whose != "none" else {}
    match rule.kind:
        case "profile":
            about["profile_id"] = "none" if whose == "none" else _profile_of(world, rule, owner, role, whose)
        case "session":
            about["session_id"] = "none" if whose == "none" else world.person(account_id=owner.account_id).session_id
        case "account":
            about["account_id"] = "none" if whose == "none" else world.person().account_id
        case "code":
            started = world.nobody.post("/api/auth/tv", json={}).json()
            about["user_code"] = "BCDF-GHJK" if whose == "none" else started["user_code"]
        case "sandbox":
            about["ref"] = "none" if whose == "none" else world.sandbox_payment()
        case "title":
            about["title_id"] = {"own": "otters", "other": "unseen", "none": "nothing"}[whose]
        case "playback" | "key" | "segment" if whose != "none":
            started, browser_of_owner = world.watch(owner)
            about["playback_id"], about["key_id"] = started["playback_id"], cast.key_id
            about |= dict(
                zip(("token", "title_id", "package_id"), started["manifest"]["hls"].split("/")[2:5], strict=True)
            )
            if whose == "own" and me is not None:
                browser.cookies.update(browser_of_owner.cookies)
            elif me is not None:
                # A browser of one's own, that plays something else.
                browser.cookies.update(world.watch(me, "brook")[1].cookies)
        case "playback" | "key" | "segment":
            about |= {"playback_id": "01890000-0000-7000-8000-000000000000", "token": "none", "package_id": "none"}
            if me is not None:
                browser.cookies.update(world.watch(me)[1].cookies)
    return about, browser


def bought(world: Any, owner: Any) -> dict[str, str]:
    """Something that was paid for by a saved card: the ids of the payment, the invoice and the card."""
    ids = {name: uuid7() for name in ("customer", "invoice_id", "payment_id", "method_id")}
    known = world.sql(
        "INSERT INTO customer VALUES (%s, %s, now()) ON CONFLICT (account_id) DO UPDATE SET account_id = "
        "excluded.account_id RETURNING customer_id", ids.pop("customer"), owner.account_id,
    )  # fmt: skip
    world.sql(
        "INSERT INTO payment_method (method_id, customer_id, provider, provider_ref, label, created_at) "
        "VALUES (%s, %s, 'sandbox', %s, 'Visa', now())", ids["method_id"], known[0][0], ids["method_id"],
    )  # fmt: skip
    world.sql(
        "INSERT INTO invoice (invoice_id, number, customer_id, purpose, currency, total_minor, tax_minor, state, "
        "reason, issued_at, paid_at) VALUES (%s, %s, %s, 'buy', 'EUR', 999, 0, 'paid', 'purchase', now(), now())",
        ids["invoice_id"], ids["invoice_id"], known[0][0],
    )  # fmt: skip
    world.sql(
        "INSERT INTO payment (payment_id, invoice_id, customer_id, provider, state, amount_minor, currency, method_id, "
        "created_at, settled_at) VALUES (%s, %s, %s, 'sandbox', 'succeeded', 999, 'EUR', %s, now(), now())",
        ids["payment_id"], ids["invoice_id"], known[0][0], ids["method_id"],
    )  # fmt: skip
    return ids


def _profile_of(world: Any, rule: Rule, owner: Any, role: str, whose: str) -> str:
    if rule.method == "DELETE" and rule.path.endswith("{profile_id}"):
        return world.profile(owner)
    return owner.profile_id


def address(rule: Rule, about: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)(?::path)?\}", lambda found: about[found[1]], rule.path)


def ask(cast: Cast, rule: Rule, role: str, whose: str = "own", **options: Any) -> httpx.Response:
    """Call a route as the table describes it."""
    about, browser = asked(cast, rule, role, whose)
    method = "GET" if rule.method == "MOUNT" else rule.method
    options.setdefault("json", rule.body)
    return browser.request(method, address(rule, about), **options)


def operations() -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """(method, path, operation, document) of everything that is documented."""
    document = documented_app().openapi()
    return [
        (method.upper(), path, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def fields_of(operation: dict[str, Any], document: dict[str, Any]) -> list[str]:
    """The properties of a JSON body."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for choice in (content, *content.get("anyOf", ())):
        name = choice.get("$ref", "").rpartition("/")[2]
        found = document["components"]["schemas"][name] if name else choice
        if "properties" in found:
            return list(found["properties"])
    return []
