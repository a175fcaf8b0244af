// The form of the portrait studio: lists, free words, negative prompt, seed, steps, guidance.
//
// mountForm(info, state, onChange) -> { box, numbers, set(name, value), complaint() }
//   onChange({ name: value })   the reader changed something and it is in range

function mountForm(info, state, onChange) {
  const fields = {};
  let choices = { ...state.choices };

  // ---- the drop-down lists

  const lists = {};
  const groups = info.groups.map(({ title, fields: attributes }) => {
    const group = make("fieldset", {}, make("legend", {}, title));
    for (const { name, label, empty, options } of attributes) {
      const list = choiceOf([["", empty], ...options.map((value) => [value, value])], choices[name] ?? "", {
        "data-attribute": name,
      });
      list.addEventListener("change", () => {
        choices = Object.fromEntries(
          Object.entries({ ...choices, [name]: list.value }).filter(([, value]) => value),
        );
        mark();
        onChange({ choices });
      });
      lists[name] = list;
      group.append(labelled(label, list));
    }
    return group;
  });
  const mark = () =>
    Object.values(lists).forEach((list) => list.classList.toggle("chosen", list.value !== ""));

  // ---- text and numbers

  const words = make("textarea", { rows: 2, placeholder: "anything you like" });
  const negative = make("input", { type: "text", placeholder: "what to keep away from" });
  const auto = (value) => (value === undefined ? "auto" : `auto: ${value}`);
  const { defaults } = info;
  const seed = make("input", { type: "number", min: 0, max: 4294967295, step: 1, required: "" });
  const steps = make("input", {
    type: "number",
    min: 1,
    max: 1000,
    step: 1,
    placeholder: auto(defaults.steps),
  });
  const guidance = make("input", {
    type: "number",
    min: 0,
    max: 100,
    step: "any",
    placeholder: auto(defaults.guidance),
  });
  const another = textButton("New seed", () => {
    seed.value = Math.floor(Math.random() * 10000);
    onChange({ seed: Number(seed.value) });
  });
  Object.assign(fields, { words, negative_prompt: negative, seed, steps, guidance });

  words.addEventListener("input", () => onChange({ words: words.value }));
  negative.addEventListener("input", () => onChange({ negative_prompt: negative.value }));
  for (const name of ["seed", "steps", "guidance"]) {
    fields[name].addEventListener("input", () => {
      const field = fields[name];
      field.setAttribute("aria-invalid", String(!field.validity.valid));
      if (field.validity.valid) onChange({ [name]: field.value === "" ? null : Number(field.value) });
    });
  }

  function set(name, value) {
    if (name === "choices") {
      choices = { ...value };
      for (const [attribute, list] of Object.entries(lists)) list.value = choices[attribute] ?? "";
      mark();
    } else if (fields[name] && String(value ?? "") !== fields[name].value) fields[name].value = value ?? "";
  }

  // What is out of range, in words, or "".
  function complaint() {
    const wrong = ["seed", "steps", "guidance"].find((name) => !fields[name].validity.valid);
    return wrong ? `${wrong}: ${fields[wrong].validationMessage}` : "";
  }

  for (const name of ["choices", ...Object.keys(fields)]) set(name, state[name]);
  const box = make(
    "div",
    { class: "form" },
    make(
      "details",
      { open: "" },
      make("summary", {}, "Describe the portrait"),
      make("div", { class: "lists" }, ...groups),
    ),
    make("label", { class: "wide" }, make("span", {}, "Your own words"), words),
    make("label", { class: "wide" }, make("span", {}, "Negative prompt"), negative),
    make(
      "div",
      { class: "row numbers" },
      labelled("Seed", seed),
      another,
      labelled("Steps", steps),
      labelled("Guidance", guidance),
    ),
  );
  return { box, words, set, complaint };
}
