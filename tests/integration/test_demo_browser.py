"""A person looks at a real ``coldaisle demo`` in a real browser: from the first incident to History."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.programme import running

pytestmark = pytest.mark.integration

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--use-angle=swiftshader"]
FLAGS += ["--enable-unsafe-swiftshader"]
FIRST_INCIDENT_WITHIN_SECONDS = 120.0


@pytest.fixture
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium; NOBODY HAS LOOKED AT THE DEMO")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@contextmanager
def looking(browser: Any, address: str, complaints: list[str]) -> Iterator[Any]:
    """Open a page whose every console error and every request to elsewhere is kept."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on("console", lambda said: complaints.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith((address, "data:", "blob:")) else complaints.append(f"elsewhere: {asked.url}")
        ),
    )
    try:
        yield page
    except BaseException as error:
        error.add_note(f"{page.url} showed: {page.inner_text('body')[:1500]!r}; complaints: {complaints}")
        raise
    finally:
        context.close()


def test_the_first_incident_is_followed_from_the_hall_to_history(browser: Any, tmp_path: Path) -> None:
    pictures = Path(os.environ.get("COLDAISLE_PICTURES", tmp_path))
    complaints: list[str] = []
    with running("demo", "--port", 0, "--speed", 20, cwd=tmp_path) as house:
        # One page throughout: another one would compile megabytes of scripts anew.
        with looking(browser, house.address, complaints) as page:
            page.goto(house.address)
            page.wait_for_selector("#hall-graph .heatmaplayer image", state="attached", timeout=60_000)
            card = page.locator("#fleet-cards a[href*='/incidents/']").first
            card.wait_for(timeout=FIRST_INCIDENT_WITHIN_SECONDS * 1000)
            page.screenshot(path=pictures / "fleet-light.png")
            incident_id = re.search(r"/incidents/([0-9a-f]+)", card.get_attribute("href")).group(1)  # type: ignore[union-attr]

            card.click()
            page.wait_for_selector("#incident-head h1")
            title = page.inner_text("#incident-head h1")
            assert f"/incidents/{incident_id}" in page.url
            page.screenshot(path=pictures / "incident-light.png", full_page=True)

            page.fill("#actor", "jo")
            page.get_by_role("button", name="Acknowledge").click()
            page.wait_for_selector("text=Acknowledged by jo")
            assert house.get(f"/api/v1/incidents/{incident_id}")["state"] == "acknowledged"

            page.click("a.nav-link:has-text('History')")
            page.wait_for_selector(".ag-center-cols-container .ag-row")
            page.wait_for_selector(f".ag-row:has-text('{title}'):has-text('Acknowledged by jo')")
            page.click(f".ag-cell:has-text('{title}')")
            page.wait_for_selector("#incident-head h1")
            assert f"/incidents/{incident_id}" in page.url

            page.emulate_media(color_scheme="dark")
            page.goto(house.address)
            page.wait_for_selector("#hall-graph .heatmaplayer image", state="attached", timeout=60_000)
            page.screenshot(path=pictures / "fleet-dark.png")
            page.goto(f"{house.address}/explore")
            page.wait_for_selector("#page > *")
            page.wait_for_load_state("networkidle")

            page.emulate_media(color_scheme="light")
            page.set_viewport_size({"width": 390, "height": 844})
            for path, name in (("/", "fleet"), (f"/incidents/{incident_id}", "incident"), ("/history", "history")):
                page.goto(house.address + path)
                page.wait_for_selector("#page > *")
                page.wait_for_load_state("networkidle")
                if path == "/":
                    page.wait_for_selector("#hall-graph .heatmaplayer image", state="attached", timeout=60_000)
                page.screenshot(path=pictures / f"{name}-phone.png")
                wide = page.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)")
                assert wide <= 390, f"{path} scrolls sideways"
        assert house.terminate(within_seconds=20.0) == 0
        assert "Traceback" not in house.err
    assert complaints == []
