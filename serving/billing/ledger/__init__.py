"""Double entry: what money is, the facts of business as postings, and the book that keeps them."""
