"""Importing the published models: every name and shape of the manifest, and files that are something else."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from typed import build_registration

from cohortreg.config import PairPreprocess
from cohortreg.errors import UserError
from cohortreg.files import read_json
from cohortreg.icon import published as icon_published
from cohortreg.icon.published import read_published, release_of, translate
from cohortreg.icon.releases import RELEASES
from cohortreg.images.io import Image
from cohortreg.learning.devices import Device
from cohortreg.maps.axes import Axes
from cohortreg.methods.icon import import_weights
from cohortreg.methods.trained import Trained

GRID = [80, 192, 192]
KEYS = {"icon": "oai_knees_icon_state_dict", "gradicon": "oai_knees_gradicon_state_dict"}
FIRST = {"icon": "netPhi.netPhi.net.netPhi.net.", "gradicon": "netPhi.netPhi.net.netPhi.net.net."}


def published(icon_parity, which) -> dict[str, torch.Tensor]:
    """Empty tensors with the names and shapes of a published file."""
    manifest = json.loads((icon_parity / "manifest.json").read_text())[KEYS[which]]
    return {name: torch.empty(shape, device="meta") for name, shape in manifest.items()}


def small(which) -> dict[str, torch.Tensor]:
    """A file of the same structure with narrow networks of three levels, filled with noise."""
    torch.manual_seed(0)
    down, up, tensors = [2, 4, 6, 8], [16, 6, 6], {}
    prefixes = [FIRST[which], "netPhi.netPhi.net.netPsi.net.", "netPhi.netPsi.net.", "netPsi.net."]
    for prefix in prefixes:
        for level in range(3):
            below = down[level + 1] + (up[level + 1] if level < 2 else 0)
            tensors[f"{prefix}downConvs.{level}.weight"] = torch.randn(down[level + 1], down[level], 3, 3, 3)
            tensors[f"{prefix}downConvs.{level}.bias"] = torch.randn(down[level + 1])
            tensors[f"{prefix}upConvs.{level}.weight"] = torch.randn(below, up[level], 4, 4, 4)
            tensors[f"{prefix}upConvs.{level}.bias"] = torch.randn(up[level])
            for name in ("weight", "bias", "running_mean"):
                tensors[f"{prefix}batchNorms.{level}.{name}"] = torch.randn(up[level])
            tensors[f"{prefix}batchNorms.{level}.running_var"] = 1 + torch.rand(up[level])
            tensors[f"{prefix}batchNorms.{level}.num_batches_tracked"] = torch.tensor(7)
        tensors[f"{prefix}lastConv.weight"] = 0.01 * torch.randn(3, 18, 3, 3, 3)
        tensors[f"{prefix}lastConv.bias"] = torch.zeros(3)
    return {f"regis_net.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("which", ["icon", "gradicon"])
def test_every_published_name_and_shape_has_its_place(icon_parity, which, tmp_path):
    tensors = {name.removeprefix("regis_net."): t for name, t in published(icon_parity, which).items()}
    ours, settings = translate(tensors, GRID, tmp_path / "knees.pth")
    assert len(ours) == len(tensors) == {"icon": 192, "gradicon": 188}[which]
    resolutions = [stage["downsample"] for stage in settings["stages"]]
    assert resolutions == {"icon": [2, 2, 1, 1], "gradicon": [4, 2, 1, 1]}[which]
    assert settings["stages"][0]["network"].get("bottleneck") == {"icon": 128, "gradicon": None}[which]
    assert settings["network"]["down"] == [2, 16, 32, 64, 256, 512]
    with torch.device("meta"):
        registration, _ = build_registration(settings["network"], settings["stages"], GRID)
    assert {name: t.shape for name, t in registration.state_dict().items()} == {
        name: t.shape for name, t in ours.items()
    }


@pytest.mark.parametrize("which", ["icon", "gradicon"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_imported_file_registers(tmp_path, which, suffix):
    tensors, file = small(which), tmp_path / f"model{suffix}"
    tensors["identity_map"] = torch.zeros(1, 3, 4, 4, 4)
    save_file(tensors, file) if suffix == ".safetensors" else torch.save(tensors, file)
    import_weights(file, tmp_path / "knees", [32, 32, 32])
    method = Trained(tmp_path / "knees", Device("cpu", "32-true"))
    images = [Image(torch.rand(32, 32, 32).numpy(), torch.eye(4).numpy()) for _ in range(2)]
    registration = method(*images)
    assert registration.forward.shape == (1, 3, 32, 32, 32)
    assert registration.forward.abs().max() > 1e-4
    # Which tensor went where: those of the finest step's last layer are the last network's.
    state = method.registration.state_dict()
    assert torch.equal(state["second.network.last.weight"], tensors["regis_net.netPsi.net.lastConv.weight"])
    theirs = tensors[f"regis_net.{FIRST[which]}downConvs.1.weight"]
    first = [name for name in state if torch.equal(state[name], theirs)]
    assert len(first) == 1 and first[0].startswith("first.first.registration.first."), first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("netPsi.net.downConvs.1.bias"), "netPsi.net.downConvs.1.bias is missing"),
        (
            lambda t: t.update({"netPsi.net.extra.weight": torch.zeros(3)}),
            "netPsi.net.extra.weight is not a part",
        ),
        (
            lambda t: t.update({"netPsi.net.upConvs.1.bias": torch.zeros(3)}),
            r"netPsi.net.upConvs.1.bias is \[3\], but \[6\] fits",
        ),
        (lambda t: t.clear(), "downConvs.0.weight is missing"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_first_name_that_differs(tmp_path, change, named):
    tensors = {name.removeprefix("regis_net."): tensor for name, tensor in small("icon").items()}
    change(tensors)
    torch.save(tensors, tmp_path / "knees.pth")
    with pytest.raises(UserError, match=named):
        import_weights(tmp_path / "knees.pth", tmp_path / "knees", [32, 32, 32])
    assert not (tmp_path / "knees").exists()


@pytest.mark.parametrize(
    "change",
    [
        torch.Tensor.to_sparse,
        lambda t: t.to("meta"),
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    ],
)
def test_tensors_without_plain_values_are_refused(tmp_path, change):
    tensors = small("icon")
    name = next(iter(tensors))
    tensors[name] = change(tensors[name])
    torch.save(tensors, tmp_path / "knees.pth")
    with pytest.raises(UserError, match=r"cut short|something other than named tensors"):
        import_weights(tmp_path / "knees.pth", tmp_path / "knees", [32, 32, 32])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_no_numbers_are_refused(tmp_path, suffix):
    tensors, file = small("icon"), tmp_path / f"model{suffix}"
    next(iter(tensors.values()))[0] = torch.nan
    save_file(tensors, file) if suffix == ".safetensors" else torch.save(tensors, file)
    with pytest.raises(UserError, match="has NaN or infinite weights"):
        import_weights(file, tmp_path / "knees", [32, 32, 32])


def test_a_flipped_bit_in_an_archive_is_noticed(tmp_path):
    """PyTorch does not look at the archive's checksums."""
    file = tmp_path / "model.pth"
    torch.save(small("icon"), file)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4  # of a weight: most of the file is weights
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"the checksum of .*data/\d+ does not match"):
        import_weights(file, tmp_path / "knees", [32, 32, 32])


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_nothing_in_a_file_is_executed(tmp_path):
    proof = tmp_path / "executed"
    for name, save in (
        ("a.pth", torch.save),
        ("b.trch", lambda thing, path: path.write_bytes(pickle.dumps(thing))),
    ):
        save({"netPsi.net.lastConv.bias": Harmful(str(proof))}, tmp_path / name)
        with pytest.raises(UserError, match="not a plain file of weights"):
            read_published(tmp_path / name)
    assert not proof.exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_files_that_are_something_else_are_one_sentence(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(UserError, match="no such file"):
        read_published(path)
    for content in (b"not weights", b"a b c\n"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a plain file of weights"):
            read_published(path)
    with pytest.raises(UserError, match="not a plain file of weights"):
        read_published(path)
    if name.endswith("pth"):
        torch.save([1, 2], path)
        with pytest.raises(UserError, match="something other than named tensors"):
            read_published(path)


def full_size(which: str, icon_parity) -> dict[str, torch.Tensor]:
    """Tensors with the names and shapes of a published file, without the memory that they would take."""
    shapes = json.loads((icon_parity / "manifest.json").read_text())[KEYS[which]]
    return {
        name.removeprefix("regis_net."): torch.zeros(1).expand(shape) if shape else torch.tensor(0)
        for name, shape in shapes.items()
    }


def test_the_published_knees_of_icon_are_recognised_by_their_content_alone(icon_parity, tmp_path):
    assert release_of(full_size("icon", icon_parity), tmp_path / "renamed.pth").name == "icon-knees"


@pytest.mark.parametrize(
    ("name", "grid", "release"),
    [
        ("renamed.trch", (80, 192, 192), "gradicon-knees"),
        ("renamed.trch", (130, 155, 130), "gradicon-brains"),
        ("knee_model_weights_step_2.trch", None, "gradicon-knees"),
        ("lung_model_weights_step_2.trch", (175, 175, 175), "gradicon-lungs"),
        ("Step_2_final.trch", None, "unigradicon"),
    ],
)
def test_of_models_of_one_structure_the_kept_maps_or_the_name_decide(
    icon_parity, tmp_path, name, grid, release
):
    tensors = full_size("gradicon", icon_parity)
    if grid:
        tensors["identity_map"] = torch.zeros(1).expand(1, 3, *grid)
    assert release_of(tensors, tmp_path / name).name == release


@pytest.mark.parametrize(
    ("name", "grid", "words"),
    [
        ("renamed.trch", None, "by its content it may be gradicon-knees, gradicon-lungs, gradicon-brains, unig"),
        ("renamed.trch", (175, 175, 175), "it may be gradicon-lungs, unigradicon or multigradicon; say which with"),
        ("renamed.trch", (64, 64, 64), "is of images of 64 x 64 x 64 voxels, which no published model is for"),
        ("knee_model_weights_step_2.trch", (130, 155, 130), "the name of gradicon-knees, but the content of gradic"),
        ("OAI_knees_ICON_model.pth", None, "the name of icon-knees, but the content of gradicon-knees, gra"),
    ],
)  # fmt: skip
def test_a_file_that_may_be_several_or_none_is_refused(icon_parity, tmp_path, name, grid, words):
    tensors = full_size("gradicon", icon_parity)
    if grid:
        tensors["identity_map"] = torch.zeros(1).expand(1, 3, *grid)
    with pytest.raises(UserError, match=words):
        release_of(tensors, tmp_path / name)


@pytest.mark.parametrize("given", [{}, {"published": "gradicon-knees"}])
def test_a_model_of_other_channels_is_no_published_one(tmp_path, given):
    file = tmp_path / "knee_model_weights_step_2.trch"
    torch.save(small("gradicon"), file)
    with pytest.raises(
        UserError, match="other channels than those of gradicon-knees; give --grid and --axes"
    ):
        import_weights(file, tmp_path / "knees", **given)
    assert not (tmp_path / "knees").exists()
    with pytest.raises(UserError, match="no published model is called knees; choose one of icon-knees, grad"):
        import_weights(file, tmp_path / "knees", published="knees")


def test_the_card_of_a_recognised_model_has_what_its_release_says(tmp_path, monkeypatch):
    """Of narrow networks, which the releases are taken for: the real ones have 70 million weights."""
    monkeypatch.setattr(icon_published, "DOWN", [2, 4, 6, 8])
    monkeypatch.setattr(icon_published, "UP", [16, 6, 6])
    file = tmp_path / "Step_2_final.trch"
    torch.save(small("gradicon"), file)
    card = import_weights(file, tmp_path / "any")
    assert card == read_json(tmp_path / "any" / "model.json")
    assert card["grid"] == [175, 175, 175] and card["published"] == "unigradicon"
    assert card["preprocess"] == {"grid": [175] * 3, "fit": "resample", "percentiles": [0, 99]}
    tensors = small("gradicon") | {"identity_map": torch.zeros(1, 3, 130, 155, 130)}
    torch.save(tensors, tmp_path / "renamed.pth")
    card = import_weights(tmp_path / "renamed.pth", tmp_path / "brains", percentiles=(0, 99))
    assert card["axes"] == "SAL" and card["grid"] == [130, 155, 130]
    assert card["preprocess"]["grid"] == [130, 155, 130] and card["preprocess"]["percentiles"] == [0, 99]


def test_every_release_has_axes_and_preprocessing_that_a_card_may_have():
    for release in RELEASES:
        grid = list(Axes(release.axes).ours(release.grid))
        assert PairPreprocess.read({"grid": grid} | release.preprocess)
