"""Everything fitted to data: recommenders, experiments, and how both are judged."""
