"""Products: plans in versions, and what they cost where."""
