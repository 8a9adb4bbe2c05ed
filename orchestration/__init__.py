"""The roof: Dagster definitions and the command line. It calls the rooms and holds no logic of its own."""
