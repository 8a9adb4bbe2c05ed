"""HLS playlists (RFC 8216, fragmented MP4) after Apple's authoring specification, from measurements: pure functions.

All names are relative, so a package can be served from anywhere; only the keys of an encrypted one have an address.
"""

from collections.abc import Iterable, Mapping, Sequence

from transcoding.boxes import seconds
from transcoding.renditions import Rendition, Renditions, TextRendition, target_duration

KEY_ADDRESS = "/api/watch/keys/"
_START_BPS = 2_000_000  # Apple's HLS authoring specification, 1.32: the first variant is near 2 Mbit/s
_CODEC_ORDER = {"h264": 0, "av1": 1, "hevc": 2}
_NAMES = {
    "ar": "العربية", "be": "Беларуская", "bg": "Български", "cs": "Čeština", "da": "Dansk", "de": "Deutsch",
    "el": "Ελληνικά", "en": "English", "es": "Español", "et": "Eesti", "fi": "Suomi", "fr": "Français", "he": "עברית",
    "hi": "हिन्दी", "hu": "Magyar", "hy": "Հայերեն", "it": "Italiano", "ja": "日本語", "ka": "ქართული", "kk": "Қазақша",
    "ko": "한국어", "lt": "Lietuvių", "lv": "Latviešu", "nl": "Nederlands", "no": "Norsk", "pl": "Polski",
    "pt": "Português", "ro": "Română", "ru": "Русский", "sk": "Slovenčina", "sl": "Slovenščina", "sr": "Српски",
    "sv": "Svenska", "tr": "Türkçe", "uk": "Українська", "vi": "Tiếng Việt", "zh": "中文",
    "und": "Original",
}  # fmt: skip


def language_name(tag: str) -> str:
    """What speakers call their language, with its region; the tag itself where we do not know."""
    language, _, region = tag.partition("-")
    name = _NAMES.get(language, language)
    return f"{name} ({region})" if region else name


def media_playlist(rendition: Rendition, target: int, keys: Sequence[str] = ()) -> str:
    """The playlist of a rendition. `keys`: the id of each segment's key, none where they are clear.

    The initialisation segment stands before the first key: it stays clear. Without an IV of its own a segment has its
    media sequence number (RFC 8216, 5.2).
    """
    only = ["#EXT-X-I-FRAMES-ONLY"] if rendition.kind == "iframes" else []
    lines = [*_head(target), *only, "#EXT-X-INDEPENDENT-SEGMENTS", '#EXT-X-MAP:URI="init.mp4"']
    before = None
    for number, segment in enumerate(rendition.segments):
        if keys and keys[number] != before:
            before = keys[number]
            lines.append(f'#EXT-X-KEY:METHOD=AES-128,URI="{KEY_ADDRESS}{before}"')
        lines += [f"#EXTINF:{float(seconds(segment.duration, rendition.track)):.6f},", segment.name]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def text_playlist(text: TextRendition, target: int) -> str:
    """The playlist of segmented WebVTT; it spans the whole film, cues or not."""
    lines = _head(target)
    for number, duration in enumerate(text.durations):
        lines += [f"#EXTINF:{float(duration):.6f},", f"{number:05d}.vtt"]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def _head(target: int) -> list[str]:
    return [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{target}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
    ]


def master_playlist(renditions: Renditions) -> str:
    """The variants with each audio group, the subtitles and the key frames for trick play.

    BANDWIDTH is that of the worst combination a player may choose: the variant with the group's highest peak.
    """
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    groups = audio_groups(renditions.audio)
    for group, members in groups.items():
        lines += [_audio(group, member, default=member is members[0]) for member in members]
    lines += [_subtitles(text) for text in renditions.text]
    ranged = any(video.track.video_range != "SDR" for video in renditions.video)
    for group, members in groups.items() or [("", ())]:
        for video in _start_first(renditions.video):
            facts = _variant(video, members, ranged=ranged)
            facts |= {"AUDIO": _quoted(group)} if members else {}
            facts |= {"SUBTITLES": '"subtitles"'} if renditions.text else {}
            facts["CLOSED-CAPTIONS"] = "NONE"
            lines += [_line("#EXT-X-STREAM-INF", facts), f"{video.folder}/main.m3u8"]
    for frames in renditions.iframes:
        facts = _variant(frames, (), ranged=ranged)
        del facts["FRAME-RATE"]
        lines.append(_line("#EXT-X-I-FRAME-STREAM-INF", facts | {"URI": _quoted(f"{frames.folder}/main.m3u8")}))
    return "\n".join([*lines, ""])


def audio_groups(audio: Sequence[Rendition]) -> dict[str, tuple[Rendition, ...]]:
    """Stereo, and surround where a language has it; both with a member for every language (RFC 8216, 4.3.4.1.1)."""
    stereo = {track.language: track for track in audio if track.track.channels <= 2}
    surround = {track.language: track for track in audio if track.track.channels > 2}
    if not surround or not stereo:
        return {"audio": tuple(audio)} if audio else {}
    languages = dict.fromkeys(track.language for track in audio)
    return {
        "stereo": tuple(stereo.get(language) or surround[language] for language in languages),
        "surround": tuple(surround.get(language) or stereo[language] for language in languages),
    }


def _audio(group: str, track: Rendition, *, default: bool) -> str:
    facts = {
        "TYPE": "AUDIO",
        "GROUP-ID": _quoted(group),
        "NAME": _quoted(language_name(track.language)),
        "LANGUAGE": _quoted(track.language),
        "DEFAULT": _yes(default),
        "AUTOSELECT": "YES",
        "CHANNELS": _quoted(str(track.track.channels)),
        "URI": _quoted(f"{track.folder}/main.m3u8"),
    }
    return _line("#EXT-X-MEDIA", facts)


def _subtitles(text: TextRendition) -> str:
    """Off unless the viewer or the language of the device asks for them; forced ones go with the sound's language."""
    facts = {
        "TYPE": "SUBTITLES",
        "GROUP-ID": '"subtitles"',
        "NAME": _quoted(f"{language_name(text.language)}{' (forced)' if text.forced else ''}"),
        "LANGUAGE": _quoted(text.language),
        "DEFAULT": "NO",
        "AUTOSELECT": "YES",
        "FORCED": _yes(text.forced),
        "URI": _quoted(f"{text.folder}/main.m3u8"),
    }
    return _line("#EXT-X-MEDIA", facts)


def _variant(video: Rendition, sounds: Iterable[Rendition], *, ranged: bool) -> dict[str, str]:
    sounds = list(sounds)
    track = video.track
    facts = {
        "BANDWIDTH": str(video.peak_bps + max((sound.peak_bps for sound in sounds), default=0)),
        "AVERAGE-BANDWIDTH": str(video.average_bps + max((sound.average_bps for sound in sounds), default=0)),
        "CODECS": _quoted(",".join([track.codec, *sorted({sound.track.codec for sound in sounds})])),
        "RESOLUTION": f"{track.width}x{track.height}",
        "FRAME-RATE": f"{float(video.frame_rate or 0):.3f}",
    }
    return facts | ({"VIDEO-RANGE": track.video_range} if ranged else {})


def _start_first(video: Sequence[Rendition]) -> list[Rendition]:
    """The variant to start with in front, for players begin with the first one: H.264 and SDR near 2 Mbit/s.

    The others from high to low; of equal heights the codec that everybody has comes first.
    """
    everywhere = [r for r in video if r.codec == "h264" and r.track.video_range == "SDR"] or video
    first = min(everywhere, key=lambda rendition: abs(rendition.average_bps - _START_BPS))
    rest = [rendition for rendition in video if rendition is not first]
    order = sorted(rest, key=lambda r: (-r.track.height, _CODEC_ORDER.get(r.codec, 9), -r.average_bps))
    return [first, *order]


def frames_target(frames: Rendition) -> int:
    """The target duration of a playlist of key frames, which has its own: a second a frame."""
    return target_duration([frames])


def _line(tag: str, facts: Mapping[str, str]) -> str:
    return f"{tag}:{','.join(f'{name}={value}' for name, value in facts.items())}"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _yes(value: bool) -> str:
    return "YES" if value else "NO"
