"""What every objective returns of a batch."""

from typing import NamedTuple

from torch import Tensor


class LossTerms(NamedTuple):
    """Terms of the loss, each a scalar tensor: sums over both directions, means over pairs and voxels."""

    similarity: Tensor
    inverse_consistency: Tensor
    folds: Tensor
