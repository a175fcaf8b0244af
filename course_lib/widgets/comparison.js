// Blind comparison: two pictures side by side, three buttons, keys, how many are answered.
//
// state = { _info, _pair }; see comparison.py. _pair holds two PNG files, left and right, and no
// names; without pictures, all pairs are answered. Python writes the answers and sends the next.
//
// data-ready, data-state (asking, waiting, done, alone), data-answered, data-total and data-serial
// (of the pair on the screen) tell what is shown.

const SIDES = ["left", "right"];
const WORDS = { left: "Left", same: "Same", right: "Right" };
const NO_KERNEL =
  "Answers need a kernel, which writes them to a file: open the notebook and run its cell.";

function mountComparison(root, state, callbacks = {}) {
  const info = state._info;
  let pair = state._pair;
  let phase = "waiting";
  let urls = [];
  let lent = false; // the focus, to the button that is left at the end
  const key = (choice) => (event) => void (event.repeat || answer(choice));
  dress(root, "picture-comparison", info.question, {
    ArrowLeft: key("left"),
    ArrowRight: key("right"),
    ArrowDown: key("same"),
    " ": (event) => (event.target.tagName === "BUTTON" ? false : key("same")(event)),
    Backspace: (event) => void (event.repeat || ask({ do: "back" })),
  });

  // ---- the page

  const images = SIDES.map((side) => make("img", { alt: `${side} picture`, "data-side": side }));
  const stage = make(
    "div",
    { class: "stage", tabindex: 0, role: "group", "aria-label": "the two pictures" },
    ...images.map((image, k) => make("figure", {}, make("figcaption", {}, WORDS[SIDES[k]]), image)),
  );
  const buttons = Object.entries(WORDS).map(([choice, text]) =>
    textButton(text, (event) => press(event, choice), { "data-choice": choice }),
  );
  const back = textButton("Take back", () => ask({ do: "back" }), { "data-do": "back" });
  const choices = make("div", { class: "choices", role: "group", "aria-label": info.question }, ...buttons);
  const bar = make("progress", { max: info.total, value: 0, "aria-label": "pairs answered" });
  const count = make("span", { class: "number", role: "status" });
  const end = make("p", { class: "end", role: "status", hidden: "" });
  const note = make("p", { class: "kernel", role: "status" });
  const alarm = make("p", { class: "error", role: "alert", hidden: "" });
  const hint = "Keys: left and right arrow, down arrow or Space for the same, Backspace takes back.";

  if (info.caption) root.append(make("p", { class: "caption" }, info.caption));
  root.append(
    make("p", { class: "question" }, info.question),
    make("div", { class: "arena" }, stage, choices),
    end,
    make("div", { class: "row" }, bar, count, back),
    note,
    alarm,
    make("p", { class: "hint" }, hint, ...info.notices.map((text) => ` ${text}`)),
  );

  // ---- answering

  // After a click, Space is a key of the pictures again, not of the button.
  function press(event, choice) {
    if (event.detail) stage.focus({ preventScroll: true });
    answer(choice);
  }

  function answer(choice) {
    if (phase === "asking") ask({ do: "answer", choice });
  }

  function ask(message) {
    if (phase === "waiting" || phase === "alone") return;
    if (message.do === "back" && !pair.answered) return;
    setPhase("waiting");
    alarm.hidden = true;
    const reason = callbacks.ask({ ...message, serial: pair.serial });
    if (reason) complainOf(reason);
  }

  function complainOf(text) {
    alarm.textContent = text;
    alarm.hidden = false;
    setPhase(pair.pictures ? "asking" : "done");
  }

  // ---- showing

  function setPhase(next) {
    phase = next;
    for (const button of buttons) button.setAttribute("aria-disabled", String(phase !== "asking"));
    const idle = phase === "waiting" || phase === "alone";
    back.setAttribute("aria-disabled", String(idle || !pair.answered));
    root.dataset.state = phase;
  }

  // Both pictures are decoded before either is shown.
  async function show(next) {
    const fresh = (next.pictures ?? []).map((bytes) =>
      URL.createObjectURL(new Blob([bytes], { type: "image/png" })),
    );
    const decoded = fresh.map((url) => Object.assign(new Image(), { src: url }).decode());
    await Promise.all(decoded);
    if (next !== pair) return fresh.forEach((url) => URL.revokeObjectURL(url));
    urls.forEach((url) => URL.revokeObjectURL(url));
    urls = fresh;
    const held = stage.contains(document.activeElement) || choices.contains(document.activeElement);
    for (const part of [stage, choices]) part.hidden = !fresh.length;
    end.hidden = fresh.length > 0;
    const zoom = Math.max(1, Math.floor(info.frame_size / next.width));
    const width = Math.min(next.width * zoom, info.frame_size);
    fresh.forEach((url, k) => {
      images[k].src = url;
      images[k].style.width = `${width}px`;
    });
    // Hidden parts cannot keep the focus; they get it again with the next picture.
    if (held && !fresh.length) back.focus({ preventScroll: true });
    if (lent && fresh.length && document.activeElement === back) stage.focus({ preventScroll: true });
    lent = held && !fresh.length;
    if (!callbacks.ask) setPhase("alone");
    else setPhase(fresh.length ? "asking" : "done");
    showCount();
  }

  function showCount() {
    const { answered, serial } = pair;
    bar.value = answered;
    write(count, `${answered} of ${info.total} answered`);
    write(
      end,
      answered === info.total
        ? `All ${info.total} pairs are answered. They are in ${info.file}; in Python, .answers lists them.`
        : "",
    );
    Object.assign(root.dataset, { answered, serial, total: info.total, ready: "true" });
  }

  function open(next) {
    pair = next;
    setPhase("waiting");
    show(next).catch((error) => complainOf(`This browser cannot show the pictures: ${error.message}`));
  }

  if (!callbacks.ask) write(note, NO_KERNEL);
  open(pair);
  return {
    set(name, value) {
      if (name === "_pair") open(value);
    },
    hear(message) {
      if (message.do === "problem") complainOf(message.text);
    },
    lost: (text) => write(note, text && `${text} The answers so far are in ${info.file}.`),
    destroy: () => urls.forEach((url) => URL.revokeObjectURL(url)),
  };
}

const MAIN = mountComparison;
