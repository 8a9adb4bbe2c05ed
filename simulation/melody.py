"""A small piece of music from a seed: melody, chords and a beat, as samples."""

import numpy as np

SAMPLE_RATE = 48_000
_SCALES = ((0, 2, 4, 7, 9), (0, 3, 5, 7, 10), (0, 2, 3, 7, 8), (0, 2, 4, 5, 7, 9, 11), (0, 1, 4, 5, 7, 8, 10))
_CHORDS = ((0, 4, 7), (0, 3, 7), (0, 5, 9), (0, 4, 9))


def melody(seed: int, seconds: float) -> np.ndarray:
    """Mono samples (int16, 48 kHz), the same for the same seed."""
    rng = np.random.default_rng([seed, 1])
    beat = rng.uniform(0.22, 0.45)
    scale, root = _SCALES[rng.integers(len(_SCALES))], int(rng.integers(45, 58))
    count = int(np.ceil(seconds / beat))
    degrees = np.cumsum(rng.integers(-2, 3, count)) % (2 * len(scale))
    notes = [root + 12 + 12 * (d // len(scale)) + scale[d % len(scale)] for d in degrees]
    sounds = np.zeros(round(seconds * SAMPLE_RATE) + SAMPLE_RATE)
    bright = rng.uniform(0.1, 0.6)
    plucked = {note: _pluck(note, 2.2 * beat, bright) * 0.25 for note in set(notes)}
    held = {step: _swell(root - 12 + step, 8 * beat) * 0.09 for chord in _CHORDS for step in chord}
    for number, note in enumerate(notes):
        if rng.uniform() < 0.85:
            _add(sounds, number * beat, plucked[note])
        if number % 8 == 0:
            for step in _CHORDS[rng.integers(len(_CHORDS))]:
                _add(sounds, number * beat, held[step])
        if number % 2 == 0:
            _add(sounds, number * beat, _knock(rng) * 0.15)
    mixed = sounds[: round(seconds * SAMPLE_RATE)]
    return (mixed / np.abs(mixed).max() * 0.7 * 32_767).astype(np.int16)


def _add(sounds: np.ndarray, at: float, sound: np.ndarray) -> None:
    start = round(at * SAMPLE_RATE)
    room = sounds[start : start + len(sound)]
    room += sound[: len(room)]


def _phase(note: int, seconds: float) -> np.ndarray:
    hertz = 440 * 2 ** ((note - 69) / 12)
    return 2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def _pluck(note: int, seconds: float, bright: float) -> np.ndarray:
    phase = _phase(note, seconds)
    fade = np.exp(-np.linspace(0, 5, len(phase)))
    return fade * (np.sin(phase) + bright * np.sin(2 * phase) + bright**2 * np.sin(3 * phase))


def _swell(note: int, seconds: float) -> np.ndarray:
    phase = _phase(note, seconds)
    return np.sin(np.linspace(0, np.pi, len(phase))) * (np.sin(phase) + 0.5 * np.sin(1.003 * phase))


def _knock(rng: np.random.Generator) -> np.ndarray:
    length = SAMPLE_RATE // 12
    return rng.standard_normal(length) * np.exp(-np.linspace(0, 9, length))
