// The stepper as a widget: its traits value, fps and loop follow the page and move it.
//
// state = { _sprite, _layout, _info, _chunk, value, fps, loop }; see stepper.py. Without a sprite
// the frames are still to come, one chunk after the other.

function mountStepping(root, state, callbacks = {}) {
  const now = { ...state };
  const waiting = make("p", { class: "waiting" }, "Waiting for the first picture. If none comes, run the cell above.");
  let stepper = null;
  let stale = false;

  function keep(name, value) {
    now[name] = value;
    callbacks.change?.({ [name]: value });
  }

  function mount() {
    stale = false;
    stepper?.destroy();
    const bytes = now._sprite;
    stepper = mountStepper(
      root,
      {
        sprite: bytes.byteLength ? new Blob([bytes], { type: now._layout.mime }) : null,
        layout: now._layout,
        info: structuredClone(now._info),
        value: now.value,
        fps: now.fps,
        loop: now.loop,
      },
      {
        onIndex: (i) => keep("value", i),
        onFps: (fps) => keep("fps", fps),
        onLoop: (loop) => keep("loop", loop),
      },
    );
    if (bytes.byteLength) waiting.remove();
    else root.append(waiting);
  }

  function push({ data, ...chunk }) {
    if (!data) return;
    waiting.remove();
    stepper.push(chunk, new Blob([data], { type: now._layout.mime }));
  }

  const setters = {
    value: (i) => stepper.show(i),
    fps: (fps) => stepper.setFps(fps),
    loop: (loop) => stepper.setLoop(loop),
    _chunk: push,
  };
  mount();
  return {
    set(name, value) {
      now[name] = value;
      if (setters[name]) return setters[name](value);
      if (!stale) queueMicrotask(mount); // sprite, layout and numbers come one after the other
      stale = true;
    },
    destroy: () => stepper.destroy(),
  };
}

const MAIN = mountStepping;
