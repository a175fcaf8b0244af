"""The mini Stable Diffusion: a real one, small enough for a laptop, trained by this project.

``python -m course_lib.mini.train`` trains it, ``python -m course_lib.mini.evaluate`` measures it,
and ``cl.load_pipeline("mini")`` loads it.
"""
