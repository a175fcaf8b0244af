// Ties the stepper to a live kernel: the traits value, fps and loop follow the page and move it.

const SEND_EVERY = 100; // ms; Python need not hear of every frame of a fast play

function render({ model, el }) {
  const root = make("div");
  el.append(root);
  let sent = model.get("value");
  let sentAt = 0;
  let waiting = 0;

  function send() {
    clearTimeout(waiting);
    waiting = 0;
    sentAt = performance.now();
    sent = stepper.index;
    model.set("value", sent);
    model.save_changes();
  }

  function set(name, value) {
    model.set(name, value);
    model.save_changes();
  }

  const layout = model.get("_layout");
  const stepper = mountStepper(
    root,
    {
      sprite: new Blob([model.get("_sprite")], { type: layout.mime }),
      layout,
      info: model.get("_info"),
      value: model.get("value"),
      fps: model.get("fps"),
      loop: model.get("loop"),
    },
    {
      onIndex() {
        const pause = SEND_EVERY - (performance.now() - sentAt);
        if (pause <= 0) send();
        else if (!waiting) waiting = setTimeout(send, pause);
      },
      onFps: (fps) => set("fps", fps),
      onLoop: (loop) => set("loop", loop),
    },
  );

  // The kernel echoes what the page sent; by then a play may be further on.
  const onValue = () => model.get("value") !== sent && stepper.show((sent = model.get("value")));
  const onFps = () => stepper.setFps(model.get("fps"));
  const onLoop = () => stepper.setLoop(model.get("loop"));
  model.on("change:value", onValue);
  model.on("change:fps", onFps);
  model.on("change:loop", onLoop);

  return () => {
    clearTimeout(waiting);
    model.off("change:value", onValue);
    model.off("change:fps", onFps);
    model.off("change:loop", onLoop);
    stepper.destroy();
  };
}

export default { render };
