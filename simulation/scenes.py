"""Moving pictures from a seed: pure functions of time, and recipes for ffmpeg's own generators.

A field gives each pixel a number from 0 to 1 at a time in seconds; a palette of 256 colours makes it a picture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Plane = np.ndarray  # float32, height x width
Field = Callable[[float], Plane]


@dataclass(frozen=True)
class Drawn:
    """A picture computed by us: the field at a time, and the palette (256 x 3, uint8)."""

    field: Field
    palette: np.ndarray


@dataclass(frozen=True)
class Filtered:
    """A picture computed by ffmpeg: a `lavfi` graph without inputs."""

    graph: str


@dataclass(frozen=True)
class Frame:
    """What ffmpeg's generators are asked for."""

    width: int
    height: int
    fps: int
    count: int

    def __str__(self) -> str:
        return f"s={self.width}x{self.height}:r={self.fps}"

    def coarse(self) -> "Frame":
        return Frame(self.width // 4 * 2, self.height // 4 * 2, self.fps, self.count)


def scene(seed: int, width: int, height: int, fps: int, seconds: float) -> Drawn | Filtered:
    """The picture of a film: the seed's remainder picks the kind, the seed itself colours, shapes and motion."""
    rng = np.random.default_rng(seed)
    makers = [*_FIELDS, *_GENERATORS]
    maker = makers[seed % len(makers)]
    if maker in _FIELDS:
        colours = palette(rng)
        shades = night(colours) if maker in _NIGHTLY else colours
        return Drawn(_FIELDS[_FIELDS.index(maker)](rng, width, height), shades)
    graph = _GENERATORS[_GENERATORS.index(maker)](rng, Frame(width, height, fps, round(fps * seconds)))
    return Filtered(graph)


def palette(rng: np.random.Generator) -> np.ndarray:
    """256 colours along three cosines (after Inigo Quilez): smooth, cyclic and different for each seed."""
    steps = np.linspace(0.0, 1.0, 256)[:, None]
    phases, speeds = rng.uniform(0, 1, 3), rng.choice([0.5, 1.0, 1.0, 1.5], 3)
    colours = 0.5 + 0.46 * np.cos(2 * np.pi * (speeds * steps + phases))
    return (255 * colours).astype(np.uint8)


def night(colours: np.ndarray) -> np.ndarray:
    """The palette with its lower end in the dark, for lights before a background."""
    return (colours * np.linspace(0.05, 1.0, 256)[:, None] ** 0.7).astype(np.uint8)


def _grid(width: int, height: int) -> tuple[Plane, Plane]:
    """x and y of each pixel; y runs from -1 to 1, x as far as the shape goes."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -width / height : width / height : width * 1j].astype(np.float32)
    return x, y


def _ripples(rng: np.random.Generator, width: int, height: int) -> Field:
    x, y = _grid(width, height)
    centres = rng.uniform(-1.2, 1.2, (3, 2))
    rings = np.stack([np.hypot(x - a, y - b) * rng.uniform(12, 26) for a, b in centres])
    speed = rng.uniform(2, 5)
    return lambda t: 0.5 + np.sin(rings - np.float32(speed * t)).sum(0) / 6


def _blobs(rng: np.random.Generator, width: int, height: int) -> Field:
    x, y = _grid(width, height)
    turns, phases = rng.uniform(0.2, 0.9, (5, 2)), rng.uniform(0, 6.3, (5, 2))

    def field(t: float) -> Plane:
        at = np.stack([1.3 * np.sin(turns[:, 0] * t + phases[:, 0]), 0.8 * np.sin(turns[:, 1] * t + phases[:, 1])], 1)
        return np.clip(sum(0.05 / ((x - a) ** 2 + (y - b) ** 2 + 0.02) for a, b in at) / 3, 0, 1)

    return field


def _plasma(rng: np.random.Generator, width: int, height: int) -> Field:
    x, y = _grid(width, height)
    a, b, c = rng.uniform(2, 6, 3)
    radius = np.hypot(x, y)
    return lambda t: 0.5 + (np.sin(a * x + t) + np.sin(b * (y + np.sin(0.6 * t))) + np.sin(c * radius - 1.3 * t)) / 6


def _tunnel(rng: np.random.Generator, width: int, height: int) -> Field:
    x, y = _grid(width, height)
    depth, angle = 0.6 / (np.hypot(x, y) + 0.08), np.arctan2(y, x)
    spokes, speed = int(rng.integers(3, 9)), rng.uniform(1, 3)
    return lambda t: 0.5 + 0.5 * np.sin(6 * depth + speed * t) * np.cos(spokes * angle + 0.7 * t)


def _kaleidoscope(rng: np.random.Generator, width: int, height: int) -> Field:
    x, y = _grid(width, height)
    folds = int(rng.integers(3, 8))
    radius = np.hypot(x, y)
    angle = np.abs((np.arctan2(y, x) * folds / np.pi) % 2 - 1)
    a, b = rng.uniform(5, 11, 2)
    return lambda t: 0.5 + 0.25 * np.sin(a * radius + 3 * angle - 1.5 * t) + 0.25 * np.sin(b * angle * radius + t)


def _mountains(rng: np.random.Generator, width: int, height: int) -> Field:
    """Five ridges that pass at different speeds, below a rising sun."""
    x, y = _grid(width, height)
    waves = rng.uniform(0.6, 4.0, (5, 4)), rng.uniform(0, 6.3, (5, 4))
    line = x[0]

    def field(t: float) -> Plane:
        sun = np.clip(1.2 - 2.2 * np.hypot(x - 0.5, y + 0.5 - 0.02 * t), 0, 1)
        picture = 0.25 + 0.2 * (y + 1) / 2 + 0.5 * sun
        for layer, (frequencies, phases) in enumerate(zip(*waves, strict=True)):
            along = line + 0.05 * (layer + 1) * t
            ridge = sum(np.sin(f * along * 2 + p) / f for f, p in zip(frequencies, phases, strict=True)) * 0.12
            picture = np.where(y > ridge - 0.35 + 0.28 * layer, 0.62 + 0.09 * layer, picture)
        return picture.astype(np.float32)

    return field


def _stars(rng: np.random.Generator, width: int, height: int) -> Field:
    """Flight through points of light."""
    points = rng.uniform(-1, 1, (700, 3))

    def field(t: float) -> Plane:
        picture = np.zeros((height, width), np.float32)
        depth = 1 - (points[:, 2] / 2 + 0.12 * t) % 1
        column = (points[:, 0] / depth * 0.3 + 0.5) * width
        row = (points[:, 1] / depth * 0.3 + 0.5) * height
        for grown in range(2):
            c, r = column.astype(int) + grown, row.astype(int)
            seen = (c >= 0) & (c < width) & (r >= 0) & (r < height)
            np.maximum.at(picture, (r[seen], c[seen]), (1 - depth[seen]).astype(np.float32))
        return picture

    return field


def _city(rng: np.random.Generator, width: int, height: int) -> Field:
    """A skyline at night: windows go on and off while it passes."""
    columns, rows = 64, 18
    tall, rhythm = rng.integers(3, rows - 2, columns), rng.uniform(0.1, 0.7, (rows, columns))
    phase = rng.uniform(0, 6.3, (rows, columns))
    at_row = (np.arange(height) * rows // height)[:, None]
    within = (np.arange(height) * rows * 4 // height % 4)[:, None]

    def field(t: float) -> Plane:
        shifted = np.arange(width) + t * width / 30
        at_column = ((shifted * columns / 3 / width).astype(int) % columns)[None, :]
        pane = ((shifted * columns * 4 / 3 / width).astype(int) % 4)[None, :]
        lit = np.sin(rhythm[at_row, at_column] * t * 3 + phase[at_row, at_column]) > 0.2
        house = at_row >= rows - tall[at_column]
        window = house & (within > 0) & (within < 3) & (pane > 0) & (pane < 3)
        return np.where(window, np.where(lit, 0.95, 0.45), np.where(house, 0.3, 0.05 + 0.15 * at_row / rows)).astype(
            np.float32
        )

    return field


def _orbits(rng: np.random.Generator, width: int, height: int) -> Field:
    """Beads on Lissajous curves that draw fading tails."""
    shapes, shifts = rng.integers(1, 6, (9, 2)), rng.uniform(0, 6.3, (9, 2))
    back = np.linspace(0, 1.6, 90)

    def field(t: float) -> Plane:
        picture = np.full((height, width), 0.03, np.float32)
        for (a, b), (p, q) in zip(shapes, shifts, strict=True):
            moment = 0.5 * (t - back)
            c = ((0.5 + 0.45 * np.sin(a * moment + p)) * (width - 4)).astype(int)
            r = ((0.5 + 0.45 * np.sin(b * moment + q)) * (height - 4)).astype(int)
            for dr, dc in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (1, 2)):
                np.maximum.at(picture, (r + dr, c + dc), (1 - back / 1.7).astype(np.float32))
        return picture

    return field


def _weave(rng: np.random.Generator, width: int, height: int) -> Field:
    """Two turning gratings: moiré."""
    x, y = _grid(width, height)
    a, b, turn = rng.uniform(14, 30), rng.uniform(14, 30), rng.uniform(0.05, 0.2)

    def field(t: float) -> Plane:
        first = np.sin(a * (x * np.cos(turn * t) + y * np.sin(turn * t)))
        second = np.sin(b * (y * np.cos(0.7 * turn * t) - x * np.sin(0.7 * turn * t)) + t)
        return 0.5 + 0.25 * (first + second)

    return field


def _mandelbrot(rng: np.random.Generator, frame: Frame) -> str:
    x, y = [(-0.743643887, -0.131825904), (-0.16, 1.0405), (-1.25066, 0.02012), (0.2925755, -0.0149977)][
        rng.integers(4)
    ]
    return (
        f"mandelbrot={frame}:maxiter=300:start_x={x}:start_y={y}:end_pts={frame.count}:end_scale=0.003,"
        f"hue=h={rng.integers(360)}:s=1.3"
    )


def _life(rng: np.random.Generator, frame: Frame) -> str:
    # Large cells: single pixels that come and go are noise, which no encoder can make small.
    cells = (
        f"life={frame.coarse()}:mold=25:ratio=0.35:seed={rng.integers(2**31)}:death_color=#303030:life_color=#ffffff"
    )
    return f"{cells},scale={frame.width}:{frame.height}:flags=bilinear,{_tint(rng)}"


def _automaton(rng: np.random.Generator, frame: Frame) -> str:
    rule = rng.choice([30, 45, 73, 90, 105, 110, 150])
    cells = f"cellauto={frame.coarse()}:rule={rule}:seed={rng.integers(2**31)}"
    return f"{cells},scale={frame.width}:{frame.height}:flags=bilinear,{_tint(rng)}"


def _gradients(rng: np.random.Generator, frame: Frame) -> str:
    return f"gradients={frame}:n={rng.integers(3, 8)}:type={rng.integers(5)}:speed=0.03:seed={rng.integers(2**31)}"


def _pattern(rng: np.random.Generator, frame: Frame) -> str:
    return f"testsrc2={frame},hue=h={rng.integers(360)}:s=0.8"


def _sierpinski(rng: np.random.Generator, frame: Frame) -> str:
    return f"sierpinski={frame}:type={rng.integers(2)}:seed={rng.integers(2**31)}:jump=60,{_tint(rng)}"


def _zoneplate(rng: np.random.Generator, frame: Frame) -> str:
    k = rng.integers(300, 900, 2)
    return f"zoneplate={frame}:kx2={k[0]}:ky2={k[1]}:kt={rng.integers(3, 9)}:ku=64:kv=256,{_tint(rng)}"


def _tint(rng: np.random.Generator) -> str:
    preset = rng.choice(["magma", "inferno", "plasma", "viridis", "cividis", "turbo", "cool", "fiery", "helix"])
    return f"format=gray,format=yuv444p,pseudocolor=preset={preset}"


_FIELDS = (_ripples, _blobs, _plasma, _tunnel, _kaleidoscope, _mountains, _stars, _city, _orbits, _weave)
_NIGHTLY = (_stars, _city, _orbits)
_GENERATORS = (_mandelbrot, _life, _automaton, _gradients, _pattern, _sierpinski, _zoneplate)
