// Starts the widgets of a page: export.py names MOUNT and the key of the places.
//
// Each place holds its state as JSON in a script element, and a still picture for readers without
// scripts. Blobs stand in the JSON as { mime, base64 }.

for (const place of document.querySelectorAll("[data-course-widget=KEY]")) {
  const { state, blobs } = JSON.parse(place.querySelector("script").textContent);
  for (const [name, { mime, base64 }] of Object.entries(blobs)) {
    state[name] = new Blob([fromBase64(base64)], { type: mime });
  }
  const home = make("div");
  place.replaceWith(home); // another view of the same output starts its own place only
  MOUNT(home, state);
}
