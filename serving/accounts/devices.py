"""What a User-Agent says of a device, in few words: what people recognise their sessions by."""

import re

_BROWSERS = (
    (r"Edg(?:A|iOS)?/", "Edge"), (r"OPR/|Opera", "Opera"), (r"YaBrowser/", "Yandex Browser"),
    (r"SamsungBrowser/", "Samsung Internet"), (r"Firefox/|FxiOS/", "Firefox"), (r"Chrom(?:e|ium)/|CriOS/", "Chrome"),
    (r"Safari/", "Safari"), (r"^okhttp/", "App"), (r"^curl/", "curl"), (r"^python", "Python"),
)  # fmt: skip
_SYSTEMS = (
    (r"Tizen|SMART-TV", "Samsung TV"), (r"Web0S|webOS", "LG TV"), (r"AppleTV|tvOS", "Apple TV"),
    (r"Android TV|BRAVIA|AFT[A-Z]", "Android TV"), (r"Xbox", "Xbox"), (r"PlayStation", "PlayStation"),
    (r"iPhone", "iPhone"), (r"iPad", "iPad"), (r"Android", "Android"), (r"Windows", "Windows"), (r"CrOS", "ChromeOS"),
    (r"Mac OS X|Macintosh", "Mac"), (r"Linux", "Linux"),
)  # fmt: skip
_LONGEST = 512


def device_name(user_agent: str) -> str:
    """For example "Firefox, Windows"; "Unknown device" where it says nothing of use."""
    told = user_agent[:_LONGEST]
    found = [name for table in (_BROWSERS, _SYSTEMS) if (name := _first(table, told))]
    return ", ".join(found) or "Unknown device"


def _first(table: tuple[tuple[str, str], ...], told: str) -> str | None:
    return next((name for pattern, name in table if re.search(pattern, told)), None)
