"""What a report shows besides the curve: sample frames, sound, subtitles, keys."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transcoding.report.samples import FOLDER, SOURCE
from transcoding.report.words import NOTHING, Text, number, section, table

Facts = Mapping[str, Any]


_FRAMES = Text("Source and rungs side by side", "Исходник и ступени рядом")


def frames(draft: Path, facts: Facts) -> str:
    """The pictures in `report/`: for each moment the source and every rung, the same part of the screen."""
    pictures: dict[int, dict[str, str]] = {}
    for path in sorted((draft / FOLDER).glob("*.jpg")):
        second, _, name = path.stem.partition("-")
        pictures.setdefault(int(second), {})[name] = f"{FOLDER}/{path.name}"
    if not pictures:
        missing = Text(
            "None: the source could not be decoded there in time.",
            "Нет: исходник не удалось вовремя декодировать в этих местах.",
        )
        return section(_FRAMES, missing, "")
    order = [SOURCE, *(rung["name"] for rung in facts["video"])]
    content = "".join(
        f'<h3>{second // 3600}:{second // 60 % 60:02d}:{second % 60:02d}</h3><div class="frames">'
        + "".join(_figure(name, shown[name]) for name in order if name in shown)
        + "</div>"
        for second, shown in pictures.items()
    )
    note = Text(
        "The middle of the screen at the size of the largest rung: smaller rungs are enlarged as a player does.",
        "Середина экрана в размере наибольшей ступени: меньшие увеличены, как это делает плеер.",
    )
    return section(_FRAMES, note, content)


def _figure(name: str, path: str) -> str:
    caption = Text("source", "исходник").html() if name == SOURCE else html.escape(name)
    address = html.escape(path)
    return (
        f'<figure><a href="{address}"><img src="{address}" alt="" loading="lazy"></a>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def audio(facts: Facts) -> str:
    head = [Text("Track", "Дорожка"), Text("Language", "Язык"), Text("Channels", "Каналы"), Text("Codec", "Кодек"),
            Text("kbit/s", "кбит/с"), Text("Gain, dB", "Усиление, дБ"), Text("Loudness, LUFS", "Громкость, LUFS"),
            Text("True peak, dBTP", "Истинный пик, dBTP")]  # fmt: skip
    levels = {track["name"]: track for track in facts.get("loudness", ())}
    body = []
    for track in facts["audio"]:
        level, channels = levels.get(track["name"], {}), track.get("channels")
        body.append(
            [
                track["name"], str(track.get("language") or NOTHING),
                {2: "2", 6: "5.1"}.get(channels, number(channels)), str(track.get("codec", NOTHING)),
                number(track["average_bps"] / 1000), number(level.get("gain_db"), 1),
                number(level.get("loudness_lufs"), 1), number(level.get("true_peak_dbtp"), 1),
            ]
        )  # fmt: skip
    content = table(head, body) if body else f"<p><i>{Text('No sound.', 'Звука нет.').html()}</i></p>"
    return section(Text("Sound", "Звук"), None, content)


def text(facts: Facts) -> str:
    known = facts.get("subtitles", ())
    if not known:
        return ""
    head = [Text("Subtitles", "Субтитры"), Text("Language", "Язык"), Text("Forced", "Форсированные")]
    body = [
        [str(track["name"]), str(track["language"]), Text("yes", "да") if track["forced"] else Text("no", "нет")]
        for track in known
    ]
    return section(Text("Text", "Текст"), None, table(head, body))


def keys(draft: Path, facts: Facts) -> str:
    """Which key opens which segments, read from the playlists; the keys themselves are not here."""
    if not facts.get("key_ids"):
        return ""
    body = [
        [str(playlist.parent.relative_to(draft)), key, str(period), f"{first} … {last}"]
        for playlist in sorted(draft.glob("*/*/main.m3u8"))
        for period, (key, first, last) in enumerate(_periods(playlist))
    ]
    head = [Text("Rendition", "Дорожка"), Text("Key", "Ключ"), Text("Period", "Период"), Text("Segments", "Сегменты")]
    note = Text("Names of keys, never the keys.", "Имена ключей, самих ключей здесь нет.")
    return section(Text("Keys", "Ключи"), note, table(head, body))


def _periods(playlist: Path) -> list[tuple[str, int, int]]:
    """Runs of segments under one key: its name, the first and the last of them."""
    runs: list[tuple[str, int, int]] = []
    key, segment = None, -1
    for line in playlist.read_text().splitlines():
        if line.startswith("#EXT-X-KEY:"):
            key = line.partition('URI="')[2].partition('"')[0].rpartition("/")[2]
        elif line.startswith("#EXTINF:"):
            segment += 1
            if key and runs and runs[-1][0] == key:
                runs[-1] = (key, runs[-1][1], segment)
            elif key:
                runs.append((key, segment, segment))
    return runs
