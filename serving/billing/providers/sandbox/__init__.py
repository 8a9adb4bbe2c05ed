"""The embedded payment provider: hosted pages, saved cards, refunds, disputes, webhooks and faults, and no money."""
