"""Mask painter and picture comparison in a real JupyterLab: mouse, pen, touch, keys, Python."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import torch
from browser_lab import KERNEL_IDLE, command, errors, open_notebook, run_all, wait_for_all
from PIL import Image

from course_lib.widgets import MaskPainter, PictureComparison

pytestmark = pytest.mark.browser
MASK, COMPARISON = ".mask-painter", ".picture-comparison"
WIDTH, HEIGHT, ZOOM = 40, 30, 8

CELLS = [
    f"""
import json, torch, ipywidgets
from PIL import Image
from course_lib.widgets import MaskPainter, PictureComparison

echo = ipywidgets.HTML()
back = ipywidgets.Button(description="python")

def tell(*_):
    echo.value = "<span id='echo'>" + json.dumps({{
        "mask": painter._mask, "brush": painter.brush,
        "answers": [[one["a"], one["b"], one["winner"]] for one in comparison.answers],
    }}) + "</span>"

def from_python(_):
    painter.mask = Image.new("L", ({WIDTH}, {HEIGHT}), 255)
    painter.brush = 4

back.on_click(from_python)
""",
    f"""
painter = MaskPainter(
    torch.full((3, {HEIGHT}, {WIDTH}), 0.6), brush=6, frame_size={WIDTH * ZOOM}, caption="Paint it",
)
painter
""",
    """
levels = range(0, 200, 50)
sets = {"dark": [Image.new("RGB", (16, 16), (k, k, k)) for k in levels],
        "bright": [Image.new("RGB", (16, 16), (k + 55, k + 55, k + 55)) for k in levels]}
comparison = PictureComparison(sets, answers="pictures.jsonl")
comparison
""",
    """
for widget in (painter, comparison):
    widget.observe(tell)
tell()
ipywidgets.VBox([echo, back])
""",
]


@pytest.fixture(scope="module")
def page(lab, chromium):
    with open_notebook(lab, chromium, "pictures", CELLS) as page:
        page.set_viewport_size({"width": 1300, "height": 1400})
        run_all(page)
        wait_for_all(page)
        page.wait_for_selector("#echo")
        for name in (MASK, COMPARISON):
            page.wait_for_selector(f"{name}[data-ready=true]")
        yield page


@pytest.fixture(autouse=True)
def no_complaints(page):
    """Nothing in the notebook complains, before or after."""
    yield
    assert not errors(page)


def discs(*points: tuple[float, float], brush: int) -> np.ndarray:
    """The pixels within brush / 2 of the points, as booleans (HEIGHT, WIDTH)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.any([(x - a) ** 2 + (y - b) ** 2 <= (brush / 2) ** 2 for a, b in points], axis=0)


def packed(mask: np.ndarray) -> str:
    return base64.b64encode(np.packbits(mask)).decode()


def python_says(page, key: str, value: object) -> None:
    page.wait_for_function(
        """([key, value]) => {
            const told = JSON.parse(document.querySelector("#echo").textContent);
            return JSON.stringify(told[key]) === value;
        }""",
        arg=[key, json.dumps(value, separators=(",", ":"))],
    )


def masked(page, mask: np.ndarray) -> None:
    """Wait until Python's mask is exactly this one; the page shows the same."""
    python_says(page, "mask", packed(mask))
    page.wait_for_selector(f"{MASK}[data-masked='{int(mask.sum())}']")
    assert np.array_equal(veil(page), mask)


def veil(page) -> np.ndarray:
    """Where the picture, which is grey, is bluish on the page; edges and the brush do not count."""
    data = page.evaluate(
        """([selector, zoom, width, height]) => {
            const pen = document.querySelector(`${selector} canvas`).getContext("2d");
            const blue = [];
            for (let j = 0; j < height; j += 1)
                for (let i = 0; i < width; i += 1) {
                    const at = [(i + 0.5) * zoom, (j + 0.5) * zoom, 1, 1];
                    const [r, , b] = pen.getImageData(...at).data;
                    blue.push(b > r + 30);
                }
            return blue;
        }""",
        [MASK, ZOOM, WIDTH, HEIGHT],
    )
    return np.array(data).reshape(HEIGHT, WIDTH)


def spot(page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the picture, in its pixels, is on the screen."""
    box = page.locator(f"{MASK} canvas").bounding_box()
    return box["x"] + x * box["width"] / WIDTH, box["y"] + y * box["height"] / HEIGHT


def wipe(page) -> None:
    page.locator(MASK).get_by_role("button", name="Clear").click()
    page.mouse.move(2, 2)  # the ring of the brush leaves the picture
    page.evaluate("document.activeElement.blur()")
    masked(page, np.zeros((HEIGHT, WIDTH), bool))


def snap(page, name: str, screenshots) -> None:
    if screenshots:
        page.locator(name).screenshot(path=screenshots / f"{name[1:]}.png")


# ---- mask painter


def test_a_stroke_covers_the_same_pixels_in_page_and_python(page, screenshots):
    wipe(page)
    page.locator(f"{MASK} canvas").hover()  # waits until the notebook stands still
    for x in (10.25, 25.25, 45):  # even brushes move to the nearest corner; it leaves the picture
        page.mouse.move(*spot(page, x, 12.25))
        page.mouse.down()  # again and again, which changes nothing
    page.mouse.up()
    page.mouse.move(2, 2)
    page.evaluate("document.activeElement.blur()")
    line = discs(*[(x, 12) for x in range(10, 46)], brush=6)
    masked(page, line)
    share = f"Masked: {line.mean():.1%} ({line.sum()} of 1,200 pixels)".replace("%", " %")
    assert share in page.locator(MASK).inner_text()
    page.locator(MASK).get_by_role("button", name="Eraser").click()
    page.mouse.move(*spot(page, 20.25, 12.25))
    page.mouse.down()
    page.mouse.up()
    page.mouse.move(2, 2)
    page.evaluate("document.activeElement.blur()")
    erased = line & ~discs((20, 12), brush=6)
    masked(page, erased)
    snap(page, MASK, screenshots)
    for name, expected in (("Undo", line), ("Redo", erased), ("Invert", ~erased), ("Undo", erased)):
        page.locator(MASK).get_by_role("button", name=name).click()
        page.evaluate("document.activeElement.blur()")
        page.mouse.move(2, 2)
        masked(page, expected)
    page.locator(MASK).get_by_role("button", name="Brush").click()


def test_a_pen_paints_and_its_other_end_erases(page):
    wipe(page)
    devices = page.context.new_cdp_session(page)
    x, y = spot(page, 15.25, 15.25)
    for kind in ("mousePressed", "mouseReleased"):
        pen = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        devices.send("Input.dispatchMouseEvent", {**pen, "pointerType": "pen"})
    dot = discs((15, 15), brush=6)
    python_says(page, "mask", packed(dot))
    page.evaluate(
        """([selector, x, y]) => {
            const canvas = document.querySelector(`${selector} canvas`);
            canvas.setPointerCapture = () => {};  // this pen is not a real one
            for (const type of ["pointerdown", "pointerup"])
                canvas.dispatchEvent(new PointerEvent(type, {
                    clientX: x, clientY: y, pointerId: 77, pointerType: "pen", button: 5 }));
            delete canvas.setPointerCapture;
        }""",
        [MASK, *spot(page, 16.25, 15.25)],
    )
    python_says(page, "mask", packed(dot & ~discs((16, 15), brush=6)))
    devices.detach()


def test_keys_paint_erase_and_undo_and_jupyterlab_does_not_take_them(page):
    wipe(page)
    root, cells = page.locator(MASK), page.locator(".jp-Cell").count()
    canvas = root.locator("canvas")
    canvas.focus()
    for key in ("a", "b", "d", "d", "x", "m"):  # JupyterLab's keys for cells
        page.keyboard.press(key)
    page.keyboard.press("-")  # 6 to 5: odd brushes stand on a pixel
    page.wait_for_selector(f"{MASK}[data-brush='5']")
    python_says(page, "brush", 5)
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowUp")
    page.wait_for_selector(f"{MASK}[data-cursor='0,0']")
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "Shift+ArrowRight"):
        page.keyboard.press(key)  # two pixels each, with Shift one
    page.wait_for_selector(f"{MASK}[data-cursor='3,4']")
    page.keyboard.press("Enter")
    dot = discs((3.5, 4.5), brush=5)
    python_says(page, "mask", packed(dot))
    page.keyboard.down("Space")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.up("Space")
    line = discs(*[(x + 0.5, 4.5) for x in range(3, 10)], brush=5)
    python_says(page, "mask", packed(line))
    page.keyboard.press("ArrowDown")  # the Space is up: no paint
    page.keyboard.press("e")
    page.wait_for_selector(f"{MASK}[data-tool=erase]")
    page.keyboard.press("Enter")
    erased = line & ~discs((9.5, 6.5), brush=5)
    python_says(page, "mask", packed(erased))
    for keys, expected in (
        ("Control+z", line), ("Control+z", dot), ("Control+Shift+Z", line), ("Control+y", erased)
    ):  # fmt: skip
        page.keyboard.press(keys)
        python_says(page, "mask", packed(expected))
    assert canvas.evaluate("one => one === document.activeElement")
    assert page.locator(".jp-Cell").count() == cells
    page.keyboard.press("E")
    page.wait_for_selector(f"{MASK}[data-tool=brush]")


def test_python_sets_the_mask_and_the_page_can_undo_it(page):
    wipe(page)
    everything = np.ones((HEIGHT, WIDTH), bool)
    page.get_by_role("button", name="python", exact=True).click()
    page.wait_for_selector(f"{MASK}[data-brush='4'][data-masked='1200']")
    masked(page, everything)
    page.locator(MASK).get_by_role("button", name="Undo").click()
    masked(page, ~everything)
    page.locator(MASK).get_by_label("brush size").fill("6")
    python_says(page, "brush", 6)


# ---- comparison


def shown_levels(page) -> list[int]:
    """Grey levels of the left and the right picture."""
    return page.evaluate(
        """selector => [...document.querySelectorAll(`${selector} img`)].map((image) => {
            const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
                .getContext("2d");
            pen.drawImage(image, 0, 0);
            return pen.getImageData(0, 0, 1, 1).data[0];
        })""",
        COMPARISON,
    )


def answered(page, count: int, state: str = "asking") -> None:
    page.wait_for_selector(f"{COMPARISON}[data-answered='{count}'][data-state={state}]")


def test_pairs_are_answered_by_buttons_and_keys(page, screenshots):
    root = page.locator(COMPARISON)
    answered(page, 0)
    assert root.get_attribute("data-total") == "4"
    expected, seen = [], []

    def note(choice: str) -> None:
        """What Python must write, from the pixels alone: the dark ones are set a."""
        levels = shown_levels(page)
        dark = levels.index(min(levels))
        seen.append(levels)
        number = f"{min(levels) // 50:03}"
        winner = "same" if choice == "same" else "ab"[(choice == "right") != (dark == 1)]
        expected.append([f"dark/{number}", f"bright/{number}", winner])

    note("left")
    root.get_by_role("button", name="Left").click()
    answered(page, 1)
    note("same")
    page.keyboard.press("Space")  # after a click it is a key of the pictures, not of the button
    answered(page, 2)
    snap(page, COMPARISON, screenshots)
    note("right")
    page.keyboard.press("ArrowRight")
    answered(page, 3)
    python_says(page, "answers", expected)
    page.keyboard.press("Backspace")
    answered(page, 2)
    python_says(page, "answers", expected[:2])
    assert shown_levels(page) == seen[2]
    page.keyboard.press("ArrowRight")
    answered(page, 3)
    assert "3 of 4 answered" in root.inner_text()
    note("same")
    page.keyboard.press("ArrowDown")
    answered(page, 4, "done")
    python_says(page, "answers", expected)
    assert "All 4 pairs are answered. They are in pictures.jsonl" in root.inner_text()
    assert root.locator("img").first.is_hidden()
    assert page.evaluate("document.activeElement.textContent") == "Take back"
    page.keyboard.press("Backspace")
    answered(page, 3)
    assert page.evaluate("document.activeElement.className") == "stage"
    root.get_by_role("button", name="Same").press("Space")  # a button is a button, too
    answered(page, 4, "done")
    page.keyboard.press("Backspace")
    answered(page, 3)
    assert "dark/" not in root.evaluate("one => one.outerHTML")  # blind


def test_pictures_are_enlarged_by_a_whole_factor_without_smoothing(page):
    image = page.locator(f"{COMPARISON} img").first
    assert image.bounding_box()["width"] % 16 == 0 and image.bounding_box()["width"] > 300
    assert image.evaluate("one => getComputedStyle(one).imageRendering") == "pixelated"


# ---- both


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_axe_finds_nothing_in_either_theme(page, axe, theme):
    command(page, "apputils:change-theme", theme=theme)
    light = "false" if "Dark" in theme else "true"
    # The body has no height in JupyterLab, so it is never "visible".
    page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")
    for name in (MASK, COMPARISON):
        assert axe(page, name) == [], name


def test_nothing_overlaps_on_a_narrow_page(page):
    try:
        for width in (700, 1300):
            page.set_viewport_size({"width": width, "height": 1400})
            for name in (MASK, COMPARISON):
                page.wait_for_function(
                    """selector => {
                        const root = document.querySelector(selector);
                        const inner = [...root.querySelectorAll("button, canvas, img, input")]
                            .map((one) => one.getBoundingClientRect());
                        const apart = (a, b) => a === b || a.right <= b.left + 1
                            || b.right <= a.left + 1 || a.bottom <= b.top + 1
                            || b.bottom <= a.top + 1;
                        return root.scrollWidth <= root.clientWidth + 1
                            && inner.every((a) => inner.every((b) => apart(a, b)));
                    }""",
                    arg=name,
                )
    finally:
        page.set_viewport_size({"width": 1300, "height": 1400})


def test_exported_pages_work_without_kernel_and_network(chromium, axe, tmp_path):
    """On a telephone: narrow, and touched."""
    grey = torch.full((3, HEIGHT, WIDTH), 0.6)
    context = chromium.new_context(
        offline=True, has_touch=True, viewport={"width": 400, "height": 900}
    )
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(MaskPainter(grey, brush=6).export_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector(f"{MASK}[data-ready=true]")
    page.touchscreen.tap(*spot(page, 12.25, 10.25))
    dot = discs((12, 10), brush=6)
    page.wait_for_selector(f"{MASK}[data-masked='{int(dot.sum())}']")
    assert "the mask does not reach Python" in page.locator(MASK).inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download mask").click()
    file = Image.open(io.BytesIO(download.value.path().read_bytes()))
    assert np.array_equal(np.asarray(MaskPainter(grey, file).mask), dot * 255)
    assert download.value.suggested_filename == "mask.png" and axe(page, "#widget") == []

    sets = [[Image.new("RGB", (16, 16), colour)] for colour in ("red", "blue")]
    comparison = PictureComparison(*sets, answers=tmp_path / "none.jsonl")
    page.goto(comparison.export_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector(f"{COMPARISON}[data-ready=true][data-state=alone]")
    assert page.get_by_role("button", name="Left").is_disabled()
    page.locator(f"{COMPARISON} .stage").press("ArrowLeft")
    assert "Answers need a kernel" in page.locator(COMPARISON).inner_text()
    assert page.locator(COMPARISON).get_attribute("data-answered") == "0"
    assert axe(page, "#widget") == []
    assert page.evaluate("document.body.scrollWidth <= window.innerWidth")
    assert not wrong
    context.close()


# ---- the kernel goes; these two end the kernel, so they come last


def test_after_a_restart_both_say_so(page):
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    for name in (MASK, COMPARISON):
        page.locator(f"{name} .kernel", has_text="was restarted").wait_for()
    page.wait_for_function(KERNEL_IDLE)
    page.locator(MASK).get_by_role("button", name="Invert").click()
    page.wait_for_selector(f"{MASK}[data-masked='1200']")  # painting goes on
    page.locator(COMPARISON).get_by_role("button", name="Left").click()
    page.locator(f"{COMPARISON} [role=alert]", has_text="was restarted").wait_for()


def test_a_new_kernel_goes_on_where_the_answers_end(page, lab):
    run_all(page)
    wait_for_all(page)
    answered(page, 3)
    page.wait_for_selector(f"{MASK}[data-ready=true][data-masked='0']")
    assert len((lab.root / "pictures.jsonl").read_text().splitlines()) == 3


def test_the_next_day_both_are_there_and_say_what_is_missing(lab, chromium, page):
    command(page, "docmanager:save")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    with open_notebook(lab, chromium, "pictures") as again:
        again.set_viewport_size({"width": 1300, "height": 1800})
        for name in (MASK, COMPARISON):
            again.wait_for_selector(f"{name}[data-ready=true]")
            again.locator(f"{name} .kernel", has_text="No kernel is connected").wait_for()
        assert errors(again) == []
        again.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
