"""The gateway: the real NGINX before the real API."""

import asyncio
import socket
import ssl
from pathlib import Path

import httpx

from serving.gateway.plan import GatewayPlan

PLAN = GatewayPlan(
    folder=Path("/srv/gateway"), media=Path("/srv/media"), api_port=1, https_port=443, http_port=80, listen="127.0.0.1",
    names=("films.example",), certificate=Path("/srv/c.pem"), key=Path("/srv/k.pem"), mark="m",
)  # fmt: skip


async def raw(port: int, *requests: bytes, tls: bool = True) -> bytes:
    """What the gateway answers to these bytes, until it closes."""
    unchecked = ssl._create_unverified_context() if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unchecked)
    for request in requests:
        writer.write(request)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


def port_of(url: str) -> int:
    return httpx.URL(url).port or 0


async def test_it_passes_requests_on_over_https_and_http2(gateway, problem):
    async with gateway.client() as client:
        answer = await client.get("/api/media/otters")
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"]
        assert answer.headers["server"] == "nginx", "without a version"
        assert (await client.get("/health/ready")).status_code == 200
        assert problem(await client.get("/metrics")) == (404, "not_found")
    context = ssl.create_default_context(cafile=str(gateway.certificate))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("localhost", port_of(gateway.url))) as link:
        with context.wrap_socket(link, server_hostname="localhost") as secure:
            assert secure.selected_alpn_protocol() == "h2"
            assert secure.version() in ("TLSv1.2", "TLSv1.3")
