"""The committed pages in a real browser, offline: errors, links, filters, sliders, accessibility, widths, the trace."""

import dataclasses
import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from spurious_rewards.reporting import collect, report
from spurious_rewards.reporting.drawing import put_plotlyjs
from spurious_rewards.storage.paths import code_root

pytestmark = pytest.mark.browser

RESULTS = code_root() / "results"
PAGES = [RESULTS / "index.html", *sorted((RESULTS / "site").glob("*.html"))]
FIGURES = sorted((RESULTS / "figures").glob("*/*.html"))


def axe(page):
    """Violations that axe-core finds of the rules of WCAG 2 AA and of its own best practices."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in found]


def named(path):
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_a_page_loads_offline_fits_a_phone_and_is_accessible(path, open_page):
    for width, dark in ((1280, False), (390, True)):
        page = open_page(path, width, dark)
        assert page.problems == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "scrolls sideways"
        assert axe(page) == []
        for image in page.query_selector_all("img"):
            image.scroll_into_view_if_needed()
            page.wait_for_function("image => image.complete", arg=image)
            assert image.evaluate("image => image.naturalWidth") > 100, image.get_attribute("src")
            assert len(image.get_attribute("alt")) > 10


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links_resolve(path, open_page):
    page = open_page(path)
    for link in page.eval_on_selector_all("a[href]", "links => links.map((link) => link.href)"):
        if link.startswith("file:"):
            place = Path(unquote(urlparse(link).path))
            assert place.exists(), link


def test_the_first_screen_answers(open_page):
    page = open_page(RESULTS / "index.html", 1280)
    box = page.query_selector(".answer").bounding_box()
    assert box["y"] + box["height"] < 900, "the answer is below the first screen"
    assert page.locator(".answer p").count() >= 3
    row = page.locator("table.forest tbody tr").first.bounding_box()
    assert row["y"] + row["height"] < 900, "the figure begins below the first screen"


def test_a_manifest_is_three_clicks_from_each_verdict(open_page):
    claims = open_page(RESULTS / "index.html").eval_on_selector_all(
        ".claim:has(details)", "all => all.map((claim) => claim.id)"
    )
    assert len(claims) >= 9
    for claim in claims:
        page = open_page(RESULTS / "index.html")
        page.locator(f"#{claim} summary").click()  # 1: the measurements
        page.locator(f"#{claim} a.runs").first.click()  # 2: their runs (or, of a table, its manifest)
        if not page.url.endswith(".json"):
            page.locator("main a[href$='.json']").first.click()  # 3: the manifest
        assert '"commit"' in page.content(), claim


def test_answers_are_filtered_fast(open_page):
    page = open_page(RESULTS / "site" / "answers.html")
    count = page.locator("#count")
    whole = int(re.match(r"(\d+) of", count.inner_text())[1])
    assert whole > 500
    page.select_option("#verdict", "1")
    right = int(re.match(r"(\d+) of", count.inner_text())[1])
    page.select_option("#verdict", "0")
    assert 0 < right < whole and right + int(re.match(r"(\d+) of", count.inner_text())[1]) == whole
    for action in (
        lambda: page.select_option("#strategy", "1"),
        lambda: page.select_option("#model", "1"),
        lambda: page.fill("#search", "print"),
        lambda: page.fill("#search", ""),
        lambda: page.select_option("#problem", "2"),
    ):
        action()
        assert page.evaluate("window.lastFilterMilliseconds") < 200
    assert page.problems == []


def test_a_table_is_sorted_by_its_numbers(open_page):
    page = open_page(RESULTS / "site" / "runs-micro.html")
    minutes = page.locator("thead button", has_text="minutes")
    minutes.click()
    cells = page.eval_on_selector_all("tbody tr td:nth-child(5)", "cells => cells.map((cell) => +cell.dataset.sort)")
    assert cells == sorted(cells) and len(set(cells)) > 5
    minutes.press("Enter")  # with the keyboard, the other way
    again = page.eval_on_selector_all("tbody tr td:nth-child(5)", "cells => cells.map((cell) => +cell.dataset.sort)")
    assert again == sorted(cells, reverse=True)


def test_the_bandit_follows_its_sliders(open_page):
    page = open_page(RESULTS / "site" / "bandit.html")
    said = {page.locator("#clip-text").inner_text()}
    for name in ("prior", "step_size", "updates", "epsilon", "gamma"):
        page.locator(f"#{name}").focus()
        page.keyboard.press("Home")
        said.add(page.locator("#clip-text").inner_text())
    assert len(said) > 3 and page.problems == []
    page.locator("#updates").focus()
    page.keyboard.press("Home")  # one update per batch: the clip does nothing, so both are the same cell
    assert page.locator("#clip-text").inner_text() == page.locator("#none-text").inner_text()


def test_a_rollout_batch_is_played(open_page):
    page = open_page(RESULTS / "site" / "rollouts.html")
    assert page.locator(".card").count() == 16
    assert page.locator("pre .above, pre .below").count() == 0, "before the first update every ratio is 1"
    page.locator("#update").focus()
    page.keyboard.press("End")
    assert page.locator("pre .above, pre .below, pre .free").count() > 0
    assert "After 8 of 8 updates" in page.locator("#state").inner_text() and page.problems == []


def test_what_a_model_wrote_stays_text(open_page, records, tmp_path, monkeypatch):
    hostile = "</script><img src=x onerror='document.title=\"owned\"'><b>bold</b> ``` {{ 7*7 }}"
    monkeypatch.setattr(report.drawing, "browser_path", lambda: None)
    samples = records.samples.assign(text=hostile, extracted="<i>x</i>")
    collect.save(dataclasses.replace(records, samples=samples), tmp_path)
    report.rebuild(tmp_path)
    page = open_page(tmp_path / "site" / "answers.html")
    assert page.problems == [] and "owned" not in page.title()
    assert page.locator(".card pre").first.inner_text() == hostile
    assert page.locator("#cards img, #cards b, #cards i").count() == 0


@pytest.fixture(scope="session")
def plotlyjs():
    """plotly.js beside the figures: git does not hold it, `make reproduce` writes it."""
    put_plotlyjs(RESULTS / "figures")


@pytest.mark.parametrize("path", FIGURES, ids=named)
def test_labels_of_a_figure_are_whole(path, open_page, plotlyjs):
    page = open_page(path)
    page.wait_for_selector(".main-svg .xtick, .main-svg .ytick")
    boxes = page.evaluate(BOXES)
    width, height = boxes["size"]
    assert boxes["texts"], "no text was drawn"
    for text, left, top, right, bottom in boxes["texts"]:
        assert left >= -1 and top >= -1 and right <= width + 1 and bottom <= height + 1, f"cut off: {text}"
    for axis, labels in boxes["axes"].items():
        for one, other in pairwise(labels):
            apart = any(
                a[end] <= b[start] + 1 for a, b in ((one, other), (other, one)) for end, start in ((3, 1), (4, 2))
            )
            assert apart or boxes["rotated"], f"labels of {axis} overlap: {one[0]} and {other[0]}"
    for axis, wanted in boxes["wanted"].items():
        drawn = [label[0] for label in boxes["axes"].get(axis, [])]
        assert len(drawn) == len(wanted), f"{axis} draws {len(drawn)} of {len(wanted)} labels"


BOXES = """() => {
  const plot = document.querySelector(".js-plotly-plot");
  const frame = plot.querySelector(".main-svg").getBoundingClientRect();
  const box = (node) => {
    const at = node.getBoundingClientRect();
    return [node.textContent, at.left - frame.left, at.top - frame.top, at.right - frame.left, at.bottom - frame.top];
  };
  const texts = [...plot.querySelectorAll(".main-svg text")].filter((text) => text.textContent.trim()).map(box);
  const axes = {}, wanted = {};
  let rotated = false;
  for (const [name, axis] of Object.entries(plot._fullLayout)) {
    if (!/^[xy]axis[0-9]*$/.test(name)) continue;
    const id = name.replace("axis", ""), letter = id[0];
    const ticks = [...plot.querySelectorAll(`.${id}tick text`)].filter((text) => text.textContent.trim());
    rotated = rotated || (axis.tickangle !== "auto" && axis.tickangle !== 0);
    axes[name] = ticks.map(box).sort((a, b) => letter === "x" ? a[1] - b[1] : a[2] - b[2]);
    if (axis.tickmode === "array") wanted[name] = axis.ticktext.filter((text) => text);
    if (axis.type === "category") wanted[name] = axis._categories;
  }
  return { size: [frame.width, frame.height], texts, axes, wanted, rotated };
}"""
