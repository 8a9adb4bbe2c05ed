import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from matinee.errors import StackError
from matinee.home import Home
from matinee.ports import claim_port, known_port


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


def test_a_port_is_chosen_once_and_kept(home: Home) -> None:
    port = claim_port(home, "api")
    assert claim_port(home, "api") == port == known_port(home, "api")
    assert claim_port(home, "mlflow") != port


def test_a_port_that_somebody_took_meanwhile_is_given_up(home: Home) -> None:
    port = claim_port(home, "api")
    with socket.create_server(("127.0.0.1", port)):
        assert claim_port(home, "api") != port


def test_a_wanted_port_in_use_is_refused_by_name(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} for api is in use: .*MATINEE_API_PORT"):
            claim_port(home, "api", port)
    assert claim_port(home, "api", port) == port


def test_a_service_that_never_ran_has_no_port(home: Home) -> None:
    with pytest.raises(StackError, match=r"redis has no port in .*matinee up"):
        known_port(home, "redis")


def test_claims_at_the_same_time_do_not_collide(home: Home) -> None:
    names = [f"service{n}" for n in range(16)]
    with ThreadPoolExecutor(8) as pool:
        ports = list(pool.map(lambda name: claim_port(home, name), names))
    assert len(set(ports)) == len(names)
    assert [known_port(home, name) for name in names] == ports
