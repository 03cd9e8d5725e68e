"""FairFace against a second formulation of ResNet-34, and M2FP's answers turned into masks."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from facechain_ext.errors import BadWeights, MissingPackage
from facechain_ext.faces import modelscope
from facechain_ext.faces.ages import AGES, group_of
from facechain_ext.faces.modelscope import FAIRFACE, M2FP, Modelscope, check, fairface_input, find, of_person, read_fairface, resnet34
from facechain_ext.faces.types import Face
from facechain_ext.vision.align import TEMPLATE

FACE = Face(box=(30.0, 30.0, 90.0, 90.0), points=tuple(map(tuple, TEMPLATE)), score=0.9)
FACTS_AGES = ["0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70-120"]


class Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        if before != width:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class ResNet34(nn.Module):
    """Written from the paper's table with torch's layers, under torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(*(Block(64, 64, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(64, 128, 2), *(Block(128, 128, 1) for _ in range(3)))
        self.layer3 = nn.Sequential(Block(128, 256, 2), *(Block(256, 256, 1) for _ in range(5)))
        self.layer4 = nn.Sequential(Block(256, 512, 2), *(Block(512, 512, 1) for _ in range(2)))
        self.fc = nn.Linear(512, 18)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.bn1(self.conv1(x)).relu())
        return self.fc(nn.functional.adaptive_avg_pool2d(self.layer4(self.layer3(self.layer2(self.layer1(x)))), 1).flatten(1))


@pytest.fixture(scope="module")
def network() -> ResNet34:
    torch.manual_seed(5)
    network = ResNet34().eval()
    with torch.no_grad():
        for name, value in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.copy_(torch.rand_like(value) * 0.5 + 0.6)
        for name, value in network.named_parameters():
            if ".bn" in name or name.startswith("bn"):
                value.add_(torch.rand_like(value) * 0.2)
    return network


@pytest.fixture
def folder(tmp_path: Path, network: ResNet34) -> Path:
    """A cache as the hub's client lays it out."""
    place = tmp_path / "hub" / "damo" / FAIRFACE
    place.mkdir(parents=True)
    torch.save(network.state_dict(), place / "pytorch_model.pt")
    return tmp_path


def test_scores_as_the_second_formulation(folder: Path, network: ResNet34) -> None:
    weights = read_fairface(folder / "hub" / "damo" / FAIRFACE / "pytorch_model.pt")
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(x)
    assert (resnet34(weights, x) - expected).abs().max() <= 1e-4 * max(1, float(expected.abs().max()))


def test_preparation_of_the_crop() -> None:
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[:, 56:] = (255, 127, 0)
    x = fairface_input(crop)[0]
    assert x.shape == (3, 224, 224) and x.dtype == torch.float32
    expected = [
        (value / 255 - mean) / std for value, mean, std in zip((255, 127, 0), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    ]
    assert x[:, 100, 200].tolist() == pytest.approx(expected, abs=1e-5)
    assert x[:, 100, 20].tolist() == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], abs=1e-5)


@pytest.mark.parametrize(("gender", "age"), [(0, 2), (1, 8)])
def test_attributes_by_the_order_of_outputs(folder: Path, network: ResNet34, gender: int, age: int) -> None:
    """The last layer answers a chosen gender and age whatever it sees; the largest of the races must not matter."""
    weights = dict(network.state_dict())
    bias = torch.full((18,), -1.0)
    bias[3], bias[7 + gender], bias[9 + age] = 50.0, 4.0, 3.0
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in (weights | {"fc.weight": torch.zeros(18, 512), "fc.bias": bias}).items()}},
        folder / "hub" / "damo" / FAIRFACE / "pytorch_model.pt",
    )
    judged = Modelscope(folder).attributes(Image.new("RGB", (112, 112), "grey"), FACE)
    assert judged.gender == ("male", "female")[gender]
    assert "-".join(map(str, judged.age)) == FACTS_AGES[age]


def test_the_face_is_aligned_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def look(weights: object, x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return torch.arange(18.0)[None]

    monkeypatch.setattr(modelscope, "resnet34", look)
    image = Image.new("RGB", (300, 200), "white")
    image.paste((0, 0, 0), (100, 40, 212, 152))  # exactly the crop, where the face is
    face = Face(box=(120.0, 60.0, 190.0, 140.0), points=tuple((x + 100, y + 40) for x, y in TEMPLATE), score=0.9)
    judged = Modelscope(folder).attributes(image, face)
    assert (judged.gender, judged.age) == ("female", (70, 120))
    assert seen[0].shape == (1, 3, 224, 224) and float(seen[0].max()) < 0


@pytest.mark.parametrize("layout", ["damo", "iic", "hub/iic", "models/damo", "hub/models/iic", "."])
def test_every_layout_of_the_cache(tmp_path: Path, layout: str) -> None:
    place = tmp_path / layout / FAIRFACE
    place.mkdir(parents=True)
    (place / "pytorch_model.pt").write_bytes(b"weights")
    assert find(tmp_path, FAIRFACE).samefile(place)
    assert check(tmp_path)[0] == {"attributes"}


def test_missing_and_wrong_files_are_named(folder: Path, tmp_path: Path) -> None:
    assert check(None)[0] == frozenset() and FAIRFACE in check(None)[1] and M2FP in check(None)[1]
    with pytest.raises(MissingPackage, match=FAIRFACE):
        Modelscope(tmp_path / "nowhere")
    path = folder / "hub" / "damo" / FAIRFACE / "pytorch_model.pt"
    weights = torch.load(path, weights_only=True)
    weights["layer3.2.bn1.weight"] = torch.ones(7)
    torch.save(weights, path)
    with pytest.raises(BadWeights, match=r"layer3\.2\.bn1\.weight"):
        read_fairface(path)
    path.write_bytes(b"half a file")
    with pytest.raises(BadWeights, match="pytorch_model"):
        Modelscope(folder).attributes(Image.new("RGB", (112, 112)), FACE)


def test_what_it_cannot_do_is_said(folder: Path) -> None:
    analyser, image = Modelscope(folder), Image.new("RGB", (112, 112))
    with pytest.raises(MissingPackage, match="together with another"):
        analyser.faces(image)
    with pytest.raises(MissingPackage, match="persons"):
        analyser.embed(image, FACE)
    with pytest.raises(MissingPackage, match="M2FP needs"):
        analyser.parse(image, FACE)


def test_ages_are_the_groups_of_the_table() -> None:
    assert [f"{low}-{high}" for low, high in AGES] == FACTS_AGES
    assert [group_of(years) for years in (0, 2, 3, 19, 20, 69, 70, 130)] == [AGES[i] for i in (0, 0, 1, 2, 3, 7, 8, 8)]


def block(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((120, 200), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


RESULT = {
    "masks": [
        block(30, 30, 90, 90),
        block(120, 10, 190, 90),
        block(25, 5, 95, 40),
        block(10, 0, 100, 120),
        block(110, 0, 200, 120),
        block(10, 95, 200, 120),
        block(40, 40, 80, 80),
    ],
    "labels": ["Face", "Face", "Hair", "Human", "Human", "Coat", "Face"],
    "scores": [0.9, 0.95, 0.9, 0.99, 0.99, 0.9, 0.5],
}


def test_masks_are_of_the_person_meant() -> None:
    parsing = of_person(RESULT, FACE)
    assert np.array_equal(parsing.face, RESULT["masks"][0] > 0) and np.array_equal(parsing.person, RESULT["masks"][3] > 0)
    assert np.array_equal(parsing.hair, RESULT["masks"][2] > 0) and not parsing.geometric
    assert parsing.clothes[100, 50] and not parsing.clothes[100, 150]
    other = of_person(RESULT, Face(box=(130.0, 20.0, 180.0, 80.0), points=FACE.points, score=0.9))
    assert (
        np.array_equal(other.face, RESULT["masks"][1] > 0) and np.array_equal(other.person, RESULT["masks"][4] > 0) and other.hair is None
    )
    nothing = of_person({"masks": [], "labels": [], "scores": []}, FACE)
    assert nothing.face is nothing.person is nothing.clothes is None


@pytest.fixture
def with_m2fp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[object]]:
    """M2FP's files, and packages that have just what is called; the pipeline answers RESULT and keeps what it was asked."""
    place = tmp_path / "iic" / M2FP
    place.mkdir(parents=True)
    (place / "pytorch_model.pt").write_bytes(b"weights")
    (place / "configuration.json").write_text(json.dumps({"task": "image-segmentation"}))
    asked: list[object] = []

    def pipeline(task: str, model: str, device: str) -> object:
        asked.append((task, model, device))

        def run(image: Image.Image) -> dict[str, object]:
            asked.append(image.size)
            return RESULT

        return run

    for name, content in (("modelscope", {}), ("modelscope.pipelines", {"pipeline": pipeline}), ("mmcv", {})):
        module = types.ModuleType(name)
        module.__spec__ = types.SimpleNamespace(name=name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return tmp_path, asked


def test_m2fp_through_the_packages_own_pipeline(with_m2fp: tuple[Path, list[object]]) -> None:
    folder, asked = with_m2fp
    analyser = Modelscope(folder)
    assert analyser.capabilities == {"parse"} and asked == []
    parsing = analyser.parse(Image.new("RGB", (200, 120)), FACE)
    analyser.parse(Image.new("RGB", (200, 120)), FACE)
    assert asked == [("image-segmentation", str(folder / "iic" / M2FP), "cpu"), (200, 120), (200, 120)]
    assert np.array_equal(parsing.face, RESULT["masks"][0] > 0)
    with pytest.raises(MissingPackage, match="FairFace needs"):
        analyser.attributes(Image.new("RGB", (200, 120)), FACE)


@pytest.mark.parametrize("code", ["file", "remote", "plugins", "no configuration"])
def test_code_of_the_hub_is_never_run(with_m2fp: tuple[Path, list[object]], code: str) -> None:
    folder, _ = with_m2fp
    place = folder / "iic" / M2FP
    if code == "file":
        (place / "deep").mkdir()
        (place / "deep" / "ms_wrapper.py").write_text("raise SystemExit")
    elif code == "no configuration":
        (place / "configuration.json").unlink()
    else:
        (place / "configuration.json").write_text(json.dumps({"allow_remote" if code == "remote" else "plugins": ["something"]}))
    able, missing = check(folder)
    assert "parse" not in able and "program code" in missing
