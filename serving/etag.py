"""Answers that browsers may keep as long as they ask each time whether they changed (RFC 9110, 8.8.3 and 13.1.2)."""

import hashlib
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

# What is shown depends on who asks, so that nobody between may keep it.
_HEADERS = {"cache-control": "private, max-age=0, must-revalidate", "vary": "Authorization, Cookie"}


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes of an answer with their ETag."""

    content: bytes
    tag: str

    @property
    def size(self) -> int:
        return len(self.content)

    @classmethod
    def of(cls, content: bytes) -> "Body":
        return cls(content, f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"')


def answer(request: Request, body: bytes | Body) -> Response:
    """JSON with its ETag; 304 where the client has these very bytes."""
    if isinstance(body, bytes):
        body = Body.of(body)
    tag = body.tag
    headers = {**_HEADERS, "etag": tag}
    asked = request.headers.get("if-none-match")
    if asked is not None and (
        asked.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in asked.split(","))
    ):
        return Response(status_code=304, headers=headers)
    return Response(body.content, media_type="application/json", headers=headers)
