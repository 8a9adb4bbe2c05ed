"""Read a package into the model: each file once, one segment in memory at a time."""

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction

from transcoding.checker import mpd
from transcoding.checker.model import Cue, Fault, Package, Rendition, Segment
from transcoding.checker.playlist import Entry, Listing, read_playlist
from transcoding.checker.reader import Reader, RedirectError, UnreadableError
from transcoding.checker.samples import Track, read_fragments, read_init
from transcoding.errors import TranscodingError

KeyFor = Callable[[str], bytes]
_MOST_PLAYLISTS = 500
_FMP4 = {b"styp", b"moof", b"ftyp", b"moov", b"sidx", b"emsg", b"prft", b"mdat", b"free", b"uuid"}
_TIME = re.compile(r"(?:(\d{1,4}):)?(\d\d):(\d\d)\.(\d{3})")
_CUE = re.compile(rf"{_TIME.pattern}[ \t]+-->[ \t]+{_TIME.pattern}")
_MOST_TEXT, _MOST_ENTRIES, _MOST_CUES = 64 << 20, 500_000, 500_000
_PACKET = 188


def load(reader: Reader, key_for: KeyFor | None) -> Package:
    """The whole package behind a reader's first playlist.

    Raises:
        TranscodingError: the first playlist cannot be read, or the package is larger than the reader's limits.
    """
    return _Loader(reader, key_for).load()


class _Loader:
    def __init__(self, reader: Reader, key_for: KeyFor | None) -> None:
        self.reader, self.key_for = reader, key_for
        self.package = Package(reader.start, reader.is_web, None, {})
        self.inits: dict[tuple[str, tuple[int, int] | None], tuple[Track, ...]] = {}
        self.keys: dict[str, bytes | None] = {}
        self.refused: set[tuple[str, str]] = set()
        self.text_bytes = self.entries = self.cues = 0

    def load(self) -> Package:
        package, start = self.package, self.reader.start
        first = self._listing(start)
        if first is None:
            moved = [r for r in self.reader.responses if r.location is not None]
            if not moved:
                raise TranscodingError(package.faults[0].words)
            package.responses = self.reader.responses
            return package
        if first.is_master:
            package.master = self._master(first)
            for name, role in self._roles(package.master):
                listing = self._listing(name)
                if listing is not None:
                    package.renditions[name] = self._rendition(name, role, listing)
        else:
            rendition = self._rendition(start, "", first)
            role = "trick" if "X-I-FRAMES-ONLY" in first.tags else "video" if rendition.picture else "audio"
            package.renditions[start] = replace(rendition, role=role)
        package.dash = mpd.load(self.reader, package)
        package.responses = self.reader.responses
        return package

    def fault(self, kind: str, file: str, error: object) -> None:
        if (kind, file) not in self.refused:
            self.refused.add((kind, file))
            self.package.faults.append(Fault(kind, self.package.short(file), str(error)))

    def _listing(self, name: str) -> Listing | None:
        try:
            data = self.reader.read(name, self.reader.limits.playlist_bytes)
        except RedirectError:
            return None
        except UnreadableError as error:
            self.fault("file", name, error)
            return None
        self.text_bytes += len(data)
        if self.text_bytes > _MOST_TEXT:
            raise TranscodingError(f"{name}: more than {_MOST_TEXT} bytes of playlists; that is no package")
        self.package.texts[name] = data.decode("utf-8", errors="replace")
        listing = read_playlist(name, data)
        for words in listing.faults:
            self.package.faults.append(Fault("playlist", self.package.short(name), words))
        return listing

    def _resolve(self, base: str, reference: str) -> str | None:
        try:
            return self.reader.resolve(base, reference)
        except UnreadableError as error:
            self.fault("file", reference[:200], error)
            return None

    def _master(self, listing: Listing) -> Listing:
        """With absolute names; what cannot be reached keeps the name that it was given."""
        start = listing.uri
        listing.variants = [replace(v, uri=self._resolve(start, v.uri) or v.uri) for v in listing.variants]
        listing.media = [
            replace(m, uri=(self._resolve(start, m.uri) or m.uri) if m.uri is not None else None) for m in listing.media
        ]
        return listing

    def _roles(self, master: Listing) -> list[tuple[str, str]]:
        roles: dict[str, str] = {}
        for media in master.media:
            if media.uri and media.kind in ("AUDIO", "SUBTITLES", "VIDEO"):
                roles.setdefault(media.uri, {"AUDIO": "audio", "SUBTITLES": "text"}.get(media.kind, "video"))
        for variant in master.variants:
            heard = variant.codecs and not any(codec.is_video for codec in variant.codecs)
            audio_only = heard and "RESOLUTION" not in variant.attributes
            roles.setdefault(variant.uri, "trick" if variant.trick else "audio" if audio_only else "video")
        if len(roles) > _MOST_PLAYLISTS:
            raise TranscodingError(f"{len(roles)} playlists; at most {_MOST_PLAYLISTS} are checked")
        refused = {file for kind, file in self.refused if kind == "file"}
        return [(name, role) for name, role in roles.items() if name not in refused]

    def _rendition(self, name: str, role: str, listing: Listing) -> Rendition:
        self.entries += len(listing.entries)
        if self.entries > _MOST_ENTRIES:
            raise TranscodingError(f"{name}: more than {_MOST_ENTRIES} segments are listed; that is no package")
        counters: dict[int, int] = {}
        segments = [self._segment(name, entry, counters) for entry in listing.entries]
        tracks = next((segment.tracks for segment in segments if segment.tracks), ())
        if not tracks and listing.entries and listing.entries[0].init:
            tracks = self._init(name, listing.entries[0]) or ()
        return Rendition(name, role, listing, tuple(segments), tracks)

    def _init(self, name: str, entry: Entry) -> tuple[Track, ...] | None:
        if entry.init is None:
            return None
        uri = self._resolve(name, entry.init[0])
        if uri is None:
            return None
        key = (uri, entry.init[1])
        if key not in self.inits:
            self.inits[key] = self._read_init(*key)
        return self.inits[key]

    def _read_init(self, uri: str, span: tuple[int, int] | None) -> tuple[Track, ...]:
        try:
            data = self.reader.read(uri, self.reader.limits.playlist_bytes, span)
        except RedirectError:
            return ()
        except UnreadableError as error:
            self.fault("file", uri, error)
            return ()
        self.package.inits.add(uri)
        try:
            return read_init(data)
        except (TranscodingError, struct.error, IndexError, ValueError) as error:
            self.fault("boxes", uri, error)
            return ()

    def _segment(self, playlist: str, entry: Entry, counters: dict[int, int]) -> Segment:
        uri = self._resolve(playlist, entry.uri)
        if uri is None:
            return Segment(entry, entry.uri, broken="cannot be reached")
        tracks = self._init(playlist, entry) or ()
        try:
            data = self.reader.read(uri, self.reader.limits.segment_bytes, entry.span)
        except RedirectError as error:
            return Segment(entry, uri, broken=str(error))
        except UnreadableError as error:
            self.fault("file", uri, error)
            return Segment(entry, uri, broken=str(error))
        size = len(data)
        if entry.key is not None and entry.key.get("METHOD") == "AES-128":
            clear = self._decrypt(playlist, uri, entry, data)
            if clear is None:
                return Segment(entry, uri, size, tracks=tracks, sealed=True)
            data = clear
        measured = Segment(entry, uri, size, _container(data), tracks)
        try:
            made = _measure(measured, data, counters)
            self.cues += len(made.cues)
            if self.cues > _MOST_CUES:
                raise TranscodingError(f"more than {_MOST_CUES} cues in one package")
            return made
        except (TranscodingError, struct.error, IndexError, ValueError) as error:
            self.fault("boxes", uri, error)
            return replace(measured, broken=str(error))

    def _decrypt(self, playlist: str, uri: str, entry: Entry, data: bytes) -> bytes | None:
        """RFC 8216, 4.3.2.4: AES-128 in CBC mode with PKCS7 padding; the IV is the sequence number if none is told."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.padding import PKCS7

        key = self._key(playlist, entry.key or {})
        if key is None:
            return None
        told = (entry.key or {}).get("IV", "")
        try:
            iv = bytes.fromhex(told[2:].rjust(32, "0")) if told[:2] in ("0x", "0X") else entry.sequence.to_bytes(16)
            decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
            unpadder = PKCS7(128).unpadder()
            return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()
        except (ValueError, OverflowError) as error:
            self.fault("key", uri, f"does not decrypt with its key: {error}")
            return None

    def _key(self, playlist: str, attributes: Mapping[str, str]) -> bytes | None:
        uri = attributes.get("URI", "")
        if attributes.get("KEYFORMAT", "identity") != "identity":
            return None
        if uri not in self.keys:
            self.keys[uri] = self._fetch_key(playlist, uri)
        return self.keys[uri]

    def _fetch_key(self, playlist: str, uri: str) -> bytes | None:
        if self.key_for is None and not self.reader.is_web:
            return None
        try:
            if self.key_for is not None:
                key = self.key_for(uri)
            else:
                key = self.reader.read(self.reader.resolve(playlist, uri), 64)
        except UnreadableError:
            return None
        if len(key) != 16:
            self.fault("key", uri[:200], f"is {len(key)} bytes, an AES-128 key has 16")
            return None
        return key


def _container(data: bytes) -> str:
    if data[4:8] in _FMP4:
        return "fmp4"
    if data[:1] == b"\x47" and data[_PACKET : _PACKET + 1] in (b"", b"\x47"):
        return "ts"
    if data.lstrip(b"\xef\xbb\xbf")[:6] == b"WEBVTT":
        return "webvtt"
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0) or data[:2] == b"\x0b\x77":
        return "packed"
    return "unknown"


def _measure(segment: Segment, data: bytes, counters: dict[int, int]) -> Segment:
    if segment.container == "fmp4":
        tracks = segment.tracks
        if not tracks and b"moov" in data[:65_536]:
            tracks = read_init(data)
        timelines, fragments = read_fragments(data, tracks) if tracks else ([], data.count(b"moof", 0, 4096))
        return replace(segment, tracks=tracks, timelines=tuple(timelines), fragments=fragments)
    if segment.container == "ts":
        stray, programs = _transport(data, counters)
        return replace(segment, stray_counters=stray, programs=programs)
    if segment.container == "webvtt":
        text = data.decode("utf-8").replace("\r\n", "\n")
        return replace(segment, mapped="X-TIMESTAMP-MAP=" in text.split("\n\n")[0], cues=_cues(text))
    return segment


def _cues(text: str) -> tuple[Cue, ...]:
    """Start, end and text of each cue, on the segment's own clock (WebVTT, 4.1)."""
    found: list[Cue] = []
    for block in text.split("\n\n"):
        head, _, body = block.partition("-->")
        if not body:
            continue
        match = _CUE.search(head.rsplit("\n", 1)[-1] + "-->" + body)
        if match is None:
            raise TranscodingError(f"{block.strip()[:60]!r} is no WebVTT cue")
        words = body.split("\n", 1)[1].strip() if "\n" in body else ""
        found.append(Cue(_seconds(match.groups()[:4]), _seconds(match.groups()[4:]), words))
    return tuple(found)


def _seconds(words: tuple[str | None, ...]) -> Fraction:
    hours, minutes, seconds, thousandths = (int(word or 0) for word in words)
    return Fraction(((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths, 1000)


def _transport(data: bytes, counters: dict[int, int]) -> tuple[int, tuple[int, ...]]:
    """Continuity counters that do not follow (ISO/IEC 13818-1, 2.4.3.3), and the stream types of the program map."""
    if len(data) % _PACKET:
        raise TranscodingError(f"{len(data)} bytes are no whole number of transport packets")
    stray, maps, programs = 0, set[int](), list[int]()
    for at in range(0, len(data), _PACKET):
        if data[at] != 0x47:
            raise TranscodingError(f"no transport packet at byte {at}")
        pid, flags = (data[at + 1] & 0x1F) << 8 | data[at + 2], data[at + 3]
        if pid == 0x1FFF:
            continue
        counter, payload = flags & 15, bool(flags & 0x10)
        told = counters.get(pid)
        free = bool(flags & 0x20) and data[at + 4] > 0 and bool(data[at + 5] & 0x80)  # declared discontinuity
        # A packet may be sent twice.
        if told is not None and payload and not free and counter not in ((told + 1) & 15, told):
            stray += 1
        counters[pid] = counter
        if payload and data[at + 1] & 0x40 and (pid == 0 or pid in maps):
            skip = 4 + (1 + data[at + 4] if flags & 0x20 else 0)
            table = data[at + skip : at + _PACKET]
            _table(table[1 + table[0] :], pid, maps, programs)
    return stray, tuple(programs)


def _table(table: bytes, pid: int, maps: set[int], programs: list[int]) -> None:
    """One section of the program association or of a program map (ISO/IEC 13818-1, 2.4.4)."""
    end = min(len(table), 3 + ((table[1] & 15) << 8 | table[2])) - 4
    if pid == 0:
        maps.update((table[at + 2] & 0x1F) << 8 | table[at + 3] for at in range(8, end - 3, 4))
    elif not programs:
        at = 12 + ((table[10] & 15) << 8 | table[11])
        while at + 5 <= end:
            programs.append(table[at])
            at += 5 + ((table[at + 3] & 15) << 8 | table[at + 4])
