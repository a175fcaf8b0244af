// Opened from a disk, a page may not fetch others: the search shows titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined")
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What scrolls sideways can be reached and scrolled with the keyboard.
const SCROLLED = "pre, .table-wrapper, .math-wrapper, .cell_output .output";
const reach = () => {
    for (const place of document.querySelectorAll(SCROLLED)) {
        const scrolls = place.scrollWidth > place.clientWidth + 1
            && getComputedStyle(place).overflowX !== "visible";
        if (scrolls) place.tabIndex = 0;
        else place.removeAttribute("tabindex");
    }
};
addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(reach));
addEventListener("resize", reach);
document.addEventListener("toggle", reach, true);

// Names for screen readers that the theme leaves out: of its two side bars, and the level of headings.
addEventListener("DOMContentLoaded", () => {
    document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
    document.querySelector(".toc-drawer")?.setAttribute("aria-label", "On this page");
    for (const one of document.querySelectorAll("p.caption[role=heading]"))
        one.setAttribute("aria-level", "2");
});

// Printed sentences are wrapped, as in JupyterLab; what has columns keeps its lines and scrolls.
addEventListener("DOMContentLoaded", () => {
    for (const one of document.querySelectorAll(".cell_output pre"))
        if (!/\S {2,}\S/.test(one.textContent)) one.classList.add("wrapped");
});
