"""Two sets of features, compared by every metric of this package, beside real against real."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.device import make_generator
from course_lib.metrics.features import checked_pair
from course_lib.metrics.frechet import fid
from course_lib.metrics.intervals import Estimate, proportion
from course_lib.metrics.kernel import kid_interval, kid_of_resamples
from course_lib.metrics.neighbors import density_coverage, inside
from course_lib.metrics.two_sample import two_sample_accuracy
from course_lib.tables import table_as_html, table_as_text

Rows = dict[str, dict[str, float | Estimate]]
COLUMNS = ("generated against real", "real against real")
MIN_IMAGES = 20  # halves of ten have ten neighbours and five folds of two
_SPLITS, _KID_SPLITS = 5, 200  # a weighing of the kernel is cheap, an FID is not


@dataclass(frozen=True)
class Comparison:
    """What `compare_features` found; it prints as a table.

    Attributes
    ----------
    real, generated : int
        How many pictures of each.
    encoder : str
        What made the features.
    rows : dict
        Metric -> column -> number or estimate (``value``, ``low``, ``high``: a 95 % interval).
        The columns are `COLUMNS`.
    notes : tuple of str
        What to know when reading the numbers.
    """

    real: int
    generated: int
    encoder: str
    rows: Rows
    notes: tuple[str, ...] = ()

    def value(self, metric: str, column: str = COLUMNS[0]) -> float:
        """One number of the table, without its interval."""
        return _value(self.rows[metric][column])

    def as_dict(self) -> dict:
        """The same for JSON."""
        return {
            "real": self.real, "generated": self.generated, "features": self.encoder,
            "metrics": self.rows, "notes": list(self.notes),
        }  # fmt: skip

    def _title(self) -> str:
        return f"{self.generated} generated, {self.real} real"

    def __str__(self) -> str:
        lines = [table_as_text(self._title(), self.rows), "", f"Features: {self.encoder}."]
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        notes = (f"Features: {self.encoder}.", *(f"Note: {note}" for note in self.notes))
        return table_as_html(self._title(), self.rows) + "".join(
            f"<div>{html.escape(note)}</div>" for note in notes
        )


def compare_features(
    real: Tensor, generated: Tensor, *, encoder: str = "given by the caller", seed: int = 0
) -> Comparison:
    """KID, FID, precision and recall, density and coverage, and the two-sample test.

    The second column has the same metrics for random halves of the real set: what no difference
    looks like. Halves have fewer images, so KID varies more; its interval there is the range of
    95 % of the halves. FID depends on the number of images, so both columns have it for as many a
    side as a half has, as the mean of `_SPLITS` draws.

    Parameters
    ----------
    real, generated : Tensor, shape (N, F) and (M, F)
        Features of at least `MIN_IMAGES` images each.
    encoder : str
        What made them, for the table.
    seed : int
        Of the halves and of the bootstrap.
    """
    pair = checked_pair(
        real, generated, least=MIN_IMAGES, what="a comparison", names=("real", "generated")
    )
    generator, (real, generated) = make_generator(seed), pair
    orders = [torch.randperm(len(real), generator=generator) for _ in range(_KID_SPLITS)]
    splits = [(order, torch.randperm(len(generated), generator=generator)) for order in orders]
    size = min(len(real) // 2, len(generated))
    first = {"KID": kid_interval(*pair, seed=seed)} | _measure(real, generated)
    second = {"KID": _kid_of_halves(real, orders)} | _halves_measured(real, orders[:_SPLITS])
    first["FID"], second["FID"] = _fids(real, generated, splits[:_SPLITS], size)
    names = ("KID", "FID", *_METRICS)
    rows = {name: {COLUMNS[0]: first[name], COLUMNS[1]: second[name]} for name in names}
    note = _note_on_fid(size, real.shape[1])
    return Comparison(len(real), len(generated), encoder, rows, (note,))


_METRICS: dict[str, Callable[[Tensor, Tensor], float | Estimate]] = {
    "precision": lambda real, generated: proportion(inside(real, generated)),
    "recall": lambda real, generated: proportion(inside(generated, real)),
    "density": lambda real, generated: density_coverage(real, generated).density,
    "coverage": lambda real, generated: density_coverage(real, generated).coverage,
    "told apart": two_sample_accuracy,
}


def _measure(real: Tensor, generated: Tensor) -> dict[str, float | Estimate]:
    return {name: metric(real, generated) for name, metric in _METRICS.items()}


def _halves_measured(real: Tensor, orders: list[Tensor]) -> dict[str, float]:
    """The mean of each metric over some splits of the real set."""
    half = len(real) // 2
    found = [_measure(real[order[:half]], real[order[half : 2 * half]]) for order in orders]
    return {name: sum(_value(cells[name]) for cells in found) / len(found) for name in _METRICS}


def _fids(
    real: Tensor, generated: Tensor, splits: list[tuple[Tensor, Tensor]], size: int
) -> tuple[float, float]:
    """Mean FID of `size` real images a side: to as many generated ones, and to other real ones."""
    found = [
        (
            fid(real[order[:size]], generated[drawn[:size]]),
            fid(real[order[:size]], real[order[size : 2 * size]]),
        )
        for order, drawn in splits
    ]
    return tuple(sum(values) / len(found) for values in zip(*found, strict=True))


def _value(cell: float | Estimate) -> float:
    return cell["value"] if isinstance(cell, dict) else cell


def _kid_of_halves(real: Tensor, orders: list[Tensor]) -> Estimate:
    """Mean and central 95 % of the kernel distance of random halves."""
    half = len(real) // 2
    first = torch.zeros(len(orders), len(real), dtype=torch.float64)
    second = torch.zeros_like(first)
    for row, order in enumerate(orders):
        first[row, order[:half]], second[row, order[half : 2 * half]] = 1, 1
    values = kid_of_resamples(real, real, first, second)  # no image is in both halves
    low, high = values.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return {"value": values.mean().item(), "low": low, "high": high}


def _note_on_fid(images: int, features: int) -> str:
    few = (
        f" There are fewer than the {features} features, so the covariances are singular."
        if images < features
        else ""
    )
    return (
        f"FID depends on the number of pictures. Here it is that of {images} a side, in both "
        f"columns; compare it with FIDs of as many only.{few}"
    )
