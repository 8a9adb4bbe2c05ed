"""Log entries as rows of the landing zone. Pure: who is who comes in as salts, nothing is read or written."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import orjson
import pyarrow as pa
from pydantic import BaseModel, ValidationError

from ingest import log
from ingest.intake import Entry, is_account_id, printable
from matinee.contracts.events import DATA_TYPES, Event, EventType, Surface
from matinee.contracts.landing import LANDED_EVENT
from matinee.pseudonyms import Salt

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NOWHERE = Surface()
_IDS = ("account_id", "profile_id")
_KEYS = ("account_key", "profile_key")

# Events before ids of people become keys: their `place` in the batch, whose they are, and what lands besides.
ARRIVED = pa.schema(
    [
        pa.field("place", pa.int64()),
        *(pa.field(name, pa.string()) for name in _IDS),
        *(field for field in LANDED_EVENT if field.name not in _KEYS),
    ]
)

DEAD_LETTER = pa.schema(
    [
        pa.field("log_id", pa.string(), nullable=False),
        pa.field("received_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("account_key", pa.string()),
        pa.field("sealed", pa.binary(), nullable=False),  # AES-256-GCM: under the account's key, or the service's
    ]
)


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event of the log, ready to land: its row in the order of `LANDED_EVENT`, without the two keys of people.

    A flat row instead of the event itself, because a batch of these is what the garbage collector has to walk through.
    """

    log_id: str
    received_at: datetime
    account_id: str | None
    profile_id: str | None
    row: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Dead:
    """An entry of the log that is no event."""

    log_id: str
    entry: Entry

    @property
    def account_id(self) -> str | None:
        return self.entry.account_id

    @property
    def received_at(self) -> datetime:
        return self.entry.received_at


def decode(log_id: str, found: log.Fields) -> Arrived | Dead:
    """What an entry of the log is. Nothing that stands there can raise: what is not ours becomes a dead letter."""
    try:
        if dead := log.dead_entry(found):
            dead.received_at.astimezone(UTC)  # within the calendar
            return Dead(log_id, dead)
        body = found[b"event"]
        event = Event.model_validate_json(body)
        fingerprint = orjson.loads(body).get("fingerprint")
        if event.received_at is None or not isinstance(fingerprint, str):
            raise ValueError("not written by the intake")
        if event.account_id is not None and not is_account_id(event.account_id):
            raise ValueError("account_id: not an id")
        event.received_at.astimezone(UTC)  # within the calendar
        row = _row(log_id, event, event.received_at, fingerprint)
        return Arrived(log_id, event.received_at, event.account_id, event.profile_id, row)
    except (ValueError, OverflowError) as error:
        reason = "; ".join(str(error).splitlines()[:3]) if isinstance(error, ValidationError) else str(error)
        when = _EPOCH + timedelta(milliseconds=min(log.position(log_id)[0], 4_000_000_000_000))
        body = found.get(b"event") or repr(dict(found)).encode()
        return Dead(log_id, Entry(body, when, "live", None, "invalid_event", printable(f"in the log: {reason}")))


def received_on(letters: Iterable[Dead]) -> dict[date, list[Dead]]:
    """Dead letters by the date (UTC) on which they were received, each in log order."""
    days: dict[date, list[Dead]] = {}
    for letter in letters:
        days.setdefault(letter.received_at.astimezone(UTC).date(), []).append(letter)
    return days


def arrived_table(places: Sequence[int], arrived: Sequence[Arrived]) -> pa.Table:
    """These events as rows of `ARRIVED`."""
    rows = [(place, item.account_id, item.profile_id, *item.row) for place, item in zip(places, arrived, strict=True)]
    columns = zip(*rows, strict=True) if rows else [()] * len(ARRIVED)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, ARRIVED, strict=True)]
    return pa.Table.from_arrays(arrays, schema=ARRIVED)


def of_accounts(arrived: pa.Table, accounts: Container[str]) -> pa.Table:
    """The rows of `ARRIVED` that belong to one of these accounts or to nobody."""
    owners = arrived["account_id"]
    if all(owner is None or owner in accounts for owner in owners.unique().to_pylist()):
        return arrived
    return arrived.filter(pa.array([owner is None or owner in accounts for owner in owners.to_pylist()]))


def by_day(arrived: pa.Table) -> dict[date, pa.Table]:
    """Rows of `ARRIVED` by the date (UTC) on which they were received, each in log order."""
    received = arrived["received_at"].cast(pa.date32()).to_numpy()
    days = np.unique(received)
    return {day.item(): arrived if len(days) == 1 else arrived.filter(pa.array(received == day)) for day in days}


def event_table(arrived: pa.Table, salts: Mapping[str, Salt]) -> pa.Table:
    """What these rows of `ARRIVED` land as; ids of people become keys, each pair of account and profile once."""
    owner, profile = (arrived[name].combine_chunks().dictionary_encode("encode") for name in _IDS)
    owners, profiles = owner.dictionary.to_pylist(), profile.dictionary.to_pylist()
    pairs, row = np.unique(
        owner.indices.to_numpy().astype(np.int64) * len(profiles) + profile.indices.to_numpy(), return_inverse=True
    )
    people = [(owners[pair // len(profiles)], profiles[pair % len(profiles)]) for pair in pairs.tolist()]
    keys = {
        "account_key": pa.array([_key(salts, account, account) for account in owners], pa.string()).take(owner.indices),
        "profile_key": pa.array([_key(salts, *person) for person in people], pa.string()).take(pa.array(row)),
    }
    columns = [keys[field.name] if field.name in keys else arrived[field.name] for field in LANDED_EVENT]
    return pa.Table.from_arrays(columns, schema=LANDED_EVENT)


def _key(salts: Mapping[str, Salt], account: str | None, identifier: str | None) -> str | None:
    return salts[account].key(identifier) if account and identifier else None


def dead_table(dead: Sequence[Dead], salts: Mapping[str, Salt], service: Salt) -> pa.Table:
    """Dead letters, each sealed with its account's key, or with the service's where no account is known."""
    rows = []
    for item in dead:
        salt = salts[item.account_id] if item.account_id else None
        rows.append(
            {
                "log_id": item.log_id,
                "received_at": item.received_at,
                "code": item.entry.code,
                "reason": item.entry.reason,
                "account_key": salt.key(item.account_id or "") if salt else None,
                "sealed": (salt or service).seal(item.entry.body),
            }
        )
    return pa.Table.from_pylist(rows, schema=DEAD_LETTER)


def _row(log_id: str, event: Event, received_at: datetime, fingerprint: str) -> tuple[object, ...]:
    """One row, in the order of `LANDED_EVENT`, without `account_key` and `profile_key`."""
    surface = event.surface or _NOWHERE
    return (
        str(event.event_id), event.schema_, event.origin, log_id, fingerprint,
        event.session_id, event.playback_id, event.seq, event.title_id, event.device, event.country,
        _micros(event.ts_client), _micros(event.ts_sent), _micros(received_at),
        _micros(event.happened_at(received_at)), event.type.value,
        event.position_ms, event.played_ms, event.stall_ms, event.stalls, event.paused_ms, event.startup_ms, event.bits,
        event.rendition, surface.row, surface.position, surface.model, surface.version, surface.propensity,
        surface.source, surface.request_id,
        orjson.dumps(event.experiments, option=orjson.OPT_SORT_KEYS).decode() if event.experiments else None,
        *data_row(event.type, event.data),
        event.bot,
    )  # fmt: skip


# The columns before the last one, `bot`: what `data` holds, by type of event.
_DATA_COLUMNS = (
    ("rate", "value"),
    ("favourite", "on"),
    ("search", "query"),
    ("search", "results"),
    ("search", "clicked"),
    ("error", "code"),
    ("error", "fatal"),
    ("exposure", "experiment"),
    ("exposure", "variant"),
    ("exposure", "salt"),
)
DATA_NAMES = tuple(f"{kind}_{name}" for kind, name in _DATA_COLUMNS)
NO_DATA = (None,) * len(_DATA_COLUMNS)


def data_row(kind: EventType, data: object) -> tuple[object, ...]:
    """What `data` says of an event of this type, in the order of `DATA_NAMES`.

    Raises:
        ValidationError: it does not have the shape of this type.
    """
    shape: type[BaseModel] | None = DATA_TYPES.get(kind)
    if shape is None:
        return NO_DATA
    found = shape.model_validate(data)
    return tuple(getattr(found, name) if of == kind else None for of, name in _DATA_COLUMNS)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
