"""What the training of a stage minimises: an objective, and the terms that it returns of a batch."""

from typing import NamedTuple, Self

from torch import Tensor, nn

from cohortreg.maps.batch import Batch


class LossTerms(NamedTuple):
    """Terms of the loss, each a scalar tensor: sums over both directions, means over pairs and voxels.

    Attributes:
        similarity: Of the warped moving and the fixed images; the smaller, the more alike.
        inverse_consistency: Or any other regularity, which the weight of the stage multiplies.
        folds: Mean number of folds of a map.
    """

    similarity: Tensor
    inverse_consistency: Tensor
    folds: Tensor


class Objective(nn.Module):
    """The base of objectives, which compute the loss terms of a batch of pairs.

    Args:
        registration: Takes moving and fixed images, [batch, 1, *grid], and returns a map, see `icon.steps`.
        frozen: The part of it that is not trained; it stays in evaluation mode.
    """

    def __init__(self, registration: nn.Module, frozen: nn.Module | None = None):
        super().__init__()
        self.registration = registration
        # In a list, since it is no module beside the registration.
        self.frozen = [] if frozen is None else [frozen.requires_grad_(False)]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, batch: Batch) -> LossTerms:
        """Compute the loss terms of a batch of pairs."""
        raise NotImplementedError
