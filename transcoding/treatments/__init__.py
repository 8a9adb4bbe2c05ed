"""What viewers watch decides what is encoded again: marts in, `title_treatment` and `transcode_audience` out."""

from transcoding.treatments.decide import Decided, Decision, decide, decisions, last_decision, set_by_hand, waiting

__all__ = ["Decided", "Decision", "decide", "decisions", "last_decision", "set_by_hand", "waiting"]
