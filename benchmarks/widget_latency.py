"""The stepper against the usual way, `@interact` with imshow, in one JupyterLab, step by step.

    python benchmarks/widget_latency.py              # 60 steps each, in turn; play at 30 and 60
    python benchmarks/widget_latency.py --steps 5 --seconds 1      # a quick look

Both stand in one notebook and show the same frames. A step is an arrow key on the slider; the time
runs from the key's arrival in the page to the first moment after the picture was painted. A third,
the floor, is a bare slider that fills a bare canvas with one colour: less than that, no widget in
this browser on this machine can take. The three take turns, so that a machine whose speed drifts
slows them alike, and each begins when kernel and page have come to rest. It needs what the browser
tests need; let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from browser_lab import (  # noqa: E402  (stands beside the tests)
    FLAGS,
    KERNEL_IDLE,
    command,
    find_browser,
    open_notebook,
    run_all,
    running_lab,
    wait_for_all,
    watch,
)

FRAMES = 61
CELL_FRAMES = f"""
import torch
import course_lib as cl

schedule = cl.NoiseSchedule.cosine({FRAMES})
x_0 = cl.PortraitDataset(1, size=128, seed=0).images([0])
eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
frames = torch.cat([cl.q_sample(x_0, t, schedule, noise=eps) for t in range({FRAMES})])
"""
CELL_OURS = "stepper = cl.widgets.TimestepStepper(frames, schedule=schedule, loop=True)\nstepper"
CELL_USUAL = f"""
import matplotlib.pyplot as plt
from ipywidgets import interact

pictures = cl.to_unit(frames.clamp(-1, 1)).permute(0, 2, 3, 1).numpy()

@interact(k=(0, {FRAMES - 1}))
def show(k=0):
    plt.imshow(pictures[k])
    plt.title(f"k = {{k}}")
    plt.axis("off")
    plt.show()
"""
CELL_USUAL_PLAY = f"""
from ipywidgets import Play

@interact(k=Play(min=0, max={FRAMES - 1}, interval=33, repeat=True))
def play(k=0):
    plt.imshow(pictures[k])
    plt.title(f"k = {{k}}")
    plt.axis("off")
    plt.show()
"""
CELL_FLOOR = '''
from IPython.display import HTML

HTML("""
<div id="floor" data-index="0">
  <input type="range" min="0" max="1000" value="500">
  <canvas width="128" height="128"></canvas>
</div>
<script>
{
  const root = document.getElementById("floor");
  const slider = root.querySelector("input");
  const pen = root.querySelector("canvas").getContext("2d", { alpha: false });
  slider.addEventListener("keydown", (event) => event.stopPropagation());
  slider.addEventListener("input", () => {
    pen.fillStyle = `hsl(${slider.value} 80% 50%)`;
    pen.fillRect(0, 0, 128, 128);
    root.dataset.index = slider.value;
  });
}
</script>""")
'''
CELL_BYTES = "print('bytes', len(stepper._sprite))"

# After the next frame of the screen the picture has been painted.
TIMERS = """() => {
    const painted = (done) => requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => done(performance.now());
        channel.port2.postMessage(0);
    });
    let start = 0;
    document.addEventListener("keydown", () => (start = performance.now()), true);
    // Resolves with the milliseconds from the next key to the painted picture.
    const canvasPainted = (name) => () => new Promise((done) => {
        const root = document.querySelector(name);
        const observer = new MutationObserver(() => {
            observer.disconnect();
            painted((now) => done(now - start));
        });
        observer.observe(root, { attributes: true, attributeFilter: ["data-index"] });
    });
    window.oursPainted = canvasPainted(".timestep-stepper");
    window.floorPainted = canvasPainted("#floor");
    // Resolves when the kernel is idle and the page has had nothing to do for a while.
    window.atRest = async () => {
        const pause = (ms) => new Promise((done) => setTimeout(done, ms));
        for (let calm = 0; calm < 10; ) {
            const before = performance.now();
            await pause(20);
            const late = performance.now() - before > 25;
            calm = late || !(KERNEL_IDLE) ? 0 : calm + 1;
        }
    };
    const picture = (cell) => [...cell.querySelectorAll(".jp-OutputArea img")].at(-1);
    const onNewPicture = (cell, act) => {
        let last = picture(cell)?.src;
        const observer = new MutationObserver(async () => {
            const image = picture(cell);
            if (!image || image.src === last) return;
            last = image.src;
            await image.decode().catch(() => {});
            act(observer);
        });
        observer.observe(cell, { childList: true, subtree: true, attributes: true });
        return observer;
    };
    const cell = (k) => document.querySelectorAll(".jp-CodeCell")[k];
    window.usualPainted = () => new Promise((done) => {
        onNewPicture(cell(2), (observer) => {
            observer.disconnect();
            painted((now) => done(now - start));
        });
    });
    window.countUsual = (seconds) => new Promise((done) => {
        let count = 0;
        const observer = onNewPicture(cell(3), () => (count += 1));
        setTimeout(() => (observer.disconnect(), done(count / seconds)), seconds * 1000);
    });
}""".replace("KERNEL_IDLE", KERNEL_IDLE)


def one_step(page, slider: str, key: str, painted: str) -> float:
    """Milliseconds from a key on a slider to the painted picture."""
    page.locator(slider).first.focus()
    page.evaluate("window.atRest()")
    page.evaluate(f"void (window.result = window.{painted}())")
    page.keyboard.press(key)
    return page.evaluate("window.result")


def race(page, steps: int) -> dict[str, list[float]]:
    """Steps of all three, in turn."""
    sliders = {
        "ours": ".timestep-stepper input[type=range]",
        "floor": "#floor input",
        "usual": ".noUi-handle",
    }
    times = {name: [] for name in sliders}
    for k in range(steps + 2):
        key = "ArrowRight" if (k // (FRAMES - 2)) % 2 == 0 else "ArrowLeft"
        for name, slider in sliders.items():
            times[name].append(one_step(page, slider, key, f"{name}Painted"))
    return {name: values[2:] for name, values in times.items()}  # the first ones warm up


def play(page, fps: int, seconds: float) -> dict[str, float]:
    """Frames per second of our play, with the frames that were skipped and the blank ones."""
    page.get_by_label("speed, frames per second").select_option(str(fps))
    watch(page, ".timestep-stepper")
    button = page.locator(".timestep-stepper button.play")
    button.click()
    page.wait_for_timeout(1000 * seconds)
    seen = page.evaluate("window.seen")
    button.click()
    page.evaluate("window.watching = false")
    wrong = sum((b - a) % FRAMES != 1 for a, b in zip(seen[:-1], seen[1:], strict=True))
    return {"fps": len(seen) / seconds, "skipped": wrong, "blank": page.evaluate("window.blank")}


def saved_bytes(path: Path, number: int) -> int:
    """What the outputs of a cell weigh in the saved notebook."""
    cell = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"][number]
    return sum(
        len(text if isinstance(text, str) else str(text))
        for output in cell.outputs
        for text in output.get("data", {}).values()
    )


def measure(steps: int, seconds: float) -> None:
    from playwright.sync_api import sync_playwright

    cells = [CELL_FRAMES, CELL_OURS, CELL_USUAL, CELL_USUAL_PLAY, CELL_FLOOR, CELL_BYTES]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_lab(Path(folder)) as lab,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=find_browser(), headless=True, args=FLAGS
        )
        with open_notebook(lab, browser, "race", cells) as page:
            page.set_viewport_size({"width": 1400, "height": 2600})
            run_all(page)
            wait_for_all(page)
            page.wait_for_selector(".timestep-stepper[data-ready=true]")
            page.wait_for_selector(".noUi-handle")
            page.wait_for_selector("#floor canvas")
            page.evaluate(TIMERS)
            report(**race(page, steps))
            for fps in (30, 60):
                shown = play(page, fps, seconds)
                print(
                    f"play at {fps}: {shown['fps']:.1f} frames/s, "
                    f"{shown['skipped']} skipped, {shown['blank']} blank"
                )
            page.locator(".jp-CodeCell").nth(3).get_by_role("button").first.click()
            print(f"interact + Play at 30: {page.evaluate(f'countUsual({seconds})'):.1f} frames/s")
            sprite = page.locator(".jp-OutputArea-output", has_text="bytes").last.inner_text()
            command(page, "docmanager:save")
            page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")
            print(f"to the page: {sprite.strip()} for {FRAMES} frames of 128 x 128")
            print(f"in the saved notebook: {saved_bytes(lab.root / 'race.ipynb', 1)} characters")
        browser.close()


def report(ours: list[float], floor: list[float], usual: list[float]) -> None:
    """The medians, and the median of the ratios taken step by step."""
    rows = {"TimestepStepper": ours, "bare canvas (floor)": floor, "@interact + imshow": usual}
    for name, times in rows.items():
        spread = statistics.quantiles(times, n=10)
        print(
            f"{name:20s} median {statistics.median(times):6.1f} ms, "
            f"80 % between {spread[0]:.1f} and {spread[-1]:.1f} ms, {len(times)} steps"
        )
    ratios = [b / a for a, b in zip(ours, usual, strict=True)]
    print(f"ratio, step by step: {statistics.median(ratios):.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="steps of each")
    parser.add_argument("--seconds", type=float, default=5, help="length of each play")
    options = parser.parse_args()
    if options.steps < 2:
        raise SystemExit("--steps must be at least 2")
    if find_browser() is None:
        raise SystemExit("no Chromium on the path; set COURSE_BROWSER to one")
    measure(options.steps, options.seconds)


if __name__ == "__main__":
    main()
