"""URLs that somebody else wrote: thirty ways to reach what is not theirs, none of which arrives (ASVS 5.0, 1.3.6)."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from matinee.addresses import AddressError, Guard, client, is_public

HOME = ipaddress.ip_address("127.0.0.1")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """A server on every loopback address; `/to?URL` redirects there. Its port, and what it was asked."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.connection.getsockname()[0].removeprefix("::ffff:"), self.path))
            where, _, target = self.path.partition("?")
            self.send_response(302 if where == "/to" else 200)
            if where == "/to":
                self.send_header("Location", target)
            body = self.headers["Host"].encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *words: object) -> None:  # noqa: A002 - the name that it overrides
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6

        def server_bind(self) -> None:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

    listening = Server(("::", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield listening.server_port, asked
    listening.shutdown()
    thread.join()
    listening.server_close()


DIRECT = [
    "http://127.0.0.1:{port}/", "http://127.0.0.2:{port}/", "http://localhost:{port}/", "http://LOCALHOST.:{port}/",
    "http://127.0.0.1.:{port}/", "http://0.0.0.0:{port}/", "http://127.1:{port}/", "http://0:{port}/",
    "http://2130706433:{port}/", "http://0x7f000001:{port}/", "http://0x7f.0.0.1:{port}/", "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/", "http://127.0.0.01:{port}/", "http://[::1]:{port}/", "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/", "http://[0:0:0:0:0:ffff:7f00:0001]:{port}/",
    "http://[::127.0.0.1]:{port}/", "http://[64:ff9b::7f00:1]:{port}/", "http://[2002:7f00:1::]:{port}/",
    "http://[fe80::1%25lo]:{port}/", "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/latest/",
    "http://100.100.100.200/latest/meta-data/", "http://10.0.0.1/", "http://192.168.0.1/", "http://224.0.0.1/",
    "http://255.255.255.255/", "http://\u2460\u2461\u2466.0.0.1:{port}/", "http://127\u30020\u30020\u30021:{port}/",
    "http://\uff11\uff12\uff17.0.0.1:{port}/", "http://user:secret@127.0.0.1:{port}/",
    "http://93.184.215.14@127.0.0.1:{port}/", "http://user:secret@93.184.215.14/", "http://127.0.0.1\\@93.184.215.14/",
    "http://127.0.0.1:{port}\r\nX: y/", "http://%31%32%37.0.0.1:{port}/",
    "http:///etc/passwd", "file:///etc/passwd", "FILE:///etc/passwd", "concat:/etc/passwd|/etc/hosts",
    "gopher://127.0.0.1:{port}/_GET%20/", "ftp://127.0.0.1/x", "data:text/plain,x", "unix:///run/postgresql",
    "dict://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "javascript:1",
]  # fmt: skip


@pytest.mark.parametrize("form", DIRECT)
def test_nothing_inside_is_reached_directly(server, form: str) -> None:
    port, asked = server
    asked.clear()
    # Refused before anything is connected to: that nobody answers there would show nothing.
    refused = pytest.raises((AddressError, httpx.InvalidURL, httpx.UnsupportedProtocol))
    with client(Guard(), timeout=0.5) as browser, refused:
        browser.get(form.format(port=port))
    assert asked == []


INSIDE = [
    "http://127.0.0.2:{port}/",
    "http://[::1]:{port}/",
    "http://169.254.169.254/",
    "file:///etc/passwd",
    "http://0/",
]


@pytest.mark.parametrize("target", INSIDE)
def test_every_hop_of_a_redirect_is_judged(server, target: str) -> None:
    port, asked = server
    asked.clear()
    refused = pytest.raises((AddressError, httpx.UnsupportedProtocol))
    with client(Guard([HOME]), timeout=2, follow_redirects=True) as browser, refused:
        browser.get(f"http://127.0.0.1:{port}/to?{target.format(port=port)}")
    assert [address for address, _ in asked] == ["127.0.0.1"]


def test_three_redirects_and_no_more(server) -> None:
    port, asked = server
    here = f"http://127.0.0.1:{port}"
    with client(Guard([HOME]), timeout=2, follow_redirects=True) as browser:
        assert browser.get(f"{here}/to?{here}/to?{here}/to?{here}/there").status_code == 200
        asked.clear()
        with pytest.raises(httpx.TooManyRedirects):
            browser.get(f"{here}/to?{here}/to?{here}/to?{here}/to?{here}/there")
    assert len(asked) == 4


def test_without_being_asked_to_it_follows_none(server) -> None:
    port, _ = server
    with client(Guard([HOME]), timeout=2) as browser:
        assert browser.get(f"http://127.0.0.1:{port}/to?http://127.0.0.1:{port}/").status_code == 302


def test_the_connection_goes_where_the_name_led_when_it_was_judged(server) -> None:
    """DNS rebinding: a second answer of the resolver is judged anew, and never used unjudged."""
    port, asked = server
    asked.clear()
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    with client(Guard([HOME], resolve=lambda host, port: next(answers)), timeout=2) as browser:
        answer = browser.get(f"http://films.example:{port}/one")
        assert answer.text == f"films.example:{port}", "the server still hears the name"
        assert str(answer.url) == f"http://films.example:{port}/one"
        with pytest.raises(AddressError, match=r"127\.0\.0\.2"):
            browser.get(f"http://films.example:{port}/two")
    assert asked == [("127.0.0.1", "/one")]


def test_one_bad_address_behind_a_name_is_enough() -> None:
    guard = Guard(resolve=lambda host, port: ["93.184.215.14", "10.0.0.1"])
    with pytest.raises(AddressError, match=r"10\.0\.0\.1"):
        guard.pin(httpx.URL("https://films.example/"))


def test_the_public_internet_is_let_through() -> None:
    for address in ("93.184.215.14", "8.8.8.8", "2606:4700:4700::1111"):
        assert is_public(ipaddress.ip_address(address))
        assert str(Guard(resolve=lambda host, port, a=address: [a]).pin(httpx.URL("https://films.example/"))) == address
