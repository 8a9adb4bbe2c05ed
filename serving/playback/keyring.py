"""Content keys in memory, unwrapped: a bounded number of them."""

from collections import OrderedDict

from matinee.settings import Settings
from serving.accounts.memo import Transaction
from transcoding.keys import TitleKey, find_key

_KEPT = 10_000


class Keys:
    """Unwrapped keys by id; the least used go first."""

    def __init__(self, transaction: Transaction, settings: Settings) -> None:
        self._transaction, self._settings = transaction, settings
        self._kept: OrderedDict[str, TitleKey] = OrderedDict()

    async def find(self, key_id: str) -> TitleKey | None:
        found = self._kept.get(key_id)
        if found is None:
            async with self._transaction() as connection:
                found = await find_key(connection, self._settings, key_id)
            if found is None:
                return None
            self._kept[key_id] = found
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key_id)
        return found
