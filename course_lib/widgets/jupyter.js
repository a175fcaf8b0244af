// Ties the stepper to a live kernel: the traits value, fps and loop follow the page and move it.

const SEND_EVERY = 100; // ms; Python need not hear of every frame of a fast play
// The picture first: a message makes the notebook redraw its "busy" lights, in the same frame.
const AFTER_PAINT = 34; // ms, two frames of the screen

function render({ model, el }) {
  const root = make("div");
  el.append(root);
  let sent = model.get("value");
  let stepper = null;

  const teller = sender(
    () => {
      sent = stepper.index;
      set("value", sent);
    },
    SEND_EVERY,
    AFTER_PAINT,
  );

  function set(name, value) {
    model.set(name, value);
    model.save_changes();
  }

  function mount() {
    stepper?.destroy();
    const layout = model.get("_layout");
    const bytes = model.get("_sprite");
    stepper = mountStepper(
      root,
      {
        sprite: bytes.byteLength ? new Blob([bytes], { type: layout.mime }) : null,
        layout,
        info: structuredClone(model.get("_info")),
        value: model.get("value"),
        fps: model.get("fps"),
        loop: model.get("loop"),
      },
      {
        onIndex: teller.soon,
        onFps: (fps) => set("fps", fps),
        onLoop: (loop) => set("loop", loop),
      },
    );
    stepper.problem.show(model.get("_problem"));
  }

  const listeners = {
    // The kernel echoes what the page sent; by then a play may be further on.
    "change:value": () => model.get("value") !== sent && stepper.show((sent = model.get("value"))),
    "change:fps": () => stepper.setFps(model.get("fps")),
    "change:loop": () => stepper.setLoop(model.get("loop")),
    "change:_problem": () => stepper.problem.show(model.get("_problem")),
    "change:_sprite": mount,
    "change:_chunk": () => {
      const { data, ...chunk } = model.get("_chunk");
      if (data) stepper.push(chunk, new Blob([data], { type: model.get("_layout").mime }));
    },
  };
  mount();
  for (const [name, listener] of Object.entries(listeners)) model.on(name, listener);

  return () => {
    teller.stop();
    for (const [name, listener] of Object.entries(listeners)) model.off(name, listener);
    stepper.destroy();
  };
}

export default { render };
