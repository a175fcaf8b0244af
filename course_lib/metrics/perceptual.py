"""A perceptual distance of two pictures: how far apart the feature maps of a network lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.metrics.appearance import random_maps
from course_lib.metrics.pixels import check_pair, reduce_batch
from course_lib.tensors import to_unit

FeatureMaps = Callable[[Tensor], Sequence[Tensor]]


def random_feature_maps(images: Tensor) -> list[Tensor]:
    """Maps of two layers of fixed random filters, which need no training and see texture.

    Images (B, 3, H, W) in [-1, 1] -> (B, 32, H - 4, W - 4) and one map of half that resolution.
    """
    return list(random_maps(to_unit(images)))


@torch.no_grad()
def perceptual_distance(
    a: Tensor,
    b: Tensor,
    feature_maps: FeatureMaps = random_feature_maps,
    *,
    reduction: str = "mean",
) -> Tensor:
    r"""Mean squared distance of unit-normalised feature vectors; 0 means equal, 4 is the most.

    .. math:: \frac{1}{L} \sum_l \frac{1}{H_l W_l} \sum_{h,w}
        \left|\hat a^l_{hw} - \hat b^l_{hw}\right|^2

    where :math:`\hat a^l_{hw}` is the vector of channels at one place of layer l, divided by its
    length. This is the distance of arXiv:1801.03924, equation 1, with all channel weights equal and
    the mean over layers. LPIPS itself *learns* the weights from people's answers, on top of
    networks that were trained on photographs; nothing of that is used here.

    Parameters
    ----------
    a, b : Tensor, shape (B, C, H, W)
        Images in [-1, 1].
    feature_maps : callable
        Images -> a sequence of maps (B, C_l, H_l, W_l), such as
        `course_lib.mini.attribute_classifier.AttributeClassifier.feature_maps`.
    reduction : {"mean", "none"}
        One number for the batch, or one for each image, shape (B,).
    """
    check_pair(a, b, reduction)
    layers = zip(feature_maps(a), feature_maps(b), strict=True)
    # Each (B, C, H, W) -> (B,): the sum over channels is the squared length
    distances = [
        (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(dim=1).mean(dim=(1, 2))
        for x, y in layers
    ]
    return reduce_batch(torch.stack(distances).mean(dim=0), reduction)
