"""Reports in a real Chromium: they sort, filter, fit a phone and ask the network for nothing.

With JAXCELL_SCREENSHOTS=DIR each page is also kept as a picture, at 400 and 1200 pixels.
"""

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest

import jaxcell
from jaxcell.evaluation.html import Column, Heading, Table, Text
from jaxcell.evaluation.html_page import page
from tests.data.conftest import cells

pytestmark = pytest.mark.browser
LONG = "a_name_of_a_source_that_is_longer_than_any_telephone_is_wide_and_has_no_space_in_it.h5ad"
ROWS = [
    {
        "name": "TxFM",
        "kind": "model",
        "score": (0.5, 0.01),
        "error": 3.5,
        "cells": 12000,
        "interval": ".2 – .9",
    },
    {
        "name": "PCA 50",
        "kind": "baseline",
        "score": 0.75,
        "error": None,
        "cells": 900,
        "interval": "-.1 – .7",
    },
    {
        "name": "PCA 8",
        "kind": "baseline",
        "score": -0.25,
        "error": 0.5,
        "cells": 90,
        "interval": ".55 – .56",
    },
    {"name": "shuffled", "kind": "chance", "score": 0.125, "error": 9.0, "reference": True},
    *({"name": f"{LONG} {i}", "kind": "more", "score": None, "error": i + 10} for i in range(8)),
]


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that can reach no host and writes down what it asks for."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    assert all(found.values()), f"{found}: apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = found["chromium"]
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found["chromedriver"]))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """{name: path} of a page by hand, of `jaxcell inspect` and of a benchmark."""
    folder = tmp_path_factory.mktemp("reports")
    columns = [
        Column("kind", "kind", None),
        Column("score", "score"),
        Column("error", "error <10⁻³>", "low", 1),
        Column("cells", "cells", None),
        Column("interval", "95 %", None),
    ]
    table = Table("All methods", columns, ROWS, note="**Bold** is best.")
    blocks = [Text("A line."), Heading("One"), table, Heading("Two"), Heading("Three")]
    (folder / "hand.html").write_text(page("By hand", blocks, folder))
    sources = [folder / f"{name}.h5ad" for name in ("one", LONG.removesuffix(".h5ad"))]
    for source in sources:
        cells().write_h5ad(source)
    jaxcell.inspect(sources, labels=["type"], out=folder / "look", progress=False)
    jaxcell.benchmark(
        "disease", folder / "disease", seeds=1, planted=True, progress=False, baselines=["pca20"]
    )
    paths = {"hand": folder / "hand.html", "inspect": folder / "look" / "report.html"}
    return paths | {"benchmark": folder / "disease" / "report.html"}


def opened(browser, path, width=1200, scheme="light"):
    """The page at a width, in light or dark; the logs start empty."""
    size = dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get("about:blank")
    for log in ("performance", "browser"):
        browser.get_log(log)
    browser.get(path.as_uri())
    return browser


def names(browser):
    """The first column's texts of the rows that are shown, in order."""
    script = "return [...document.querySelectorAll('tbody tr')].filter(r => !r.hidden)"
    return browser.execute_script(script + ".map(r => r.cells[0].textContent)")


def head(browser, text):
    """The header cell of this text, and its button."""
    script = (
        "return [...document.querySelectorAll('thead th')].find(h => h.textContent == arguments[0])"
    )
    cell = browser.execute_script(script, text)
    return cell, cell.find_element("tag name", "button")


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("name", ["hand", "inspect", "benchmark"])
def test_a_page_fits_and_asks_for_nothing(browser, reports, name, width):
    opened(browser, reports[name], width)
    wide = "const e = document.documentElement; return [innerWidth, e.scrollWidth - e.clientWidth]"
    assert browser.execute_script(wide) == [width, 0]
    assert browser.get_log("browser") == []
    events = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert asked[0] == reports[name].as_uri()
    assert all(url.startswith("data:") for url in asked[1:])
    # What is wider than the page lies in a box of its own that scrolls, by the keyboard too.
    script = """return [...document.querySelectorAll('table, img')].every(e => {
        const box = e.closest('.scroll');
        return box.tabIndex == 0 && box.getBoundingClientRect().right <= innerWidth; })"""
    assert browser.execute_script(script)
    if kept := os.environ.get("JAXCELL_SCREENSHOTS"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        whole = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        size = dict(width=width, height=int(whole["height"]), deviceScaleFactor=1, mobile=False)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.save_screenshot(str(Path(kept) / f"{name}-{width}.png"))


def test_columns_sort_the_best_first_and_then_the_other_way(browser, reports):
    opened(browser, reports["hand"])
    cell, button = head(browser, "score")
    button.click()
    assert cell.get_attribute("aria-sort") == "descending"
    assert names(browser)[:5] == ["PCA 50", "TxFM", "shuffled", "PCA 8", f"{LONG} 0"]
    button.click()
    assert cell.get_attribute("aria-sort") == "ascending"
    assert names(browser)[:5] == ["PCA 8", "shuffled", "TxFM", "PCA 50", f"{LONG} 0"]
    other, button = head(browser, "error <10⁻³>")
    button.click()  # less is better: the least first, and what is not known last
    assert other.get_attribute("aria-sort") == "ascending"
    assert cell.get_attribute("aria-sort") is None
    assert names(browser)[:3] == ["PCA 8", "TxFM", "shuffled"]
    assert names(browser)[-1] == "PCA 50"


def test_intervals_sort_by_their_middle(browser, reports):
    opened(browser, reports["hand"])
    head(browser, "95 %")[1].click()
    assert names(browser)[:3] == ["PCA 8", "TxFM", "PCA 50"]


@pytest.mark.parametrize("name", ["inspect", "benchmark"])
def test_a_figure_is_seen_whole_on_a_phone_and_at_its_full_size(browser, reports, name):
    opened(browser, reports[name], 400)
    figures = browser.find_elements("tag name", "figure")
    assert figures
    script = """const i = arguments[0].querySelector('img'), b = i.closest('.scroll');
        const { left, right } = i.getBoundingClientRect();
        return { left, right, full: Number(i.getAttribute('width')), shown: i.clientWidth,
                 box: b.clientWidth, inside: b.scrollWidth }"""
    scaled = 0
    for figure in figures:
        place = browser.execute_script(script, figure)
        assert place["left"] >= 0
        assert place["right"] <= 400
        button = figure.find_element("tag name", "button")
        assert button.is_displayed() == (place["shown"] < place["full"])
        if not button.is_displayed():
            continue
        scaled += 1
        button.click()
        large = browser.execute_script(script, figure)
        assert large["shown"] == place["full"] == large["inside"] > large["box"]
        assert button.get_attribute("aria-pressed") == "true"
        button.click()
        assert browser.execute_script(script, figure) == place
    assert scaled
    opened(browser, reports[name], 1200)
    for figure in browser.find_elements("tag name", "figure"):
        place = browser.execute_script(script, figure)
        button = figure.find_element("tag name", "button")
        assert button.is_displayed() == (place["shown"] < place["full"])


def test_words_of_a_table_are_not_cut_where_they_can_wrap(browser, reports):
    opened(browser, reports["inspect"], 1200)
    script = """return [...document.querySelectorAll('table')].filter(
        t => t.closest('.scroll').scrollWidth > t.closest('.scroll').clientWidth).length"""
    assert browser.execute_script(script) == 0
    said = [cell.text for cell in browser.find_elements("css selector", "thead th")]
    assert "as" not in said


def test_words_sort_by_the_alphabet_and_by_the_keyboard(browser, reports):
    from selenium.webdriver.common.keys import Keys

    opened(browser, reports["hand"])
    cell, button = head(browser, "method")
    button.send_keys(Keys.ENTER)
    assert cell.get_attribute("aria-sort") == "ascending"
    assert names(browser)[-4:] == ["PCA 8", "PCA 50", "shuffled", "TxFM"]
    button.send_keys(Keys.SPACE)
    assert names(browser)[:4] == ["TxFM", "shuffled", "PCA 50", "PCA 8"]


def test_rows_are_filtered_by_all_words(browser, reports):
    from selenium.webdriver.common.keys import Keys

    opened(browser, reports["hand"], 400)
    field = browser.find_element("css selector", "input[type=search]")
    said = browser.find_element("tag name", "output")
    field.send_keys("pca BASELINE")
    assert names(browser) == ["PCA 50", "PCA 8"]
    assert said.text == "2 of 12 rows"
    head(browser, "score")[1].click()
    assert names(browser) == ["PCA 50", "PCA 8"]  # sorted and still filtered
    field.send_keys(" 8", Keys.ENTER)
    assert names(browser) == ["PCA 8"]
    field.send_keys("x")
    assert names(browser) == []
    field.clear()
    field.send_keys(" ")
    assert len(names(browser)) == 12
    assert said.text == ""


def test_the_dark_page_is_dark_and_legible(browser, reports):
    colours = """const s = getComputedStyle(document.body);
        return [s.backgroundColor, s.color, getComputedStyle(document.querySelector('.note')).color]
        .map(c => { const x = new OffscreenCanvas(1, 1).getContext('2d'); x.fillStyle = c;
        x.fillRect(0, 0, 1, 1); return [...x.getImageData(0, 0, 1, 1).data].slice(0, 3) })"""

    def brightness(rgb):
        linear = [(c / 255 / 12.92 if c < 11 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in rgb]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) + 0.05

    for scheme in ("light", "dark"):
        opened(browser, reports["hand"], scheme=scheme)
        paper, *texts = map(brightness, browser.execute_script(colours))
        assert (paper > 0.5) == (scheme == "light")
        for text in texts:
            assert max(paper, text) / min(paper, text) >= 7  # WCAG 2.2, level AAA


@pytest.mark.parametrize("name", ["hand", "inspect", "benchmark"])
def test_what_is_read_out_has_names(browser, reports, name):
    opened(browser, reports[name])
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    nodes = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"]
    ]
    roles = {role for role, _ in nodes}
    assert {"main", "table", "columnheader", "rowheader", "heading", "button"} <= roles
    told = ("table", "columnheader", "button", "image", "img", "searchbox", "region", "link")
    assert [role for role, text in nodes if role in told and not text] == []
    levels = [
        prop["value"]["value"]
        for node in tree
        if not node["ignored"] and node["role"]["value"] == "heading"
        for prop in node["properties"]
        if prop["name"] == "level"
    ]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_policy_stops_foreign_scripts_and_requests(browser, reports):
    opened(browser, reports["hand"])
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.foreign = 1';"
        "document.body.append(s)"
    )
    assert browser.execute_script("return window.foreign === undefined")
    asked = "fetch('https://example.org').then(() => arguments[0](1), () => arguments[0](0))"
    assert browser.execute_async_script(asked) == 0
    assert any("Content Security Policy" in e["message"] for e in browser.get_log("browser"))


def test_links_lead_to_their_headings(browser, reports):
    opened(browser, reports["hand"], 400)
    links = browser.find_elements("css selector", "nav a")
    assert [link.text for link in links] == ["One", "Two", "Three"]
    for link in links:
        target = link.get_attribute("href").partition("#")[2]
        assert browser.find_element("id", target).text == link.text
