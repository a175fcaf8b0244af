"""The settings of lesson 10's runs, shared by ``tools/train_ddpo.py`` and the lesson."""

from __future__ import annotations

# They state style, person, hair, clothes and place, and leave the expression open
PROMPTS = (
    "flat illustration of a young woman with brown hair in a green shirt, in front of a bookshelf",
    "pastel of an elderly man with gray hair in a red suit, in front of a landscape",
    "watercolor of a man with black hair in a blue shirt, in front of a sunset",
    "pixel art of a young woman with red hair in a yellow hoodie, in front of a landscape",
)
# Run -> the weight of the KL divergence from the model before training
RUNS = {"smile": 0.0, "smile-kl": 0.1}
TRAINING = {"each": 4, "steps": 5, "updates": 1, "lr": 1e-2, "clip_range": 1e-2, "seed": 0}
DPO = {"rank": 8, "steps": 80, "batch_size": 4, "lr": 1e-3, "beta": 2500.0}
CLASSIFIER = "smile_classifier"  # the folder of the second classifier within data/models
