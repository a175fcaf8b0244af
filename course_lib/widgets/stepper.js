// The whole stepper. It knows nothing of Jupyter, so that an exported page can call it too.
//
// state = { sprite: Blob, layout, info, value, fps, loop }
//   layout = { mime, rows, count, columns, width, height }                    see sprite.py
//   info   = { t, alpha_bar, snr, titles, curve, caption, alt, frame_size }   see moments.py
// callbacks = { onIndex(i), onFps(fps), onLoop(loop) }, all of them optional
//
// State is written to data-* attributes of root: data-ready, data-index, data-playing,
// data-count, and data-error if the frames cannot be decoded.

const SPEEDS = [1, 2, 5, 10, 20, 30, 60];
const CALM_FPS = 4; // the most for readers who asked their system for less motion

function mountStepper(root, state, callbacks = {}) {
  const { layout, info } = state;
  const last = layout.count - 1;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  let index = Math.min(Math.max(state.value, 0), last);
  let fps = state.fps;
  let loop = state.loop;
  let bitmap = null;
  let timer = 0; // requestAnimationFrame handle while playing, else 0
  let due = 0; // when the next frame of the play is due, ms
  let gone = false;

  const pictures = mountPictures(layout, info);
  const readout = mountReadout(info, layout.count);
  const chart = info.curve && mountChart(info.curve, info, (i) => choose(i));

  const slider = make("input", {
    type: "range", min: 0, max: last, step: 1, "aria-label": "frame",
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

  root.classList.add("timestep-stepper");
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", info.alt);
  root.dataset.count = layout.count;
  root.dataset.playing = "false";
  root.dataset.ready = "false";
  if (info.caption) root.append(make("p", { class: "caption" }, info.caption));
  if (chart) pictures.box.append(chart.svg);
  root.append(
    pictures.box,
    make(
      "div",
      { class: "controls" },
      ...Object.values(buttons),
      slider,
      make("label", {}, speed),
      make("label", {}, again, "loop"),
    ),
    readout.line,
  );

  // ---- showing

  function paint() {
    const spoken = readout.spoken(index);
    slider.value = index;
    slider.setAttribute("aria-valuetext", spoken);
    readout.show(index);
    if (chart) chart.show(index);
    if (bitmap) pictures.show(bitmap, index, spoken);
    root.dataset.index = index;
  }

  function show(i) {
    const next = Math.min(Math.max(Math.round(i), 0), last);
    if (next === index) return false;
    index = next;
    paint();
    return true;
  }

  // A step that the reader asked for: it ends a play and is reported.
  function choose(i) {
    stop();
    if (show(i)) callbacks.onIndex?.(index);
  }

  // ---- playing

  function tick(now) {
    timer = requestAnimationFrame(tick);
    // Half a millisecond of slack: screens do not tick at exactly 1000 / 60 ms.
    if (now < due - 0.5) return;
    const period = 1000 / (calm.matches ? Math.min(fps, CALM_FPS) : fps);
    // After a pause of the page go on from here instead of racing to catch up.
    due = now - due > period ? now + period : due + period;
    if (index === last && !loop) return stop();
    show(index === last ? 0 : index + 1);
    callbacks.onIndex?.(index);
  }

  function play() {
    if (timer || last === 0) return;
    if (index === last) {
      show(0);
      callbacks.onIndex?.(index);
    }
    due = performance.now() + 1000 / (calm.matches ? Math.min(fps, CALM_FPS) : fps);
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

  const jump = Math.max(Math.round(layout.count / 10), 1);
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
    const native = event.target === speed || (event.target !== slider && event.key === " ");
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
  // A click on a picture brings the keys to this widget.
  pictures.box.addEventListener("click", () => slider.focus({ preventScroll: true }));
  slider.addEventListener("input", () => choose(Number(slider.value)));
  speed.addEventListener("change", () => {
    setFps(Number(speed.value));
    callbacks.onFps?.(fps);
  });
  again.addEventListener("change", () => {
    setLoop(again.checked);
    callbacks.onLoop?.(loop);
  });

  setFps(fps);
  setLoop(loop);
  paint();
  createImageBitmap(state.sprite)
    .then((decoded) => {
      if (gone) return decoded.close();
      bitmap = decoded;
      paint();
      root.dataset.ready = "true";
    })
    .catch((error) => {
      const text = `This browser could not decode the frames (${layout.mime}): ${error.message}`;
      root.dataset.error = text;
      root.append(make("p", { role: "alert" }, text));
    });

  function destroy() {
    gone = true;
    stop();
    root.removeEventListener("keydown", onKey);
    bitmap?.close();
    root.replaceChildren();
  }

  return { show, setFps, setLoop, play, stop, destroy, get index() { return index; } };
}
