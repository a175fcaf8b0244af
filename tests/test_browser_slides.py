"""The decks in a browser at 1280 x 720: nothing overflows, keys work, no network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from browser_lab import recorded_page

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import build_slides  # noqa: E402  (after the path)

pytestmark = pytest.mark.browser
LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
# What stands outside the slide or its own column, and pictures that are too small to see.
MISPLACED = """() => {
  const slide = Reveal.getCurrentSlide();
  const edge = slide.getBoundingClientRect();
  const name = (one) => `${one.tagName} ${one.textContent.slice(0, 40)}`;
  const found = [];
  for (const one of slide.querySelectorAll("*")) {
    if (one.closest("aside, mjx-assistive-mml, svg *")) continue;
    const box = one.getBoundingClientRect();
    const column = one.closest(".text")?.getBoundingClientRect() ?? edge;
    if (box.top < edge.top || box.bottom > edge.bottom - 20) found.push(`below: ${name(one)}`);
    const beside = box.left < column.left - 2 || box.right > column.right + 2;
    if (beside) found.push(`beside: ${name(one)}`);
  }
  const picture = slide.querySelector("figure img");
  if (picture && picture.getBoundingClientRect().height < 180) found.push("a small picture");
  const [text, figure] = [".text:not([data-part=heading])", "figure"].map((one) =>
    slide.querySelector(one)?.getBoundingClientRect());
  if (figure && text.bottom > figure.top + 1 && text.right > figure.left + 1) found.push("overlap");
  return found;
}"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory) -> Path:
    """All decks."""
    folder = tmp_path_factory.mktemp("slides") / "decks"
    assert build_slides.main(["--to", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def shown(chromium):
    """A page without a network that notes what it asks for and what goes wrong."""
    with recorded_page(chromium, offline=True, viewport={"width": 1280, "height": 720}) as page:
        page.on("requestfailed", lambda request: page.wrong.append(request.url))
        yield page


def open_deck(page, path: Path) -> int:
    page.goto(path.as_uri())
    page.wait_for_function("window.Reveal?.isReady()")
    return page.evaluate("Reveal.getTotalSlides()")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda name: name[:2])
def test_every_slide_fits(decks, shown, screenshots, lesson):
    count = open_deck(shown, decks / f"{lesson}.html")
    assert 8 <= count <= 15
    for k in range(count):
        shown.evaluate(f"Reveal.slide({k})")
        shown.evaluate("while (Reveal.availableFragments().next) Reveal.nextFragment()")
        assert shown.evaluate(MISPLACED) == [], f"slide {k + 1}"
        assert shown.evaluate("Reveal.getSlideNotes()").strip()
        assert (
            shown.locator("section.present section.present img:not([alt]), [alt='']").count() == 0
        )
        if screenshots:
            shown.wait_for_timeout(300)  # answers fade in
            shown.screenshot(path=screenshots / f"slides_{lesson[:2]}_{k + 1:02d}.png")
    assert shown.locator("mjx-merror").count() == 0
    assert [url for url in shown.asked if not url.startswith(("file:", "data:", "about:"))] == []
    assert shown.wrong == []


def test_a_slide_with_picture_and_equation_is_accessible(decks, chromium, axe):
    page = chromium.new_page(viewport={"width": 1280, "height": 720})
    open_deck(page, decks / f"{LESSONS[1]}.html")
    page.evaluate("Reveal.slide(3); Reveal.nextFragment()")
    assert page.locator("section.present :is(img, mjx-container)").count() >= 2
    assert axe(page, "section.present section.present") == []
    page.close()


def test_keys_lead_through_a_deck_and_open_the_notes(decks, shown):
    open_deck(shown, decks / f"{LESSONS[1]}.html")
    shown.evaluate("Reveal.slide(0)")
    heading = "section.present section.present :is(h1, h2)"
    seen = []
    for key in ("ArrowRight", "Space", "ArrowRight", "ArrowRight", "ArrowLeft"):
        shown.keyboard.press(key)
        fragment = shown.locator("section.present section.present .fragment.visible").count()
        seen.append((shown.locator(heading).inner_text()[:2], fragment))
    # The answer to section 1's question comes with a key of its own.
    assert seen == [("Ob", 0), ("1.", 0), ("1.", 1), ("2.", 0), ("1.", 1)]
    with shown.expect_popup() as opened:
        shown.keyboard.press("s")
    opened.value.wait_for_function(
        "document.querySelector('.speaker-controls-notes .value')?.innerText.trim()"
    )
    said = opened.value.locator(".speaker-controls-notes .value").inner_text()
    assert len(said.split()) > 20
    opened.value.close()
    assert shown.wrong == []


def test_what_is_in_the_way_stays(decks, tmp_path, capsys, monkeypatch):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "talk.html").write_text("mine")
    (tmp_path / "file").write_text("mine")
    cases = {
        ("--to", str(tmp_path / "thesis")): "holds something that is no slides of this course",
        ("--to", str(tmp_path / "file")): "is a file; name a folder",
        ("77", "--to", str(tmp_path / "new")): "there is no lesson '77'; there are 00, 01",
    }
    for arguments, message in cases.items():
        assert build_slides.main(list(arguments)) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    assert (tmp_path / "thesis" / "talk.html").read_text() == "mine"
    assert not (tmp_path / "new").exists()
    monkeypatch.setitem(build_slides.PACKAGES, "no_such_module", "no-such-package")
    assert build_slides.main(["--to", str(tmp_path / "new")]) == 2
    assert "needed for the slides: no-such-package" in capsys.readouterr().err
