// Pixels of a mask, without the page. This file alone decides which pixels a brush covers; Python
// gets the finished pixels, so both sides agree.
//
// A mask is a Uint8Array of width * height entries 0 or 1, row after row. It travels as base64 of
// its bits, the first pixel in the highest bit, as numpy.packbits writes them.
//
//   packMask(mask) -> Uint8Array             unpackMask(bytes, mask)
//   toBase64(bytes) -> text                  the inverse of fromBase64
//   paintLine(mask, size, from, to, brush, value)
//                                            discs along a line, the ends included
//   outlineOf(mask, size) -> [x0, y0, x1, y1, ...]
//                                            the edges between masked and unmasked pixels
//   shareText(count, total)                  "12.5 %", halves rounded up like mask.py

function packMask(mask) {
  const bytes = new Uint8Array(Math.ceil(mask.length / 8));
  mask.forEach((on, k) => {
    if (on) bytes[k >> 3] |= 128 >> (k & 7);
  });
  return bytes;
}

function unpackMask(bytes, mask) {
  for (let k = 0; k < mask.length; k += 1) mask[k] = (bytes[k >> 3] >> (7 - (k & 7))) & 1;
}

function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

// Sets the pixels whose centres lie within brush / 2 of a point. The point is moved to the nearest
// pixel's centre for odd brushes and to the nearest corner for even ones, so that a disc is exactly
// `brush` pixels wide.
function paintDisc(mask, { width, height }, x, y, brush, value) {
  const half = brush / 2;
  const snap = (v) => (brush % 2 ? Math.floor(v) + 0.5 : Math.round(v));
  const [left, top] = [snap(x), snap(y)];
  const from = (v) => Math.max(Math.ceil(v - half - 0.5), 0);
  const to = (v, size) => Math.min(Math.floor(v + half - 0.5), size - 1);
  for (let j = from(top); j <= to(top, height); j += 1) {
    for (let i = from(left); i <= to(left, width); i += 1) {
      if ((i + 0.5 - left) ** 2 + (j + 0.5 - top) ** 2 <= half * half) mask[j * width + i] = value;
    }
  }
}

function paintLine(mask, size, from, to, brush, value) {
  const steps = Math.max(Math.ceil(Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y))), 1);
  for (let k = 0; k <= steps; k += 1) {
    const along = k / steps;
    const x = from.x + (to.x - from.x) * along;
    const y = from.y + (to.y - from.y) * along;
    paintDisc(mask, size, x, y, brush, value);
  }
}

// The picture's border is no edge. Neighbouring edges of one line become one.
function outlineOf(mask, { width, height }) {
  const edges = [];
  for (let j = 1; j < height; j += 1) {
    for (let i = 0, start = -1; i <= width; i += 1) {
      const edge = i < width && mask[j * width + i] !== mask[(j - 1) * width + i];
      if (edge && start < 0) start = i;
      if (!edge && start >= 0) {
        edges.push(start, j, i, j);
        start = -1;
      }
    }
  }
  for (let i = 1; i < width; i += 1) {
    for (let j = 0, start = -1; j <= height; j += 1) {
      const edge = j < height && mask[j * width + i] !== mask[j * width + i - 1];
      if (edge && start < 0) start = j;
      if (!edge && start >= 0) {
        edges.push(i, start, i, j);
        start = -1;
      }
    }
  }
  return edges;
}

function shareText(count, total) {
  const tenths = Math.floor((2000 * count + total) / (2 * total));
  return `${(tenths / 10).toFixed(1)} %`;
}
