"""Files that the app allows and NGINX sends (X-Accel-Redirect).

The gateway marks each request that it passes on with a value that only this home knows, and drops what clients send
under that name: without the mark nobody stands before the app who could send the file.
"""

import hashlib
import hmac
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from matinee.home import Home
from matinee.secrets import secret

MARK = "x-matinee-gateway"
MEDIA = "/_media/"  # the gateway's internal location of the media folder


def mark(home: Home) -> str:
    """What the gateway of this home sends as `MARK`."""
    return hmac.new(secret(home, "media"), b"gateway", hashlib.sha256).hexdigest()


def offered(request: Request, expected: str) -> bool:
    """Whether the request came through the gateway, which then sends files for the app."""
    return hmac.compare_digest(request.headers.get(MARK, "").encode(), expected.encode())


def hand_over(path: PurePosixPath, media_type: str, cache: str) -> Response:
    """The answer that makes NGINX send a file: `path` below the media folder, which the app has checked.

    NGINX adds length, `Last-Modified`, `ETag` and ranges (RFC 9110), and answers 404 where there is no such file.
    """
    where = MEDIA + quote(path.as_posix(), safe="/")
    return Response(media_type=media_type, headers={"x-accel-redirect": where, "cache-control": cache})
