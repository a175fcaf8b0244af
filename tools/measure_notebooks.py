"""Measure the time and the peak memory of each lesson, for the README and the lessons' own tables.

    python tools/measure_notebooks.py            # all notebooks
    python tools/measure_notebooks.py 01 03      # those whose names begin so

Nothing is written to the notebooks. Let nothing else run meanwhile. Peak memory is that of the
kernel's process, as Linux counts it; elsewhere the column stays empty. Models are not looked up on
the network (HF_HUB_OFFLINE=1), so a lesson that would need it fails here.
"""

from __future__ import annotations

import argparse
import os
import sys

from execute_notebooks import find_notebooks

from course_lib.classroom.lesson_times import measure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prefixes", nargs="*", metavar="NN", help="only notebooks that begin so")
    options = parser.parse_args()
    os.environ.setdefault("COURSE_DEVICE", "cpu")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(f"{'notebook':<28}{'seconds':>9}{'peak GB':>9}   slowest cell")
    total = 0.0
    for path in find_notebooks(options.prefixes):
        seconds, memory, cell, cell_seconds = measure(path)
        total += seconds
        memory_text = f"{memory:.2f}" if memory is not None else "-"
        print(
            f"{path.name:<28}{seconds:>9.1f}{memory_text:>9}   cell {cell}, {cell_seconds:.1f} s",
            flush=True,
        )
    print(f"{'all':<28}{total:>9.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
