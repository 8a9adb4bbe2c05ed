"""The tables that PostgreSQL exports to the lake: their columns there, and how a row becomes one of them.

Ids of people become keys on the way; nothing else of them is exported than what stands here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from matinee.pseudonyms import Salt

_TS = pa.timestamp("us", tz="UTC")
_TEXTS = pa.list_(pa.string())
_RUNG = pa.struct(
    [
        ("name", pa.string()),
        ("codec", pa.string()),
        ("height", pa.int32()),
        ("average_bps", pa.int64()),
        ("bytes", pa.int64()),
        ("vmaf", pa.float64()),
    ]
)

# Ninety thousand of them still fit 64 bits.
_MOST_MINOR = 10**14

Keys = Mapping[str, Salt]


@dataclass(frozen=True)
class Exported:
    """`query` names the statement in `queries.sql`; `row` turns one of its rows into the columns of `schema`."""

    query: str
    schema: pa.Schema
    row: Callable[[Sequence[Any], Keys], Sequence[Any]]


def _as_is(row: Sequence[Any], _: Keys) -> Sequence[Any]:
    return row


def _account(row: Sequence[Any], keys: Keys) -> Sequence[Any]:
    account_id, *rest = row
    return (keys[account_id].key(account_id), *rest)


def _profile(row: Sequence[Any], keys: Keys) -> Sequence[Any]:
    profile_id, account_id, *rest = row
    return (keys[account_id].key(profile_id), keys[account_id].key(account_id), *rest)


def _subscription(row: Sequence[Any], keys: Keys) -> Sequence[Any]:
    period_id, account_id, subscription_id, *rest = row
    salt = keys[account_id]
    return (salt.key(period_id), salt.key(account_id), salt.key(subscription_id), *rest)


def _title_cost(row: Sequence[Any], _: Keys) -> Sequence[Any]:
    """What the feed wrote, as far as it can be read; the rest is null and shows up in a test of `raw.title_cost`."""
    title_id, contract, told = row
    terms = told if isinstance(told, Mapping) else {}
    amount, currency = terms.get("amount_minor"), terms.get("currency")
    return (
        title_id,
        contract,
        amount if type(amount) is int and 0 <= amount < _MOST_MINOR else None,
        currency if isinstance(currency, str) and re.fullmatch("[A-Z]{3}", currency) else None,
        _date(terms.get("from")),
        _date(terms.get("until")),
    )


def _date(told: object) -> date | None:
    if not isinstance(told, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", told, re.ASCII):
        return None
    try:
        return date.fromisoformat(told)
    except ValueError:
        return None


def _package(row: Sequence[Any], _: Keys) -> Sequence[Any]:
    *facts, rungs, created_at, treatment, protection = row
    return (*facts, len(rungs), created_at, treatment, protection, [_rung(rung) for rung in rungs])


def _rung(told: Mapping[str, Any]) -> dict[str, Any]:
    score = told.get("vmaf")
    return {
        "name": told["name"],
        "codec": told.get("codec"),
        "height": told.get("height"),
        "average_bps": told.get("average_bps"),
        "bytes": told.get("bytes"),
        "vmaf": score.get("mean") if isinstance(score, Mapping) else score,
    }


TABLES: dict[str, Exported] = {
    "title": Exported(
        "titles",
        pa.schema(
            [
                ("title_id", pa.string()),
                ("kind", pa.string()),
                ("parent_id", pa.string()),
                ("number", pa.int32()),
                ("title", pa.string()),
                ("title_en", pa.string()),
                ("title_ru", pa.string()),
                ("year", pa.int32()),
                ("runtime_s", pa.int32()),
                ("maturity", pa.int32()),
                ("genres", _TEXTS),
                ("tags", _TEXTS),
                ("countries", _TEXTS),
                ("state", pa.string()),
                ("created_at", _TS),
                ("package_id", pa.string()),
                ("duration_ms", pa.int64()),
                ("packaged_at", _TS),
                ("synopsis_en", pa.string()),
                ("synopsis_ru", pa.string()),
                ("people", _TEXTS),
                ("roles", _TEXTS),
            ]
        ),
        _as_is,
    ),
    "account": Exported(
        "accounts",
        pa.schema(
            [
                ("account_key", pa.string()),
                ("role", pa.string()),
                ("origin", pa.string()),
                ("country", pa.string()),
                ("profiles", pa.int64()),
                ("created_at", _TS),
                ("customer_key", pa.string()),
            ]
        ),
        _account,
    ),
    "profile": Exported(
        "profiles",
        pa.schema(
            [
                ("profile_key", pa.string()),
                ("account_key", pa.string()),
                ("maturity", pa.int32()),
                ("language", pa.string()),
                ("created_at", _TS),
            ]
        ),
        _profile,
    ),
    "package": Exported(
        "packages",
        pa.schema(
            [
                ("package_id", pa.string()),
                ("title_id", pa.string()),
                ("state", pa.string()),
                ("duration_ms", pa.int64()),
                ("rungs", pa.int64()),
                ("created_at", _TS),
                ("treatment", pa.string()),
                ("protection", pa.string()),
                ("ladder", pa.list_(_RUNG)),
            ]
        ),
        _package,
    ),
    "probe": Exported(
        "probes",
        pa.schema(
            [
                ("title_id", pa.string()),
                ("master_id", pa.string()),
                ("codec", pa.string()),
                ("height", pa.int32()),
                ("crf", pa.int32()),
                ("sample", pa.int32()),
                ("kbps", pa.float64()),
                ("vmaf", pa.float64()),
                ("weight", pa.float64()),
            ]
        ),
        _as_is,
    ),
    "subscription": Exported(
        "subscriptions",
        pa.schema(
            [
                ("period_key", pa.string()),
                ("account_key", pa.string()),
                ("subscription_key", pa.string()),
                ("plan", pa.string()),
                ("state", pa.string()),
                ("monthly_minor", pa.int64()),
                ("currency", pa.string()),
                ("opened", _TS),
                ("closed", _TS),
                ("end_reason", pa.string()),
            ]
        ),
        _subscription,
    ),
    "title_cost": Exported(
        "title_costs",
        pa.schema(
            [
                ("title_id", pa.string()),
                ("contract", pa.int32()),
                ("amount_minor", pa.int64()),
                ("currency", pa.string()),
                ("from_date", pa.date32()),
                ("until_date", pa.date32()),
            ]
        ),
        _title_cost,
    ),
    "customer": Exported("customers", pa.schema([("customer_key", pa.string()), ("created_at", _TS)]), _as_is),
    "posting": Exported(
        "postings",
        pa.schema(
            [
                ("transaction_id", pa.int64()),
                ("line", pa.int32()),
                ("kind", pa.string()),
                ("source_key", pa.string()),
                ("occurred_at", _TS),
                ("ledger", pa.string()),
                ("ledger_kind", pa.string()),
                ("party_kind", pa.string()),
                ("party", pa.string()),
                ("currency", pa.string()),
                ("amount_minor", pa.int64()),
            ]
        ),
        _as_is,
    ),
    "ledger_total": Exported(
        "ledger_totals",
        pa.schema(
            [
                ("ledger", pa.string()),
                ("currency", pa.string()),
                ("postings", pa.int64()),
                ("amount_minor", pa.int64()),
            ]
        ),
        _as_is,
    ),
    "invoice_line": Exported(
        "invoice_lines",
        pa.schema(
            [
                ("invoice_key", pa.string()),
                ("line", pa.int32()),
                ("kind", pa.string()),
                ("purpose", pa.string()),
                ("reason", pa.string()),
                ("state", pa.string()),
                ("customer_key", pa.string()),
                ("credits_key", pa.string()),
                ("subscription_key", pa.string()),
                ("plan_id", pa.string()),
                ("title_id", pa.string()),
                ("months", pa.int32()),
                ("period_from", _TS),
                ("period_until", _TS),
                ("currency", pa.string()),
                ("amount_minor", pa.int64()),
                ("tax_minor", pa.int64()),
                ("tax_country", pa.string()),
                ("tax_bp", pa.int32()),
                ("country", pa.string()),
                ("list_minor", pa.int64()),
                ("list_months", pa.int32()),
                ("promo_id", pa.string()),
                ("issued_at", _TS),
                ("paid_at", _TS),
            ]
        ),
        _as_is,
    ),
    "subscription_event": Exported(
        "subscription_events",
        pa.schema(
            [
                ("event_id", pa.int64()),
                ("subscription_key", pa.string()),
                ("customer_key", pa.string()),
                ("at", _TS),
                ("event", pa.string()),
                ("was", pa.string()),
                ("became", pa.string()),
            ]
        ),
        _as_is,
    ),
}
