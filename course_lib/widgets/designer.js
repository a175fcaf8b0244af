// The schedule designer: two curves with handles, the portrait noised along the timesteps.
//
// state = { _pixels, _noise, _info, kind, num_timesteps, beta_start, beta_end, points, t }; see
// designer.py. Everything is computed here; the kernel only hears of the result.
//
// data-ready, data-kind, data-t, data-alpha-bar (at t) and data-end (alpha-bar at the last step)
// tell what is shown.

const MOMENTS = 9; // pictures in the strip

const KIND_NAMES = [
  ["linear", "linear betas"],
  ["scaled_linear", "scaled linear (Stable Diffusion)"],
  ["cosine", "cosine"],
  ["custom", "custom: by hand"],
];

function mountDesigner(root, state, callbacks = {}) {
  const info = state._info;
  const now = { ...state };
  const first = { kind: now.kind, beta_start: now.beta_start, beta_end: now.beta_end, points: now.points };
  const noiser = mountNoiser(state);
  let alphas = [];
  dress(root, "schedule-designer", info.alt);

  const kind = choiceOf(KIND_NAMES, now.kind);
  const counts = [...new Set([10, 20, 50, 100, 200, 500, 1000, now.num_timesteps])].sort((a, b) => a - b);
  const count = choiceOf(
    counts.map((n) => [n, n]),
    now.num_timesteps,
  );
  // The betas' sliders move on a log scale; their value is log10.
  const startSlider = make("input", { type: "range", min: -6, max: -1, step: 0.02 });
  const endSlider = make("input", { type: "range", min: -4, max: -0.05, step: 0.02 });
  const startNumber = make("output");
  const endNumber = make("output");
  const betas = make(
    "div",
    { class: "row" },
    labelled("beta_start", startSlider, startNumber),
    labelled("beta_end", endSlider, endNumber),
  );
  const reset = textButton("Reset", () => change({ ...first }));
  const slider = make("input", { type: "range", min: 0, step: 1 });
  const readout = make("p", { class: "number readout" });
  const verdict = make("p", { class: "verdict", "aria-live": "polite" });
  const big = make("canvas", { width: info.width, height: info.height, role: "img" });
  const strip = make("canvas", { width: info.width * MOMENTS, height: info.height, role: "img" });
  strip.setAttribute("aria-label", "the portrait at nine timesteps, the first to the last");
  const bigPen = big.getContext("2d", { alpha: false });
  const bandPen = strip.getContext("2d", { alpha: false });
  const times = make("div", { class: "times number", "aria-hidden": "true" });

  const plots = [
    mountCurve(
      {
        name: "alpha",
        words: "alpha-bar",
        low: 0,
        high: 1,
        ticks: [
          [0, "0"],
          [0.5, "0.5"],
          [1, "1"],
        ],
        of: (log) => 1 / (1 + 10 ** -log),
        back: (value) => logSnr(Math.min(Math.max(value, 1e-6), 1 - 1e-6)),
        spoken: (log) => `alpha-bar ${tidy(1 / (1 + 10 ** -log))}`,
      },
      info,
      drag,
      (u) => change({ t: Math.round(u * (now.num_timesteps - 1)) }),
    ),
    mountCurve(
      {
        name: "snr",
        words: "SNR",
        low: -info.limit,
        high: info.limit,
        ticks: [
          [-4, "1e-4"],
          [-2, "0.01"],
          [0, "1"],
          [2, "100"],
          [4, "1e4"],
        ],
        of: (log) => log,
        back: (value) => value,
        spoken: (log) => `SNR ${tidy(10 ** log)}`,
      },
      info,
      drag,
      (u) => change({ t: Math.round(u * (now.num_timesteps - 1)) }),
    ),
  ];
  const figure = (words, ...children) => make("figure", {}, make("figcaption", {}, ...words), ...children);
  if (info.caption) root.append(make("p", { class: "caption" }, info.caption));
  root.append(
    make("div", { class: "row" }, labelled("schedule", kind), labelled("steps T", count), reset, betas),
    make(
      "div",
      { class: "row panes" },
      figure(["alpha-bar: picture left"], plots[0].svg),
      figure(["SNR, log scale"], plots[1].svg),
      figure(["x_t at the marker"], big),
    ),
    make("label", { class: "time" }, make("span", {}, "timestep t"), slider),
    readout,
    make("div", { class: "strip" }, strip, times),
    verdict,
  );

  // ---- changing

  // The log SNR at each handle: the points themselves, or read off the present curve.
  function knobLogs() {
    if (now.kind === "custom") return now.points;
    const clip = (log) => Math.min(Math.max(log, -info.limit), info.limit);
    return info.handles.map((u) => clip(logSnr(alphas[Math.round(u * (alphas.length - 1))])));
  }

  // Keeps eight numbers falling, within the limits and at least a gap apart.
  function settle(points, held = 0) {
    const { limit, gap } = info;
    const last = points.length - 1;
    const next = points.map((log, k) => Math.min(Math.max(log, -limit + gap * (last - k)), limit - gap * k));
    for (let k = held + 1; k <= last; k += 1) next[k] = Math.min(next[k], next[k - 1] - gap);
    for (let k = last - 1; k >= 0; k -= 1) next[k] = Math.max(next[k], next[k + 1] + gap);
    return next.map((log) => Math.round(log * 1e4) / 1e4);
  }

  // A handle stops at its neighbours.
  function drag(k, log) {
    const points = settle(knobLogs());
    const above = k ? points[k - 1] - info.gap : info.limit;
    const below = k < points.length - 1 ? points[k + 1] + info.gap : -info.limit;
    points[k] = Math.round(Math.min(Math.max(log, below), above) * 1e4) / 1e4;
    change({ kind: "custom", points });
  }

  function change(values) {
    if (values.kind === "custom" && !(values.points ?? now.points).length) values.points = settle(knobLogs());
    if (values.points && !values.points.length) delete values.points;
    Object.assign(now, values);
    redraw();
    callbacks.change?.(values);
  }

  kind.addEventListener("change", () => {
    const ends = info.betas[kind.value];
    // By hand goes on from the curve on the screen.
    if (kind.value === "custom") change({ kind: "custom", points: settle(knobLogs()) });
    else change({ kind: kind.value, ...(ends && { beta_start: ends[0], beta_end: ends[1] }) });
  });
  count.addEventListener("change", () => {
    const share = now.t / (now.num_timesteps - 1);
    const steps = Number(count.value);
    change({ num_timesteps: steps, t: Math.round(share * (steps - 1)) });
    showStart();
  });
  const beta = (field) => Number((10 ** Number(field.value)).toPrecision(3));
  startSlider.addEventListener("input", () =>
    change({ beta_start: Math.min(beta(startSlider), now.beta_end * 0.9) }),
  );
  endSlider.addEventListener("input", () =>
    change({ beta_end: Math.max(beta(endSlider), now.beta_start * 1.1) }),
  );
  slider.addEventListener("input", () => change({ t: Number(slider.value) }));

  // ---- showing

  function showFields() {
    kind.value = now.kind;
    count.value = now.num_timesteps;
    // Hidden, but in its place: nothing may move under the pointer while a handle is dragged.
    betas.style.visibility = now.kind === "cosine" || now.kind === "custom" ? "hidden" : "visible";
    startSlider.value = Math.log10(now.beta_start);
    endSlider.value = Math.log10(now.beta_end);
    startNumber.textContent = tidy(now.beta_start);
    endNumber.textContent = tidy(now.beta_end);
    startSlider.setAttribute("aria-valuetext", tidy(now.beta_start));
    endSlider.setAttribute("aria-valuetext", tidy(now.beta_end));
    slider.max = now.num_timesteps - 1;
    slider.value = now.t;
  }

  function showNumbers() {
    const alpha = alphas[now.t];
    const before = now.t ? alphas[now.t - 1] : 1;
    const end = alphas[alphas.length - 1];
    const half = alphas.findIndex((a) => a < 0.5);
    const spoken = `t = ${now.t}, alpha-bar ${alpha.toFixed(4)}, SNR ${tidy(alpha / (1 - alpha))}`;
    slider.setAttribute("aria-valuetext", spoken);
    big.setAttribute("aria-label", `the portrait with noise at ${spoken}`);
    readout.textContent =
      `t = ${now.t}    beta = ${tidy(1 - alpha / before)}    alpha-bar = ${alpha.toFixed(4)}    ` +
      `SNR = ${tidy(alpha / (1 - alpha))}    x_t = ${Math.sqrt(alpha).toFixed(3)} x_0 + ${Math.sqrt(1 - alpha).toFixed(3)} eps`;
    const left = `${tidy(100 * Math.sqrt(end))} % of the picture's strength is left at the last step`;
    verdict.textContent =
      (half < 0
        ? "The factor of the noise never exceeds that of the picture. "
        : `The factor of the noise is the larger one from t = ${half} on. `) +
      (end > 0.01
        ? `${left}: too much, for sampling starts from pure noise.`
        : `${left}: close enough to pure noise.`);
    verdict.classList.toggle("warn", end > 0.01);
    Object.assign(root.dataset, { kind: now.kind, t: now.t, alphaBar: alpha, end });
  }

  function draw() {
    alphas = alphasOf(now, info.handles);
    const logs = alphas.map(logSnr);
    const knobs = knobLogs();
    plots.forEach((plot) => plot.show(logs, knobs, now.t));
    noiser(bigPen, alphas[now.t]);
    const moments = spaced(0, alphas.length - 1, MOMENTS).map(Math.round);
    moments.forEach((t, k) => noiser(bandPen, alphas[t], k * info.width));
    times.replaceChildren(...moments.map((t) => make("span", {}, `t = ${t}`)));
    showFields();
    showNumbers();
    root.dataset.ready = "true";
  }

  // The dashed curve is the one that the widget began with.
  function showStart() {
    const logs = alphasOf({ ...now, ...first }, info.handles).map(logSnr);
    plots.forEach((plot) => plot.showStart(logs));
  }

  const redraw = oncePerFrame(draw);
  showStart();
  draw();
  return {
    set(name, value) {
      now[name] = value;
      now.t = Math.min(now.t, now.num_timesteps - 1);
      if (name === "num_timesteps") showStart();
      redraw();
    },
  };
}

const MAIN = mountDesigner;
