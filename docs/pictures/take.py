"""
Takes the pictures of the README from a real ``coldaisle demo``.

Run it from the checkout where Playwright and Chromium are installed:
``python docs/pictures/take.py [--speed 8] [--seed 2] [--wait-seconds 300]``. It starts the demo itself, waits
until an incident with a curve is open, writes ``fleet.png`` and ``incident.png`` beside this file (1440 x 900,
light theme), and stops the demo.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from coldaisle.clock import SECOND, SystemClock

_HERE = Path(__file__).parent
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--use-angle=swiftshader"]
_FLAGS += ["--enable-unsafe-swiftshader"]
_LEAST_READINGS = 20
_OPEN_BEFORE_TAKING = 2  # so that the list beside the hall shows what it is for


def main() -> int:
    """Take both pictures; 1 when no fitting incident opened in time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--speed", default="8", help="simulated seconds a second")
    parser.add_argument("--seed", default="2", help="another seed is another hall with other faults")
    parser.add_argument("--wait-seconds", type=float, default=300.0, help="how long to wait for an incident")
    args = parser.parse_args()
    command = [sys.executable, "-m", "cli", "demo", "--port", "0", "--seed", args.seed, "--speed", args.speed]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_HERE.parents[1]) as demo:
        try:
            address = _address(demo)
            incident = _wait(address, args.wait_seconds)
            if incident is None:
                sys.stderr.write(f"no incident with a curve within {args.wait_seconds:.0f} s; try another --seed\n")
                return 1
            _take(address, incident["id"])
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(timeout=30)
    return 0


def _address(demo: subprocess.Popen[str]) -> str:
    for line in demo.stdout or ():
        found = re.search(r"http://\S+", line)
        if found:
            return found.group()
    raise SystemExit("the demo ended before it said where its page is")


def _wait(address: str, seconds: float) -> dict[str, Any] | None:
    """Return an open incident that has a curve, once others are open beside it: the worst and widest."""
    clock = SystemClock()
    until = clock.now() + round(seconds * SECOND)
    best: dict[str, Any] | None = None
    while clock.now() < until:
        clock.sleep(2.0)
        found: list[dict[str, Any]] = _asked(f"{address}/api/v1/incidents?state=open&limit=50")["incidents"]
        drawn = [one for one in found if one["severity"] == "page" and _has_curve(address, one["id"])]
        best = max(drawn, key=lambda one: len(one["entities"]), default=None)
        if best is not None and len(found) >= _OPEN_BEFORE_TAKING:
            return best
    return best


def _has_curve(address: str, incident_id: str) -> bool:
    evidence = _asked(f"{address}/api/v1/incidents/{incident_id}/evidence")["evidence"]
    return any(len(one["window"]["timestamps"]) > _LEAST_READINGS for one in evidence)


def _asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def _take(address: str, incident_id: str) -> None:
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
        page.set_default_timeout(60_000)
        page.goto(address)
        page.wait_for_selector("#hall-graph .heatmaplayer image", state="attached")
        _settled(page).screenshot(path=str(_HERE / "fleet.png"))
        page.goto(f"{address}/incidents/{incident_id}")
        page.wait_for_selector("figure.evidence .js-plotly-plot .scatterlayer")
        _settled(page).screenshot(path=str(_HERE / "incident.png"))
        browser.close()


def _settled(page: Page) -> Page:
    """Wait until fonts and charts stand still."""
    page.wait_for_timeout(1500)
    return page


if __name__ == "__main__":
    raise SystemExit(main())
