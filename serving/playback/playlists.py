"""Playlists as they are served: without the rungs that a plan or a device does not take, and compressed.

Packages never change, so what was made of one is kept, the least used going first.
"""

import gzip
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

_RESOLUTION = re.compile(r"RESOLUTION=([0-9]+)x([0-9]+)")
_URI = re.compile(r'URI="([^"]+)"')
_DASH = "urn:mpeg:dash:schema:mpd:2011"
_KEPT = 2_000


@dataclass(frozen=True)
class Served:
    """A playlist, and the same compressed by gzip."""

    plain: bytes
    packed: bytes


def lines(width: int, height: int) -> int:
    """The height that a picture counts as: that of a 16:9 picture as wide, on its longer side, where that is more.

    So a wide film of 1920x800 counts as 1080, and an upright one of 1080x1920 too.
    """
    return max(min(width, height), round(max(width, height) * 9 / 16))


def rungs(master: str) -> dict[str, int]:
    """The folders of a master playlist's variants and key frames (RFC 8216, 4.3.4), each with its lines."""
    found: dict[str, int] = {}
    told = master.splitlines()
    for place, line in enumerate(told):
        size = _RESOLUTION.search(line)
        if size is None:
            continue
        uri = _URI.search(line)
        address = uri[1] if uri and line.startswith("#EXT-X-I-FRAME-STREAM-INF") else told[place + 1]
        found[address.rpartition("/")[0]] = lines(int(size[1]), int(size[2]))
    return found


def hidden(folders: Mapping[str, int], max_height: int | None) -> frozenset[str]:
    """Those above the limit; where all are, all but the lowest: something must play."""
    if max_height is None or not folders:
        return frozenset()
    limit = max(max_height, min(folders.values()))
    return frozenset(folder for folder, height in folders.items() if height > limit)


def without(master: str, folders: frozenset[str]) -> str:
    """The master playlist without the variants and key frames in these folders."""
    told, kept = iter(master.splitlines()), []
    for line in told:
        if line.startswith("#EXT-X-STREAM-INF"):
            address = next(told, "")
            if address.rpartition("/")[0] not in folders:
                kept += [line, address]
        elif line.startswith("#EXT-X-I-FRAME-STREAM-INF"):
            uri = _URI.search(line)
            if uri is None or uri[1].rpartition("/")[0] not in folders:
                kept.append(line)
        else:
            kept.append(line)
    return "\n".join([*kept, ""])


def without_high(manifest: str, max_height: int) -> bytes:
    """A DASH manifest without the representations above the limit; where all are, the lowest stay."""
    ET.register_namespace("", _DASH)
    root = ET.fromstring(manifest)  # noqa: S314 - written by our own packager
    heights = {
        id(e): lines(int(e.get("width", 0)), int(e.get("height", 0))) for e in root.iter(f"{{{_DASH}}}Representation")
    }
    limit = max(max_height, min((height for height in heights.values() if height), default=0))
    for period in root.iter(f"{{{_DASH}}}Period"):
        for group in list(period.findall(f"{{{_DASH}}}AdaptationSet")):
            members = group.findall(f"{{{_DASH}}}Representation")
            for member in members:
                if heights[id(member)] > limit:
                    group.remove(member)
            if members and not group.findall(f"{{{_DASH}}}Representation"):
                period.remove(group)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


class Playlists:
    """The playlists of packages, as they are served; reads files, so it is called in a thread."""

    def __init__(self, media: Path) -> None:
        self._media = media
        self._served: OrderedDict[tuple[Path, int | None], Served] = OrderedDict()
        self._dash: OrderedDict[tuple[str, str], bool] = OrderedDict()
        self._rungs: OrderedDict[Path, Mapping[str, int]] = OrderedDict()

    def served(self, folder: Path, name: str, max_height: int | None) -> Served:
        """A playlist of the package in a folder, for a limit of lines.

        Raises:
            OSError: there is no such file.
        """
        limit = max_height if name in ("master.m3u8", "manifest.mpd") else None
        key = (folder / name, limit)
        found = self._served.get(key)
        if found is None:
            plain = self._limited(folder, name, limit)
            found = Served(plain, gzip.compress(plain, 6, mtime=0))
        _keep(self._served, key, found)
        return found

    def has_dash(self, title_id: str, package_id: str) -> bool:
        """Whether the package has a DASH manifest beside its HLS playlists."""
        key = (title_id, package_id)
        found = self._dash.get(key)
        if found is None:
            found = (self._media / title_id / package_id / "manifest.mpd").is_file()
        _keep(self._dash, key, found)
        return found

    def hides(self, folder: Path, name: str, max_height: int | None) -> bool:
        """Whether a file of the package belongs to a rung above the limit."""
        if max_height is None:
            return False
        return name.rpartition("/")[0] in hidden(self._rungs_of(folder), max_height)

    def remembered(self, folder: Path, name: str, max_height: int) -> bool | None:
        """As `hides`, from memory alone, so without a thread; None where the package was not looked at yet."""
        found = self._rungs.get(folder)
        return None if found is None else name.rpartition("/")[0] in hidden(found, max_height)

    def _limited(self, folder: Path, name: str, limit: int | None) -> bytes:
        plain = (folder / name).read_bytes()
        if limit is None:
            return plain
        if name == "master.m3u8":
            return without(plain.decode(), hidden(self._rungs_of(folder), limit)).encode()
        return without_high(plain.decode(), limit)

    def _rungs_of(self, folder: Path) -> Mapping[str, int]:
        found = self._rungs.get(folder)
        if found is None:
            found = rungs((folder / "master.m3u8").read_text())
        _keep(self._rungs, folder, found)
        return found


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _KEPT:
        kept.popitem(last=False)
