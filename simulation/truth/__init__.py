"""What the warehouse must find, worked out from the simulation itself and without a line of its code.

A playback belongs to the UTC day of its first recorded event; the largest counters that were recorded win; it is
complete when its furthest position reaches 90 % of the runtime. "Recorded" is what reached the server first, in time
and unbroken: no clean-up can bring back a heartbeat that was lost.

No two groups of viewers share a viewer, so counts of distinct viewers add up exactly, and the truth of a run of any
size is the sum over its groups. Two passes: the first takes what needs the events themselves (`recorded`, `arrivals`)
and keeps what is left of them per playback, account and subscription; the second (`viewing`, `money`) has what only
all groups together know: the last day on which anything happened, and when each title was first played.
"""
