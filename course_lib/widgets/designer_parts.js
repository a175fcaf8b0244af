// The parts of the schedule designer: the schedules, a curve with handles, the noised portrait.

const PLOT = { width: 300, height: 190, left: 40, right: 12, top: 10, bottom: 36 };

// ---------------------------------------------------------------- schedules, as in schedules.py

function alphasOfBetas(betas) {
  let left = 1;
  return betas.map((beta) => (left *= 1 - beta));
}

function spaced(first, last, count) {
  return Array.from({ length: count }, (_, k) => first + ((last - first) * k) / (count - 1));
}

function cosineAlphas(count) {
  const bar = (i) => Math.cos(((i / count + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
  return alphasOfBetas(Array.from({ length: count }, (_, i) => Math.min(1 - bar(i + 1) / bar(i), 0.999)));
}

// Monotone cubic (Fritsch and Carlson) through the handles: log10 of the SNR over the time.
function logSnrOfPoints(at, value, count) {
  const step = at.slice(1).map((u, k) => u - at[k]);
  const slope = step.map((h, k) => (value[k + 1] - value[k]) / h);
  const tangent = at.map((_, k) => {
    if (k === 0) return slope[0];
    if (k === step.length) return slope[k - 1];
    const near = 2 * step[k] + step[k - 1];
    const far = step[k] + 2 * step[k - 1];
    return (near + far) / (near / slope[k - 1] + far / slope[k]);
  });
  let k = 0;
  return spaced(0, 1, count).map((u) => {
    while (k < step.length - 1 && u >= at[k + 1]) k += 1;
    const s = (u - at[k]) / step[k];
    return (
      value[k] * (1 + 2 * s) * (1 - s) ** 2 +
      tangent[k] * step[k] * s * (1 - s) ** 2 +
      value[k + 1] * s ** 2 * (3 - 2 * s) +
      tangent[k + 1] * step[k] * s ** 2 * (s - 1)
    );
  });
}

function alphasOf({ kind, num_timesteps: count, beta_start, beta_end, points }, handles) {
  if (kind === "cosine") return cosineAlphas(count);
  if (kind === "custom") return logSnrOfPoints(handles, points, count).map((l) => 1 / (1 + 10 ** -l));
  if (kind === "linear") return alphasOfBetas(spaced(beta_start, beta_end, count));
  return alphasOfBetas(spaced(Math.sqrt(beta_start), Math.sqrt(beta_end), count).map((r) => r * r));
}

// Three digits, and 1e-4 instead of 1.0e-4.
const tidy = (x) => short(x).replace(".0e", "e");

const logSnr = (alpha) => Math.log10(alpha / (1 - alpha));

// ---------------------------------------------------------------- one curve with its handles

// scale = { name, words, low, high, ticks: [[value, text]], of(log SNR), back(value), spoken(log) }
function mountCurve(scale, info, onDrag, onPick) {
  const { width, height, left, right, top, bottom } = PLOT;
  const x = (u) => left + (width - left - right) * u;
  const y = (value) =>
    height - bottom - ((height - top - bottom) * (value - scale.low)) / (scale.high - scale.low);
  const shown = (log) => y(Math.min(Math.max(scale.of(log), scale.low), scale.high));
  const text = (px, py, anchor, words) => make("text", { x: px, y: py, "text-anchor": anchor }, words);

  const start = make("path", { class: "start" });
  const curve = make("path", { class: `curve ${scale.name}` });
  const marker = make("line", { class: "now", y1: top, y2: height - bottom });
  const last = text(x(1), height - bottom + 18, "middle", "");
  const svg = make("svg", {
    class: "plot",
    viewBox: `0 0 ${width} ${height}`,
    role: "group",
    "aria-label": `${scale.words}: handles`,
  });
  for (const [value, words] of scale.ticks) {
    svg.append(make("line", { class: "axis", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    svg.append(text(left - 11, y(value) + 4, "end", words));
  }
  svg.append(
    start,
    curve,
    marker,
    text(x(0), height - bottom + 18, "middle", "0"),
    last,
    text(x(0.5), height - 4, "middle", "timestep t"),
  );
  const knobs = info.handles.map((u, k) => {
    const knob = make("circle", {
      class: "knob",
      cx: x(u),
      r: 6.5,
      role: "slider",
      tabindex: k ? -1 : 0,
      "data-handle": k,
    });
    knob.setAttribute("aria-label", `${scale.words} at ${Math.round(u * 100)} % of the time`);
    knob.setAttribute("aria-valuemin", scale.low);
    knob.setAttribute("aria-valuemax", scale.high);
    knob.addEventListener("keydown", (event) => onKey(event, k));
    svg.append(knob);
    return knob;
  });
  let held = -1; // the handle under the finger; -1 moves the marker

  function toPlot(event) {
    const box = svg.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * width;
    const py = ((event.clientY - box.top) / box.height) * height;
    const share = (height - bottom - py) / (height - top - bottom);
    return {
      u: (px - left) / (width - left - right),
      value: scale.low + share * (scale.high - scale.low),
      px,
      py,
    };
  }

  function nearest({ px, py }) {
    const far = knobs.map((knob) => Math.hypot(knob.getAttribute("cx") - px, knob.getAttribute("cy") - py));
    const best = far.indexOf(Math.min(...far));
    return far[best] < 14 ? best : -1;
  }

  function focus(k) {
    knobs.forEach((knob, other) => knob.setAttribute("tabindex", other === k ? 0 : -1));
    knobs[k].focus({ preventScroll: true });
  }

  function drag(point) {
    if (held < 0) onPick(Math.min(Math.max(point.u, 0), 1));
    else onDrag(held, scale.back(point.value));
  }

  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
    const point = toPlot(event);
    held = nearest(point);
    if (held >= 0) focus(held);
    else drag(point);
  });
  svg.addEventListener(
    "pointermove",
    (event) => event.buttons && svg.hasPointerCapture(event.pointerId) && drag(toPlot(event)),
  );

  function onKey(event, k) {
    const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const up = { ArrowUp: 0.1, ArrowDown: -0.1, PageUp: 0.5, PageDown: -0.5 }[event.key];
    if (along === undefined && up === undefined) return;
    event.preventDefault();
    if (along) focus(Math.min(Math.max(k + along, 0), knobs.length - 1));
    else onDrag(k, Number(knobs[k].dataset.log) + up);
  }

  const trace = (logs) => {
    const every = Math.max(Math.floor(logs.length / 240), 1);
    const picked = logs.map((log, t) => [t, log]).filter(([t]) => t % every === 0 || t === logs.length - 1);
    return picked
      .map(([t, log], k) => `${k ? "L" : "M"}${x(t / (logs.length - 1)).toFixed(1)} ${shown(log).toFixed(1)}`)
      .join("");
  };

  function show(logs, knobLogs, t) {
    curve.setAttribute("d", trace(logs));
    last.textContent = logs.length - 1;
    const at = x(t / (logs.length - 1));
    marker.setAttribute("x1", at);
    marker.setAttribute("x2", at);
    knobs.forEach((knob, k) => {
      knob.dataset.log = knobLogs[k];
      knob.setAttribute("cy", shown(knobLogs[k]));
      knob.setAttribute("aria-valuenow", scale.of(knobLogs[k]).toPrecision(4));
      knob.setAttribute("aria-valuetext", scale.spoken(knobLogs[k]));
    });
  }
  return { svg, show, showStart: (logs) => start.setAttribute("d", trace(logs)) };
}

// ---------------------------------------------------------------- the portrait

// Draws x_t = sqrt(alpha-bar) x_0 + sqrt(1 - alpha-bar) eps into a canvas at `left`.
function mountNoiser(state) {
  const { width, height, noise_scale: scale } = state._info;
  const pixels = asBytes(state._pixels);
  const raw = asBytes(state._noise);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const x0 = Float32Array.from(pixels, (byte) => byte / 127.5 - 1);
  const eps = Float32Array.from(pixels, (_, k) => view.getInt16(2 * k, true) / scale);
  const image = new ImageData(width, height);
  image.data.fill(255);
  return (pen, alpha, left = 0) => {
    const signal = Math.sqrt(alpha);
    const noise = Math.sqrt(1 - alpha);
    for (let k = 0, to = 0; k < x0.length; k += 1) {
      image.data[to] = (signal * x0[k] + noise * eps[k] + 1) * 127.5; // rounds and clips
      to += k % 3 === 2 ? 2 : 1; // past the opacity
    }
    pen.putImageData(image, left, 0);
  };
}
