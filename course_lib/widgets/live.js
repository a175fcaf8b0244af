// What all widgets share: where they stand, and their tie to the kernel. base.py joins parts.js,
// this file and the widget's own files into one module. Nothing comes from a network.
//
// A widget is a function mount(root, state, callbacks) that builds itself inside root and returns
// { set(name, value), hear(message, buffers), lost(text), destroy() }, all but set optional. state
// holds its traits by name. callbacks = { change({ name: value, ... }), ask(message) }; ask returns
// why nobody can hear it, or "". In an exported file there is no ask. The widget's last file names
// it: const MAIN = mountSomething.
//
// It stands in one of two places:
//   an output or a file   a page with the whole state, so it works without a kernel. Python's model
//                         of the same key is found in courseWidgets, where initialize() puts it.
//   a widget view         the front end calls render(); used where it makes models only for views.

const SEND_EVERY = 100; // ms; Python need not hear of every pixel of a drag
// The picture first: a message makes the notebook redraw its "busy" lights, in the same frame.
const AFTER_PAINT = 34; // ms, two frames of the screen
const NO_ANSWER = 8000; // ms without a word from the kernel
const SEEK = 3000; // ms in which a page finds its kernel, if there is one
const ASK_EVERY = 2000; // ms between questions whether Python hears the changes
const LOST = "The kernel was restarted or shut down: run the cell above again.";
const SILENT =
  "The kernel does not answer. If it is busy with another cell, wait; if it was restarted, run the cell above again.";
const NOBODY = "No kernel is connected to this widget: run the cell above.";

const models = () => (globalThis.courseWidgets ??= new Map());

// Called by the front end when Python makes the widget, whether it is displayed or not.
function initialize({ model }) {
  const key = model.get("_key");
  models().set(key, model);
  document.dispatchEvent(new CustomEvent("course-widget", { detail: key }));
  return () => models().delete(key);
}

// A text that tells values apart; bytes count by their length and a checksum (FNV-1a).
function fingerprint(value) {
  return JSON.stringify(value, (_, one) => {
    if (!ArrayBuffer.isView(one)) return one;
    let sum = 0x811c9dc5;
    for (const byte of asBytes(one)) sum = Math.imul(sum ^ byte, 0x01000193);
    return `${one.byteLength} bytes ${sum}`;
  });
}

// Builds a widget in el. attach(model) ties it to the kernel.
function openWidget(mount, names, el, state, alone = false) {
  const root = make("div");
  const problem = mountProblem(); // what went wrong in a callback in Python
  const note = make("p", { class: "note", role: "status", hidden: "" });
  const lines = make("div", { class: "course-widget" }, problem.line, note);
  // JupyterLab would take keys for commands; it does so for outputs, not for widget views.
  el.dataset.lmSuppressShortcuts = "true";
  el.append(root, lines);
  const last = {}; // what both sides know, so that an echo is not taken for news
  let pending = {};
  let model = null;
  let alive = false;
  let watchdog = 0;
  let pinged = -ASK_EVERY;
  let complained = false;
  let release = () => {};

  function say(text) {
    write(note, text);
    note.hidden = !text;
  }

  // The kernel is out of reach, and why; "" when it is back.
  function lost(text) {
    clearTimeout(watchdog);
    watchdog = 0;
    complained = text !== "";
    if (view.lost) view.lost(text);
    else say(text);
  }

  function answered() {
    clearTimeout(watchdog);
    watchdog = 0;
    if (complained) lost("");
  }

  // Runs something that talks to the kernel; returns why that is in vain, or "".
  function talk(action) {
    try {
      if (!alive) throw Error(LOST);
      if (action() !== false) watchdog ||= setTimeout(() => lost(SILENT), NO_ANSWER);
      return "";
    } catch {
      alive = false; // a closed channel throws as well
      return LOST;
    }
  }

  function tell() {
    if (!model || !Object.keys(pending).length) return;
    const reason = talk(() => {
      for (const [name, value] of Object.entries(pending)) {
        last[name] = fingerprint(value);
        model.set(name, value);
      }
      model.save_changes();
      if (performance.now() - pinged < ASK_EVERY) return false; // no answer to wait for
      pinged = performance.now();
      model.send({ do: "ping" }); // traits are taken without an answer
      return true;
    });
    if (reason) lost(reason);
    pending = {};
  }
  const teller = sender(tell, SEND_EVERY, AFTER_PAINT);

  const callbacks = {
    change(values) {
      Object.assign(pending, values);
      teller.soon();
    },
    ask(message) {
      if (!model) return NOBODY;
      if (teller.waiting()) teller.now(); // first what was changed, then what shall be done with it
      return talk(() => void model.send(message));
    },
  };
  for (const name of names) last[name] = fingerprint(state[name]);
  const view = mount(root, state, alone ? {} : callbacks);

  function attach(next) {
    release();
    model = next;
    alive = true;
    const news = (name) => {
      const value = model.get(name);
      const text = fingerprint(value);
      if (text === last[name]) return;
      last[name] = text;
      view.set(name, value);
    };
    const listeners = {
      "msg:custom": (message, buffers) => {
        answered();
        if (message.do !== "heard") view.hear?.(message, buffers);
      },
      "change:_problem": () => problem.show(model.get("_problem")),
      destroy: () => fade(LOST),
      comm_live_update: async () => {
        const heart = await model.widget_manager.get_model(model.get("_key")).catch(() => null);
        if (heart?.comm_live) alive = true;
        else fade(LOST);
      },
    };
    for (const name of names) {
      listeners[`change:${name}`] = () => {
        answered();
        news(name);
      };
    }
    for (const [name, listen] of Object.entries(listeners)) model.on(name, listen);
    release = () => {
      for (const [name, listen] of Object.entries(listeners)) model.off(name, listen);
    };
    answered();
    tell(); // what was changed before the kernel was there
    names.forEach(news);
    listeners["change:_problem"]();
  }

  // The kernel is gone. Who waits for it hears so now, the others when they use a control.
  function fade(text) {
    alive = false;
    if (watchdog || view.lost) lost(text);
  }

  function destroy() {
    teller.stop();
    clearTimeout(watchdog);
    release();
    view.destroy?.();
    el.replaceChildren();
  }
  // Yesterday's notebook: a widget that is of use without a kernel says nothing.
  const miss = () => model || view.lost?.(NOBODY);
  return { attach, destroy, miss };
}

// Ties a widget to a front end; the module of every widget exports what this returns.
function live(mount, names) {
  function render({ model, el }) {
    const state = Object.fromEntries(names.map((name) => [name, model.get(name)]));
    const opened = openWidget(mount, names, el, state);
    opened.attach(model);
    return opened.destroy;
  }
  return { initialize, render };
}

// A page starts here: its state is JSON, in which bytes stand as { base64: "..." }. With a key it
// is an output, which finds its kernel if there is one; without it is a file of its own.
function mountSaved(el, saved) {
  const { _key: key, ...state } = unpack(saved);
  const opened = openWidget(MAIN, Object.keys(state), el, state, !key);
  if (!key) return;
  const find = () => {
    const model = models().get(key);
    if (model) opened.attach(model);
  };
  document.addEventListener("course-widget", (event) => event.detail === key && find());
  find();
  setTimeout(opened.miss, SEEK);
}

function unpack(value) {
  if (Array.isArray(value)) return value.map(unpack);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.base64 === "string") return fromBase64(value.base64);
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, unpack(one)]));
}

// The bytes of a trait, which come as a DataView from a kernel and as an array from a page.
const asBytes = (data) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

// Gives a root its name and keeps its keys: JupyterLab would move to another cell on arrows, or
// insert one on "a". actions = { key: (event) => ..., ... }; one that returns false lets go.
function dress(root, name, label, actions = {}) {
  root.classList.add("course-widget", name);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", label);
  root.dataset.ready = "false";
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Tab" || (event.shiftKey && event.key === "Enter")) return;
    event.stopPropagation();
    const action = actions[event.key];
    if (!action || event.defaultPrevented) return;
    if (action(event) !== false) event.preventDefault();
  });
}

// A labelled field: <label><span>name</span> field <output></label>
function labelled(text, field, output) {
  return make("label", {}, make("span", {}, text), field, ...(output ? [output] : []));
}

function textButton(text, onClick, attributes = {}) {
  const button = make("button", { type: "button", class: "text", ...attributes }, text);
  button.addEventListener("click", onClick);
  return button;
}

function choiceOf(options, chosen, attributes = {}) {
  const select = make("select", attributes);
  for (const [value, text] of options) select.append(make("option", { value }, text));
  select.value = chosen;
  return select;
}

// Runs draw at most once for each frame of the screen.
function oncePerFrame(draw) {
  let handle = 0;
  return () => {
    if (handle) return;
    handle = requestAnimationFrame(() => {
      handle = 0;
      draw();
    });
  };
}

function complain(root, text) {
  root.dataset.error = text;
  root.append(make("p", { role: "alert", class: "error" }, text));
}

// A sprite of sprite.py as a picture to draw from; failures are shown, not lost.
function openSprite(root, data, layout, onReady) {
  const failed = (error) => complain(root, `This browser could not decode ${layout.mime}: ${error.message}`);
  createImageBitmap(new Blob([data], { type: layout.mime }))
    .then(onReady)
    .catch(failed);
}

// Draws frame i of a row over the whole of a canvas.
function drawTile(pen, bitmap, layout, row, i) {
  const { at, width, height, columns } = layout;
  const left = (at[row][i] % columns) * width;
  const top = Math.floor(at[row][i] / columns) * height;
  pen.drawImage(bitmap, left, top, width, height, 0, 0, pen.canvas.width, pen.canvas.height);
}
