// A quiz: for each question a group of radio buttons, a button that answers, and why.
//
// state = { _quiz: { title, questions: [{ text, choices: [{ text, right, why }], section, place }] } };
// see quiz.py. Nothing is sent to Python: the answers live in the page, and only until it is closed.
//
// data-ready, data-answered (questions with their right choice found) and data-first (found at the
// first try) tell what is shown; a fieldset has data-state (open, wrong, right).

let quizzes = 0; // radio buttons of one name are one group in the whole page

function mountQuiz(root, state) {
  const { title, questions } = state._quiz;
  const serial = `${(quizzes += 1)}-${Math.random().toString(36).slice(2)}`;
  dress(root, "quiz", title, {
    Enter(event) {
      if (event.target.type !== "radio") return false;
      asked.find((one) => one.field.contains(event.target)).answer();
    },
  });
  const asked = questions.map((question, k) => mountQuestion(question, k, `quiz-${serial}-${k}`, count));
  const result = make("p", { class: "result", role: "status" });
  const again = textButton("Begin again", restart, { hidden: "" });
  root.append(
    make("p", { class: "caption title" }, title),
    ...asked.map((one) => one.field),
    make("div", { class: "row" }, result, again),
  );

  function count() {
    const answered = asked.filter((one) => one.tries() && one.found()).length;
    const first = asked.filter((one) => one.tries() === 1 && one.found()).length;
    const done = answered === asked.length;
    const total = asked.length;
    write(result, done ? `Result: ${first} of ${total} at the first try.` : `${answered} of ${total} answered.`);
    again.hidden = !asked.some((one) => one.tries());
    root.dataset.answered = answered;
    root.dataset.first = first;
    root.dataset.ready = "true";
  }

  function restart() {
    for (const one of asked) one.reset();
    count();
    asked[0].focus();
  }

  count();
}

function mountQuestion(question, k, name, onAnswer) {
  const radios = question.choices.map((_, i) => make("input", { type: "radio", name, value: i }));
  const labels = question.choices.map((choice, i) =>
    make("label", {}, radios[i], make("span", {}, ...inlineCode(choice.text))),
  );
  const button = textButton("Answer", answer, { "aria-label": `Answer question ${k + 1}` });
  const verdict = make("div", { class: "verdict", "aria-live": "polite" });
  const field = make(
    "fieldset",
    {},
    make("legend", {}, make("span", { class: "number" }, `${k + 1}. `), ...inlineCode(question.text)),
    ...labels,
    make("div", { class: "row" }, button),
    verdict,
  );
  let tried = new Set();
  let found = false;

  function say(kind, mark, ...lines) {
    field.dataset.state = kind;
    verdict.replaceChildren(...lines.map((parts, i) =>
      make("p", {}, ...(i ? [] : [make("strong", {}, mark), " "]), ...parts)));
  }

  function answer() {
    if (found) return;
    const chosen = radios.findIndex((radio) => radio.checked);
    if (chosen < 0) return say("open", "Choose one first.", []);
    const { right, why } = question.choices[chosen];
    tried.add(chosen);
    found = right;
    if (!right) {
      say("wrong", "Not right.", inlineCode(why), [`Try another choice, or read ${question.place} of the lesson again.`]);
    } else {
      say("right", "Right.", inlineCode(why), [`The lesson answers it in ${question.place}.`]);
      verdict.append(whyNot());
      radios.forEach((radio, i) => (radio.disabled = i !== chosen));
      button.setAttribute("aria-disabled", "true");
    }
    labels[chosen].dataset.verdict = right ? "right" : "wrong";
    labels[chosen].querySelector(".mark")?.remove();
    labels[chosen].append(make("span", { class: "mark" }, right ? "\u2713 right" : "\u2717 not right"));
    onAnswer();
  }

  // The reasons against the choices that were not tried, for the curious.
  function whyNot() {
    const others = question.choices.filter((choice, i) => !choice.right && !tried.has(i));
    if (!others.length) return "";
    const items = others.map((choice) =>
      make("li", {}, make("em", {}, ...inlineCode(choice.text)), " ", ...inlineCode(choice.why)),
    );
    return make("details", {}, make("summary", {}, "Why not the others"), make("ul", {}, ...items));
  }

  function reset() {
    tried = new Set();
    found = false;
    for (const radio of radios) Object.assign(radio, { checked: false, disabled: false });
    for (const label of labels) {
      label.querySelector(".mark")?.remove();
      delete label.dataset.verdict;
    }
    button.removeAttribute("aria-disabled");
    verdict.replaceChildren();
    field.dataset.state = "open";
  }

  reset();
  return { field, answer, reset, tries: () => tried.size, found: () => found, focus: () => radios[0].focus() };
}

// Backticks become code; the $ around maths, which is written to be read as it is, go.
function inlineCode(text) {
  return text
    .replace(/\$([^$]+)\$/g, "$1")
    .split(/`([^`]+)`/)
    .map((part, i) => (i % 2 ? make("code", {}, part) : part));
}

const MAIN = mountQuiz;
