"""What was loaded to stay is not looked through for garbage again and again.

A full collection looks at every object there is: with a catalogue and a model in memory it holds up all requests for
longer than a page takes. `gc.freeze` puts what is there out of its sight. What is freed by its count of references (old
catalogues and models are) goes all the same; what was in use when it was frozen, and became part of a cycle later, is
found when everything is looked through, once in a while.
"""

import gc
import time

EVERYTHING_S = 3600.0


class Settling:
    def __init__(self, everything_s: float = EVERYTHING_S) -> None:
        self._every, self._due = everything_s, time.monotonic() + everything_s

    def __call__(self) -> None:
        """Call after something large was loaded: it is looked through once, and not again.

        Does nothing in a process that has not begun so (as `serving.run` does): its garbage is somebody else's.
        """
        if not gc.get_freeze_count():
            return
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every
            gc.unfreeze()
        gc.collect()
        gc.freeze()


settle = Settling()
