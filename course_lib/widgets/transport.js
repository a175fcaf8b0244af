// The time line: slider, step buttons, play, speed, loop and keys.
//
// mountTransport(root, options) -> transport
//   options.count        number of frames
//   options.index        the frame to begin with
//   options.fps, .loop   frames per second of a play; begin again after the last one
//   options.label        name of the slider, "frame" by default
//   options.spoken(i)    what a screen reader says for frame i
//   options.onShow(i)    draw frame i; called for every change, whoever made it
//   options.onIndex(i)   optional: the reader or a play moved to i (not: show(i) was called)
//   options.onFps(fps), options.onLoop(loop)   optional: the reader changed them
// transport.bar          the element with all controls; put it where you like
// transport.show(i)      go to i silently; true if that changed something
// transport.choose(i)    go to i as if the reader had done it
// transport.setReach(n)  only the first n frames can be reached as yet (frames still arrive)
// transport.play() .stop() .toggle() .setFps(fps) .setLoop(loop) .destroy() .index .reach
//
// Keys work wherever the focus is inside root. State stands in root.dataset: index, playing, count.

const SPEEDS = [1, 2, 5, 10, 20, 30, 60];
const CALM_FPS = 4; // the most for readers who asked their system for less motion

function mountTransport(root, options) {
  const { count, onShow, onIndex, onFps, onLoop } = options;
  const spoken = options.spoken ?? ((i) => `${i} of 0 to ${count - 1}`);
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  let last = count - 1; // the last frame that can be reached
  let index = Math.min(Math.max(options.index ?? 0, 0), last);
  let fps = options.fps ?? 10;
  let loop = Boolean(options.loop);
  let timer = 0; // requestAnimationFrame handle while playing, else 0
  let due = 0; // when the next frame of the play is due, ms

  const slider = make("input", {
    type: "range", min: 0, max: count - 1, step: 1, "aria-label": options.label ?? "frame",
  });
  const buttons = {
    first: iconButton("first", "First frame (Home)", () => choose(0)),
    back: iconButton("back", "One frame back (left arrow)", () => choose(index - 1)),
    play: iconButton("play", "Play (space)", () => toggle()),
    forward: iconButton("forward", "One frame on (right arrow)", () => choose(index + 1)),
    last: iconButton("last", "Last frame (End)", () => choose(last)),
  };
  buttons.play.classList.add("play");
  const speed = make("select", { "aria-label": "speed, frames per second" });
  const again = make("input", { type: "checkbox" });
  const bar = make(
    "div",
    { class: "controls" },
    ...Object.values(buttons),
    slider,
    make("label", {}, speed),
    make("label", {}, again, "loop"),
  );

  // ---- showing

  function paint() {
    slider.value = index;
    slider.setAttribute("aria-valuetext", spoken(index));
    root.dataset.index = index;
    onShow(index);
  }

  function show(i) {
    const next = Math.min(Math.max(Math.round(i), 0), last);
    if (next === index) {
      slider.value = index; // a drag may have gone past the frames that are there
      return false;
    }
    index = next;
    paint();
    return true;
  }

  // A step that the reader asked for: it ends a play and is reported.
  function choose(i) {
    stop();
    if (show(i)) onIndex?.(index);
  }

  function setReach(n) {
    last = Math.min(Math.max(n, 1), count) - 1;
    root.dataset.reach = last + 1;
  }

  // ---- playing

  const period = () => 1000 / (calm.matches ? Math.min(fps, CALM_FPS) : fps);

  function tick(now) {
    timer = requestAnimationFrame(tick);
    // Half a millisecond of slack: screens do not tick at exactly 1000 / 60 ms.
    if (now < due - 0.5) return;
    // After a pause of the page go on from here instead of racing to catch up.
    due = now - due > period() ? now + period() : due + period();
    if (index === last && !loop) return stop();
    show(index === last ? 0 : index + 1);
    onIndex?.(index);
  }

  function play() {
    if (timer || last === 0) return;
    if (index === last) {
      show(0);
      onIndex?.(index);
    }
    due = performance.now() + period();
    timer = requestAnimationFrame(tick);
    root.dataset.playing = "true";
    buttons.play.setIcon("pause", "Pause (space)");
  }

  function stop() {
    if (!timer) return;
    cancelAnimationFrame(timer);
    timer = 0;
    root.dataset.playing = "false";
    buttons.play.setIcon("play", "Play (space)");
  }

  const toggle = () => (timer ? stop() : play());

  // ---- input

  const jump = Math.max(Math.round(count / 10), 1);
  const KEYS = {
    ArrowLeft: () => choose(index - 1),
    ArrowDown: () => choose(index - 1),
    ArrowRight: () => choose(index + 1),
    ArrowUp: () => choose(index + 1),
    PageDown: () => choose(index - jump),
    PageUp: () => choose(index + jump),
    Home: () => choose(0),
    End: () => choose(last),
    " ": () => toggle(),
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (["Tab", "Escape"].includes(event.key) || (event.shiftKey && event.key === "Enter")) return;
    // JupyterLab would move to another cell on arrows, or insert one on "a".
    event.stopPropagation();
    const { target } = event;
    // Lists, text and other sliders keep their keys; buttons and boxes keep the space bar.
    const typing = target.matches("select, textarea, input:not([type=checkbox])");
    const native = (typing && target !== slider) || (event.key === " " && target !== slider);
    const action = KEYS[event.key];
    if (!action || native) return;
    event.preventDefault();
    action();
  }

  function setFps(next) {
    fps = next;
    const known = SPEEDS.includes(fps) ? SPEEDS : [...SPEEDS, fps].sort((a, b) => a - b);
    speed.replaceChildren(
      ...known.map((f) => make("option", { value: f, ...(f === fps && { selected: "" }) }, `${f} fps`)),
    );
  }

  function setLoop(next) {
    loop = next;
    again.checked = next;
  }

  root.addEventListener("keydown", onKey);
  slider.addEventListener("input", () => choose(Number(slider.value)));
  speed.addEventListener("change", () => {
    setFps(Number(speed.value));
    onFps?.(fps);
  });
  again.addEventListener("change", () => {
    setLoop(again.checked);
    onLoop?.(loop);
  });
  root.dataset.count = count;
  root.dataset.playing = "false";
  setFps(fps);
  setLoop(loop);
  setReach(count);

  function destroy() {
    stop();
    root.removeEventListener("keydown", onKey);
  }

  return {
    bar, slider, paint, show, choose, play, stop, toggle, setFps, setLoop, setReach, destroy,
    get index() { return index; },
    get reach() { return last + 1; },
  };
}
