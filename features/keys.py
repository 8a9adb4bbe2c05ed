"""The names in Redis under which a viewer's state stands. Only this room and its worker write them."""

import struct

from features.views import PROFILE, PROJECT

MATCH = "live:*"
VERSION = "live:version:"
HISTORY = "live:history:"
DONE = "live:done:"
PLAYS = "live:plays:"
OF_A_PROFILE = (VERSION, HISTORY, DONE, PLAYS)
HISTORY_KEPT = 1_000  # items of a history, the newest
SEEDED = "features:seeded"  # of which content of the snapshot the build has brought
POSITION = "features:position"  # the last entry of the event log that the worker has taken in

_STRING = 2  # Feast's ValueType.STRING
_HEAD = struct.Struct("<II")  # kind and size of a word in Feast's key


def online_key(profile_key: str) -> bytes:
    """Under which name Feast keeps a profile's values: its entity key in serialization 3, then the project.

    Written out, for importing Feast takes longer than an erasure or a request may; a test holds it to Feast's own.
    """
    return _OF_PROFILES + _packed(profile_key) + PROJECT.encode()


def profile_of(name: bytes) -> str:
    """Whose key of Redis this is: one that `online_key` gave or one of `OF_A_PROFILE`."""
    if not name.startswith(_OF_PROFILES):
        return name.decode().rpartition(":")[2]
    start = len(_OF_PROFILES) + _HEAD.size
    (_, size) = _HEAD.unpack_from(name, len(_OF_PROFILES))
    return name[start : start + size].decode()


def _packed(word: str) -> bytes:
    return _HEAD.pack(_STRING, len(word.encode())) + word.encode()


_OF_PROFILES = struct.pack("<I", 1) + _packed(PROFILE.join_key)
MATCHES = (MATCH.encode(), _OF_PROFILES + b"*")  # every key of Redis that stands for a profile
