"""The gateway: the real NGINX. What it does to requests is seen by an app behind it that tells what it got."""

import asyncio
import gzip
import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from matinee.ports import claim_port, known_port
from matinee.settings import Settings
from matinee.stack import nginx
from serving.gateway import accel, process
from serving.gateway.certificate import certificate
from serving.gateway.plan import GatewayError, GatewayPlan
from serving.gateway.render import render
from serving.headers import SECURITY, TRANSPORT

PLAN = GatewayPlan(
    folder=Path("/srv/gateway"), media=Path("/srv/media"), api_port=1, https_port=443, http_port=80, listen="127.0.0.1",
    names=("films.example",), certificate=Path("/srv/c.pem"), key=Path("/srv/k.pem"), mark="m",
)  # fmt: skip
PLAYLIST = b"#EXTM3U\n" + b"#EXTINF:6,\nsegment.m4s\n" * 200
SEGMENT = bytes(range(256)) * 400


@dataclass
class Behind:
    """The app that tells what it got, the gateway before it, and how to restart either."""

    settings: Settings
    asked: list[str] = field(default_factory=list)
    server: uvicorn.Server | None = None
    thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.https}"

    @property
    def https(self) -> int:
        return known_port(self.settings.home, "gateway")

    @property
    def http(self) -> int:
        return known_port(self.settings.home, "gateway_http")

    def client(self) -> httpx.Client:
        trusting = ssl.create_default_context(cafile=str(self.settings.home.secrets / "gateway.pem"))
        return httpx.Client(base_url=self.url, verify=trusting)

    def start(self) -> None:
        port = known_port(self.settings.home, "api")
        self.server = uvicorn.Server(
            uvicorn.Config(self.app(), port=port, log_level="critical", access_log=False, timeout_keep_alive=75)
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)

    def stop(self) -> None:
        assert self.server
        assert self.thread
        self.server.should_exit = True
        self.thread.join(10)

    def app(self) -> Starlette:
        async def echo(request: Request) -> Response:
            body = await request.body()
            return JSONResponse(
                {"client": request.client and request.client.host, "scheme": request.url.scheme,
                 "headers": dict(request.headers), "body": len(body)}
            )  # fmt: skip

        async def media(request: Request) -> Response:
            if not accel.offered(request, accel.mark(self.settings.home)):
                return Response(status_code=500)
            kind = "application/vnd.apple.mpegurl" if request.url.path.endswith("m3u8") else "video/iso.segment"
            return accel.hand_over(PurePosixPath(request.path_params["name"]), kind, "private, max-age=600")

        async def poster(request: Request) -> Response:
            name = request.path_params["name"]
            self.asked.append(name)
            kept = {"cache-control": "private, max-age=300" if name.startswith("private") else "public, max-age=1"}
            return Response(str(request.headers.get("cookie")).encode(), media_type="image/jpeg", headers=kept)

        every = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        return Starlette(
            routes=[
                Route("/v/{token}/{name:path}", media),
                Route("/media-posters/{name}", poster),
                Route("/{rest:path}", echo, methods=every),
            ]
        )


def home_of(root: Path, **more: object) -> Settings:
    settings = Settings.model_validate({"MATINEE_HOME": root / "home", **more})
    settings.home.create()
    claim_port(settings.home, "api")
    return settings


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory):
    """Its home has a name that has to be quoted, below a folder that nobody else may enter."""
    root = tmp_path_factory.mktemp("gateway") / 'our "films" and\\more'
    root.mkdir(mode=0o700)
    settings = home_of(root, region_header="CF-IPCountry")
    package = settings.media / "otters" / "p 1"
    package.mkdir(parents=True)
    (package / "main.m3u8").write_bytes(PLAYLIST)
    (package / "1.m4s").write_bytes(SEGMENT)
    made = Behind(settings)
    made.start()
    with process.running(settings):
        yield made
    made.stop()


@pytest.fixture
def client(behind):
    with behind.client() as client:
        yield client


def raw(port: int, request: bytes, *, tls: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to these bytes."""
    unchecked = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        link = unchecked.wrap_socket(plain) if tls else plain
        link.sendall(request)
        with link.makefile("rb") as lines:
            status = int(lines.readline().split()[1])
            headers = {}
            while line := lines.readline().decode().strip():
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            # Not until it closes: it waits for the rest of a body that it refused.
            return status, headers, lines.read(int(headers["content-length"]))


def test_the_app_hears_of_the_client_from_the_gateway_alone(client, behind):
    forged = {
        "x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "http", "x-forwarded-host": "evil.example", "x-real-ip": "6",
        "forwarded": "for=6.6.6.6", "x-matinee-gateway": "forged", "cf-ipcountry": "RU", "x-request-id": "<script>",
    }  # fmt: skip
    told = client.get("/api/anything?q=1", headers=forged).json()
    assert (told["client"], told["scheme"]) == ("127.0.0.1", "https")
    headers = told["headers"]
    assert headers["host"] == f"localhost:{behind.https}"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-matinee-gateway"] == accel.mark(behind.settings.home)
    assert len(headers["x-request-id"]) == 32
    assert not {"x-forwarded-host", "x-real-ip", "forwarded", "cf-ipcountry"} & set(headers)
    assert client.get("/", headers={"x-request-id": "my-request-1"}).json()["headers"]["x-request-id"] == "my-request-1"
    assert client.post("/api/x", content=b"x" * 900_000).json()["body"] == 900_000


def test_it_speaks_http2_and_modern_tls_alone(behind):
    context = ssl.create_default_context(cafile=str(behind.settings.home.secrets / "gateway.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("localhost", behind.https)) as link, context.wrap_socket(
        link, server_hostname="localhost"
    ) as secure:  # fmt: skip
        assert secure.selected_alpn_protocol() == "h2"
        assert secure.version() == "TLSv1.3"
    old = ssl._create_unverified_context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("localhost", behind.https)) as link, pytest.raises(ssl.SSLError):
        old.wrap_socket(link)


H = b"Host: localhost\r\nConnection: close\r\n"
REFUSED = {
    b"TRACE / HTTP/1.1\r\n" + H + b"\r\n": (405, "method_not_allowed"),
    b"PROPFIND / HTTP/1.1\r\n" + H + b"\r\n": (405, "method_not_allowed"),
    b"CONNECT localhost:1 HTTP/1.1\r\n" + H + b"\r\n": (405, "method_not_allowed"),
    b"nonsense\r\n\r\n": (400, "bad_request"),
    b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n": (400, "bad_request"),
    b"GET / HTTP/1.1\r\n" + H + b"Content-Length: x\r\n\r\n": (400, "bad_request"),
    b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n": (400, "bad_request"),
    b"GET / HTTP/1.1\r\n" + H + b"A: " + b"a" * 9_000 + b"\r\n\r\n": (431, "headers_too_large"),
    b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + H + b"\r\n": (414, "uri_too_long"),
    b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1000001\r\n\r\n": (413, "too_large"),
    b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n": (421, "misdirected_request"),
    b"GET /.git/config HTTP/1.1\r\n" + H + b"\r\n": (404, "not_found"),
    b"GET /static/%2e%2e/.env HTTP/1.1\r\n" + H + b"\r\n": (404, "not_found"),
    b"GET /_media/otters/p%201/1.m4s HTTP/1.1\r\n" + H + b"\r\n": (404, "not_found"),
    b"GET /metrics HTTP/1.1\r\n" + H + b"\r\n": (404, "not_found"),
    b"GET /v/token/otters/nothing.m4s HTTP/1.1\r\n" + H + b"\r\n": (404, "not_found"),
    b"GET /v/token/../../secrets/token HTTP/1.1\r\n" + H + b"\r\n": (404, "not_found"),
}  # fmt: skip


def test_what_it_refuses_is_a_problem_document_with_the_headers_of_every_answer(behind):
    for request, expected in REFUSED.items():
        status, headers, body = raw(behind.https, request)
        assert headers["content-type"] == "application/problem+json", request[:60]
        told = json.loads(body)
        assert (status, told["code"]) == expected, request[:60]
        assert told["status"] == status
        assert dict(headers) | dict(SECURITY) | dict([TRANSPORT]) == dict(headers), request[:60]
        assert headers["cache-control"] == "no-store"
        assert headers["server"] == "nginx", "no version"
        assert "x-request-id" in headers


def test_http_is_sent_on_to_https_of_this_site_alone(behind):
    request = b"GET /a?b=c HTTP/1.1\r\n" + H + b"\r\n"
    for port in (behind.http, behind.https):
        status, headers, _ = raw(port, request, tls=False)
        assert (status, headers["location"]) == (308, f"https://localhost:{behind.https}/a?b=c")
    status, headers, _ = raw(behind.http, request.replace(b"localhost", b"evil.example"), tls=False)
    assert status == 421
    assert "location" not in headers


def test_it_sends_the_files_that_the_app_hands_over(client):
    address = "/v/token/otters/p%201/1.m4s"
    whole = client.get(address)
    assert (whole.status_code, whole.content) == (200, SEGMENT)
    assert whole.headers["content-type"] == "video/iso.segment"
    assert whole.headers["cache-control"] == "private, max-age=600"
    assert "x-accel-redirect" not in whole.headers
    assert dict(whole.headers) | dict(SECURITY) == dict(whole.headers)
    part = client.get(address, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, SEGMENT[100:200])
    assert client.get(address, headers={"range": "bytes=999999-"}).status_code == 416
    assert client.get(address, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    assert client.head(address).headers["content-length"] == str(len(SEGMENT))
    with client.stream("GET", "/v/token/otters/p%201/main.m3u8", headers={"accept-encoding": "gzip"}) as answer:
        body = b"".join(answer.iter_raw())
    assert len(body) < len(PLAYLIST) / 10
    assert gzip.decompress(body) == PLAYLIST


def test_posters_are_kept_for_everybody_and_outlive_the_app(client, behind):
    def get(name: str, who: str) -> str:
        return client.get(f"/media-posters/{name}", headers={"cookie": f"who={who}"}).text

    assert [get("a.jpg", "ada"), get("a.jpg", "bob")] == ["None", "None"], "asked for without a name"
    assert behind.asked.count("a.jpg") == 1
    get("private.jpg", "ada")
    get("private.jpg", "ada")
    assert behind.asked.count("private.jpg") == 2
    behind.stop()
    try:
        time.sleep(1.1)
        assert get("a.jpg", "ada") == "None", "older than it should be, but there"
        gone = client.get("/api/media")
        assert (gone.status_code, gone.json()["code"]) == (503, "api_unavailable")
        assert int(gone.headers["retry-after"]) > 0
    finally:
        behind.start()
    assert client.get("/api/media").status_code == 200, "at once"


def test_its_lines_hold_no_tokens_no_queries_and_no_whole_addresses(client, behind):
    secret = "s3cr3t" * 8
    client.get(f"/v/{secret}/otters/none.m4s?token={secret}", headers={"cookie": f"a={secret}"})
    client.get(f"/.hidden?token={secret}", headers={"referer": f"https://x/{secret}"})
    raw(behind.https, f"GET / HTTP/1.1\r\nHost: localhost\r\nX: {secret * 300}\r\n\r\n".encode())
    assert client.get("/.last").status_code == 404
    log, deadline = behind.settings.home.logs / "gateway.log", time.monotonic() + 10
    while "/.last" not in (lines := log.read_text()):
        assert time.monotonic() < deadline, lines
        time.sleep(0.02)
    assert secret not in lines
    entries = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    assert any(entry["path"] == "/.hidden" and entry["status"] == "404" for entry in entries)
    assert {entry["client"] for entry in entries} == {"127.0.0.0"}
    assert not any(entry["status"] == "200" for entry in entries), "what goes well is counted by the app"


async def test_replacing_its_workers_under_load_drops_no_request(behind):
    """Sixteen clients on living connections, 1.5 s, three reloads: every request gets its answer."""
    trusting = ssl.create_default_context(cafile=str(behind.settings.home.secrets / "gateway.pem"))
    answered, until = [], time.monotonic() + 1.5
    pid_file = behind.settings.home.root / "gateway" / "nginx.pid"

    async def ask(client: httpx.AsyncClient) -> None:
        while time.monotonic() < until:
            answered.append((await client.get("/v/token/otters/p%201/1.m4s")).content == SEGMENT)

    async with httpx.AsyncClient(base_url=behind.url, verify=trusting) as client:
        asking = [asyncio.create_task(ask(client)) for _ in range(16)]
        before = _workers(int(pid_file.read_text()))
        for _ in range(3):
            await asyncio.sleep(0.4)
            process.reload(behind.settings)
        await asyncio.gather(*asking)
    assert len(answered) > 16
    assert all(answered)
    assert not _workers(int(pid_file.read_text())) & before, "the workers were replaced"


def _workers(master: int) -> set[int]:
    import psutil

    return {child.pid for child in psutil.Process(master).children()}


def test_as_another_user_with_limits_and_behind_a_proxy(tmp_path):
    """All that asks for settings of its own, in one start; as root NGINX is started by an unprivileged user."""
    settings = home_of(tmp_path, gateway_behind="127.0.0.1", region_header="CF-IPCountry", limits_scale=0.01)
    behind = Behind(settings)
    made = process.service(settings)
    assert made
    assert made.prepare
    made.prepare()
    user = None
    if os.getuid() == 0:
        user = pwd.getpwnam("nobody")
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(0o755)
        for path in (settings.home_path, *settings.home_path.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
        binary = tmp_path / "nginx"
        shutil.copy(made.argv[0], binary)
        made = replace(made, argv=(str(binary), *made.argv[1:]))
    behind.start()
    with (tmp_path / "lines").open("ab") as lines:
        if user:
            os.fchown(lines.fileno(), user.pw_uid, user.pw_gid)
        nginx_process = subprocess.Popen(
            made.argv, cwd="/", stdout=lines, stderr=lines, user=user.pw_uid if user else None
        )
    try:
        deadline = time.monotonic() + 10
        while not made.ready():
            assert nginx_process.poll() is None, (tmp_path / "lines").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with behind.client() as client:
            told = client.get("/x", headers={"x-forwarded-for": "6.6.6.6, 9.8.7.6", "cf-ipcountry": "FR"}).json()
            assert told["client"] == "9.8.7.6"
            assert told["headers"]["cf-ipcountry"] == "FR"
            codes = [client.get("/x", headers={"x-forwarded-for": "9.8.7.5"}) for _ in range(30)]
            refused = [answer for answer in codes if answer.status_code == 429]
            assert len(refused) > 10
            assert refused[0].json()["code"] == "too_many_requests"
            assert refused[0].headers["retry-after"] == "1"
            assert client.get("/x", headers={"x-forwarded-for": "9.8.7.4"}).status_code == 200, "another client"
    finally:
        nginx_process.send_signal(signal.SIGQUIT)
        nginx_process.wait(15)
        behind.stop()


async def test_a_film_plays_through_it(gateway, problem):
    """The real API: cookies that HTTPS binds, segments from disk, nothing without the right."""
    async with gateway.client() as client, gateway.client() as thief:
        account = {"email": "ada@example.org", "password": "correct horse battery 7"}
        answer = await client.post("/api/auth/register", json=account)
        assert answer.status_code == 201, answer.text
        for cookie in answer.headers.get_list("set-cookie"):
            assert cookie.startswith(("__Host-", "__Secure-"))
            assert "secure" in cookie.lower()
        profile_id = (await client.get("/api/profile")).json()["profiles"][0]["profile_id"]
        watched = (await client.post("/api/watch/otters", json={"profile_id": profile_id})).json()
        folder = watched["manifest"]["hls"].rpartition("/")[0]
        playlist = await client.get(f"{folder}/video/360p/main.m3u8")
        assert playlist.text.startswith("#EXTM3U")
        segment = await client.get(f"{folder}/video/360p/00001.m4s", headers={"range": "bytes=0-99"})
        assert (segment.status_code, len(segment.content)) == (206, 100)
        assert dict(segment.headers) | dict(SECURITY) == dict(segment.headers)
        assert problem(await client.get(f"{folder}/package.json")) == (404, "not_found")
        assert problem(await thief.get(f"{folder}/video/360p/00001.m4s"))[0] == 403
        assert problem(await client.get("/_media/otters/package-of-otters/video/360p/00001.m4s")) == (404, "not_found")
        poster = await client.get("/media-posters/otters.jpg")
        assert (poster.status_code, poster.headers["content-type"]) == (200, "image/jpeg")
        assert "set-cookie" not in poster.headers
        assert (await thief.get("/media-posters/otters.jpg")).content == poster.content
    assert "ada@" not in (gateway.settings.home.logs / "gateway.log").read_text()


def test_the_configuration_of_every_plan_is_read_by_nginx(tmp_path):
    """Old and new NGINX, every network, any host, no limits: each is checked by the NGINX at hand as far as it can."""
    settings = home_of(tmp_path)
    made = certificate(settings, datetime.now(UTC))
    (tmp_path / "temp").mkdir()
    base = replace(
        PLAN,
        folder=tmp_path,
        media=tmp_path,
        certificate=made[0],
        key=made[1],
        https_port=claim_port(settings.home, "a"),
        http_port=claim_port(settings.home, "b"),
    )
    plans = [
        replace(base, requests_per_s=None, connections=None, listen="[::]", names=("*",)),
        replace(base, outer_proxies=("10.0.0.0/8", "2001:db8::/32"), region_header="X-Country"),
        replace(base, version=(1, 22, 1)),
    ]  # fmt: skip
    for plan in plans:
        file = tmp_path / "nginx.conf"
        file.write_text(render(plan))
        done = subprocess.run(
            [nginx.binary(), "-t", "-e", "stderr", "-p", tmp_path, "-c", file], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "wrong",
    [{"names": ("a;b",)}, {"names": ('x"',)}, {"outer_proxies": ("0.0.0.0/0; root /",)}, {"region_header": "a b"},
     {"media": Path("/srv/$uri")}, {"media": Path("/srv/\nroot /")}, {"media": Path("media")}],
    ids=str,
)  # fmt: skip
def test_settings_cannot_write_configuration(wrong):
    with pytest.raises(GatewayError):
        replace(PLAN, **wrong)


def test_the_certificate_is_renewed_before_it_ends_and_when_names_change(tmp_path):
    settings, now = home_of(tmp_path), datetime(2026, 3, 1, tzinfo=UTC)
    chain, key = certificate(settings, now)
    first = chain.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert certificate(settings, now + timedelta(days=360))[0].read_bytes() == first
    second = certificate(settings, now + timedelta(days=370))[0].read_bytes()
    assert second != first
    named = settings.model_copy(update={"gateway_name": "films.example,192.0.2.7"})
    assert certificate(named, now + timedelta(days=371))[0].read_bytes() != second
    with pytest.raises(GatewayError, match="both"):
        certificate(settings.model_copy(update={"tls_key": key}), now)
    with pytest.raises(GatewayError, match="no certificate"):
        certificate(settings.model_copy(update={"tls_key": key, "tls_certificate": tmp_path / "none"}), now)
