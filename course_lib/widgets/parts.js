// The parts that every widget of the course shares. No build step, no library, no network.
//
// Python joins parts.js, the other files of a widget and its tie to the kernel into one module, so
// what follows can be called from any of them:
//
//   make(tag, attributes, ...children)       an HTML or SVG element
//   iconButton(icon, label, onClick)         a button with a drawing; button.setIcon(icon, label)
//   short(number)                            three significant digits, for a readout
//   write(node, text)                        its only text, changed only if it differs
//   fromBase64(text) -> Uint8Array           bytes that stand in a page as text
//   sender(send, every, delay) -> { soon(), now(), waiting(), stop() }
//                                            calls send, but not too often
//   mountProblem() -> { line, show(text) }   a line for errors, read aloud; "" hides it
//   mountChart(curve, info, onPick) -> { svg, show(i) }
//                                            alpha-bar and SNR over t with a moving marker
//   mountTransport(root, options)            slider, buttons, play, speed, loop, keys: transport.js

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = ["svg", "g", "path", "line", "rect", "circle", "text", "tspan"];
const ICONS = {
  first: "M3 3h2v10H3zM13 3v10L6 8z",
  back: "M11 3v10L4 8z",
  play: "M4 2.5v11l9-5.5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  forward: "M5 3v10l7-5z",
  last: "M3 3v10l7-5zM11 3h2v10h-2z",
};

function make(tag, attributes = {}, ...children) {
  const svg = SVG_TAGS.includes(tag);
  const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Another text node would cost the page more, and a screen reader reads a change aloud.
function write(node, text) {
  if (!node.firstChild) node.append(text);
  else if (node.firstChild.data !== text) node.firstChild.data = text;
}

function iconButton(name, label, onClick) {
  const path = make("path", { d: ICONS[name] });
  const icon = make("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, path);
  const button = make("button", { type: "button", "aria-label": label, title: label }, icon);
  button.addEventListener("click", onClick);
  button.setIcon = (next, text) => {
    path.setAttribute("d", ICONS[next]);
    button.setAttribute("aria-label", text);
    button.title = text;
  };
  return button;
}

// A number with three significant digits: 0.0123, 4.56, 789, 1.2e-5.
function short(x) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e5 || size < 1e-3) return x.toExponential(1).replace("e+", "e");
  return size >= 100 ? x.toFixed(0) : String(Number(x.toPrecision(3)));
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// soon() calls send once `every` ms have passed since the last call, but not before `delay` ms.
function sender(send, every, delay = 0) {
  let timer = 0;
  let sentAt = -every;

  function now() {
    clearTimeout(timer);
    timer = 0;
    sentAt = performance.now();
    send();
  }

  function soon() {
    if (timer) return;
    const pause = Math.max(every - (performance.now() - sentAt), delay);
    if (pause > 0) timer = setTimeout(now, pause);
    else now();
  }
  return { soon, now, waiting: () => timer !== 0, stop: () => clearTimeout(timer) };
}

function mountProblem() {
  const line = make("pre", { class: "problem", role: "alert", hidden: "" });
  function show(text) {
    line.textContent = text;
    line.hidden = !text;
  }
  return { line, show };
}

// ---------------------------------------------------------------- the schedule's two curves

const CHART = { width: 250, height: 176, left: 26, right: 34, top: 26, bottom: 30 };

function mountChart(curve, info, onPick) {
  const { width, height, left, right, top, bottom } = CHART;
  const lastT = Math.max(curve.t[curve.t.length - 1], 1);
  const low = Math.floor(Math.min(...curve.log_snr, -1));
  const high = Math.ceil(Math.max(...curve.log_snr, 1));
  const x = (t) => left + ((width - left - right) * Math.max(t, 0)) / lastT;
  const y = (share) => height - bottom - (height - top - bottom) * share;
  const ySnr = (log) => y((Math.min(Math.max(log, low), high) - low) / (high - low));
  const line = (values, scale) =>
    values.map((v, k) => `${k ? "L" : "M"}${x(curve.t[k]).toFixed(1)} ${scale(v).toFixed(1)}`).join("");
  const label = (px, py, anchor, text, name = "") =>
    make("text", { x: px, y: py, "text-anchor": anchor, class: name }, text);

  const marker = make("line", { class: "now", y1: top - 4, y2: height - bottom });
  const dotAlpha = make("circle", { class: "alpha", r: 4.5 });
  const dotSnr = make("circle", { class: "snr", r: 4.5 });
  const svg = make(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": "alpha-bar and signal-to-noise ratio over the timestep; the marker is the frame shown",
    },
    make("line", { class: "axis", x1: left, x2: width - right, y1: y(0), y2: y(0) }),
    make("line", { class: "axis faint", x1: left, x2: width - right, y1: ySnr(0), y2: ySnr(0) }),
    make("path", { class: "alpha", d: line(curve.alpha_bar, y) }),
    make("path", { class: "snr", d: line(curve.log_snr, ySnr) }),
    marker,
    dotAlpha,
    dotSnr,
    label(left - 5, y(0) + 4, "end", "0", "alpha"),
    label(left - 5, y(1) + 4, "end", "1", "alpha"),
    label(width - right + 4, ySnr(low) + 2, "start", `1e${low}`, "snr"),
    label(width - right + 4, ySnr(0) + 4, "start", "1", "snr"),
    label(width - right + 4, ySnr(high) + 6, "start", `1e${high}`, "snr"),
    label(left - 14, 12, "start", "\u2014 alpha-bar", "alpha"),
    label(width - 2, 12, "end", "- - SNR (log)", "snr"),
    label(left, height - 15, "start", "0"),
    label(width - right, height - 15, "end", String(lastT)),
    label((left + width - right) / 2, height - 4, "middle", "timestep t"),
  );

  const pick = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = svg.getBoundingClientRect();
    const t = (((event.clientX - box.left) / box.width) * width - left) / (width - left - right) * lastT;
    let best = 0;
    info.t.forEach((other, k) => {
      if (Math.abs(other - t) < Math.abs(info.t[best] - t)) best = k;
    });
    onPick(best);
  };
  svg.addEventListener("pointerdown", pick);
  svg.addEventListener("pointermove", pick);

  function show(i) {
    const at = x(info.t[i]);
    const snr = info.snr[i];
    marker.setAttribute("x1", at);
    marker.setAttribute("x2", at);
    dotAlpha.setAttribute("cx", at);
    dotAlpha.setAttribute("cy", y(info.alpha_bar[i]));
    dotSnr.setAttribute("cx", at);
    dotSnr.setAttribute("cy", ySnr(snr === null ? high : Math.log10(Math.max(snr, 1e-12))));
  }
  return { svg, show };
}
