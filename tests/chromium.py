"""A headless Chromium for tests of pages, skipped with a message where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1100,900 "
    "--force-prefers-reduced-motion"  # a click must not meet a page that is still scrolling
)


@contextmanager
def browser(folder: Path, *flags: str) -> Iterator[Any]:
    """A selenium driver with a profile of its own under ``folder``; console and network are logged.

    Args:
        folder: a temporary folder.
        *flags: more flags for the browser.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("there is no chromium with chromium-driver here")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}", *flags]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        opened.get("about:blank")
        for log in ("browser", "performance"):  # the page of a new tab has spoken already
            opened.get_log(log)
        yield opened
    finally:
        opened.quit()


def console(driver: Any) -> list[str]:
    """What the console has said since it was last read: errors, warnings and refusals."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requests(driver: Any) -> list[str]:
    """The addresses that were asked for since they were last read, but for what a page holds itself as ``data:``."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith("data:")]
