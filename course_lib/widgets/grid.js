// The guidance grid: a large picture, three sliders, and a table of small pictures for one seed.
//
// state = { _sprite, _layout, _info, steps, guidance, seed }; see grid.py. Frame number
// (i * guidances + j) * seeds + k of the sprite shows steps i, guidance j, seed k.
//
// data-ready, data-steps, data-guidance and data-seed tell what is shown.

const AXES = ["steps", "guidance", "seed"];

function mountGrid(root, state, callbacks = {}) {
  const info = state._info;
  const names = info.labels;
  const layout = state._layout;
  const at = Object.fromEntries(AXES.map((axis) => [axis, info[axis].indexOf(state[axis])]));
  const frame = (i, j, k) => (i * info.guidance.length + j) * info.seed.length + k;
  const words = (i, j, k) => `${info.steps[i]} ${names.steps}, ${names.guidance} ${info.guidance[j]}, ${names.seed} ${info.seed[k]}`;
  let bitmap = null;
  let shownSeed = -1;
  dress(root, "guidance-grid", info.alt, {
    PageUp: () => move("seed", 1),
    PageDown: () => move("seed", -1),
  });

  const big = make("canvas", { width: layout.width, height: layout.height, role: "img" });
  big.style.width = `${info.frame_size}px`;
  const bigPen = big.getContext("2d", { alpha: false });
  const sliders = {};
  const numbers = {};
  const fields = make("div", { class: "fields" });
  for (const axis of AXES) {
    const last = info[axis].length - 1;
    sliders[axis] = make("input", { type: "range", min: 0, max: last, step: 1, "data-axis": axis });
    sliders[axis].disabled = last === 0;
    numbers[axis] = make("output");
    sliders[axis].addEventListener("input", () => go({ [axis]: Number(sliders[axis].value) }));
    fields.append(labelled(names[axis], sliders[axis], numbers[axis]));
  }

  // ---- the table: a button with a small picture for each steps x guidance

  const cells = [];
  const cellSize = Math.max(40, Math.min(72, Math.floor(420 / info.guidance.length)));
  const head = make("tr", {}, make("th", { scope: "col" }, `${names.steps} \\ ${names.guidance}`));
  for (const value of info.guidance) head.append(make("th", { scope: "col" }, String(value)));
  const table = make("table", {}, make("thead", {}, head));
  const body = make("tbody");
  info.steps.forEach((value, i) => {
    const row = make("tr", {}, make("th", { scope: "row" }, String(value)));
    cells.push(
      info.guidance.map((_, j) => {
        const canvas = make("canvas", { width: layout.width, height: layout.height });
        canvas.style.width = `${cellSize}px`;
        const button = make("button", { type: "button", tabindex: -1, "data-cell": `${i},${j}` }, canvas);
        button.addEventListener("click", () => go({ steps: i, guidance: j }));
        row.append(make("td", {}, button));
        return { button, pen: canvas.getContext("2d", { alpha: false }) };
      }),
    );
    body.append(row);
  });
  table.append(body);

  // A pressed finger or mouse moves through the table like a slider in two directions.
  function scrub(event) {
    if (!event.buttons) return;
    const under = document.elementFromPoint(event.clientX, event.clientY)?.closest?.("[data-cell]");
    if (!under || !table.contains(under)) return;
    const [i, j] = under.dataset.cell.split(",").map(Number);
    go({ steps: i, guidance: j });
  }
  table.addEventListener("pointerdown", scrub);
  table.addEventListener("pointermove", scrub);
  table.addEventListener("keydown", (event) => {
    const step = {
      ArrowLeft: ["guidance", -1],
      ArrowRight: ["guidance", 1],
      ArrowUp: ["steps", -1],
      ArrowDown: ["steps", 1],
      Home: ["guidance", -at.guidance],
      End: ["guidance", info.guidance.length],
    }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(...step);
    cells[at.steps][at.guidance].button.focus({ preventScroll: true });
  });

  if (info.caption) root.append(make("p", { class: "caption" }, info.caption));
  const note = make(
    "p",
    { class: "hint" },
    `Drag over the table, or use the arrow keys; Page Up and Page Down change the ${names.seed}.`,
  );
  root.append(
    make("div", { class: "row panes" }, make("figure", {}, big), make("div", {}, table, fields, note)),
  );

  // ---- moving and showing

  function move(axis, by) {
    go({ [axis]: Math.min(Math.max(at[axis] + by, 0), info[axis].length - 1) });
  }

  function go(to) {
    const changed = Object.keys(to).filter((axis) => to[axis] !== at[axis]);
    if (!changed.length) return;
    Object.assign(at, to);
    show();
    callbacks.change?.(Object.fromEntries(changed.map((axis) => [axis, info[axis][at[axis]]])));
  }

  function show() {
    const spoken = words(at.steps, at.guidance, at.seed);
    for (const axis of AXES) {
      sliders[axis].value = at[axis];
      sliders[axis].setAttribute("aria-valuetext", String(info[axis][at[axis]]));
      numbers[axis].textContent = info[axis][at[axis]];
      root.dataset[axis] = info[axis][at[axis]];
    }
    big.setAttribute("aria-label", spoken);
    cells.forEach((row, i) =>
      row.forEach(({ button, pen }, j) => {
        const chosen = i === at.steps && j === at.guidance;
        button.setAttribute("aria-pressed", String(chosen));
        button.setAttribute("aria-label", words(i, j, at.seed));
        button.tabIndex = chosen ? 0 : -1;
        if (bitmap && at.seed !== shownSeed) drawTile(pen, bitmap, layout, 0, frame(i, j, at.seed));
      }),
    );
    if (!bitmap) return;
    shownSeed = at.seed;
    drawTile(bigPen, bitmap, layout, 0, frame(at.steps, at.guidance, at.seed));
  }

  show();
  openSprite(root, state._sprite, layout, (decoded) => {
    bitmap = decoded;
    show();
    root.dataset.ready = "true";
  });
  return {
    set(axis, value) {
      if (!AXES.includes(axis)) return;
      at[axis] = info[axis].indexOf(value);
      show();
    },
    destroy: () => bitmap?.close(),
  };
}

const MAIN = mountGrid;
