// Opened from a disk, a page may not fetch others: the search shows titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined")
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What scrolls sideways can be reached and scrolled with the keyboard.
const SCROLLED = "pre, .table-wrapper, .math, .output, .cell_output, .lesson-scroll";
const reach = () => {
    for (const place of document.querySelectorAll(SCROLLED)) {
        const scrolls = place.scrollWidth > place.clientWidth + 1
            && getComputedStyle(place).overflowX !== "visible";
        if (scrolls) place.tabIndex = 0;
        else place.removeAttribute("tabindex");
    }
};
addEventListener("load", reach);
addEventListener("resize", reach);
document.addEventListener("toggle", reach, true);
