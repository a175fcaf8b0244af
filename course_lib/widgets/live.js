// What the widgets besides the stepper share. page.py joins parts.js, this file and the widget's
// own files into one module. Nothing comes from a network.
//
// A widget is a function mount(root, state, callbacks) that builds itself inside root and returns
// { set(name, value), hear(message, buffers), destroy() }. state holds its traits by name.
// callbacks = { change({ name: value, ... }), ask(message) }; without a kernel there are none.
// Its last file names it: const MAIN = mountSomething.

const SEND_EVERY = 80; // ms; Python need not hear of every pixel of a drag

// Ties a widget to a live kernel.
function live(mount, names) {
  function render({ model, el }) {
    const root = make("div");
    const problem = mountProblem(); // what went wrong in a callback in Python
    el.append(root, make("div", { class: "course-widget" }, problem.line));
    const last = {}; // what both sides know, as JSON, so that an echo is not taken for news
    let pending = {};

    const teller = sender(() => {
      for (const [name, value] of Object.entries(pending)) {
        last[name] = JSON.stringify(value);
        model.set(name, value);
      }
      pending = {};
      model.save_changes();
    }, SEND_EVERY);

    const state = Object.fromEntries(names.map((name) => [name, model.get(name)]));
    const view = mount(root, state, {
      change(values) {
        Object.assign(pending, values);
        teller.soon();
      },
      ask(message) {
        if (teller.waiting()) teller.now(); // first what was changed, then what shall be done with it
        model.send(message);
      },
    });
    const listeners = names.map((name) => {
      const listen = () => {
        const value = model.get(name);
        const text = value instanceof DataView ? null : JSON.stringify(value);
        if (text !== null && text === last[name]) return;
        last[name] = text;
        view.set?.(name, value);
      };
      model.on(`change:${name}`, listen);
      return () => model.off(`change:${name}`, listen);
    });
    const hear = (message, buffers) => view.hear?.(message, buffers);
    model.on("msg:custom", hear);
    const complainAloud = () => problem.show(model.get("_problem"));
    model.on("change:_problem", complainAloud);
    complainAloud();

    return () => {
      teller.stop();
      model.off("msg:custom", hear);
      model.off("change:_problem", complainAloud);
      listeners.forEach((stop) => stop());
      view.destroy?.();
      root.replaceChildren();
    };
  }
  return { render };
}

// An exported page starts here: its state is JSON, in which bytes stand as { base64: "..." }.
const mountSaved = (root, state) => MAIN(root, unpack(state));

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
