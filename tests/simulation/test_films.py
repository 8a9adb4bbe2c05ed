import dataclasses
from pathlib import Path

import numpy as np
import pytest

from simulation.catalogue import film_specs
from simulation.errors import SimulationError
from simulation.films import FilmSpec, make_films, write_card
from simulation.melody import SAMPLE_RATE, melody
from simulation.scenes import Drawn, Filtered, scene

KINDS = 17
SPEC = FilmSpec("film-a", "A Short Film", "Короткий фильм", seed=2, width=160, height=90, fps=10, duration_s=2)


def frames_of(path: Path) -> list[np.ndarray]:
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def test_films_of_every_kind_move_sound_and_differ(tmp_path: Path) -> None:
    import av

    specs = [dataclasses.replace(SPEC, title_id=f"film-{seed}", seed=seed, duration_s=5) for seed in range(KINDS)]
    heard: list[tuple[int, int]] = []
    paths = make_films(tmp_path, specs, lambda done, total: heard.append((done, total)))
    assert [path.name for path in paths] == [f"film-{seed}.mp4" for seed in range(KINDS)]
    assert heard[-1] == (KINDS, KINDS)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths), "scratch is gone"
    pictures = []
    for path in paths:
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.width, video.codec_context.height, video.average_rate) == (160, 90, 10)
            assert audio.metadata["language"] == "eng"
            samples = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio)])
            assert np.abs(samples).max() > 0.2, "there is sound"
            assert len(samples) / SAMPLE_RATE == pytest.approx(5, abs=0.1)
        frames = frames_of(path)
        assert len(frames) == 50
        assert np.abs(frames[-1] - frames[-5]).mean() > 0.1, f"{path.name} moves"
        pictures.append(frames[-1])
    different = [np.abs(a - b).mean() for n, a in enumerate(pictures) for b in pictures[:n]]
    assert min(different) > 10


def test_the_same_spec_gives_the_same_bytes_and_is_not_made_twice(tmp_path: Path) -> None:
    (first,) = make_films(tmp_path / "one", [SPEC])
    (second,) = make_films(tmp_path / "two", [SPEC])
    (other,) = make_films(tmp_path / "three", [dataclasses.replace(SPEC, seed=SPEC.seed + KINDS)])
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != other.read_bytes()
    written = first.stat().st_mtime_ns
    make_films(tmp_path / "one", [SPEC])
    assert first.stat().st_mtime_ns == written
    make_films(tmp_path / "one", [dataclasses.replace(SPEC, duration_s=1)])
    assert len(frames_of(first)) == 10, "another spec replaces it"


def test_the_card_shows_both_titles_within_the_picture(tmp_path: Path) -> None:
    from PIL import Image

    def marks(spec: FilmSpec, colour: tuple[int, int, int]) -> np.ndarray:
        write_card(tmp_path / "card.png", spec)
        image = np.asarray(Image.open(tmp_path / "card.png").convert("RGBA")).astype(int)
        return np.argwhere(np.abs(image[..., :3] - colour).sum(-1) + 255 - image[..., 3] < 30)

    white, gold = (255, 255, 255), (255, 214, 120)
    spec = dataclasses.replace(SPEC, width=640, height=360)
    english, russian = marks(spec, white), marks(spec, gold)
    assert len(english) > 50
    assert len(russian) > 50
    assert english[:, 0].max() < russian[:, 0].max(), "English stands above Russian"
    long = dataclasses.replace(spec, title_en="An Extraordinarily Long Title That Would Never Fit " * 2)
    columns = marks(long, white)[:, 1]
    assert columns.min() > 0
    assert columns.max() < spec.width - 1
    letters = [marks(dataclasses.replace(spec, title_ru=letter * 8), gold) for letter in "ЖФ"]
    assert not np.array_equal(*letters), "Cyrillic letters are letters, not two times the same empty box"


def test_a_film_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    odd = dataclasses.replace(SPEC, title_id="film-odd", width=161)
    with pytest.raises(SimulationError, match=r"film-odd: .*not divisible by 2"):
        make_films(tmp_path, [odd])
    assert list(tmp_path.iterdir()) == []


def test_kinds_are_dealt_round_and_fields_stay_in_shape() -> None:
    made = [scene(seed, 64, 36, 10, 1) for seed in range(KINDS)]
    graphs = [picture.graph.split("=")[0] for picture in made if isinstance(picture, Filtered)]
    fields = [picture for picture in made if isinstance(picture, Drawn)]
    assert len(set(graphs)) == len(graphs)
    assert len(graphs) + len(fields) == KINDS
    for picture in fields:
        plane = picture.field(1.5)
        assert plane.shape == (36, 64)
        assert plane.max() - plane.min() > 0.2
        assert picture.palette.shape == (256, 3)


def test_melodies_differ_by_seed_only() -> None:
    assert np.array_equal(melody(5, 2), melody(5, 2))
    assert not np.array_equal(melody(5, 2), melody(6, 2))
    assert len(melody(5, 2)) == 2 * SAMPLE_RATE


def test_the_demo_asks_for_films_that_keep_its_promise() -> None:
    specs = film_specs()
    assert len(specs) >= 6
    assert len({spec.seed for spec in specs}) == len(specs)
    assert min(spec.duration_s for spec in specs) >= 20
    assert sum(spec.height == 720 for spec in specs) >= 6, "films with two rungs"
    assert len({spec.seed % KINDS for spec in specs}) > KINDS / 2
