// The whole stepper, which knows nothing of traits; stepper_view.js ties it to them.
//
// state = { sprite: Blob or null, layout, info, value, fps, loop }
//   layout = { mime, rows, at, limits, columns, lines, width, height }        see sprite.py
//   info   = { t, alpha_bar, snr, titles, curve, mse, bins, lines, ... }      see moments.py
// callbacks = { onIndex(i), onFps(fps), onLoop(loop) }, all of them optional
//
// State is written to data-* attributes of root: data-ready, data-index, data-playing, data-count,
// data-reach (frames that have arrived), and data-error if the frames cannot be decoded.

function mountStepper(root, state, callbacks = {}) {
  const { layout, info } = state;
  const count = layout.at[0].length;
  const streaming = !state.sprite;
  let sheet = null; // all frames, decoded: an ImageBitmap, or a canvas while frames arrive
  let gone = false;
  let swipeFrom = 0;
  let following = true; // the newest frame, as long as the reader has not gone to another

  const readout = mountReadout(info, count);
  const pictures = mountPictures(layout, info, {
    onSwipeStart: () => (swipeFrom = transport.index),
    onSwipe: (share) => transport.choose(swipeFrom + Math.round(share * (count - 1))),
  });
  const chart = info.curve && mountChart(info.curve, info, (i) => transport.choose(i));
  const transport = mountTransport(root, {
    count,
    index: state.value,
    fps: state.fps,
    loop: state.loop,
    spoken: readout.spoken,
    onShow(i) {
      readout.show(i);
      const known = info.t && info.t[i] !== null;
      if (chart && known) chart.show(i);
      pictures.show(sheet, i, readout.spoken(i));
    },
    onIndex(i) {
      following = i >= transport.reach - 1;
      callbacks.onIndex?.(i);
    },
    onFps: callbacks.onFps,
    onLoop: callbacks.onLoop,
  });

  root.classList.add("timestep-stepper");
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", info.alt);
  root.dataset.ready = "false";
  if (info.caption) root.append(make("p", { class: "caption" }, info.caption));
  if (chart) pictures.box.append(chart.svg);
  root.append(pictures.box, transport.bar, readout.line);
  if (pictures.hasHistogram) addHistogramBox();

  function addHistogramBox() {
    const box = make("input", { type: "checkbox" });
    box.checked = info.histogram;
    const set = () => {
      pictures.setHistogram(box.checked);
      transport.paint();
    };
    box.addEventListener("change", set);
    pictures.setHistogram(box.checked);
    transport.bar.append(make("label", {}, box, "histogram"));
  }

  // A click on a picture brings the keys to this widget.
  pictures.box.addEventListener("click", (event) => {
    if (!event.target.closest("select")) transport.slider.focus({ preventScroll: true });
  });
  for (const one of pictures.figures) one.onChoice = () => transport.paint();

  function decoded(image) {
    if (gone) return image.close?.();
    sheet = image;
    transport.paint();
    root.dataset.ready = "true";
  }

  function failed(error) {
    const text = `This browser could not decode the frames (${layout.mime}): ${error.message}`;
    complain(root, text);
  }

  // ---- frames that arrive one by one while a sampler runs

  let queue = Promise.resolve();
  if (streaming) {
    const { width, height, columns, lines } = layout;
    sheet = make("canvas", { width: width * columns, height: height * lines });
    const pen = sheet.getContext("2d");
    pen.fillStyle = "#777";
    pen.fillRect(0, 0, sheet.width, sheet.height);
    root.dataset.streaming = "true";
    transport.setReach(1);
    queueMicrotask(() => !gone && transport.paint());
  } else createImageBitmap(state.sprite).then(decoded).catch(failed);

  // chunk = { index, rows: [row, ...], moment: { t, alpha_bar, snr } }; blob: those rows, stacked
  function push(chunk, blob) {
    queue = queue
      .then(() => createImageBitmap(blob))
      .then((image) => {
        if (gone || !streaming) return image.close();
        const { width, height, columns } = layout;
        const pen = sheet.getContext("2d");
        chunk.rows.forEach((row, k) => {
          const tile = layout.at[row][chunk.index];
          const left = (tile % columns) * width;
          const top = Math.floor(tile / columns) * height;
          pen.drawImage(image, 0, k * height, width, height, left, top, width, height);
        });
        image.close();
        for (const [name, value] of Object.entries(chunk.moment)) {
          if (info[name]) info[name][chunk.index] = value;
        }
        transport.setReach(Math.max(transport.reach, chunk.index + 1));
        if (!following || !transport.show(chunk.index)) transport.paint();
        root.dataset.ready = "true";
      })
      .catch(failed);
  }

  transport.paint();

  function destroy() {
    gone = true;
    transport.destroy();
    sheet?.close?.();
    root.replaceChildren();
    delete root.dataset.streaming;
  }

  return { ...transport, push, destroy, get index() { return transport.index; } };
}
