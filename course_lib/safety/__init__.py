"""Safety measures and how far they reach: checking finished pictures, erasing a concept.

`concept_checker` flags pictures by cosines, `concept_erasure` edits a model in closed form, and
`recovery` asks whether what was erased can be learned back as a word. `experiment` has the harmless
concept that lesson 09 does all this to.
"""

from __future__ import annotations

from course_lib.lazy import lazy_names

_MODULES: dict[str, tuple[str, ...]] = {
    "concept_checker": (
        "check_concepts", "concept_embeddings", "image_embeddings", "threshold_at",
    ),
    "concept_erasure": (
        "concept_edit", "edited_weight", "erasure_map", "last_word_states", "token_states",
        "with_neutral_word",
    ),
    "experiment": ("concept_series", "erasure_states", "people_with"),
    "recovery": ("recovered_token",),
}  # fmt: skip
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)
