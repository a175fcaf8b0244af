// Two ways to look closer: a lens on every picture at once, and a histogram under each.

// ---------------------------------------------------------------- histogram

const BELL = { range: 4, top: 0.8, height: 40 }; // moments.py packs with the same range and top

// bytes: `bins` numbers a frame; 255 stands for a density of BELL.top.
function mountHistogram(bytes, bins, moments, width) {
  const { range, top, height } = BELL;
  const x = (value) => ((value + range) / (2 * range)) * width;
  const y = (density) => height * (1 - Math.min(density / top, 1));
  let bell = "";
  for (let v = -range; v <= range + 1e-9; v += range / 40) {
    const density = Math.exp((-v * v) / 2) / Math.sqrt(2 * Math.PI);
    bell += `${bell ? "L" : "M"}${x(v).toFixed(1)} ${y(density).toFixed(1)}`;
  }
  const bars = make("path", { class: "bars" });
  const words = make("div", { class: "note" });
  const svg = make(
    "svg",
    { class: "histogram", viewBox: `0 0 ${width} ${height + 12}`, width, role: "img" },
    bars,
    make("path", { class: "bell", d: bell }),
    make("line", { x1: 0, x2: width, y1: height, y2: height }),
    ...[-3, -1, 0, 1, 3].map((v) =>
      make("text", { x: x(v), y: height + 11, "text-anchor": "middle" }, String(v)),
    ),
  );
  const step = width / bins;

  function show(i) {
    if (!moments.mean[i] && moments.mean[i] !== 0) return;
    let path = `M0 ${height}`;
    for (let k = 0; k < bins; k += 1) {
      const level = (height * (1 - bytes[i * bins + k] / 255)).toFixed(1);
      path += `L${(k * step).toFixed(1)} ${level}H${((k + 1) * step).toFixed(1)}`;
    }
    bars.setAttribute("d", `${path}V${height}Z`);
    const text = `mean ${moments.mean[i].toFixed(2)}, std ${moments.std[i].toFixed(2)}`;
    write(words, text);
    svg.setAttribute("aria-label", `pixel values, ${text}; the line is the standard normal`);
  }
  return { svg, words, show };
}

// ---------------------------------------------------------------- lens

// figures: [{ frame, canvas, lens, limit(), say(text) }], all of one size in pixels
// onSwipe(share): a finger moved sideways over a picture by this share of its width
function mountLens(figures, width, height, { onSwipe, onSwipeStart }) {
  const span = Math.min(Math.max(Math.round(width / 6) | 1, 9), 41); // pixels across the lens, odd
  const half = (span - 1) / 2;
  let at = null; // the pixel under the lens
  let touch = null;

  function draw() {
    for (const { canvas, lens, limit, say } of figures) {
      lens.hidden = !at;
      if (!at) {
        say("");
        continue;
      }
      const size = lens.width;
      const pen = lens.getContext("2d");
      pen.imageSmoothingEnabled = false;
      pen.fillStyle = "#888";
      pen.fillRect(0, 0, size, size);
      pen.drawImage(canvas, at.x - half, at.y - half, span, span, 0, 0, size, size);
      const cell = size / span;
      pen.lineWidth = 1;
      for (const [colour, grow] of [["#000", 1.5], ["#fff", 0.5]]) {
        pen.strokeStyle = colour;
        pen.strokeRect(half * cell - grow, half * cell - grow, cell + 2 * grow, cell + 2 * grow);
      }
      lens.style.left = `${(100 * (at.x + 0.5)) / width}%`;
      lens.style.top = `${(100 * (at.y + 0.5)) / height}%`;
      const rgb = [...canvas.getContext("2d").getImageData(at.x, at.y, 1, 1).data].slice(0, 3);
      const scale = limit();
      // The colours of an attention map are no numbers of the picture.
      const values = scale ? rgb.map((byte) => ((byte / 127.5 - 1) * scale).toFixed(2)) : [];
      say(`(${at.x}, ${at.y}) ${values.join("  ").replaceAll("-0.00", "0.00")}`);
    }
  }

  function place(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const inside = (share, count) => Math.min(Math.max(Math.floor(share * count), 0), count - 1);
    at = {
      x: inside((event.clientX - box.left) / box.width, width),
      y: inside((event.clientY - box.top) / box.height, height),
    };
    draw();
  }

  function hide() {
    if (touch) clearTimeout(touch.timer);
    touch = null;
    if (!at) return;
    at = null;
    draw();
  }

  // A finger that moves sideways steps through time; one that rests brings the lens.
  function down(event) {
    if (event.pointerType !== "touch") return;
    const held = { currentTarget: event.currentTarget, clientX: event.clientX, clientY: event.clientY };
    touch = { x: event.clientX, timer: setTimeout(() => place(held), 450) };
    onSwipeStart();
  }

  function move(event) {
    if (event.pointerType !== "touch") return place(event);
    if (!touch) return;
    if (at) return place(event);
    const moved = event.clientX - touch.x;
    if (Math.abs(moved) < 6) return;
    clearTimeout(touch.timer);
    onSwipe(moved / event.currentTarget.getBoundingClientRect().width);
  }

  for (const { frame } of figures) {
    frame.addEventListener("pointerdown", down);
    frame.addEventListener("pointermove", move);
    for (const name of ["pointerleave", "pointercancel"]) frame.addEventListener(name, hide);
    frame.addEventListener("pointerup", (event) => event.pointerType === "touch" && hide());
    // A held finger opens the browser's menu otherwise.
    frame.addEventListener("contextmenu", (event) => touch && event.preventDefault());
  }
  return { draw: () => at && draw() };
}
