// The attention explorer: words as buttons, the chosen word's map over the portrait, a time line.
//
// state = { _sprite, _layout, _maps, _map_layout, _info, word, value, mode, strength }; see
// explorer.py. Row k of the maps belongs to word k.
//
// data-ready, data-word, data-index (frame) and data-mode tell what is shown.

// viridis at five places: readable in every kind of colour vision, brighter means more.
const VIRIDIS = [
  [68, 1, 84],
  [59, 82, 139],
  [33, 145, 140],
  [94, 201, 98],
  [253, 231, 37],
];
const WORD_SIZE = 36; // CSS pixels of the small map on a word's button

function viridis(share) {
  const place = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const k = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[k].map((low, c) => low + (VIRIDIS[k + 1][c] - low) * (place - k));
}

// The maps as numbers from 0 to 255: maps(word, frame), and average(word) over all frames.
function readMaps(bitmap, layout) {
  const { width, height, columns, at } = layout;
  const sheet = make("canvas", { width: bitmap.width, height: bitmap.height });
  const pen = sheet.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  const bytes = pen.getImageData(0, 0, sheet.width, sheet.height).data;
  const maps = (word, frame) => {
    const tile = at[word][frame];
    const left = (tile % columns) * width;
    const top = Math.floor(tile / columns) * height;
    return Float32Array.from(
      { length: width * height },
      (_, k) => bytes[4 * ((top + Math.floor(k / width)) * sheet.width + left + (k % width))],
    );
  };
  const average = (word) => {
    const sum = new Float32Array(width * height);
    at[word].forEach((_, frame) => maps(word, frame).forEach((v, k) => (sum[k] += v)));
    return sum.map((v) => v / at[word].length);
  };
  return { maps, average };
}

// Paints a map into a small canvas: as colours, or as darkness where nothing attends.
function paintMap(pen, map, mode, strength, solid = false) {
  const { width, height } = pen.canvas;
  const image = pen.createImageData(width, height);
  map.forEach((value, k) => {
    const share = value / 255;
    const rgb = mode === "color" ? viridis(share) : [0, 0, 0];
    const opacity = mode === "color" ? Math.min(share * 1.6, 1) : 1 - share;
    image.data.set([...rgb, solid ? 255 : 255 * strength * opacity], 4 * k);
  });
  pen.putImageData(image, 0, 0);
}

function mountExplorer(root, state, callbacks = {}) {
  const info = state._info;
  const words = state._map_layout.rows;
  const count = state._map_layout.at[0].length;
  const { width: mapWidth, height: mapHeight } = state._map_layout;
  let word = words.indexOf(state.word);
  let { mode, strength } = state;
  let averaged = false;
  let portraits = null;
  let numbers = null;
  let averages = [];
  dress(root, "attention-explorer", info.alt);

  // ---- the prompt

  const chips = [];
  const prompt = make("div", { class: "prompt", role: "group", "aria-label": "words of the prompt" });
  for (const [text, k] of info.pieces) {
    if (k < 0) {
      prompt.append(make("span", {}, text));
      continue;
    }
    const picture = make("canvas", { width: mapWidth, height: mapHeight, "aria-hidden": "true" });
    picture.style.width = `${WORD_SIZE}px`;
    const button = textButton("", () => chooseWord(k), { "data-word": words[k] });
    button.append(picture, text);
    chips.push({ button, k, pen: picture.getContext("2d") });
    prompt.append(button);
  }

  // ---- the picture

  const size = info.frame_size;
  const ratio = state._layout.height / state._layout.width;
  const canvas = make("canvas", { width: size, height: Math.round(size * ratio), role: "img" });
  canvas.style.width = `${size}px`;
  const pen = canvas.getContext("2d", { alpha: false });
  pen.imageSmoothingQuality = "high";
  const small = make("canvas", { width: mapWidth, height: mapHeight });
  const smallPen = small.getContext("2d");
  const readout = make("p", { class: "number readout" });
  const legend = make(
    "div",
    { class: "legend" },
    make("span", {}, "least"),
    make("i"),
    make("span", {}, "most"),
  );
  const stops = VIRIDIS.map((rgb) => `rgb(${rgb.join(" ")})`).join(", ");
  legend.children[1].style.background = `linear-gradient(to right, ${stops})`;

  const transport = mountTransport(root, {
    count,
    index: state.value,
    fps: 6,
    label: "step",
    spoken: (i) => `step ${i} of 0 to ${count - 1}${time(i)}`,
    onShow: () => draw(),
    onIndex: (i) => callbacks.change?.({ value: i }),
  });
  const time = (i) => (info.t ? `, t = ${short(info.t[i])}` : "");
  const modes = choiceOf(
    [
      ["color", "colors"],
      ["spotlight", "spotlight"],
    ],
    mode,
  );
  const power = make("input", { type: "range", min: 0, max: 1, step: 0.05 });
  const mean = make("input", { type: "checkbox" });
  modes.addEventListener("change", () => {
    mode = modes.value;
    draw();
    callbacks.change?.({ mode });
  });
  power.addEventListener("input", () => {
    strength = Number(power.value);
    draw();
    callbacks.change?.({ strength });
  });
  mean.addEventListener("change", () => {
    averaged = mean.checked;
    draw();
  });

  if (info.caption) root.append(make("p", { class: "caption" }, info.caption));
  root.append(
    prompt,
    make("figure", {}, canvas, legend),
    transport.bar,
    make(
      "div",
      { class: "row" },
      labelled("show as", modes),
      labelled("opacity", power),
      make("label", {}, mean, "average over all steps"),
    ),
    readout,
  );

  function chooseWord(k) {
    word = k;
    draw();
    callbacks.change?.({ word: words[k] });
  }

  function draw() {
    const i = transport.index;
    modes.value = mode;
    power.value = strength;
    power.setAttribute("aria-valuetext", `${Math.round(strength * 100)} %`);
    legend.classList.toggle("hidden", mode !== "color");
    chips.forEach(({ button, k }) => button.setAttribute("aria-pressed", String(k === word)));
    Object.assign(root.dataset, { word: words[word], mode });
    if (!portraits || !numbers) return;
    const map = averaged ? averages[word] : numbers.maps(word, i);
    drawTile(pen, portraits, state._layout, 0, i);
    paintMap(smallPen, map, mode, strength);
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    const [least, range] = info.scales[word];
    const share = (byte) => short(Number((least + (byte / 255) * range).toPrecision(2)));
    const when = averaged ? "averaged over all steps" : `at step ${i}${time(i)}`;
    readout.textContent = `"${words[word]}" ${when}: attention from ${share(Math.min(...map))} to ${share(Math.max(...map))}`;
    canvas.setAttribute("aria-label", `the portrait at step ${i} with the map of ${readout.textContent}`);
  }

  function start() {
    if (!portraits || !numbers) return;
    averages = words.map((_, k) => numbers.average(k));
    for (const { k, pen: chip } of chips) {
      const brightest = Math.max(...averages[k], 1);
      paintMap(
        chip,
        averages[k].map((v) => (v * 255) / brightest),
        "color",
        1,
        true,
      );
    }
    transport.paint();
    root.dataset.ready = "true";
  }
  openSprite(root, state._sprite, state._layout, (decoded) => {
    portraits = decoded;
    start();
  });
  openSprite(root, state._maps, state._map_layout, (decoded) => {
    numbers = readMaps(decoded, state._map_layout);
    decoded.close();
    start();
  });
  transport.paint();

  return {
    set(name, value) {
      if (name === "word") word = words.indexOf(value);
      if (name === "mode") mode = value;
      if (name === "strength") strength = value;
      if (name === "value") transport.show(value);
      draw();
    },
    destroy() {
      transport.destroy();
      portraits?.close();
    },
  };
}

const MAIN = mountExplorer;
