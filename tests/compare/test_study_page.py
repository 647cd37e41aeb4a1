"""The study's page: self-contained, escaped, in a stated order, and opened in a real browser, whose slider moves the frames."""

import dataclasses
import functools
import html
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from study_example import HOSTILE, study

from jaxsci.compare.study_page import study_page
from jaxsci.compare.study_report import Gallery
from jaxsci.compare.study_text import lead

VOID = ("meta", "link", "img", "br", "input")


@functools.cache
def text(flow="kolmogorov"):
    return study_page(study(flow, hostile=True))


class Reader(html.parser.HTMLParser):
    """Collects what a page loads and says, and checks that its tags close in order."""

    def __init__(self, page):
        super().__init__()
        self.loads, self.words, self.open, self.tags, self.ids, self.images = [], [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.images += [given] if tag == "img" else []
        self.loads += [
            value for name, value in attributes if name.split(":")[-1] in ("src", "href", "srcset", "data", "poster")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def reader():
    return Reader(text())


def test_the_page_loads_nothing_from_anywhere_and_is_small(reader):
    assert reader.open == []
    assert len(reader.loads) > 9
    assert all(load.startswith(("data:", "#")) for load in reader.loads)
    style = "".join(re.findall(r"<style.*?</style>", text(), flags=re.S))
    assert not re.search(r"@import|url\(", style)
    assert len(text()) < 5_000_000
    script = "".join(re.findall(r"<script>(.*?)</script>", text(), flags=re.S))
    assert not re.search(r"fetch|XMLHttpRequest|import|eval|innerHTML|https?:", script)


def test_the_order_is_that_of_a_reader():
    at = [text().index(f'<section id="{key}"') for key in (
        "problem", "front", "verdicts", "rollout", "growth", "metrics", "shifts", "cost", "settings", "repeat",
    )]  # fmt: skip
    assert at == sorted(at)
    words = " ".join(Reader(text()).words)
    assert words.index(lead(study(hostile=True))[0]) < words.index("The problem")


def test_names_and_messages_are_text_not_markup(reader):
    assert reader.tags.count("script") == 2  # the numbers and the page's own
    assert "b" in reader.tags
    assert any(HOSTILE in word for word in reader.words)
    assert any("it <b>cannot</b>" in word for word in reader.words)
    assert "</script> &" not in re.sub(r"&lt;/script&gt; &amp;", "", text())
    hostile = dataclasses.replace(
        study("quick"), name=HOSTILE, truth=HOSTILE, notes=(HOSTILE,), settings={HOSTILE: HOSTILE, "command": HOSTILE},
        environment={HOSTILE: {HOSTILE: HOSTILE}},
        gallery=dataclasses.replace(study("quick").gallery, title=HOSTILE),
    )  # fmt: skip
    assert Reader(study_page(hostile)).tags.count("script") == 2


def test_the_page_says_what_was_asked(reader):
    words = " ".join(reader.words)
    for expected in (
        "kolmogorov flow: solver against surrogate", "viscosity = 0.02", "dt = 0.25", "t = 1 in 32 saves, over 16 starts",
        "its own error is 0.021 %", "runs to pay back, N*", "9,000 to 16,000", "at best 41,000", "blew up on 1 of 2",
        "1,188,353", "ResNet was trained", "jaxsci compare kolmogorov --budget 900 --seed 0", "measurements.csv", "jax 0.10.0",
        "0.41", study().problem.identity, "relative L2 error",
    ):  # fmt: skip
        assert expected in words, expected


def test_a_coefficient_that_every_run_draws_is_shown_as_its_range():
    report = study("quick")
    name = next(iter(report.problem.coefficients))
    page = study_page(dataclasses.replace(report, settings={**report.settings, "drawn": {name: [0.05, 0.1]}}))
    assert f"<dt>{name}, of every run its own</dt><dd>from 0.05 to 0.1</dd>" in page
    assert f"{name} = " not in page
    assert f"{name} = " in study_page(report)


def test_it_can_be_read_by_ear(reader):
    assert reader.tags.count("h1") == 1
    assert len(reader.ids) == len(set(reader.ids))
    assert all("alt" in image for image in reader.images)
    films = [image["alt"] for image in reader.images if image["alt"]]
    assert "field of the truth" in films
    assert "error of FNO" in films
    assert len(re.findall(r'<svg role="img" aria-label="[^"]+"', text())) == text().count("<svg") == 4
    assert text().count('scope="col"') > 30
    assert text().count('scope="row"') > 40
    assert 'aria-label="time of the rollout"' in text()
    assert '<html lang="en">' in text()


def test_the_first_frame_is_there_without_a_script():
    found = re.findall(r'class="film" (.*?) style="(.*?)"><img alt="(.*?)" .*?style="(.*?)"', text())
    assert len(found) == 9
    assert all("aspect-ratio: 32 / 32" in style for _, style, _, _ in found)
    assert all("translate(-0.490196%, -0.490196%)" in style for *_, style in found)  # one pixel of 6 frames of 34
    assert '<div class="player" hidden>' in text()


def test_a_page_without_pictures_or_verdicts_stands(reader):
    report = study("quick")
    bare = dataclasses.replace(
        report, gallery=Gallery("u", np.arange(2.0), {}, np.zeros(2), {}), verdicts=(), shifts=(), settings={}, notes=(),
        measurements=report.measurements[:1],
    )  # fmt: skip
    made = Reader(study_page(bare))
    assert made.open == []
    assert "script" not in made.tags
    assert "rollout" not in made.ids
    assert "shifts" not in made.ids
    assert "No surrogate was judged." in made.words


# --- a browser -----------------------------------------------------------------------------------------------------------------

# Put first into the page: every error is kept. The report goes into the title. The page has its own policy: nothing from outside.
PROBE = """<script>
const errors = [];
addEventListener("error", e => errors.push(e.message || e.target.outerHTML), true);
addEventListener("securitypolicyviolation", e => errors.push("policy: " + e.blockedURI));
const shown = () => [...document.querySelectorAll(".film")].map(film =>
  (film.querySelector("i")?.style.left ?? "") + film.querySelector("img").style.transform);
const look = () => ({ frame: document.body.dataset.frame, clock: document.querySelector("output")?.textContent, films: shown(),
  told: [...document.querySelectorAll("[data-errors]")].map(out => out.textContent),
  lines: [...document.querySelectorAll(".lines path")].map(path => path.getAttribute("d").length) });
addEventListener("load", () => {
  const slider = document.querySelector("input"), button = document.querySelector("button");
  const first = look();
  slider.value = 3; slider.dispatchEvent(new Event("input"));
  const slid = look();
  document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
  const keyed = look();
  button.click();
  const playing = button.textContent;
  button.click();
  document.title = JSON.stringify({
    errors, first, slid, keyed, playing, paused: button.textContent, hidden: document.querySelector(".player").hidden,
    widths: [...document.images].map(image => image.naturalWidth),
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    colour: getComputedStyle(document.body).backgroundColor,
    resources: performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:")),
    wide: document.documentElement.scrollWidth, window: innerWidth,
  });
});
</script>"""


@functools.cache
def browser():
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    return None


def opened(page, folder, dark=False, address="", size="1200,900"):
    """What the browser found in the page, and what it wrote to its console."""
    if browser() is None:
        pytest.skip("no browser (chromium, chromium-browser, google-chrome, chrome) is installed")
    file = folder / "index.html"
    file.write_text(page, encoding="utf-8")
    run = subprocess.run(
        [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr", f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--window-size={size}",
            "--dump-dom", file.as_uri() + address,
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = json.loads(html.unescape(re.search(r"<title>(\{.*?\})</title>", run.stdout)[1]))
    return found, [line for line in run.stderr.splitlines() if "CONSOLE" in line]


def probed(page):
    return page.replace("<head>", f"<head>{PROBE}", 1)


@pytest.mark.parametrize(
    ("dark", "address", "size"), [(False, "", "1200,900"), (True, "#frame=5", "500,900")], ids=["light", "dark"]
)
def test_a_browser_shows_all_and_its_slider_moves_the_frames(tmp_path, dark, address, size):
    found, console = opened(probed(text()), tmp_path, dark, address, size)
    assert found["errors"] == []
    assert found["resources"] == []
    assert console == []
    assert found["dark"] is dark
    assert found["colour"] == ("rgb(18, 23, 29)" if dark else "rgb(245, 247, 249)")
    assert len(found["widths"]) == 11
    assert all(width > 100 for width in found["widths"])
    assert found["hidden"] is False
    assert found["wide"] <= found["window"], "the page itself does not scroll sideways"
    assert found["first"]["frame"] == ("5" if dark else "0")
    assert found["first"]["clock"] == ("t = 0.1562" if dark else "t = 0")
    assert len(set(found["first"]["films"])) == 1, "all show the same frame"
    assert found["slid"]["frame"] == "3"
    assert found["slid"]["films"][0] == "translate(-50.4902%, -0.490196%)"  # frame 3 of 6 columns of 34 pixels
    assert found["slid"]["films"] != found["first"]["films"]
    assert found["keyed"]["frame"] == "4"
    assert found["slid"]["told"][-1].startswith("error ")
    assert (found["playing"], found["paused"]) == ("Pause", "Play")


@pytest.mark.slow
def test_in_one_dimension_the_slider_moves_a_line_and_the_profiles(tmp_path):
    found, console = opened(probed(text("ks")), tmp_path, address="#frame=30")
    assert found["errors"] == console == []
    assert found["first"]["frame"] == "30"
    assert all(film.startswith("93.75%") for film in found["first"]["films"])
    assert found["first"]["lines"].count(0) == 1, "what blew up has no profile any more"
    assert found["first"]["told"].count("not finite") == 1
    assert found["slid"]["lines"].count(0) == 0
    assert found["wide"] <= found["window"]


@pytest.mark.slow
def test_a_telephone_needs_no_sideways_scrolling(tmp_path):
    """A window of 360 pixels, which the browser gives to a frame only."""
    inner = html.escape(text("ks"))
    page = f"""<!doctype html><html><head><script>addEventListener("load", () => {{
      const d = document.querySelector("iframe").contentDocument.documentElement;
      document.title = JSON.stringify({{wide: d.scrollWidth, window: d.clientWidth}});
    }});</script></head><body><iframe style="width: 360px; height: 900px" srcdoc="{inner}"></iframe></body></html>"""
    found, _ = opened(page.replace("<head>", "<head><title>x</title>", 1), tmp_path)
    assert found["window"] <= 360
    assert found["wide"] <= found["window"]


def test_the_browser_would_complain_about_a_broken_page(tmp_path):
    broken = text().replace(
        "</main>", '<img src="https://example.org/x.png"><script>console.error("boom"); undefined.x</script></main>'
    )
    found, console = opened(probed(broken.replace("<main>", '<main><div style="width: 3000px">x</div>', 1)), tmp_path)
    assert any("https://example.org/x.png" in error for error in found["errors"])
    assert any("TypeError" in error for error in found["errors"])
    assert any("boom" in line for line in console)
    assert found["wide"] > found["window"]
