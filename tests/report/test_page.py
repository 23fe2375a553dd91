"""The page of a run in a real browser: complete in itself, harmless, sortable, copyable, readable in every way."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from archive_parts import START, quality, writer
from chromium import browser, console, requests

import promptopt
from promptopt.errors import UserError
from promptopt.report import report
from promptopt.text import visible

pytest.importorskip("jinja2")
pytest.importorskip("tomli_w")

NASTY = [
    "<script>window.hacked = 1</script> {}",
    "<img src=x onerror='window.hacked = 2'> {}",
    "</pre></style></script><svg onload='window.hacked = 3'> {}",
    "{{ 7 * 7 }} {% raw %} {}\n  second line {} \u202e 日本語 😀",
    "javascript:window.hacked=4 \" ' & {}",
    "short {}",
    "clear brief honest careful plain exact {}",
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run over real images with nasty prompts."""
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("report") / "a <b> run"
    promptopt.optimize(
        start=NASTY[0],
        target="run_parts:ToyTarget",
        data={"name": "digits", "shots": 2},
        optimizer={"name": "random-search", "pool": {"name": "list", "prompts": NASTY}},
        run=folder,
    )
    return report(folder, tables=folder / "tables")


@pytest.fixture(scope="module")
def opened(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def page(opened: Any, file: Path) -> Any:
    """The page as a reader finds it."""
    opened.get_log("browser")
    opened.get_log("performance")
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    opened.get(file.as_uri())
    return opened


# ── The file ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_policy_allows_the_pages_own_style_and_script_alone(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    rules = policy[1].replace("&#39;", "'")
    assert rules.startswith("default-src 'none';")
    assert "unsafe" not in rules
    for tag in ("style", "script"):
        [found] = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()}'" in rules
    assert not re.search(r"\sstyle=|\son\w+=[\"']", re.sub(r"&lt;.*?&gt;", "", text))


def test_every_table_is_written_three_times(file: Path) -> None:
    names = {"verdict", "prompts", "improvements", "examples", "labels", "questions", "versions"}
    written = {one.name for one in (file.parent / "tables").iterdir()}
    assert {f"{name}.{form}" for name in names for form in ("csv", "json", "md")} <= written


def test_mistakes(tmp_path: Path, file: Path) -> None:
    with pytest.raises(UserError, match="neither a run nor a sweep"):
        report(tmp_path)
    with pytest.raises(UserError, match="cannot write"):
        report(file.parent, out=tmp_path / "no" / "folder.html")


# ── In the browser ────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_loads_nothing_says_nothing_and_runs_nothing_from_a_prompt(page: Any, file: Path) -> None:
    page.execute_script("for (const one of document.images) one.loading = 'eager'")
    assert requests(page) == [file.as_uri()]
    assert console(page) == []
    assert page.execute_script("return window.hacked") is None
    assert page.title == "a <b> run – promptopt report"
    shown = page.execute_script("return [...document.querySelectorAll('td.prompt')].map(one => one.textContent)")
    assert {*map(visible, NASTY)} <= {*shown}
    images = page.execute_script("return [...document.images].map(one => one.src.slice(0, 22))")
    assert images == ["data:image/png;base64,"] * 48


def test_something_injected_would_be_refused(page: Any) -> None:
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 5'; document.body.append(s);"
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i);"
    )
    assert page.execute_script("return window.hacked") is None
    assert sum("Content Security Policy" in line for line in console(page)) >= 2


def test_the_verdict_stands_first_and_the_best_prompt_is_whole(page: Any, file: Path) -> None:
    headings = page.execute_script("return [...document.querySelectorAll('h2')].map(one => one.textContent)")
    assert headings[:2] == ["Verdict", "Best prompt"]
    best = (file.parent / "best.txt").read_text(encoding="utf-8")[:-1]
    assert page.execute_script("return document.getElementById('best-prompt').textContent") == visible(best)


def test_sorting_by_keyboard(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    prompt, question = 3, 5

    def column(name: str) -> Any:
        return page.find_element("xpath", f"//section[@id='prompts']//th[.='{name}']")

    def cells(number: int) -> list[str]:
        path = f"#prompts tbody td:nth-child({number})"
        found: list[str] = page.execute_script(
            f"return [...document.querySelectorAll('{path}')].map(o => o.textContent)"
        )
        return found

    column("question").find_element("tag name", "button").send_keys(Keys.ENTER)
    assert cells(question) == sorted(cells(question), key=int, reverse=True)
    assert column("question").get_attribute("aria-sort") == "descending"
    column("question").find_element("tag name", "button").send_keys(Keys.SPACE)
    assert cells(question) == sorted(cells(question), key=int)
    assert column("question").get_attribute("aria-sort") == "ascending"
    column("prompt").find_element("tag name", "button").send_keys(Keys.ENTER)
    assert column("question").get_attribute("aria-sort") is None
    assert {*cells(prompt)} == {*map(visible, NASTY)}


def test_the_skip_link_comes_first_and_leads_to_the_report(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    page.find_element("tag name", "body").send_keys(Keys.TAB)
    skip = page.switch_to.active_element
    assert skip.text == "Skip to the report"
    outline = skip.value_of_css_property("outline-style")
    skip.send_keys(Keys.ENTER)
    assert outline == "solid"
    assert page.switch_to.active_element.get_attribute("id") == "main"


def test_copying_with_and_without_permission(page: Any, file: Path) -> None:
    best = page.execute_script("return document.getElementById('best-prompt').textContent")
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    button, said = (page.find_element("css selector", f"#best {one}") for one in (".copy", ".copied"))
    button.click()
    assert page.execute_async_script("setTimeout(arguments[0], 300)") is None
    assert said.text == "Copied."
    page.execute_cdp_cmd("Page.bringToFront", {})
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, e => done(String(e)))"
    assert page.execute_async_script(read) == best
    page.execute_script(
        "getSelection().removeAllRanges(); document.execCommand = () => false;"
        "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
    )
    button.click()
    page.execute_async_script("setTimeout(arguments[0], 300)")
    assert said.text.startswith("Selected: press Ctrl+C")
    assert page.execute_script("return getSelection().toString()").split() == best.split()


# ── For every reader ──────────────────────────────────────────────────────────────────────────────────────────────


def test_its_structure_can_be_read_out(page: Any) -> None:
    nodes = [one for one in page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"] if not one["ignored"]]
    roles = [(one["role"]["value"], one.get("name", {}).get("value", "")) for one in nodes]
    assert {"main", "banner", "navigation", "contentinfo", "table", "columnheader"} <= {role for role, _ in roles}
    named = {"button", "link", "image", "img", "region", "navigation", "figure", "DisclosureTriangle", "table"}
    assert [role for role, name in roles if role in named - {"figure"} and not name.strip()] == []
    assert sum(role in ("image", "img") for role, _ in roles) >= 48


def test_headings_tables_and_ids_are_in_order(page: Any) -> None:
    levels = page.execute_script("return [...document.querySelectorAll('h1,h2,h3,h4')].map(o => +o.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for wrong in ("th:not([scope])", "table:not(:has(caption))", "img:not([alt])", "svg:not([role=img][aria-label])"):
        assert page.execute_script(f"return document.querySelectorAll('{wrong}').length") == 0, wrong
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map(o => o.id)")
    assert len(ids) == len({*ids})
    assert page.execute_script("return document.documentElement.lang") == "en"
    tables = page.execute_script("return [...document.querySelectorAll('figure')].map(o => !!o.querySelector('table'))")
    assert tables
    assert all(tables)


CONTRAST = """
const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => c.startsWith("color(") ? +v : v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!/, 0\\)$/.test(c)) return c } return "rgb(255, 255, 255)" };
return [...document.querySelectorAll("p, a, dd, dt, li, th, td, h1, h2, h3, pre, ins, del, summary, button")]
  .filter(e => e.textContent.trim() && e.checkVisibility()).map(e => {
    const [x, y] = [light(getComputedStyle(e).color), light(behind(e))];
    return [(Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05), e.tagName + "." + e.className] })
  .filter(([ratio]) => ratio < 4.5);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(page: Any, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    ink, paper = (
        sum(map(int, re.findall(r"\d+", page.find_element("tag name", "body").value_of_css_property(name))[:3]))
        for name in ("color", "background-color")
    )
    assert (paper > 600 > 300 > ink) if scheme == "light" else (ink > 600 > 300 > paper)
    assert page.execute_script(CONTRAST) == []


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that keeps the best prompt of each kind."""
    folder = tmp_path_factory.mktemp("archived")
    optimizer = {"name": "map-elites", "model": writer(), "measures": ["words", "politeness"], "rounds": 6}
    promptopt.optimize(start=START, score=quality, optimizer=optimizer, budget=30, run=folder)
    return report(folder)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_cell_of_an_archive_leads_to_its_prompt_and_can_be_read(opened: Any, archived: Path, scheme: str) -> None:
    from selenium.webdriver.common.keys import Keys

    opened.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    opened.get(archived.as_uri())
    shown = "return [...document.querySelectorAll('.holder')].filter(o => o.checkVisibility()).map(o => o.id)"
    cells = opened.find_elements("css selector", ".plane td a")
    assert len(cells) > 3
    assert opened.execute_script(shown) == []
    cells[-1].send_keys(Keys.ENTER)
    assert opened.execute_script(shown) == [cells[-1].get_attribute("href").rpartition("#")[2]]
    colours = {cell.find_element("xpath", "..").value_of_css_property("background-color") for cell in cells}
    assert len(colours) >= 3
    assert opened.execute_script(CONTRAST) == []
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert len(opened.execute_script(shown)) == len(cells)


def test_a_narrow_window_needs_no_scrolling_sideways(page: Any) -> None:
    size = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.study
def test_on_paper_everything_is_open_and_nothing_is_to_be_pressed(page: Any) -> None:
    shut = "return document.querySelectorAll('details:not([open])').length"
    before = page.execute_script(shut)
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert before > 0
    assert page.execute_script(shut) == 0
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    seen = page.execute_script(
        "return [...document.querySelectorAll('button.copy, nav')].filter(o => o.checkVisibility())"
    )
    assert seen == []
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script(shut) == before
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 2
