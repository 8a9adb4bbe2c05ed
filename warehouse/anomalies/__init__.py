"""Days that look unlike the days before: what may be an incident is not published before a person has looked."""

CHECKS = {
    "volume": "Events of each type, by day and hour, against the same weekday of former weeks.",
    "nulls": "The share of empty values in the columns that marts need, against former days.",
    "mix": "Devices and countries of plays and types of events, against the same weekday of former weeks.",
}
