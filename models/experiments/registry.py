"""The experiments that run."""

from models.experiments.assignment import Experiment

# Order of the rows on the home page: what is popular first (control), or what is picked for the viewer first.
HOME_ORDER = Experiment("home_order", "2026-11-home", (("control", 1.0), ("treatment", 1.0)))

# Nothing differs between its variants: a result here says that assignment, logging or statistics are broken.
AA_CHECK = Experiment("aa_check", "2026-11-aa", (("control", 1.0), ("treatment", 1.0)))

ACTIVE: tuple[Experiment, ...] = (HOME_ORDER, AA_CHECK)


def known(name: str) -> Experiment | None:
    """The running experiment of that name."""
    return next((experiment for experiment in ACTIVE if experiment.name == name), None)
