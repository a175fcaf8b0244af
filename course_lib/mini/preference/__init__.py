"""Tuning a diffusion model to a reward or to preferences (lesson 10): DDPO and Diffusion-DPO.

Nothing here is part of the shipped mini's training.
"""
