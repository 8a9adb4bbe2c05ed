"""Where a title's intro and credits are: found in its own sound and in that of its siblings.

Episodes of a series begin with the same music and often end with it: what two of them share, wherever it stands, is
the intro near the beginning and the credits near the end. Where nothing is shared, credits are a dark end with writing.
"""

from transcoding.markers.update import Marked, update, update_left

__all__ = ["Marked", "update", "update_left"]
