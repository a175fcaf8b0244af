// The picture with its mask on a canvas: a blue veil, an outline, the brush as a ring.
//
//   mountMaskView(info) -> { canvas, place(event), show(picture), draw(mask, ring) }
//                          place gives the point under a pointer in pixels of the picture;
//                          ring = { x, y, brush, erasing } or null
//   saveMask(root, mask, size)
//                          downloads the mask as a PNG, white where masked

const VEIL = [0, 114, 178, 128]; // half-transparent blue, which skin and hair seldom are

function mountMaskView({ layout, frame_size: room }) {
  const { width, height } = layout;
  const shown = width > room ? room : width * Math.floor(room / width);
  const zoom = Math.max(1, Math.round((shown * devicePixelRatio) / width)); // whole: pixels stay square
  const canvas = make("canvas", { width: width * zoom, height: height * zoom });
  canvas.style.width = `${shown}px`;
  const pen = canvas.getContext("2d", { alpha: false });
  const veil = make("canvas", { width, height });
  const veilPen = veil.getContext("2d");
  const pixels = veilPen.createImageData(width, height);
  let picture = null;

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * width,
      y: ((event.clientY - box.top) / box.height) * height,
    };
  }

  // White with black on both sides is seen on every picture.
  function line(path, dashes = []) {
    const unit = canvas.width / (canvas.clientWidth || shown);
    pen.setLineDash(dashes.map((length) => length * unit));
    for (const [thick, color] of [
      [3.5, "#000"],
      [1.5, "#fff"],
    ]) {
      pen.lineWidth = thick * unit;
      pen.strokeStyle = color;
      pen.stroke(path);
    }
  }

  function draw(mask, ring) {
    if (!picture) return;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    mask.forEach((on, k) => pixels.data.set(on ? VEIL : [0, 0, 0, 0], 4 * k));
    veilPen.putImageData(pixels, 0, 0);
    pen.drawImage(veil, 0, 0, canvas.width, canvas.height);
    const path = new Path2D();
    const edges = outlineOf(mask, layout);
    for (let k = 0; k < edges.length; k += 4) {
      path.moveTo(edges[k] * zoom, edges[k + 1] * zoom);
      path.lineTo(edges[k + 2] * zoom, edges[k + 3] * zoom);
    }
    line(path);
    if (!ring) return;
    const circle = new Path2D();
    circle.arc(ring.x * zoom, ring.y * zoom, (ring.brush / 2) * zoom, 0, 2 * Math.PI);
    line(circle, ring.erasing ? [5, 4] : []);
  }
  return { canvas, place, draw, show: (decoded) => (picture = decoded) };
}

function saveMask(root, mask, size) {
  const file = make("canvas", size);
  const pen = file.getContext("2d", { alpha: false });
  const pixels = pen.createImageData(size.width, size.height);
  mask.forEach((on, k) => pixels.data.set(on ? [255, 255, 255, 255] : [0, 0, 0, 255], 4 * k));
  pen.putImageData(pixels, 0, 0);
  const link = make("a", { href: file.toDataURL("image/png"), download: "mask.png" });
  root.append(link); // some browsers follow only links that are in the page
  link.click();
  link.remove();
}
