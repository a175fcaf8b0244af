// Starts a widget in a page without a kernel. export.py names MOUNT and writes the two elements.
//
// The state stands in the page as JSON; each of its blobs is { mime, base64 }.

const { state, blobs } = JSON.parse(document.getElementById("widget-state").textContent);
for (const [name, { mime, base64 }] of Object.entries(blobs)) {
  state[name] = new Blob([fromBase64(base64)], { type: mime });
}
const place = document.getElementById("widget");
place.replaceChildren(); // the still picture for readers without scripts
const home = make("div");
place.append(home);
MOUNT(home, state);

// Inside an <iframe srcdoc> the frame takes the height of the widget.
if (window.frameElement) {
  const fit = () => (window.frameElement.style.height = `${document.documentElement.offsetHeight + 2}px`);
  new ResizeObserver(fit).observe(document.documentElement);
}
