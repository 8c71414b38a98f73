"""A person in a real browser: from the hall to an acknowledged incident, and back to it in History."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboard.app import create_app, serve
from dashboard.pages import place_parts
from dashboard.settings import ServeConfig
from models.forecast.expected import LightExpecting
from tests.dashboard import hall as example

# One browser for all of them: what it has compiled of the scripts is most of what a page costs.
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("pages")]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TITLE = "Row B warms: cooling unit crac-2 lost flow"
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--use-angle=swiftshader"]
_FLAGS += ["--enable-unsafe-swiftshader"]
_BETWEEN = "/between-two-tests"
_NOTHING = HTMLResponse('<link rel="icon" href="data:,">')


class Stage:
    """
    Serves the application of the test that runs, at one address for all of them.

    A browser compiles megabytes of scripts for the first page of an address, five seconds of a core, and not again.
    """

    def __init__(self) -> None:
        self.app: ASGIApp = create_app(example.backends(), ServeConfig())
        self.address = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application of the test does; between two tests with a page that asks for nothing."""
        between = scope["type"] == "http" and scope["path"] == _BETWEEN
        await (_NOTHING if between else self.app)(scope, receive, send)

    def show(self, app: ASGIApp) -> str:
        """Answer with ``app`` from now on; return the address."""
        self.app = app
        return self.address


class Watched:
    """A page whose every console error and every request to elsewhere is kept."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._address = address
        page.set_default_timeout(60_000)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", lambda request: self._asked(request.url))

    def forget(self) -> None:
        """Leave what is shown, and keep nothing of what it had stored; only what the browser compiled stays."""
        # Away to another address and back is another process, and all is compiled anew.
        self.page.context.set_offline(False)
        self.page.goto(f"{self._address}{_BETWEEN}")
        self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        self.page.context.clear_cookies()
        self.page.set_viewport_size({"width": 1440, "height": 900})
        self.complaints.clear()

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self._address, "data:", "blob:")):
            self.complaints.append(f"asked elsewhere: {url}")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    with serve(stage, "127.0.0.1", 0) as stage.address:
        yield stage


@pytest.fixture(scope="module")
def window(stage: Stage) -> Iterator[Watched]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium; nobody has looked at the pages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield Watched(browser.new_context(timezone_id="Europe/Berlin").new_page(), stage.address)
        browser.close()


@pytest.fixture
def watched(window: Watched) -> Iterator[Watched]:
    window.forget()
    yield window
    window.forget()  # before the application is another one: a page asks for as long as it is open


@pytest.fixture
def address(stage: Stage) -> str:
    backends = replace(example.backends(past_incidents=60), expecting=LightExpecting())
    return stage.show(create_app(backends, ServeConfig()))


def test_an_incident_is_followed_from_the_hall_to_history(watched: Watched, address: str) -> None:
    page = watched.page
    page.goto(address)
    page.wait_for_selector("#hall-graph .heatmaplayer image", state="attached")
    assert "2 open incidents" in page.inner_text("#fleet-status")
    assert "of 1,024" in page.inner_text("#fleet-status")

    # Row B is the second of four: a click on any of its cells leads to its rack, and from there to what is wrong.
    box = page.locator("#hall-graph .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.34)
    page.mouse.move(box["x"] + box["width"] * 0.4 + 2, box["y"] + box["height"] * 0.34)
    page.wait_for_selector("#hall-graph .hoverlayer .hovertext")
    page.mouse.click(box["x"] + box["width"] * 0.4 + 2, box["y"] + box["height"] * 0.34)
    page.wait_for_selector(".way h2:has-text('rack B')")
    assert "at=rack%2FB" in page.url
    page.click("a.card.incident")
    page.wait_for_selector("#incident-head h1")
    assert page.inner_text("#incident-head h1") == TITLE
    assert "/incidents/" in page.url
    assert page.locator("figure.evidence .js-plotly-plot").count() == 2

    page.fill("#actor", "jo")
    page.get_by_role("button", name="Acknowledge").click()
    page.wait_for_selector("text=Acknowledged by jo")
    assert "jo has it" in page.inner_text("#incident-said")

    page.click("a.nav-link:has-text('History')")
    page.wait_for_selector(".ag-center-cols-container .ag-row")
    page.fill("#history-text", "crac-2 flow")
    page.wait_for_selector(".count:text-is('1 incident')")
    assert "text=crac-2+flow" in page.url
    page.wait_for_selector(f".ag-row:has-text('{TITLE}'):has-text('Acknowledged by jo')")
    page.click(f".ag-cell:has-text('{TITLE}')")
    page.wait_for_selector("#incident-head h1")

    page.go_back()
    page.wait_for_selector("#history-text")
    assert page.input_value("#history-text") == "crac-2 flow"
    assert watched.complaints == []


def test_anything_is_found_from_any_page_and_leads_to_its_place(watched: Watched, address: str) -> None:
    page = watched.page
    page.goto(f"{address}/health")
    page.wait_for_selector("#health-content .panel")
    page.keyboard.press("/")
    page.wait_for_selector("#search-text:visible")
    page.keyboard.type("n033 gpu2")
    page.wait_for_selector(".hit:has-text('n033-gpu2')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".way h2:has-text('n033-gpu2')")
    page.wait_for_selector("#fleet-charts .js-plotly-plot")
    assert "GPU temperature" in page.inner_text("#fleet-numbers")
    page.keyboard.press("u")
    page.wait_for_selector(".way h2:has-text('node n033')")
    assert watched.complaints == []


def test_an_incident_is_muted_with_a_reason_and_heard_again(watched: Watched, address: str) -> None:
    page = watched.page
    page.goto(f"{address}/incidents/9f31c2aa77b04e15")
    page.wait_for_selector("#incident-head h1")
    page.keyboard.press("s")
    page.wait_for_selector("#silence-comment:visible")
    page.click("#silence-do")
    page.wait_for_selector("text=a silence needs a comment")
    page.fill("#silence-comment", "pump is being changed")
    page.click("#silence-do")
    page.wait_for_selector(".muted-bar:has-text('pump is being changed')")
    page.click(".muted-bar button")
    page.wait_for_selector(".muted-bar", state="detached")
    assert watched.complaints == []


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?at=rack/B03",
        "/incidents/9f31c2aa77b04e15",
        "/history",
        "/explore?match=gpu%3D%22n033-gpu0%22&expected=yes",
        "/health",
    ],
)
def test_on_a_phone_nothing_scrolls_sideways(watched: Watched, address: str, path: str) -> None:
    page = watched.page
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(address + path)
    page.wait_for_selector("#page > *")
    page.wait_for_load_state("networkidle")
    wide = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth, window.innerWidth]")
    assert max(wide[:2]) <= wide[2]
    assert watched.complaints == []


def test_on_a_phone_the_incident_can_be_taken_without_scrolling(watched: Watched, address: str) -> None:
    page = watched.page
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}/incidents/9f31c2aa77b04e15")
    button = page.get_by_role("button", name="Acknowledge")
    button.wait_for()
    box = button.bounding_box()
    assert box["y"] > 844 / 2
    assert box["y"] + box["height"] <= 844
    assert box["height"] >= 44
    button.click()
    page.wait_for_selector("text=Acknowledged by operator")


def test_keys_lead_and_the_theme_is_kept_in_the_address(watched: Watched, address: str) -> None:
    page = watched.page
    page.goto(f"{address}/?theme=dark")
    page.wait_for_selector("a.card.incident")
    assert page.evaluate("document.documentElement.getAttribute('data-mantine-color-scheme')") == "dark"
    page.keyboard.press("t")
    page.wait_for_selector("html[data-mantine-color-scheme=light]")
    assert "theme=light" in page.url
    page.wait_for_selector("a.card.incident")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("#incident-head h1")
    page.keyboard.press("a")
    page.wait_for_selector("text=Acknowledged by operator")
    page.keyboard.press("g")
    page.keyboard.press("e")
    page.wait_for_selector("#explore-match")
    page.fill("#explore-match", "node=~[")
    page.wait_for_selector(".trouble")
    assert "is not a regular expression" in page.inner_text(".trouble")
    page.fill("#explore-match", 'gpu="n033-gpu0"')
    page.locator(".switch label").click()
    page.wait_for_selector("text=8 of 10 readings are expected here")
    assert "expected=yes" in page.url
    assert watched.complaints == []


def test_a_server_slower_than_its_ticks_shows_charts_all_the_same(
    watched: Watched, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = place_parts.charts

    def slow(*arguments: Any) -> Any:
        time.sleep(2.5)
        return quick(*arguments)

    monkeypatch.setattr(place_parts, "charts", slow)
    address = stage.show(create_app(example.backends(), ServeConfig(refresh_seconds=1)))
    page = watched.page
    page.goto(f"{address}/?at=gpu/n033-gpu2")
    page.wait_for_selector("#fleet-charts .js-plotly-plot", timeout=15_000)
    page.keyboard.press("u")
    page.wait_for_selector(".way h2:has-text('node n033')")
    page.keyboard.press("g")
    page.keyboard.press("s")  # away while the server still draws
    page.wait_for_selector("#health-content .panel")
    time.sleep(3)
    assert watched.complaints == []


_VALUES = "JSON.stringify(document.querySelector('#hall-graph .js-plotly-plot').data[1].z)"


def other_than(page: Any, before: str) -> bool:
    """Wait until the hall shows other values; the page's policy forbids what wait_for_function needs."""
    for _ in range(80):
        if page.evaluate(_VALUES) != before:
            return True
        page.wait_for_timeout(250)
    return False


def test_the_hall_takes_on_a_new_colour_as_it_stands(watched: Watched, stage: Stage) -> None:
    warm = example.backends()
    views = [warm.live()]
    address = stage.show(create_app(replace(warm, live=lambda: views[-1]), ServeConfig(refresh_seconds=1)))
    page = watched.page
    page.goto(f"{address}/?view=gpu_temperature_celsius")
    page.wait_for_selector("#hall-graph .heatmaplayer image", state="attached")
    page.evaluate("document.querySelector('#hall-graph .js-plotly-plot').kept = true")
    before = page.evaluate(_VALUES)
    views.append(example.live(example.topology(), version=2, warm=("C",)))
    assert other_than(page, before)
    assert page.evaluate("document.querySelector('#hall-graph .js-plotly-plot').kept") is True
    assert watched.complaints == []


class Broken:
    """Answers for ``app``, and promises more of an answer to a page's question than it sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half, which ends the connection."""
        if not scope["path"].startswith("/_dash-update-component"):
            await self._app(scope, receive, send)
            return
        self.failed += 1
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"response":'})


@pytest.mark.parametrize("how", ["no answer", "half an answer"])
def test_a_page_goes_on_by_itself_after_a_server_that_broke_off(watched: Watched, stage: Stage, how: str) -> None:
    warm = example.backends()
    views = [warm.live()]
    whole = create_app(replace(warm, live=lambda: views[-1]), ServeConfig(refresh_seconds=1))
    broken = Broken(whole)
    page = watched.page
    page.goto(f"{stage.show(whole)}/?view=gpu_temperature_celsius")
    page.wait_for_selector("#hall-graph .heatmaplayer image", state="attached")
    before = page.evaluate(_VALUES)
    failed: list[str] = []

    def fails(request: Any) -> None:
        if "_dash-update-component" in request.url:
            failed.append(request.url)

    page.on("requestfailed", fails)
    page.context.set_offline(how == "no answer")
    stage.show(whole if how == "no answer" else broken)
    for _ in range(80):
        if len(failed) + broken.failed >= 3:
            break
        page.wait_for_timeout(250)
    page.remove_listener("requestfailed", fails)
    assert len(failed) + broken.failed >= 3  # one that is held after a failure is not asked again
    views.append(example.live(example.topology(), version=2, warm=("C",)))
    stage.show(whole)
    page.context.set_offline(False)
    assert other_than(page, before)
