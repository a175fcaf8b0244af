"""How many portraits a second are painted, at 64 and 128 pixels.

    python benchmarks/painting.py --workers 2

Prints images/s of one process, of several, of the cache, and of a DataLoader with workers. Times
include starting the processes.
"""

from __future__ import annotations

import argparse
import tempfile
import time

from torch.utils.data import DataLoader

from course_lib.portraits import PortraitDataset

GOALS = {64: 300, 128: 60}  # images/s with two workers on two cores


def seconds(work) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(size: int, n: int, workers: int) -> dict[str, float]:
    """Images per second by each way to get them."""
    portraits = PortraitDataset(n, size=size)
    portraits.pixels(range(8))  # the first portrait pays for imports
    loader = DataLoader(portraits, batch_size=32, num_workers=workers)
    rates = {
        "one process": n / 4 / seconds(lambda: portraits.pixels(range(n // 4))),
        f"{workers} processes": n / seconds(lambda: portraits.pixels(workers=workers)),
        f"DataLoader, {workers} workers": n / seconds(lambda: list(loader)),
    }
    with tempfile.TemporaryDirectory() as folder:
        PortraitDataset(n // 4, size=size, cache_dir=folder).pixels(workers=workers)
        cached = PortraitDataset(n // 4, size=size, cache_dir=folder)
        rates["cache"] = n / 4 / seconds(cached.pixels)
    return rates


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="rough length of each part")
    arguments = parser.parse_args()
    for size, goal in GOALS.items():
        n = max(256, int(goal * arguments.seconds) // 4 * 4)
        print(f"{size} px, {n} portraits (goal with two workers: {goal} images/s)")
        for name, rate in measure(size, n, arguments.workers).items():
            print(f"  {name:<24} {rate:8.0f} images/s")


if __name__ == "__main__":
    main()
