"""Networks, compositions and losses against golden tensors of the authors' package (icon_registration 1.1.9)."""

import re

import pytest
import torch
from safetensors.torch import load_file
from typed import build_network, build_registration

from cohortreg.icon.networks import UNet
from cohortreg.icon.objective import REGULARITIES, icon_loss
from cohortreg.losses.similarities import make_similarity, mean_squared_error
from cohortreg.maps.grids import identity_map
from cohortreg.maps.jacobian import folds

SMALL = {"architecture": "unet", "down": [2, 4, 8, 16], "up": [4, 8, 8]}
STAGES = [{"steps": 2, "downsample": 2}, {"steps": 1, "downsample": 1}]

# Their names and ours.
LAYERS = {
    "downConvs": "down",
    "upConvs": "up",
    "batchNorms": "norm",
    "lastConv": "last",
    "dense1": "first",
    "dense2": "second",
    "dense3": "last",
    "conv6": "last",
} | {f"conv{n}": f"hidden.{n - 1}" for n in range(1, 6)}
STEPS = {
    "netPhi.net.netPhi.net.": "first.registration.first.network.",
    "netPhi.net.netPsi.net.": "first.registration.second.network.",
    "netPsi.net.": "second.network.",
}


def load_weights(module, tensors):
    def ours(name):
        for names in (STEPS, LAYERS):
            for theirs, own in names.items():
                if theirs in name:
                    name = re.sub(re.escape(theirs), own, name, count=1)
                    break
        return name

    prefix = "weights."
    module.load_state_dict(
        {ours(n.removeprefix(prefix)): t for n, t in tensors.items() if n.startswith(prefix)}
    )
    return module.eval()


@pytest.mark.parametrize(("name", "dim"), [("2d", 2), ("3d", 3), ("3d_odd", 3)])
def test_unet_predicts_the_packages_displacements(icon_parity, name, dim):
    golden = load_file(icon_parity / f"network_unet2_{name}.safetensors")
    network = load_weights(UNet(dim, SMALL["down"], SMALL["up"]), golden)
    with torch.no_grad():
        displacement = network(golden["image_A"], golden["image_B"])
    assert golden["displacement"].abs().max() > 0.05
    torch.testing.assert_close(displacement, golden["displacement"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mlp", {"architecture": "mlp", "hidden": [40, 30]}),
        ("encdec", {"architecture": "enc_dec", "down": [2, 4, 8, 16], "up": [16, 8, 8]}),
        ("convonly", {"architecture": "conv_only", "channels": 10, "layers": 6}),
    ],
)
def test_the_other_networks_predict_the_packages_displacements(icon_parity, name, settings):
    golden = load_file(icon_parity / f"network_{name}_2d.safetensors")
    network = load_weights(build_network(settings, golden["image_A"].shape[2:]), golden)
    with torch.no_grad():
        displacement = network(golden["image_A"], golden["image_B"])
    assert golden["displacement"].abs().max() > 0.05
    torch.testing.assert_close(displacement, golden["displacement"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("regularity", ["icon", "gradicon"])
def test_two_stages_give_the_packages_maps_and_loss_terms(icon_parity, dim, regularity):
    golden = load_file(icon_parity / f"multistep_{regularity}_{dim}d.safetensors")
    registration, _ = build_registration(SMALL, STAGES, golden["image_A"].shape[2:])
    load_weights(registration, golden)
    image_a, image_b = golden["image_A"], golden["image_B"]
    shape = image_a.shape[2:]
    with torch.no_grad():
        phi_ab = registration(image_a, image_b).on_grid(shape)
        phi_ba = registration(image_b, image_a).on_grid(shape)
        points = identity_map(shape) + golden["noise"]
        terms = icon_loss(registration, image_a, image_b, points, regularity=REGULARITIES[regularity])
    torch.testing.assert_close(phi_ab, golden["phi_AB"], atol=1e-5, rtol=0)
    torch.testing.assert_close(phi_ba, golden["phi_BA"], atol=1e-5, rtol=0)
    torch.testing.assert_close(terms.similarity, golden["similarity_loss"][0], atol=0, rtol=1e-4)
    consistency = golden["inverse_consistency_loss"][0]
    torch.testing.assert_close(terms.inverse_consistency, consistency, atol=0, rtol=1e-4)
    total = terms.similarity + 70 * terms.inverse_consistency
    torch.testing.assert_close(total, golden["all_loss"][0], atol=0, rtol=1e-4)


@pytest.mark.parametrize(
    ("golden_name", "name", "window"),
    [
        ("ssd", "mse", 1),
        ("lncc_sigma2", "lncc", 2),
        ("lncc_sigma5", "lncc", 5),
        ("squared_lncc_sigma2", "squared_lncc", 2),
    ],
)
def test_similarities_are_the_packages(icon_parity, golden_name, name, window):
    golden = load_file(icon_parity / "similarity_and_folds.safetensors")
    image_a, image_b = golden["image_A"], golden["image_B"]
    value = make_similarity(name, window)(image_a, image_b, torch.ones_like(image_a))
    torch.testing.assert_close(value, golden[golden_name][0], atol=0, rtol=1e-4)


def test_similarity_of_interpolated_voxels_is_the_packages(icon_parity):
    """The package leaves out the outermost voxels of the grid."""
    golden = load_file(icon_parity / "similarity_and_folds.safetensors")
    inside = torch.zeros_like(golden["image_A"])
    inside[:, :, 1:-1, 1:-1, 1:-1] = 1
    value = mean_squared_error(golden["image_A"], golden["image_B"], inside)
    torch.testing.assert_close(value, golden["ssd_only_interpolated"][0], atol=0, rtol=1e-4)


@pytest.mark.parametrize("dim", [2, 3])
def test_folds_are_counted_as_the_package_counts_them(icon_parity, dim):
    golden = load_file(icon_parity / "similarity_and_folds.safetensors")
    assert golden[f"folds_{dim}d"].item() > 100
    assert folds(golden[f"phi_{dim}d"]).double().mean().item() == pytest.approx(
        golden[f"folds_{dim}d"].item()
    )
