"""The network itself, written once against the array functions that NumPy and `keras.ops` share.

Two kinds of block over a causal history. "sasrec": softmax attention and a feed-forward layer (Kang & McAuley 2018,
arXiv 1808.09781), normalised first. "hstu": pointwise SiLU attention, gated, without feed-forward (Zhai et al. 2024,
arXiv 2402.17152). Both learn a bias for the distance in places; "hstu" also one for the time between what is attended
to and the moment that is asked about, in buckets of its logarithm, and what that gap means for the answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models.interactions import Floats

Kind = Literal["sasrec", "hstu"]
Array = Any  # of NumPy or of the backend of Keras
BUCKETS = 64
_PER_BUCKET = 0.3  # in natural logarithm of seconds: 64 buckets reach beyond five years
_FAR = -1e9
_EPSILON = 1e-6


@dataclass(frozen=True)
class Shape:
    """The sizes of a network. `length`: places of a history looked at; `starts`: places told apart from its start."""

    kind: Kind
    n_items: int
    dim: int
    blocks: int
    heads: int
    length: int
    starts: int = 256

    @property
    def timed(self) -> bool:
        return self.kind == "hstu"

    @property
    def drops(self) -> int:
        """How often `hidden` drops out."""
        return 1 + self.blocks * (2 if self.kind == "sasrec" else 1)

    def weights(self) -> dict[str, tuple[tuple[int, ...], float]]:
        """Name -> sizes and the standard deviation it starts with (0: zeros; 1 with one axis: ones)."""
        d, small = self.dim, self.dim**-0.5
        sizes: dict[str, tuple[tuple[int, ...], float]] = {
            "items": ((self.n_items, d), 0.5 * small),
            "popular": ((self.n_items,), 0.0),
            "starts": ((self.starts, d), 0.05),
            "norm": ((d,), 1.0),
            "shift": ((d,), 0.0),
            "places": ((self.heads, self.length), 0.0),
        }
        if self.timed:
            sizes |= {"gaps": ((BUCKETS, d), 0.05), "times": ((BUCKETS, self.heads), 0.0)}
        for block in range(self.blocks):
            own = {"norm": ((d,), 1.0), "shift": ((d,), 0.0), "out": ((d, d), small / self.blocks**0.5)}
            if self.kind == "sasrec":
                own |= {
                    "in": ((d, 3 * d), small),
                    "norm2": ((d,), 1.0), "shift2": ((d,), 0.0),
                    "wide": ((d, 2 * d), small), "wide_bias": ((2 * d,), 0.0),
                    "narrow": ((2 * d, d), small / self.blocks**0.5), "narrow_bias": ((d,), 0.0),
                }  # fmt: skip
            else:
                own |= {"in": ((d, 4 * d), small)}
            sizes |= {f"{block}/{name}": size for name, size in own.items()}
        return sizes


def hidden(
    f: Any,
    shape: Shape,
    weights: Mapping[str, Array],
    items: Array,
    starts: Array,
    times: Array | None,
    drop: Callable[[Array], Array] = lambda values: values,
    *,
    newest: bool = False,
) -> Array:
    """[rows, length, dim]: at each place, what the history up to it asks for; [rows, 1, dim] where only the `newest`
    place is wanted, of which no row is padded then.

    `items` and `starts` (the place in the whole history) are whole numbers [rows, length], padded behind. `times`
    [rows, length + 1] are whole seconds from any zero: of each item, and at last of the question; None: not known. `f`
    is `keras.ops`, or `NUMPY`.
    """
    x = f.take(weights["items"], items, axis=0) * shape.dim**0.5 + f.take(weights["starts"], starts, axis=0)
    length = items.shape[1]
    # What earlier places ask for is of use to later blocks alone.
    last = slice(length - 1, length) if newest else slice(None)
    places = last if shape.blocks == 1 else slice(None)
    bias = _place_bias(f, weights["places"], length, places)
    if shape.timed and times is not None:
        asked = times[:, 1:]
        x = x + f.take(weights["gaps"], _bucket(f, asked - times[:, :-1]), axis=0)
        between = _bucket(f, asked[:, places, None] - times[:, None, :-1])
        bias = bias + f.transpose(f.take(weights["times"], between, axis=0), (0, 3, 1, 2))
    block = _transformer if shape.kind == "sasrec" else _transducer
    x = drop(x)
    for number in range(shape.blocks):
        own = {name: weights[f"{number}/{name}"] for name in _BLOCK[shape.kind]}
        places = last if number == shape.blocks - 1 else slice(None)
        x = block(f, shape.heads, own, x, bias[:, :, places] if number else bias, drop, places)
    return _normed(f, x, weights["norm"], weights["shift"])


def logits(f: Any, weights: Mapping[str, Array], asked: Array, items: Array | None = None) -> Array:
    """Scores of all items, or of these: [..., items] of `asked` [..., dim]."""
    rows, popular = weights["items"], weights["popular"]
    if items is not None:
        rows, popular = f.take(rows, items, axis=0), f.take(popular, items, axis=0)
    return f.matmul(asked, f.transpose(rows, (1, 0))) + popular


_BLOCK = {
    "sasrec": ("norm", "shift", "in", "out", "norm2", "shift2", "wide", "wide_bias", "narrow", "narrow_bias"),
    "hstu": ("norm", "shift", "in", "out"),
}


def _transformer(
    f: Any, heads: int, w: Mapping[str, Array], x: Array, bias: Array, drop: Callable, asked: slice
) -> Array:
    """What the `asked` places get of all places, as `_transducer`."""
    q, k, v = _split(f, f.matmul(_normed(f, x, w["norm"], w["shift"]), w["in"]), 3, heads)
    scale = q.shape[-1] ** -0.5
    attention = f.softmax(f.matmul(q[:, :, asked] * scale, f.transpose(k, (0, 1, 3, 2))) + bias, axis=-1)
    x = x[:, asked] + drop(f.matmul(_joined(f, f.matmul(attention, v)), w["out"]))
    wide = f.relu(f.matmul(_normed(f, x, w["norm2"], w["shift2"]), w["wide"]) + w["wide_bias"])
    return x + drop(f.matmul(wide, w["narrow"]) + w["narrow_bias"])


def _transducer(
    f: Any, heads: int, w: Mapping[str, Array], x: Array, bias: Array, drop: Callable, asked: slice
) -> Array:
    mixed = f.silu(f.matmul(_normed(f, x, w["norm"], w["shift"]), w["in"]))
    u, v, q, k = _split(f, mixed, 4, heads)
    scale = q.shape[-1] ** -0.5
    attention = f.silu(f.matmul(q[:, :, asked] * scale, f.transpose(k, (0, 1, 3, 2))) + bias)
    drawn = _joined(f, f.matmul(attention, v))
    gated = _plain_norm(f, drawn) * _joined(f, u[:, :, asked])
    return x[:, asked] + f.matmul(drop(gated), w["out"])


def _place_bias(f: Any, table: Array, length: int, places: slice) -> Array:
    """[1, heads, places, length]: what is ahead is out of reach."""
    place = np.arange(length)
    back = place[places, None] - place[None, :]
    learned = f.take(table, np.maximum(back, 0).astype(np.int32), axis=1)
    return (learned + np.where(back < 0, _FAR, 0).astype(np.float32))[None]


def _bucket(f: Any, seconds: Array) -> Array:
    level = f.log1p(f.cast(f.maximum(seconds, 0), "float32")) / _PER_BUCKET
    return f.cast(f.minimum(level, BUCKETS - 1.0), "int32")


def _split(f: Any, x: Array, parts: int, heads: int) -> list[Array]:
    """[rows, length, parts * dim] -> parts of [rows, heads, length, dim / heads]."""
    _, length, width = x.shape
    apart = f.transpose(f.reshape(x, (-1, length, parts, heads, width // parts // heads)), (2, 0, 3, 1, 4))
    return [apart[part] for part in range(parts)]


def _joined(f: Any, x: Array) -> Array:
    _, heads, length, width = x.shape
    return f.reshape(f.transpose(x, (0, 2, 1, 3)), (-1, length, heads * width))


def _plain_norm(f: Any, x: Array) -> Array:
    centred = x - f.mean(x, axis=-1, keepdims=True)
    return centred / f.sqrt(f.mean(centred * centred, axis=-1, keepdims=True) + _EPSILON)


def _normed(f: Any, x: Array, gain: Array, shift: Array) -> Array:
    return _plain_norm(f, x) * gain + shift


class _Numpy:
    """The functions of `keras.ops` that the network needs and NumPy names otherwise."""

    def __getattr__(self, name: str) -> Any:
        setattr(self, name, found := getattr(np, name))  # from now on it is found at once
        return found

    @staticmethod
    def softmax(x: Floats, axis: int) -> Floats:
        grown = np.exp(x - x.max(axis=axis, keepdims=True))
        return grown / grown.sum(axis=axis, keepdims=True)

    @staticmethod
    def silu(x: Floats) -> Floats:
        return x / (np.float32(1) + np.exp(-np.maximum(x, np.float32(-80))))

    @staticmethod
    def relu(x: Floats) -> Floats:
        return np.maximum(x, 0)

    @staticmethod
    def cast(x: Any, kind: str) -> Any:
        return x.astype(kind)


NUMPY = _Numpy()
