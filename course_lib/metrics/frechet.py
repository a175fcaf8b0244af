"""FID: the Fréchet distance of two sets of features, each taken for a normal distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.metrics.features import checked_pair


def fid(x: Tensor, y: Tensor) -> float:
    r"""Fréchet distance of the normal distributions with the sets' means and covariances.

    .. math:: |\mu_x - \mu_y|^2 + \mathrm{tr}(\Sigma_x + \Sigma_y - 2 (\Sigma_x \Sigma_y)^{1/2})

    arXiv:1706.08500, equation 6, where the features are those of Inception; with others the value
    is on another scale and cannot be compared with published ones. The estimate is biased: two
    samples of one distribution give more than 0, and the more so the fewer images there are
    (arXiv:1911.07023). With fewer images than features the covariances are singular. Compare sets
    of equal size only.

    Parameters
    ----------
    x, y : Tensor, shape (N, F) and (M, F)
        Features of at least two images each.

    Returns
    -------
    float
        At least 0; lower is closer.
    """
    x, y = checked_pair(x, y, least=2, what="FID")
    # correction=1: the unbiased covariance, as in the reference implementation and in torchmetrics
    (mean_x, cov_x), (mean_y, cov_y) = ((s.mean(dim=0), s.T.cov(correction=1)) for s in (x, y))
    return frechet_distance(mean_x, torch.atleast_2d(cov_x), mean_y, torch.atleast_2d(cov_y))


def frechet_distance(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> float:
    r"""Squared Fréchet (2-Wasserstein) distance of two normal distributions.

    Dowson and Landau, Journal of Multivariate Analysis 12(3), 1982. The product of two covariances
    is not symmetric, but it has the eigenvalues of :math:`\Sigma_x^{1/2} \Sigma_y \Sigma_x^{1/2}`,
    which is, and whose square root is therefore stable.

    Parameters
    ----------
    mean_x, mean_y : Tensor, shape (F,)
    cov_x, cov_y : Tensor, shape (F, F)
        Symmetric, positive semidefinite; float64.
    """
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # Rounding turns eigenvalues of 0 into small negative ones
    overlap = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    distance = (mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * overlap
    return max(distance.item(), 0.0)
