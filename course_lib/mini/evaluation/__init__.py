"""How good the mini Stable Diffusion is: prompts, generated images, metrics and thresholds."""
