"""The book in a browser: every page, from a server and a disk, light and dark, wide and narrow."""

from __future__ import annotations

import functools
import http.server
import importlib
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser_lab import ROOT, recorded_page
from machine import patience

pytestmark = pytest.mark.browser
LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
STEPPER = ".timestep-stepper[data-ready=true]"
# TeX that a reader would see: not in code, nor in what MathJax keeps for screen readers
RAW_TEX = r"""() => {
    const copy = document.querySelector("article").cloneNode(true);
    copy.querySelectorAll("pre, code, script, style, mjx-container").forEach((one) => one.remove());
    const tex = /\\(?:frac|sqrt|bar|alpha|begin|left|mathbb)\b.{0,40}|\\[(\[].{0,40}/;
    return copy.textContent.match(tex)?.[0] ?? "";
}"""
# Formulas and lines of code are alike, and there are thousands: a few of each page are checked
SPARE = """() => {
    document.querySelectorAll("details").forEach((one) => { one.open = true; });
    const shorten = (selector, kept) => [...document.querySelectorAll(selector)].slice(kept)
        .forEach((one) => { one.textContent = "."; });
    shorten("mjx-container", 2);
    shorten(".highlight pre", 4);
}"""
TYPESET = """() => !document.querySelector(".math")
    || window.MathJax?.startup?.promise?.then(() => true)"""


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The book with the widgets of one lesson, which take few seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        tool = importlib.import_module("build_book")
        folder = tmp_path_factory.mktemp("book") / "book"
        assert tool.main(["--widgets", "01", "--to", str(folder)]) == 0
    return folder


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(book):
    """The book's address on a server of this machine."""
    handler = functools.partial(_Quiet, directory=str(book))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def page(chromium):
    """A page that notes what goes wrong on it and what it asks for."""
    options = {"color_scheme": "light", "reduced_motion": "reduce"}
    with recorded_page(chromium, viewport={"width": 1300, "height": 900}, **options) as page:
        page.set_default_timeout(30_000 * patience())
        yield page


def pages(book: Path) -> list[str]:
    return sorted(path.relative_to(book).as_posix() for path in book.rglob("*.html"))


def themes_to_check(name: str, widgets: int, seen: set[str]) -> tuple[str, ...]:
    """Both for the first page of a kind and where widgets stand; pages of a kind look alike."""
    kind = re.sub(r"\d\d\w*", "NN", name)
    if kind not in seen or widgets:
        seen.add(kind)
        return ("light", "dark")
    return ("light",) if name.startswith("notebooks/") else ()


def test_every_page_is_quiet_readable_and_fits(book, site, page, axe):
    found, seen = [], set()
    for name in pages(book):
        page.goto(f"{site}/{name}")
        page.wait_for_function(TYPESET)
        found += [f"{name} shows {tex}" for tex in [page.evaluate(RAW_TEX)] if tex]
        page.set_viewport_size({"width": 390, "height": 844})
        width = page.evaluate("document.documentElement.scrollWidth")
        found += [f"{name} is {width} pixels wide"] if width > 390 else []
        page.set_viewport_size({"width": 1300, "height": 900})
        page.evaluate(SPARE)
        for theme in themes_to_check(name, page.locator(STEPPER).count(), seen):
            page.evaluate("theme => { document.body.dataset.theme = theme; }", theme)
            found += [f"{name}, {theme}: {one}" for one in axe(page, "html")]
        found += [f"{name}: {text}" for text in page.wrong]
        page.wrong.clear()
    assert found == []
    assert [url for url in page.asked if not url.startswith((site, "data:", "blob:"))] == []
    assert len([name for name in pages(book) if name.startswith("notebooks/")]) == len(LESSONS) + 2


class _Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.add(value)
            elif name in ("id", "name") and value:
                self.ids.add(value)


def test_links_and_anchors_lead_somewhere(book):
    parsed = {(book / name).resolve(): _Links((book / name).read_text(encoding="utf-8"))
              for name in pages(book)}  # fmt: skip
    broken = []
    for path, links in parsed.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or target.startswith("//"):
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = parsed[there].ids if there in parsed else {parts.fragment}
            if not there.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                broken.append(f"{path.name}: {target}")
    assert broken == []
    assert any(
        "glossary.html" in t for t in parsed[book / "notebooks/01_forward_noising.html"].targets
    )


def test_widgets_step_and_answers_open_with_the_keyboard(book, site, page, screenshots):
    page.goto(f"{site}/notebooks/01_forward_noising.html")
    page.wait_for_selector(STEPPER)
    slider = page.locator(f"{STEPPER} input[type=range]").first
    root = page.locator(STEPPER).first
    slider.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert root.get_attribute("data-index") == "1"
    page.keyboard.press("End")
    assert root.get_attribute("data-index") == "41"
    solution = page.locator("details", has_text="Solution 1.1 (open to read)").first
    answer = page.locator("details", has=page.locator(".course-widget[data-ready=true]")).first
    for fold in (solution, answer):
        assert fold.get_attribute("open") is None
        fold.locator("summary").focus()
        page.keyboard.press("Enter")
        assert fold.get_attribute("open") is not None
    assert answer.locator("canvas").first.bounding_box()["width"] > 50
    if screenshots:
        page.screenshot(path=screenshots / "book_lesson.png")
    assert page.wrong == []


@pytest.mark.parametrize("disk", [False, True], ids=["server", "disk"])
def test_the_search_finds_pages(book, site, page, disk):
    home = book.as_uri() if disk else site
    for word, lesson in (("velocity", "02_"), ("watermark", "09_")):
        page.goto(f"{home}/search.html?q={word}")
        page.wait_for_selector(f"#search-results a[href*='{lesson}']")
    page.locator(f"#search-results a[href*='{lesson}']").first.click()
    page.wait_for_selector("article h1")
    page.wait_for_function(TYPESET)
    assert page.locator("mjx-container").count() > 0
    assert page.wrong == []
    assert {urlsplit(url).scheme for url in page.asked} <= {urlsplit(home).scheme, "data", "blob"}


def test_a_lesson_is_downloaded_as_it_is(book, site, page):
    page.goto(f"{site}/notebooks/{LESSONS[1]}.html")
    with page.expect_download() as download:
        page.locator(".lesson-links a").first.click()
    assert download.value.suggested_filename == f"{LESSONS[1]}.ipynb"
    assert (
        download.value.path().read_bytes()
        == (ROOT / "notebooks" / f"{LESSONS[1]}.ipynb").read_bytes()
    )
    assert page.locator("text=Binder").count() == 0 or (ROOT / "docs" / "address.json").exists()


def test_what_sphinx_refuses_is_one_sentence(book, tmp_path):
    (tmp_path / "conf.py").write_text("extensions = ['no_such_extension']", encoding="utf-8")
    tool = importlib.import_module("build_book")
    with pytest.raises(ValueError, match="^Sphinx made no book: .*no_such_extension.*$"):
        tool.run_sphinx(tmp_path, tmp_path / "made", tmp_path / "doctrees")
