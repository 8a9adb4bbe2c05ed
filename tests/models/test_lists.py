import numpy as np

from models.interactions import Interactions, Ragged
from models.recommenders.ials import Ials
from models.recommenders.lists import personal_picks


def test_no_title_is_recommended_because_of_itself() -> None:
    rng = np.random.default_rng(0)
    users, items = np.divmod(np.unique(rng.integers(0, 80 * 20, size=600)), 20)
    data = Interactions.sorted(users, items, np.arange(len(users)), 80, 20)
    fitted = Ials(factors=8).fit(data)
    histories = data.histories()
    nothing = Ragged.of([[] for _ in range(len(histories))])
    lists = personal_picks(fitted, "ials", histories, nothing, np.ones(20, dtype=bool), [])
    again = [pick for row, picks in enumerate(lists) for pick in picks if pick.item in histories[row]]
    assert again, "what a viewer had before is among the picks, for it was not excluded"
    assert any(pick.because is not None for pick in again)
    assert all(pick.because != pick.item for picks in lists for pick in picks)
