// The mask painter: a brush and an eraser over a picture, by pointer or by keys.
//
// state = { _picture, _info, _mask, brush }; see mask.py. mask_bits.js has the pixels,
// mask_view.js the canvas.
//
// data-ready, data-masked (pixels), data-tool (brush or erase), data-brush (its diameter),
// data-cursor (pixel under the brush), data-undo and data-redo (steps) tell what is shown.

const KEPT = 100; // steps of the history
const ALONE = "This page has no kernel, so the mask does not reach Python: download it as PNG.";
const HINT =
  "Draw with mouse, finger or pen. Keys on the picture: arrows move the brush (with Shift by one " +
  "pixel), hold Space to paint along, Enter paints a dot, E switches between brush and eraser, " +
  "- and + (or [ and ]) change the size, Ctrl+Z undoes.";

function mountMask(root, state, callbacks = {}) {
  const info = state._info;
  const { width, height } = info.layout;
  const size = { width, height };
  const mask = new Uint8Array(width * height);
  unpackMask(fromBase64(state._mask), mask);
  let brush = state.brush;
  let erasing = false;
  let at = { x: width / 2, y: height / 2 }; // the brush, in pixels of the picture
  let bitmap = null;
  let hovered = false;
  let pointer = null; // the one that paints
  let stroke = null; // { before, value } while something is being painted
  const past = [];
  const future = [];

  const onCanvas = (action) => (event) => (event.target === canvas ? action(event) : false);
  const arrow = (x, y) => onCanvas((event) => moveBrush(x, y, event.shiftKey));
  const larger = () => setBrush(brush + Math.max(1, Math.round(brush / 5)));
  const smaller = () => setBrush(brush - Math.max(1, Math.round(brush / 6)));
  const toggle = () => setTool(!erasing);
  dress(root, "mask-painter", info.alt, {
    ArrowLeft: arrow(-1, 0),
    ArrowRight: arrow(1, 0),
    ArrowUp: arrow(0, -1),
    ArrowDown: arrow(0, 1),
    " ": onCanvas((event) => void (event.repeat || dot())),
    Enter: onCanvas(() => void (dot() && end())),
    "[": smaller,
    "-": smaller,
    "]": larger,
    "+": larger,
    e: toggle,
    E: toggle,
  });
  root.addEventListener("keydown", (event) => {
    const letter = event.key.toLowerCase();
    if (!(event.ctrlKey || event.metaKey) || event.altKey || !"zy".includes(letter)) return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab would undo in a cell
    if (letter === "y" || event.shiftKey) travel(future, past);
    else travel(past, future);
  });
  root.addEventListener("keyup", (event) => event.key === " " && pointer === null && end());

  // ---- the page

  const view = mountMaskView(info);
  const { canvas } = view;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "mask over the picture");
  const brushButton = textButton("Brush", () => setTool(false), { "data-do": "brush" });
  const eraseButton = textButton("Eraser", () => setTool(true), { "data-do": "erase" });
  const slider = make("input", { type: "range", min: 1, max: info.largest, step: 1 });
  slider.addEventListener("input", () => setBrush(Number(slider.value)));
  const number = make("output");
  const undo = textButton("Undo", () => travel(past, future), { "data-do": "undo" });
  const redo = textButton("Redo", () => travel(future, past), { "data-do": "redo" });
  const clear = textButton("Clear", () => replace(() => 0), { "data-do": "clear" });
  const invert = textButton("Invert", () => replace((on) => 1 - on), { "data-do": "invert" });
  const save = textButton("Download mask", () => saveMask(root, mask, size), { "data-do": "download" });
  const share = make("p", { class: "number share", "aria-live": "polite" });
  const note = make("p", { class: "kernel", role: "status" }, callbacks.change ? "" : ALONE);
  const hint = make("p", { class: "hint" }, HINT);

  if (info.caption) root.append(make("p", { class: "caption" }, info.caption));
  root.append(
    make(
      "div",
      { class: "panes" },
      make("figure", {}, canvas),
      make(
        "div",
        { class: "tools" },
        make("div", { class: "row", role: "group", "aria-label": "tool" }, brushButton, eraseButton),
        labelled("brush size", slider, number),
        make("div", { class: "row" }, undo, redo, clear, invert),
        share,
        save,
        note,
        hint,
      ),
    ),
  );

  // ---- painting

  function begin(erase) {
    end();
    stroke = { before: packMask(mask), value: erase ? 0 : 1 };
  }

  function paintTo(point) {
    paintLine(mask, size, at, point, brush, stroke.value);
    at = point;
    redraw();
  }

  // Stays a stroke until end(); keys do not interrupt a pointer.
  function dot() {
    if (pointer !== null) return false;
    begin(erasing);
    paintTo(at);
    return true;
  }

  function end() {
    pointer = null;
    const before = stroke?.before;
    stroke = null;
    const after = packMask(mask);
    if (!before || before.every((byte, k) => byte === after[k])) return;
    remember(before);
    tell(after);
  }

  function remember(bits) {
    past.push(bits);
    if (past.length > KEPT) past.shift();
    future.length = 0;
  }

  function tell(bits) {
    callbacks.change?.({ _mask: toBase64(bits) });
    redraw();
  }

  // Undo takes from the past and gives to the future; redo the other way round.
  function travel(from, to) {
    if (stroke || !from.length) return;
    to.push(packMask(mask));
    const bits = from.pop();
    unpackMask(bits, mask);
    tell(bits);
  }

  function replace(pixel) {
    begin(false);
    mask.forEach((on, k) => (mask[k] = pixel(on)));
    end();
  }

  // ---- the brush

  function setTool(erase) {
    erasing = erase;
    redraw();
  }

  function setBrush(pixels) {
    const next = Math.min(Math.max(pixels, 1), info.largest);
    if (next === brush) return;
    brush = next;
    callbacks.change?.({ brush });
    redraw();
  }

  function moveBrush(x, y, fine) {
    const step = fine ? 1 : Math.max(1, Math.round(brush / 3));
    const within = (v, most) => Math.min(Math.max(v, 0.5), most - 0.5);
    const point = { x: within(at.x + x * step, width), y: within(at.y + y * step, height) };
    if (stroke && pointer === null) return paintTo(point);
    at = point;
    redraw();
  }

  canvas.addEventListener("pointerdown", (event) => {
    const rubber = event.button === 5; // the other end of a pen
    if (pointer !== null || !(event.button === 0 || rubber)) return;
    event.preventDefault(); // no selection of text
    canvas.focus({ preventScroll: true });
    begin(erasing || rubber);
    pointer = event.pointerId;
    at = view.place(event);
    paintTo(at);
    canvas.setPointerCapture(pointer); // a stroke goes on outside of the picture
  });
  canvas.addEventListener("pointermove", (event) => {
    hovered = true;
    if (event.pointerId === pointer) {
      const passed = event.getCoalescedEvents?.() ?? [];
      for (const one of passed.length ? passed : [event]) paintTo(view.place(one));
    } else if (!stroke) {
      at = view.place(event);
      redraw();
    }
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(name, (event) => event.pointerId === pointer && end());
  }
  canvas.addEventListener("pointerleave", () => {
    hovered = false;
    redraw();
  });
  canvas.addEventListener("focus", () => redraw());
  canvas.addEventListener("blur", () => {
    end();
    redraw();
  });

  // ---- showing

  function draw() {
    showFields(mask.reduce((sum, on) => sum + on, 0));
    const ringed = hovered || document.activeElement === canvas;
    view.draw(mask, ringed ? { ...at, brush, erasing } : null);
  }

  function showFields(count) {
    const words = `${shareText(count, mask.length)} (${count.toLocaleString("en")} of ${mask.length.toLocaleString("en")} pixels)`;
    write(share, count ? `Masked: ${words}` : "Nothing is masked. Paint over what is to be repainted.");
    brushButton.setAttribute("aria-pressed", String(!erasing));
    eraseButton.setAttribute("aria-pressed", String(erasing));
    slider.value = brush;
    slider.setAttribute("aria-valuetext", `${brush} pixels`);
    write(number, `${brush} px`);
    // Not disabled, which would lose the focus
    undo.setAttribute("aria-disabled", String(!past.length));
    redo.setAttribute("aria-disabled", String(!future.length));
    Object.assign(root.dataset, {
      masked: count,
      tool: erasing ? "erase" : "brush",
      brush,
      cursor: `${Math.floor(at.x)},${Math.floor(at.y)}`,
      undo: past.length,
      redo: future.length,
    });
  }

  const redraw = oncePerFrame(draw);
  draw();
  openSprite(root, state._picture, info.layout, (decoded) => {
    view.show(decoded);
    bitmap = decoded;
    draw();
    root.dataset.ready = "true";
  });
  return {
    set(name, value) {
      if (name === "brush") brush = value;
      if (name === "_mask") {
        if (stroke) unpackMask(stroke.before, mask); // a stroke under way is dropped
        stroke = pointer = null;
        remember(packMask(mask));
        unpackMask(fromBase64(value), mask);
      }
      redraw();
    },
    lost: (text) => write(note, text && `${text} Painting and downloading work without it.`),
    destroy: () => bitmap?.close(),
  };
}

const MAIN = mountMask;
