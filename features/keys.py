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


def online_key(profile_key: str) -> bytes:
    """Under which name Feast keeps a profile's values: its entity key in serialization 3, then the project.

    Written out, for importing Feast takes longer than an erasure or a request may; a test holds it to Feast's own.
    """
    words = (PROFILE.join_key.encode(), profile_key.encode())
    packed = b"".join(struct.pack("<II", _STRING, len(word)) + word for word in words)
    return struct.pack("<I", 1) + packed + PROJECT.encode()
