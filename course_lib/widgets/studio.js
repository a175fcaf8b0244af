// The portrait studio: form on the left, the picture as it comes out of the noise on the right,
// the gallery below. Python paints; the page asks and shows.
//
// state = { _info, _prompt, _status, _preview, _gallery, choices, words, negative_prompt, seed,
// steps, guidance }; see studio.py.
//
// data-ready, data-state (idle, asked, loading, waiting, painting, stopping, done, stopped, error),
// data-step, data-previews (pictures drawn) and data-painted (size of the gallery) tell what is shown.

const LONG = 300; // letters of the prompt on the page
const BUSY = ["asked", "loading", "waiting", "painting", "stopping"];

function mountStudio(root, state, callbacks = {}) {
  const info = state._info;
  let phase = state._status.state;
  let latest = state._status; // what Python said last
  let newest = state._gallery.at(-1); // the entry of the gallery that was painted last
  let preview = 0;
  let urls = [];
  dress(root, "portrait-studio", info.caption || "portrait studio", {
    Escape: () => BUSY.includes(phase) && stop(),
  });

  const form = mountForm(info, state, (values) => callbacks.change?.(values));
  const prompt = make("p", { class: "prompt" });
  const paint = textButton("Paint", () => order(), { class: "text main", "data-do": "paint" });
  const halt = textButton("Stop", () => stop(), { "data-do": "stop" });
  const lucky = textButton("Surprise me", () => order("surprise"), { "data-do": "surprise" });
  const clear = textButton("Clear", () => {
    form.set("choices", {});
    form.set("words", "");
    callbacks.change?.({ choices: {}, words: "" });
  });
  const canvas = make("canvas", { width: 288, height: 288, role: "img", "aria-label": "no picture yet" });
  const empty = make("span", { class: "empty" }, "Your portrait appears here");
  const shown = make("figcaption", { class: "shown" });
  const bar = make("progress", { max: 1, value: 0, "aria-label": "painting" });
  const count = make("span", { class: "number" });
  const status = make("p", { role: "status" });
  const alarm = make("p", { role: "alert", class: "error" });
  const notices = make("div", { class: "notices", role: "status" });
  const gallery = make("ul", { class: "gallery" });
  const galleryTitle = make("h4", {}, "Gallery");

  if (info.caption) root.append(make("p", { class: "caption" }, info.caption));
  root.append(
    make(
      "div",
      { class: "panes" },
      form.box,
      make(
        "div",
        { class: "picture" },
        make("figure", {}, make("div", { class: "frame" }, canvas, empty), shown),
        make("div", { class: "row meter" }, bar, count),
        make("div", { class: "row" }, paint, halt, lucky, clear),
        prompt,
        status,
        notices,
        alarm,
      ),
    ),
    galleryTitle,
    gallery,
  );
  // A saved page has nobody to paint for it: it shows the pictures only.
  if (!callbacks.ask) root.classList.add("alone");

  // ---- asking

  function order(wish = "paint") {
    const wrong = wish === "paint" ? form.complaint() : "";
    if (wrong) return show({ state: "error", text: wrong });
    show({ state: "asked", text: "Asked the kernel ..." });
    demand({ do: wish });
  }

  function stop() {
    show({ state: "stopping", text: "Stopping after this step ..." });
    demand({ do: "stop" });
  }

  function demand(message) {
    const reason = callbacks.ask?.(message);
    if (reason) show({ state: "error", text: reason });
  }

  // The kernel does not answer, and why; "" when it is back.
  function lost(text) {
    if (!text) show(latest);
    else if (phase === "idle" || phase === "done" || phase === "stopped") write(status, text);
    else show({ state: "error", text });
  }

  form.words.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab would run the cell
    if (!BUSY.includes(phase)) order();
  });

  // ---- showing

  function show(next) {
    // Steps that were under way while Stop was pressed do not end the stopping.
    if (phase === "stopping" && next.state === "painting") next = { ...next, state: "stopping" };
    phase = next.state;
    const busy = BUSY.includes(phase);
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    paint.disabled = busy;
    lucky.disabled = busy;
    halt.disabled = !busy || phase === "stopping";
    if ((focused === paint || focused === lucky) && busy) halt.focus({ preventScroll: true });
    if (focused === halt && halt.disabled && !busy) paint.focus({ preventScroll: true });
    const painting = next.total > 0;
    bar.classList.toggle("off", !busy);
    if (painting) bar.value = next.i / next.total;
    else if (busy && phase !== "stopping") bar.removeAttribute("value"); // moves without an end
    count.textContent = busy && painting ? next.text : "";
    // Read aloud when something begins or ends, not at each step.
    const words =
      phase === "error"
        ? ""
        : painting && busy
          ? { painting: "Painting ...", stopping: "Stopping ..." }[phase]
          : next.text;
    write(status, words);
    alarm.textContent = phase === "error" ? next.text : "";
    alarm.hidden = phase !== "error";
    showNotices(next.notices ?? []);
    showCaption();
    Object.assign(root.dataset, { state: phase, step: next.i ?? "" });
  }

  function showNotices(texts) {
    const old = [...notices.children].map((one) => one.textContent);
    if (JSON.stringify(old) === JSON.stringify(texts)) return; // would be read aloud again
    notices.replaceChildren(...texts.map((text) => make("p", {}, text)));
    notices.hidden = !texts.length;
  }

  // What was painted; the form may have gone on to something else.
  function showCaption() {
    write(shown, phase === "done" && newest ? newest.caption : "");
  }

  function showPreview(bytes) {
    const number = (preview += 1); // pictures that take longer to decode than the next are late
    if (!bytes.byteLength) {
      canvas.width = canvas.height = 288; // wipes it
      canvas.setAttribute("aria-label", "no picture yet");
      empty.hidden = false;
      return;
    }
    createImageBitmap(new Blob([bytes], { type: "image/webp" }))
      .then((bitmap) => {
        if (number < preview) return bitmap.close();
        canvas.width = bitmap.width;
        canvas.height = bitmap.height;
        canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
        bitmap.close();
        empty.hidden = true;
        const what = BUSY.includes(phase) ? "what the model expects at this step" : "the portrait";
        canvas.setAttribute("aria-label", `${what}: ${clamped(root.dataset.prompt)}`);
        root.dataset.previews = Number(root.dataset.previews ?? 0) + 1;
      })
      .catch((error) =>
        show({ state: "error", text: `This browser cannot show the picture: ${error.message}` }),
      );
  }

  function showPrompt(text) {
    const words = clamped(text) || "choose something, or write your own words";
    prompt.replaceChildren(make("b", {}, "Prompt: "), words);
    root.dataset.prompt = text;
  }

  const clamped = (text) =>
    text.length <= LONG ? text : `${text.slice(0, LONG)}... (${text.length.toLocaleString("en")} characters)`;

  function showGallery(entries) {
    newest = entries.at(-1);
    showCaption();
    urls.forEach((url) => URL.revokeObjectURL(url));
    urls = [];
    const items = [...entries].reverse().map(({ picture, caption, number, settings }) => {
      const url = URL.createObjectURL(new Blob([picture], { type: "image/webp" }));
      urls.push(url);
      const save = textButton("Save PNG", () => demand({ do: "save", number }), {
        "aria-label": `Save PNG: ${caption}`,
      });
      const again = textButton(
        "Use again",
        () => {
          for (const [name, value] of Object.entries(settings)) form.set(name, value);
          callbacks.change?.({ ...settings });
        },
        { "aria-label": `Use these settings again: ${caption}` },
      );
      return make(
        "li",
        {},
        make("figure", {}, make("img", { src: url, alt: caption }), make("figcaption", {}, caption)),
        make("div", { class: "row tools" }, save, again),
      );
    });
    gallery.replaceChildren(...items);
    galleryTitle.hidden = !items.length;
    root.dataset.painted = items.length;
  }

  function download(name, bytes) {
    const url = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    const link = make("a", { href: url, download: name });
    root.append(link); // some browsers follow only links that are in the page
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    status.textContent = `Saved as ${name}.`;
  }

  show(state._status);
  showPrompt(state._prompt);
  showGallery(state._gallery);
  showPreview(state._preview);
  root.dataset.ready = "true";

  return {
    set(name, value) {
      if (name === "_status") show((latest = value));
      else if (name === "_preview") showPreview(value);
      else if (name === "_prompt") showPrompt(value);
      else if (name === "_gallery") showGallery(value);
      else form.set(name, value);
    },
    hear(message, buffers) {
      if (message.do === "download") download(message.name, buffers[0]);
    },
    lost,
    destroy() {
      urls.forEach((url) => URL.revokeObjectURL(url));
    },
  };
}

const MAIN = mountStudio;
