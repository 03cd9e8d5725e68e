"""facexlib's surface as version 0.3.0 has it: a strict stand-in, as the library itself needs torchvision."""

from __future__ import annotations

import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.errors import BadWeights, MissingPackage
from facechain_ext.faces.facexlib import DETECTOR, PARSER, Facexlib, check

FOUND = np.array(
    [
        [10, 20, 60, 90, 0.95, 20, 40, 45, 41, 33, 55, 22, 70, 44, 71],
        [100, 20, 200, 150, 0.93, 120, 60, 170, 64, 148, 90, 125, 115, 168, 118],
    ],
    np.float32,
)


class RetinaFace(torch.nn.Module):
    """Arguments and results of facexlib.detection.retinaface.RetinaFace; answers FOUND, in pixels of the array it was shown."""

    shown: list[tuple[np.ndarray, float, float]]

    def __init__(self, network_name: str = "resnet50", half: bool = False, phase: str = "test", device: str | None = None) -> None:
        super().__init__()
        assert (network_name, half, phase) == ("resnet50", False, "test")
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.shown = []

    def detect_faces(
        self, image: np.ndarray, conf_threshold: float = 0.8, nms_threshold: float = 0.4, use_origin_size: bool = True
    ) -> np.ndarray:
        assert isinstance(image, np.ndarray) and image.dtype == np.uint8 and use_origin_size and not torch.is_grad_enabled()
        self.shown.append((image, conf_threshold, nms_threshold))
        return FOUND[: int(image.max() > 0) * 2]


class ParseNet(torch.nn.Module):
    """Labels by the red channel: below 0.0 background, else as painted: 40·k + 15 stands for the k-th of LABELS."""

    LABELS = (0, 1, 13, 18, 17, 5)

    def __init__(self, in_size: int = 128, out_size: int = 128, min_feat_size: int = 32, base_ch: int = 64, parsing_ch: int = 19) -> None:
        super().__init__()
        assert (in_size, out_size, parsing_ch) == (512, 512, 19)
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert x.shape == (1, 3, 512, 512) and x.dtype == torch.float32 and float(x.min()) >= -1 and float(x.max()) <= 1
        red = ((x[0, 0] + 1) * 127.5 / 40).long().clamp(0, 5)
        labels = torch.tensor(self.LABELS)[red]
        return torch.nn.functional.one_hot(labels, 19).permute(2, 0, 1)[None].float(), x


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's folder with both files, and facexlib's modules with nothing but these two classes."""
    modules = {"facexlib": {}, "facexlib.detection": {}, "facexlib.parsing": {}}
    modules |= {"facexlib.detection.retinaface": {"RetinaFace": RetinaFace}, "facexlib.parsing.parsenet": {"ParseNet": ParseNet}}
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__spec__ = types.SimpleNamespace(name=name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    torch.save({"module.weight": torch.ones(2)}, tmp_path / DETECTOR)
    torch.save({"bias": torch.ones(1)}, tmp_path / PARSER)
    return tmp_path


def test_faces_largest_first_in_pixels_of_the_picture(weights: Path) -> None:
    analyser = Facexlib(weights)
    assert analyser.capabilities == {"detect", "landmarks", "parse"}
    image = Image.new("RGB", (300, 200), (250, 100, 7))
    large, small = analyser.faces(image)
    assert large.box == (100, 20, 200, 150) and small.box == (10, 20, 60, 90)
    assert large.points == ((120, 60), (170, 64), (148, 90), (125, 115), (168, 118)) and large.score == pytest.approx(0.93)
    assert large.roll == pytest.approx(np.degrees(np.arctan2(4, 50)), abs=0.01)
    network = analyser._networks[DETECTOR]
    shown, score, overlap = network.shown[0]
    assert shown.shape == (200, 300, 3) and shown[0, 0].tolist() == [7, 100, 250] and (score, overlap) == (0.9, 0.4)
    assert network.weight.tolist() == [1, 1] and not network.training
    assert analyser.faces(Image.new("RGB", (30, 20))) == []


def test_large_pictures_are_shown_smaller(weights: Path) -> None:
    analyser = Facexlib(weights)
    large, _ = analyser.faces(Image.new("RGB", (3000, 2000), "white"))
    assert analyser._networks[DETECTOR].shown[0][0].shape == (1000, 1500, 3)
    assert large.box == (200, 40, 400, 300) and large.points[2] == (296, 180)


def test_two_pictures_at_once_are_looked_at_one_after_the_other(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's detector keeps the size of the picture it looks at in attributes, and a box of one would be scaled as another's."""
    looking: list[str] = []

    def detect(self: RetinaFace, image: np.ndarray, *_limits: float) -> np.ndarray:
        self.size = image.shape[1::-1]
        looking.append("in")
        time.sleep(0.05)
        looking.append("out")
        return np.array([[0, 0, *self.size, 0.95, *[1] * 10]], np.float32)

    monkeypatch.setattr(RetinaFace, "detect_faces", detect)
    analyser = Facexlib(weights)
    sizes = [(300, 200), (40, 30), (90, 120)]
    with ThreadPoolExecutor(len(sizes)) as pool:
        found = list(pool.map(lambda size: analyser.faces(Image.new("RGB", size)), sizes))
    assert [faces[0].box[2:] for faces in found] == sizes and looking == ["in", "out"] * len(sizes)


def test_labels_come_back_to_their_place(weights: Path) -> None:
    """Patches painted around a face far from the middle, twice as large as the crop, have the label that was painted."""
    image = Image.new("RGB", (1500, 1200))
    points = [(192.98 * 1.5 + 400, 239.95 * 1.5 + 200), (318.9 * 1.5 + 400, 240.19 * 1.5 + 200), (256.63 * 1.5 + 400, 314.02 * 1.5 + 200)]
    points += [(201.26 * 1.5 + 400, 371.41 * 1.5 + 200), (313.09 * 1.5 + 400, 371.15 * 1.5 + 200)]
    places = {1: (700, 600), 2: (760, 320), 3: (640, 900), 4: (760, 850), 5: (820, 520)}
    for index, (x, y) in places.items():
        image.paste((index * 40 + 15, 0, 0), (x - 20, y - 20, x + 20, y + 20))
    analyser = Facexlib(weights)
    face = analyser.faces(Image.new("RGB", (300, 200), "white"))[0]
    face = type(face)(box=(600.0, 400.0, 1000.0, 900.0), points=tuple(points), score=0.9)
    parsing = analyser.parse(image, face)
    for index, (x, y) in places.items():
        assert bool(parsing.face[y, x]) == (index in (1, 5)), index
        assert bool(parsing.hair[y, x]) == (index == 2), index
        assert bool(parsing.clothes[y, x]) == (index == 3), index
    assert parsing.face.shape == (1200, 1500) and parsing.person is None and not parsing.geometric
    assert parsing.face.sum() == pytest.approx(2 * 40 * 40, rel=0.1)


@pytest.mark.parametrize("absent", [DETECTOR, PARSER])
def test_a_missing_file_is_named_and_never_fetched(weights: Path, absent: str) -> None:
    (weights / absent).unlink()
    able, missing = check(weights)
    assert able == frozenset() and absent in missing and missing.endswith(".")
    with pytest.raises(MissingPackage, match=absent.split(".")[0]):
        Facexlib(weights)
    assert check(None)[0] == frozenset()


def test_without_the_package(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("facexlib")]:
        monkeypatch.delitem(sys.modules, name)
    assert check(weights) == (frozenset(), "facexlib is not installed: A1111 and Forge bring it.")


def test_weights_that_do_not_fit_or_are_broken(weights: Path) -> None:
    torch.save({"other": torch.ones(2)}, weights / DETECTOR)
    with pytest.raises(BadWeights, match="does not fit"):
        Facexlib(weights).faces(Image.new("RGB", (30, 20)))
    (weights / DETECTOR).write_bytes(b"half")
    with pytest.raises(BadWeights, match="detection_Resnet50_Final"):
        Facexlib(weights).faces(Image.new("RGB", (30, 20)))


def test_what_it_cannot_do_is_said(weights: Path) -> None:
    analyser = Facexlib(weights)
    image = Image.new("RGB", (300, 200), "white")
    face = analyser.faces(image)[0]
    with pytest.raises(MissingPackage, match="age"):
        analyser.attributes(image, face)
    with pytest.raises(MissingPackage, match="persons"):
        analyser.embed(image, face)
