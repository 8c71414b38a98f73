"""Scripts travel packed, and only once."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from dashboard.app import create_app, serve
from dashboard.settings import ServeConfig
from tests.dashboard import hall as example

PLOTLY = "/_dash-component-suites/plotly/package_data/plotly.min.js"


@pytest.fixture(scope="module")
def connection() -> Iterator[HTTPConnection]:
    with serve(create_app(example.backends(past_incidents=0), ServeConfig()), "127.0.0.1", 0) as address:
        to = HTTPConnection(urlsplit(address).netloc, timeout=60)
        yield to
        to.close()


def asked(connection: HTTPConnection, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_who_can_unpack_gets_the_same_script_in_a_third(connection: HTTPConnection) -> None:
    status, plainly, plain = asked(connection, PLOTLY)
    assert status == 200
    assert "content-encoding" not in plainly
    status, headers, packed = asked(connection, PLOTLY, accept_encoding="gzip, br")
    assert status == 200
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == "accept-encoding"
    assert "javascript" in headers["content-type"]
    assert headers["x-content-type-options"] == "nosniff"
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 3


def test_a_script_that_the_browser_has_is_not_sent_again(connection: HTTPConnection) -> None:
    _, headers, _ = asked(connection, PLOTLY)
    assert headers["cache-control"] == "no-cache"
    status, _, body = asked(connection, PLOTLY, if_none_match=headers["etag"])
    assert (status, body) == (304, b"")


def test_a_script_with_a_version_in_its_name_is_kept_for_long(connection: HTTPConnection) -> None:
    _, _, page = asked(connection, "/")
    versioned = re.findall(r'src="(/_dash-component-suites/[^"]+v\d+_[^"]+)"', page.decode())
    assert versioned
    _, headers, _ = asked(connection, versioned[0], accept_encoding="gzip")
    assert "max-age=31536000" in headers["cache-control"]


def test_a_script_that_is_not_there_is_not_made_up(connection: HTTPConnection) -> None:
    for _ in range(2):
        status, _, _ = asked(connection, "/_dash-component-suites/plotly/package_data/none.js", accept_encoding="gzip")
        assert status >= 400
