"""An invented world with known truth: a demo catalogue, and viewers whose every event and dirt is accounted for."""
