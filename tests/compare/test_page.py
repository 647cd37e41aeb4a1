"""The report's page: self-contained, escaped, and opened in a real browser, light and dark."""

import functools
import html
import html.parser
import json
import math
import re
import shutil
import subprocess

import pytest

import jaxsci as js
from jaxsci.compare.page import page, verdict
from jaxsci.compare.pictures import draw

HOSTILE = '<script>alert("x")</script> & $x_{$'


class Refuses:
    def solve(self, problem, **_):
        raise ValueError("it <b>cannot</b>")


@functools.cache
def report():
    heat = js.problems.heat()
    return js.compare(heat, {"spectral, n = 16": js.Spectral(n=16), "n = 32": js.Spectral(n=32), HOSTILE: Refuses()})


@pytest.fixture(scope="module")
def text():
    return page(report(), draw(report()))


class Reader(html.parser.HTMLParser):
    """Collects what a page loads, and checks that its tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.words, self.open, self.tags = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [
            value for name, value in attributes if name.split(":")[-1] in ("src", "href", "srcset", "data", "poster")
        ]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.slow
def test_the_page_loads_nothing_from_anywhere(text):
    reader = Reader(text)
    assert reader.open == []
    assert reader.tags.count("img") == 2
    assert len(reader.loads) > 2
    assert all(load.startswith(("data:", "#")) for load in reader.loads)
    style = "".join(re.findall(r"<style.*?</style>", text, flags=re.S))
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", style)
    assert "script" not in reader.tags


def test_names_and_messages_are_text_not_markup(text):
    words = Reader(text).words
    assert words.count(HOSTILE) == 2  # the table, and the methods to repeat
    assert "it <b>cannot</b>" in words


def test_the_page_says_what_was_solved_and_how_well(text):
    words = " ".join(Reader(text).words)
    row = report().rows[0]
    for expected in (
        "heat: methods compared", "t in [0, 1], x in [0, 1]", "diffusivity = 0.4", "dirichlet", report().problem.identity,
        row.error_text.replace("<=", "≤"), f"{row.max_error:.1e}", row.method, "float64", "results.json",
    ):  # fmt: skip
        assert expected in words, expected


def test_the_best_row_is_marked_and_the_verdict_names_it(text):
    best = re.search(r'<tr class="best"><td>(.*?)</td>', text)[1]
    fastest = min(report().rows[:2], key=lambda row: row.total_seconds)
    assert html.unescape(best) == fastest.name  # both reach the reference's floor: the cheaper one is better
    assert verdict(report()).startswith(f"{fastest.name} is the most accurate: relative error <= ")
    assert text.count('class="best"') == 1


def test_verdicts_compare_two_methods():
    def told(*pairs):
        rows = [
            js.compare.Row(name, "M", error, error, 1e-12, math.nan, 0.0, 0.0, seconds, seconds, 1.0)
            for name, error, seconds in pairs
        ]
        made = report()
        return verdict(js.compare.Report(made.problem, "r", tuple(rows), made.truth, {}, {}, {}))

    assert told() == "No method solved this problem."
    assert told(("a", 1e-5, 2.0)) == "a is the most accurate: relative error 1.0e-05 in 2 s."
    assert told(("a", 1e-3, 2.0), ("b", 1e-5, 4.0)).endswith("4 s. a comes next: 1.0e-03 in 2 s.")
    assert told(("a", 1.1e-5, 12.0), ("b", 1e-5, 4.0)).endswith("a comes as close, in 3 times the time.")
    assert told(("a", 1e-14, 5.0), ("b", 1e-15, 10.0)).startswith("a is the most accurate: relative error <= 1e-12 in 5 s.")


# --- a browser -----------------------------------------------------------------------------------------------------------------

# Put first into the page: it may load only what is inside it, and every error is kept. The report goes into the title.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
PROBE = f"""<meta http-equiv="Content-Security-Policy" content="{POLICY}"><script>
const errors = [];
addEventListener("error", e => errors.push(e.message || e.target.outerHTML), true);
addEventListener("securitypolicyviolation", e => errors.push("policy: " + e.blockedURI));
addEventListener("load", () => document.title = JSON.stringify({{
  errors, widths: [...document.images].map(image => image.naturalWidth),
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  resources: performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:")),
  svg: document.querySelector("svg")?.getBoundingClientRect().width,
  tall: document.documentElement.scrollHeight,
}}));
</script>"""


@functools.cache
def browser():
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    return None


def opened(text, folder, dark):
    """What the browser found in the page, and what it wrote to its console."""
    if browser() is None:
        pytest.skip("no browser (chromium, chromium-browser, google-chrome, chrome) is installed")
    file = folder / "index.html"
    file.write_text(text.replace("<head>", f"<head>{PROBE}", 1), encoding="utf-8")
    run = subprocess.run(
        [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = json.loads(html.unescape(re.search(r"<title>(\{.*?\})</title>", run.stdout)[1]))
    return found, [line for line in run.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_every_picture_and_has_nothing_to_complain_about(text, tmp_path, dark):
    found, console = opened(text, tmp_path, dark)
    assert found["dark"] is dark
    assert len(found["widths"]) == 2
    assert all(width > 300 for width in found["widths"])
    assert found["svg"] > 100, "the equation is drawn"
    assert found["tall"] > 1000
    assert found["errors"] == []
    assert found["resources"] == []
    assert console == []


def test_the_browser_would_complain_about_a_broken_page(tmp_path):
    broken = """<!doctype html><html><head><title>x</title></head><body>
    <img src="missing.png"><img src="data:image/png;base64,AAAA">
    <link rel="stylesheet" href="https://example.org/style.css">
    <script>console.error("boom"); undefined.x</script></body></html>"""
    found, console = opened(broken, tmp_path, dark=False)
    assert found["widths"] == [0, 0]
    assert any("https://example.org/style.css" in error for error in found["errors"])
    assert any("TypeError" in error for error in found["errors"])
    assert any("boom" in line for line in console)
