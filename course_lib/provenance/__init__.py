"""Where a picture comes from: a watermark in its pixels, or in the noise that it was made from."""

from __future__ import annotations

from course_lib.lazy import lazy_names

_MODULES: dict[str, tuple[str, ...]] = {
    "credentials": (
        "Credentials",
        "SigningIdentity",
        "read_credentials",
        "sign_png",
        "test_identity",
    ),
    "tree_ring": ("TreeRingReading", "detect_tree_ring", "ring_scores", "tree_ring_noise"),
    "verification": ("Verification", "verify"),
    "watermark": ("WatermarkReading", "add_watermark", "read_watermark"),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)
