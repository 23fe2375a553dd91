"""The page of duels in headless Chromium."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS))

from chromium import browser, console, requests  # noqa: E402
from human_parts import Rounds, Served, free_port, paints, served, speaks, speaks_html, start  # noqa: E402

from promptopt.core import Example  # noqa: E402
from promptopt.targets.function import Function  # noqa: E402

EXAMPLES = [Example(f"e{i}", f"question {i}", None) for i in range(4)]
LEFT, RIGHT, TAB, ENTER = "\ue012", "\ue014", "\ue004", "\ue007"  # the arrow keys, as WebDriver writes them
SEEN = "return document.getElementById('{}').textContent"


class Tab:
    """A page and whoever sits before it."""

    def __init__(self, driver: Any, link: str, name: str) -> None:
        self.driver = driver
        driver.get(f"{link}&as={name}" if name else link)

    def text(self, key: str) -> str:
        return str(self.driver.execute_script(SEEN.format(key)))

    def until(self, condition: Callable[[], Any], seconds: float = 15) -> Any:
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, seconds, poll_frequency=0.02).until(lambda _: condition())

    @property
    def duel(self) -> str | None:
        """The title of the duel that is shown."""
        return self.text("title") if not self.driver.find_element("id", "duel").get_attribute("hidden") else None

    def shown(self, *, besides: str | None = None) -> str:
        """The title of the next duel, once it is there."""
        return str(self.until(lambda: self.duel != besides and self.duel))

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    @property
    def focus(self) -> tuple[str, str]:
        """What has the focus: its id, and its text."""
        found = self.driver.switch_to.active_element
        return found.get_attribute("id") or "", found.text


@contextmanager
def opened(folder: Path, name: str = "ada", *flags: str, **options: Any) -> Iterator[tuple[Tab, Served]]:
    with served(folder, **options) as run, browser(folder, *flags) as driver:
        yield Tab(driver, run.link, name), run


def test_a_whole_run_by_mouse(tmp_path: Path) -> None:
    target = Function(function=speaks)
    with opened(tmp_path, target=target, examples=EXAMPLES, budget=5, second_opinions=0) as (tab, run):
        choices = ["left", "right", "tie", "unknown", "left", "right"]
        title = None
        for done, choice in enumerate(choices):
            title = tab.shown(besides=title)
            assert len(run.answers) == done
            sides = [one.text for one in tab.driver.find_elements("css selector", ".side .text")]
            assert len(sides) == 6
            tab.click(f"[data-choice={choice}]")
        tab.until(lambda: tab.text("status") == "This run is over. Thank you!")
        said = [next(iter(answer["details"]["by"].values())) for answer in run.answers]
        swapped = [next(iter(answer["details"]["swapped"].values())) for answer in run.answers]
        sides_of = {"left": "ba", "right": "ab"}
        expected = [sides_of[c][not s] if c in sides_of else c for c, s in zip(choices, swapped, strict=True)]
        assert said == expected
        assert "token" not in tab.driver.current_url
        assert not [message for message in console(tab.driver) if "favicon" not in message]
        asked = [url for url in requests(tab.driver) if not url.startswith(f"http://127.0.0.1:{run.port}/")]
        assert not asked


@pytest.mark.study
def test_a_whole_run_by_keyboard_alone(tmp_path: Path) -> None:
    with opened(tmp_path, "", budget=6, second_opinions=0) as (tab, run):
        tab.until(lambda: tab.focus[0] == "name")
        tab.press("1", "t")  # a name, not an answer
        tab.press(ENTER)
        title = None
        for key in ("1", LEFT, "2", RIGHT, "t", "s"):
            title = tab.shown(besides=title)
            tab.until(lambda: tab.focus == ("title", tab.duel))
            assert f"{title} is here." in tab.text("status")
            tab.press(key)
        tab.shown(besides=title)
        tab.press(TAB)  # from the heading to the first button
        assert tab.focus[1].startswith("Left")
        tab.press(TAB)
        tab.press(ENTER)
        tab.until(lambda: tab.text("status") == "This run is over. Thank you!")
        assert [answer["details"]["by"].get("1t") for answer in run.answers][4:] == ["tie", "unknown", "tie"]


@pytest.mark.study
def test_undo_and_single_keys_switched_off(tmp_path: Path) -> None:
    with opened(tmp_path, second_opinions=0) as (tab, run):
        first = tab.shown()
        assert not tab.driver.find_element("id", "undo").is_displayed()
        before = tab.driver.find_element("id", "rows").text
        tab.press("t")
        second = tab.shown(besides=first)
        tab.press("u")
        again = tab.shown(besides=second)
        assert again == f"{first}, again"
        assert tab.driver.find_element("id", "rows").text == before
        tab.press("s")
        second = tab.shown(besides=again)
        tab.click("#undo")
        assert tab.shown(besides=second) == f"{first}, again"
        tab.click("[data-choice=tie]")
        tab.shown(besides=f"{first}, again")
        assert [(answer["n"], answer["winner"]) for answer in run.answers] == [(0, "tie"), (0, "unknown"), (0, "tie")]
        tab.click("#keys")
        tab.press("t")
        tab.driver.execute_async_script("setTimeout(arguments[0], 300)")
        assert len(run.answers) == 3


@pytest.mark.study
def test_two_annotators_and_their_agreement(tmp_path: Path) -> None:
    (tmp_path / "bob").mkdir()
    with opened(tmp_path, second_opinions=1.0) as (ada, run), browser(tmp_path / "bob") as other:
        first = ada.shown()
        bob = Tab(other, run.link, "bob")
        own = bob.shown()
        assert own != first
        ada.press("t")
        ada.shown(besides=first)
        bob.press("t")
        assert bob.shown(besides=own) == first  # ada's, for a second opinion
        bob.press("t")
        bob.until(lambda: "1 of 1 second opinions agree" in bob.text("agreement"))
        ada.until(lambda: "1 of 1 second opinions agree" in ada.text("agreement"))
        ada.until(lambda: ada.text("annotators") == "2")
        assert {"ada": "tie", "bob": "tie"} in [answer["details"]["by"] for answer in run.answers]


@pytest.mark.study
def test_a_killed_and_restarted_server_goes_on(tmp_path: Path) -> None:
    run = Served(tmp_path / "run", free_port())
    process = start(run)
    try:
        with browser(tmp_path) as driver:
            tab = Tab(driver, run.link, "ada")
            first = tab.shown()
            tab.press("t")
            second = tab.shown(besides=first)
            process.send_signal(signal.SIGKILL)
            process.wait()
            tab.press("s")  # is sent until somebody takes it
            tab.until(lambda: "No connection" in tab.text("status"))
            assert tab.duel == second
            process = start(run)
            third = tab.shown(besides=second)
            assert [answer["winner"] for answer in run.answers] == ["tie", "unknown"]
            tab.press("u")
            assert tab.shown(besides=third) == f"{second}, again"
    finally:
        process.kill()
        process.wait()


@pytest.mark.study
def test_html_and_scripts_in_an_output_are_shown_and_not_run(tmp_path: Path) -> None:
    options = {"target": Function(function=speaks_html), "examples": EXAMPLES, "context": "<i>context</i>"}
    pool = Rounds(("<script>document.title = 'owned'</script>", "<img src=x onerror=\"document.title = 'owned'\">"))
    with opened(tmp_path, optimizer=pool, **options) as (tab, _):
        tab.shown()
        seen = tab.driver.find_element("id", "rows").text
        assert "<script>document.title = 'owned'</script>" in seen
        assert "onerror=" in seen
        assert tab.text("context") == "<i>context</i>"
        assert tab.driver.title == "Duels"
        assert not tab.driver.find_elements("css selector", "#rows script, #rows img, #rows b, aside img, #context i")


@pytest.mark.study
def test_pictures_are_shown(tmp_path: Path) -> None:
    with opened(tmp_path, target=Function(function=paints), examples=EXAMPLES, n_examples=2) as (tab, _):
        tab.shown()
        script = "return [...document.images].map((one) => one.complete && one.naturalWidth)"
        tab.until(lambda: tab.driver.execute_script(script) == [1, 1, 1, 1])
        assert {one.get_attribute("alt") for one in tab.driver.find_elements("css selector", "img")} == {"Output"}


NAMES = """
const all = [...document.querySelectorAll("button, input, progress, a")];
return all.filter((one) => one.checkVisibility()).map((one) => [
  one.id || one.dataset.choice,
  one.labels && one.labels.length ? one.labels[0].textContent.trim() : one.textContent.trim(),
  one.getBoundingClientRect().height,
])
"""
CONTRAST = """
const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const colour = (text) => text.match(/[\\d.]+/g).map(Number);
const behind = (one) => {
  for (; one; one = one.parentElement) {
    const found = colour(getComputedStyle(one).backgroundColor);
    if (found.length === 3 || found[3] > 0) return found.slice(0, 3);
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
};
return [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility() && one.children.length === 0)
  .filter((one) => one.textContent.trim()).map((one) => {
    const [a, b] = [light(colour(getComputedStyle(one).color).slice(0, 3)), light(behind(one))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), one.textContent];
  });
"""


@pytest.mark.study
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_a_place_and_contrast(tmp_path: Path, scheme: str) -> None:
    target = Function(function=speaks)
    with opened(tmp_path, target=target, examples=EXAMPLES) as (tab, _):
        emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        tab.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        first = tab.shown()
        tab.press("t")
        tab.shown(besides=first)
        named = tab.driver.execute_script(NAMES)
        assert [key for key, _, _ in named] == ["left", "tie", "unknown", "right", "undo", "keys", "bar"]
        assert all(name for _, name, _ in named)
        assert all(height >= 48 for key, _, height in named if key not in ("keys", "bar"))
        roles = {"header": 1, "main": 1, "aside": 1, "h1": 1, "[role=status][aria-live=polite]": 1}
        for selector, times in roles.items():
            assert len(tab.driver.find_elements("css selector", selector)) == times, selector
        levels = tab.driver.execute_script(
            "return [...document.querySelectorAll('h1, h2, h3, h4')].filter((one) => one.checkVisibility())"
            ".map((one) => Number(one.tagName[1]))"
        )
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert tab.driver.execute_script("return document.documentElement.lang") == "en"
        measured = tab.driver.execute_script(CONTRAST)
        assert len(measured) > 20
        assert not [one for one in measured if one[0] < 4.5]
        background = tab.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        moving = "return document.getAnimations().length"
        assert tab.driver.execute_script(moving) == 0


@pytest.mark.study
def test_a_narrow_screen_stacks_the_outputs_and_scrolls_one_way(tmp_path: Path) -> None:
    with opened(tmp_path, "ada", "--window-size=500,800") as (tab, _):
        tab.shown()
        one, other = (side.rect for side in tab.driver.find_elements("css selector", ".side"))
        assert one["x"] == other["x"]
        assert other["y"] > one["y"]
        width = tab.driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert width <= 0


@pytest.mark.study
def test_a_name_that_somebody_else_has_is_asked_for_again(tmp_path: Path) -> None:
    with opened(tmp_path, second_opinions=0) as (tab, run), browser(tmp_path / "other") as other:
        tab.shown()
        eve = Tab(other, run.link, "ada")
        eve.until(lambda: "ada is somebody else's name" in eve.text("status"))
        assert eve.focus[0] == "name"
        other.switch_to.active_element.send_keys("eve", ENTER)
        eve.shown()
        assert eve.text("who").startswith("eve,")
        tab.press("1")
        tab.until(lambda: len(run.answers) == 1)
        assert list(run.answers[0]["details"]["by"]) == ["ada"]
