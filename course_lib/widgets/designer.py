"""Design a noise schedule by hand and watch what it does to a portrait."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import traitlets
from torch import Tensor

from course_lib.device import make_generator
from course_lib.errors import check_choice, check_whole
from course_lib.plotting import CourseFigure, as_frames, image_grid
from course_lib.process import q_sample
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import from_pil, to_uint8, uint8_to_signed
from course_lib.widgets.base import CourseWidget, page_script, page_style

KINDS = ("linear", "scaled_linear", "cosine", "custom")
# Where the handles stand, as a share of the way from the first timestep to the last.
HANDLES = (0.0, 0.02, 0.08, 0.22, 0.45, 0.7, 0.9, 1.0)
LIMIT = 5.0  # log10 of the SNR, at most and at least
GAP = 0.02  # by how much a handle lies above the next one, at least
# What each kind starts from: course_lib.schedules holds the same numbers.
_BETAS = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}
_NOISE_SCALE = 6000  # noise travels as 16-bit numbers: x 6000 leaves room for 5 sigma
_LARGEST = 128  # pixels along the longer side
_NAMES = (
    "_pixels", "_noise", "_info", "kind", "num_timesteps", "beta_start", "beta_end", "points", "t",
)  # fmt: skip


class ScheduleDesigner(CourseWidget):
    r"""A noise schedule to take hold of: drag alpha-bar or the SNR, see the noised portrait.

    Both curves carry handles; they are the same eight numbers seen in two ways. The portrait is
    noised in the page by :math:`x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\,
    \epsilon` (arXiv:2006.11239, equation 4), always with the same noise. Keys on a handle: left
    and right choose a handle, up and down move it.

    Parameters
    ----------
    image : Tensor (3, H, W) in [-1, 1] or PIL image, optional
        The portrait; by default one from the course's painter. At most 128 pixels are shown.
    kind : str
        ``"linear"``, ``"scaled_linear"``, ``"cosine"`` or ``"custom"`` (needs `points`).
    num_timesteps : int
        T, 2 to 10000.
    beta_start, beta_end : float, optional
        Ends of the first two kinds, in (0, 1), the first below the second.
    points : sequence of 8 numbers, optional
        log10 of the SNR at the handles, falling, within -5 ... 5. Makes the kind ``"custom"``.
    t : int, optional
        The timestep shown large; by default a quarter of the way.
    seed : int
        Of the noise.
    caption, alt : str
        A sentence above the widget; a text alternative for its picture.

    Attributes
    ----------
    schedule : NoiseSchedule
        The result, whenever you ask for it.

    Examples
    --------
    >>> designer = ScheduleDesigner(kind="cosine", num_timesteps=100)
    >>> designer.schedule
    NoiseSchedule.cosine(100)
    """

    _needs_kernel = True
    _scripts, _styles, _names = ("designer_parts.js", "designer.js"), ("designer.css",), _NAMES
    _esm, _css = page_script(_names, *_scripts), page_style(*_styles)

    _pixels = traitlets.Bytes().tag(sync=True)
    _noise = traitlets.Bytes().tag(sync=True)
    _info = traitlets.Dict().tag(sync=True)
    kind = traitlets.Unicode("linear", help="family of the schedule").tag(sync=True)
    num_timesteps = traitlets.Int(1000, help="T").tag(sync=True)
    beta_start = traitlets.Float(1e-4).tag(sync=True)
    beta_end = traitlets.Float(0.02).tag(sync=True)
    points = traitlets.List(traitlets.Float(), help="log10 SNR at the handles").tag(sync=True)
    t = traitlets.Int(0, help="timestep shown large").tag(sync=True)

    def __init__(
        self,
        image: Tensor | Any | None = None,
        *,
        kind: str = "linear",
        num_timesteps: int = 1000,
        beta_start: float | None = None,
        beta_end: float | None = None,
        points: Sequence[float] | None = None,
        t: int | None = None,
        seed: int = 0,
        caption: str = "",
        alt: str = "",
    ) -> None:
        check_choice("kind of schedule", kind, KINDS)
        if points is None and kind == "custom":
            raise ValueError('kind="custom" needs points, eight falling numbers: log10 of the SNR.')
        start, end = _BETAS.get(kind, _BETAS["linear"])
        start = start if beta_start is None else beta_start
        end = end if beta_end is None else beta_end
        _check_betas(start, end)
        num_timesteps = _check_count(num_timesteps)
        self._x_0 = _portrait(image)
        noise = torch.randn(self._x_0.shape, generator=make_generator(seed))
        self._eps = (noise * _NOISE_SCALE).round().clamp(-32767, 32767) / _NOISE_SCALE
        kept = _check_points(points) if points is not None else []
        super().__init__(
            _pixels=to_uint8(self._x_0).tobytes(),
            _noise=_as_int16(self._eps),
            _info=self._describe(caption, alt),
            kind="custom" if kept else kind,
            num_timesteps=num_timesteps,
            beta_start=start,
            beta_end=end,
            points=kept,
            t=num_timesteps // 4 if t is None else _check_t(t, num_timesteps),
        )

    def _describe(self, caption: str, alt: str) -> dict[str, Any]:
        """What the page needs to know once."""
        return {
            "width": self._x_0.shape[-1],
            "height": self._x_0.shape[-2],
            "noise_scale": _NOISE_SCALE,
            "handles": list(HANDLES),
            "limit": LIMIT,
            "gap": GAP,
            "betas": {kind: list(ends) for kind, ends in _BETAS.items()},
            "caption": caption,
            "alt": alt or caption or "schedule designer: alpha-bar, SNR and a noised portrait",
        }

    @property
    def schedule(self) -> NoiseSchedule:
        """The schedule as it stands now, in float64."""
        if self.kind == "custom":
            return _from_points(self.points, self.num_timesteps)
        if self.kind == "cosine":
            return NoiseSchedule.cosine(self.num_timesteps)
        make = getattr(NoiseSchedule, self.kind)
        return make(self.num_timesteps, beta_start=self.beta_start, beta_end=self.beta_end)

    def noised(self, t: int | Sequence[int] | None = None) -> Tensor:
        """The portrait at `t` as the page draws it, shape (B, 3, H, W); by default at `self.t`."""
        times = torch.as_tensor(self.t if t is None else t).reshape(-1)
        x_0 = self._x_0.expand(len(times), -1, -1, -1)
        return q_sample(x_0, times, self.schedule, noise=self._eps.expand_as(x_0))

    def still(self) -> CourseFigure:
        """Eight moments of the portrait as a figure, for pages without a kernel or script."""
        times = torch.linspace(0, self.num_timesteps - 1, min(8, self.num_timesteps)).round().long()
        labels = [f"t = {int(t)}" for t in times]
        return image_grid(self.noised(times), labels, columns=4, alt=self.alt_text())

    def alt_text(self) -> str:
        """The picture in one sentence."""
        return self._info["alt"]

    @traitlets.validate("kind")
    def _valid_kind(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] == "custom" and not self.points:
            raise traitlets.TraitError('set points instead; they make the kind "custom".')
        return _as_trait(check_choice, "kind of schedule", proposal["value"], KINDS)

    @traitlets.validate("points")
    def _valid_points(self, proposal: dict[str, Any]) -> list[float]:
        return _as_trait(_check_points, proposal["value"]) if proposal["value"] else []

    @traitlets.validate("num_timesteps")
    def _valid_count(self, proposal: dict[str, Any]) -> int:
        return _as_trait(_check_count, proposal["value"])

    @traitlets.validate("beta_start", "beta_end")
    def _valid_betas(self, proposal: dict[str, Any]) -> float:
        ends = {"beta_start": self.beta_start, "beta_end": self.beta_end}
        ends[proposal["trait"].name] = proposal["value"]
        _as_trait(_check_betas, **ends)
        return proposal["value"]

    @traitlets.validate("t")
    def _valid_t(self, proposal: dict[str, Any]) -> int:
        return _as_trait(_check_t, proposal["value"], self.num_timesteps)

    @traitlets.observe("points")
    def _points_set(self, change: dict[str, Any]) -> None:
        if change["new"]:
            self.kind = "custom"

    @traitlets.observe("num_timesteps")
    def _count_set(self, change: dict[str, Any]) -> None:
        self.t = min(self.t, change["new"] - 1)

    def __repr__(self) -> str:
        return f"ScheduleDesigner({self.schedule!r}, t = {self.t})"


def _from_points(points: Sequence[float], num_timesteps: int) -> NoiseSchedule:
    """The schedule through the handles; designer.js computes the same."""
    at = torch.tensor(HANDLES, dtype=torch.float64)
    value = torch.tensor(points, dtype=torch.float64)
    step, slope = at.diff(), value.diff() / at.diff()
    # Fritsch and Carlson's slopes: the weighted harmonic mean never overshoots a falling curve.
    near, far = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    inner = (near + far) / (near / slope[:-1] + far / slope[1:])
    tangent = torch.cat([slope[:1], inner, slope[-1:]])
    u = torch.linspace(0, 1, num_timesteps, dtype=torch.float64)
    k = (torch.searchsorted(at, u, right=True) - 1).clamp(0, len(step) - 1)
    s = (u - at[k]) / step[k]
    log_snr = (
        value[k] * (1 + 2 * s) * (1 - s) ** 2
        + tangent[k] * step[k] * s * (1 - s) ** 2
        + value[k + 1] * s**2 * (3 - 2 * s)
        + tangent[k + 1] * step[k] * s**2 * (s - 1)
    )
    alpha_bar = 1 / (1 + 10**-log_snr)
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    return NoiseSchedule(1 - alpha_bar / before, name="custom")


def _portrait(image: Any) -> Tensor:
    """The picture as (3, H, W) in [-1, 1], at most 128 pixels wide and high."""
    if image is None:
        from course_lib.portraits import Attributes, paint_portrait

        pixels = torch.from_numpy(paint_portrait(Attributes(style="oil painting"), 3, 96))
        return uint8_to_signed(pixels.movedim(-1, 0))
    if not isinstance(image, Tensor):
        if not hasattr(image, "convert"):
            raise ValueError(
                f"image must be a tensor (3, H, W) in [-1, 1] or a PIL image, not "
                f"{type(image).__name__}."
            )
        image = from_pil(image)
    x_0 = as_frames(image[None] if image.ndim == 3 else image, name="image")
    if len(x_0) > 1:
        raise ValueError(f"image holds {len(x_0)} pictures; the designer shows one: image[0].")
    scale = _LARGEST / max(x_0.shape[-2:])
    if scale < 1:
        size = [max(round(edge * scale), 1) for edge in x_0.shape[-2:]]
        x_0 = torch.nn.functional.interpolate(x_0, size, mode="bilinear", antialias=True)
    # The page gets bytes; what `noised` starts from is the same to the bit.
    return uint8_to_signed(((x_0[0].expand(3, -1, -1) + 1) * 127.5).round())


def _as_int16(eps: Tensor) -> bytes:
    """(3, H, W) noise as little-endian 16-bit numbers in the order of the page's pixels."""
    return (eps * _NOISE_SCALE).round().movedim(0, -1).numpy().astype("<i2").tobytes()


def _check_betas(beta_start: float, beta_end: float) -> None:
    if not 0 < beta_start < beta_end < 1:
        raise ValueError(
            f"betas must satisfy 0 < beta_start < beta_end < 1, got {beta_start} and {beta_end}."
        )


def _check_count(num_timesteps: int) -> int:
    return check_whole("num_timesteps", num_timesteps, low=2, high=10_000)


def _check_t(t: int, num_timesteps: int) -> int:
    if not 0 <= t < num_timesteps:
        raise ValueError(f"t must lie in 0..{num_timesteps - 1}, not {t}.")
    return int(t)


def _check_points(points: Sequence[float]) -> list[float]:
    values = [float(value) for value in points]
    # A dragged handle stops exactly at the gap, and floats round.
    falling = all(a - b >= 0.99 * GAP for a, b in pairwise(values))
    if len(values) != len(HANDLES) or not falling or max(map(abs, values)) > LIMIT:
        raise ValueError(
            f"points must be {len(HANDLES)} falling numbers (log10 of the SNR) within "
            f"-{LIMIT:g} ... {LIMIT:g}, each at least {GAP} below the one before; got {values}."
        )
    return values


def _as_trait(check: Any, *args: Any, **options: Any) -> Any:
    """Run a check of ours and give its message to traitlets."""
    try:
        return check(*args, **options)
    except ValueError as error:
        raise traitlets.TraitError(str(error)) from error
