// What a stepper shows beside the time line: numbers for the moment, and the pictures.

// ---------------------------------------------------------------- numbers for the frame shown

function mountReadout(info, count) {
  const line = make("div", { class: "readout" });
  const fields = {};
  const add = (key, name, hint) => {
    fields[key] = make("b");
    line.append(make("span", { title: hint, class: key }, `${name} `, fields[key]));
  };
  add("i", "frame", "number of the frame, counted from 0");
  if (info.t) add("t", "t =", "timestep: 0 is the first and least noisy one");
  if (info.alpha_bar) {
    add("alpha", "alpha-bar =", "square of the factor on the clean picture x_0");
    add("snr", "SNR =", "signal-to-noise ratio: alpha-bar / (1 - alpha-bar)");
  }
  if (info.titles) add("title", "", "");

  const known = (list, i) => list[i] !== null && list[i] !== undefined;
  const time = (i) => (!known(info.t, i) ? "" : info.t[i] < 0 ? "clean" : short(info.t[i]));
  function show(i) {
    write(fields.i, `${i} / ${count - 1}`);
    if (info.t) write(fields.t, time(i));
    if (info.alpha_bar) {
      const there = known(info.alpha_bar, i);
      write(fields.alpha, there ? info.alpha_bar[i].toFixed(4) : "");
      write(fields.snr, !there ? "" : info.snr[i] === null ? "\u221e" : short(info.snr[i]));
    }
    if (info.titles) write(fields.title, info.titles[i]);
  }
  const spoken = (i) =>
    `frame ${i} of 0 to ${count - 1}` +
    (info.t ? `, t = ${time(i)}` : "") +
    (info.titles ? `, ${info.titles[i]}` : "");
  return { line, show, spoken };
}

// ---------------------------------------------------------------- the pictures

// One figure: heading (or a list of words to choose from), canvas, lens, histogram, numbers.
function mountFigure(panel, layout, info) {
  const { rows, width, height } = layout;
  const size = info.frame_size;
  let row = panel.rows[0];
  const canvas = make("canvas", { width, height, role: "img", "data-row": rows[row] });
  canvas.style.width = `${size}px`;
  canvas.style.aspectRatio = `${width} / ${height}`;
  // Enlarged pixels stay square, so that one sees what the model sees.
  if (size % width === 0) canvas.style.imageRendering = "pixelated";
  const lens = make("canvas", { class: "lens", width: 144, height: 144, hidden: "" });
  const frame = make("div", { class: "frame" }, canvas, lens);
  const heading = make("div", { class: "heading" }, panel.title);
  const note = make("div", { class: "note" });
  const under = make("div", { class: "under" });
  const figure = make("figure", {}, heading, frame, note, under);
  figure.style.width = `${size}px`;
  const histogram = info.bins?.[rows[row]] && mountHistogram(
    fromBase64(info.bins[rows[row]].bytes), info.bins[rows[row]].count, info.bins[rows[row]], size,
  );
  if (histogram) under.append(histogram.svg, histogram.words);
  const pen = canvas.getContext("2d", { alpha: false, willReadFrequently: false });
  let looked = ""; // what the lens reads
  let index = 0;

  function numbers() {
    const mse = info.mse?.[rows[row]]?.[index];
    const known = mse !== undefined && mse !== null;
    write(note, looked || (known ? `MSE to ${info.mse_to} = ${short(mse)}` : ""));
  }

  const api = {
    figure, frame, canvas, lens,
    limit: () => layout.limits[row],
    say(text) {
      looked = text;
      numbers();
    },
    show(sheet, i, spoken) {
      index = i;
      const tile = layout.at[row][i];
      const left = (tile % layout.columns) * width;
      const top = Math.floor(tile / layout.columns) * height;
      if (sheet) pen.drawImage(sheet, left, top, width, height, 0, 0, width, height);
      canvas.setAttribute("aria-label", `${rows[row]}, ${spoken}`);
      if (histogram && !under.hidden) histogram.show(i);
      numbers();
    },
    setHistogram(on) {
      under.hidden = !on;
    },
    hasHistogram: Boolean(histogram),
    onChoice: null,
  };
  if (panel.choices.length > 1) {
    const list = make(
      "select",
      { "aria-label": `${panel.title} of which word` },
      ...panel.choices.map((word, k) => make("option", { value: panel.rows[k] }, word)),
    );
    list.addEventListener("change", () => {
      row = Number(list.value);
      canvas.dataset.row = rows[row];
      api.onChoice?.();
    });
    heading.append(" ", list);
  } else if (panel.choices.length) heading.append(`: ${panel.choices[0]}`);
  return api;
}

function mountPictures(layout, info, swipe) {
  const box = make("div", { class: "pictures" });
  const figures = [];
  for (const { label, panels } of info.lines) {
    const row = make("div", { class: "row" });
    const group = make("div", { class: "line" });
    if (label) group.append(make("div", { class: "label" }, label));
    group.append(row);
    for (const panel of panels) {
      const one = mountFigure(panel, layout, info);
      figures.push(one);
      row.append(one.figure);
    }
    box.append(group);
  }
  const lens = mountLens(figures, layout.width, layout.height, swipe);

  function show(sheet, i, spoken) {
    for (const one of figures) one.show(sheet, i, spoken);
    lens.draw();
  }
  const setHistogram = (on) => figures.forEach((one) => one.setHistogram(on));
  return { box, show, setHistogram, figures, hasHistogram: figures.some((one) => one.hasHistogram) };
}
