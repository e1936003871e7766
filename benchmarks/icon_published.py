"""The published models' maps, from weights under the published names, beside those of the authors' package.

The package makes its own model; its weights, random here, are saved as its authors save theirs, imported as
`cohortreg import weights` does, and both sides register the same pair. Writes how far apart their maps are.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import torch
from icon_speed import DOCS, circumstances, identity, images, import_peer, install_peer

from cohortreg.images.io import Image
from cohortreg.learning.devices import Device
from cohortreg.methods.icon import import_weights
from cohortreg.methods.trained import Trained

ALLOWED = 1e-3  # voxels, on average

#: Each model, the package's function that makes it, and grids that it is tried on: the knees', and for GradICON,
#: which has no layer bound to a grid, a smaller one for a quick look. Both name their axes alike.
KNEES = (80, 192, 192)
MODELS = {
    "icon": ("OAI_knees_registration_model", KNEES),
    "gradicon": ("OAI_knees_gradICON_model", (80, 96, 112)),
}


def randomise(network: torch.nn.Module) -> None:
    """Random weights of a trained network's size, so that every layer counts and images move by some voxels."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.7, 1.3)
    for name, parameter in network.named_parameters():
        if "lastConv" in name:
            torch.nn.init.normal_(parameter, std=0.01 if name.endswith("weight") else 0.1)


@torch.inference_mode()
def compare(name: str, folder: Path) -> dict:
    """A row of the table: mean distances in voxels."""
    function, grid = MODELS[name]
    package = import_peer()
    theirs = getattr(package.pretrained_models, function)(pretrained=False)
    theirs.assign_identity_map([1, 1, *grid])
    theirs.to("cpu").eval()
    randomise(theirs)
    torch.save(theirs.state_dict(), folder / "weights.pth")
    moving, fixed = images(1, grid)
    phi_ab = theirs.regis_net(moving[None], fixed[None])(theirs.identity_map)
    phi_ba = theirs.regis_net(fixed[None], moving[None])(theirs.identity_map)

    import_weights(folder / "weights.pth", folder / "model", list(grid))
    method = Trained(folder / "model", Device("cpu", "32-true"))
    ours = method(*(Image(image[0].numpy(), torch.eye(4).numpy()) for image in (moving, fixed)))
    in_voxels = torch.tensor(grid).reshape(1, -1, 1, 1, 1) - 1

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        return ((a - b) * in_voxels).norm(dim=1).mean().item()

    apart = [distance(ours.forward, phi_ab - identity(grid)), distance(ours.inverse, phi_ba - identity(grid))]
    return {
        "model": name,
        "grid": "x".join(map(str, grid)),
        "voxels_apart_forward": f"{apart[0]:.2g}",
        "voxels_apart_inverse": f"{apart[1]:.2g}",
        "voxels_allowed": ALLOWED,
        "voxels_moved": f"{distance(phi_ab, identity(grid)):.3g}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", action="append", choices=list(MODELS), help="only this one; may be repeated"
    )
    parser.add_argument("--output", type=Path, default=DOCS / "published-models.csv", help="the table")
    options = parser.parse_args()
    install_peer()
    rows = []
    for name in options.model or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(compare(name, Path(folder)) | circumstances("cpu"))
        print(rows[-1])
    with options.output.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(options.output)


if __name__ == "__main__":
    main()
