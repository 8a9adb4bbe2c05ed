"""Are the books right? Against themselves (`verify`), and against what providers say of our money there (`core`)."""
