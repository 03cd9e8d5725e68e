"""The real insightface library on small ONNX files of the published shapes, with a face planted in their outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from facechain_ext.errors import BadWeights, MissingPackage
from facechain_ext.faces.insightface import Insightface, check
from facechain_ext.faces.types import Face

SIDE = 640
# One anchor of stride 16 at column 11, row 7: its middle is (176, 112) in the 640×640 the detector sees.
STRIDE, COLUMN, ROW = 16, 11, 7
REACH = (3.0, 2.0, 4.0, 5.0)  # to left, top, right, bottom, in strides: box (128, 80, 240, 192)
KEYS = ((-1.5, 0.0), (2.0, 0.25), (0.25, 1.5), (-1.0, 3.0), (1.5, 3.25))  # from the anchor, in strides
SCORE = 0.8125


def save(
    path: Path, nodes: list[onnx.NodeProto], shape: list[object], outputs: list[tuple[str, list[object]]], fixed: dict[str, np.ndarray]
) -> None:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in outputs],
        [numpy_helper.from_array(value, name) for name, value in fixed.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.checker.check_model(model) or model, str(path))


def detector(path: Path, planted: bool = True, keys: bool = True) -> None:
    """SCRFD's nine outputs (or six without points) as constants, added to a zero made of the input, so that it is used."""
    fixed: dict[str, np.ndarray] = {}
    for width in (1, 4, 10) if keys else (1, 4):
        for stride in (8, 16, 32):
            fixed[f"v{width}_{stride}"] = np.zeros(((SIDE // stride) ** 2 * 2, width), np.float32)
    if planted:
        at = 2 * (ROW * (SIDE // STRIDE) + COLUMN)
        fixed["v1_16"][at] = SCORE
        fixed["v4_16"][at] = REACH
        if keys:
            fixed["v10_16"][at] = np.ravel(KEYS)
    names = [(width, stride) for width in ((1, 4, 10) if keys else (1, 4)) for stride in (8, 16, 32)]
    nodes = [
        helper.make_node("ReduceMax", ["input.1"], ["top"], keepdims=0),
        helper.make_node("Mul", ["top", "nought"], ["zero"]),
        *(helper.make_node("Add", [f"v{width}_{stride}", "zero"], [f"o{width}_{stride}"]) for width, stride in names),
    ]
    outputs: list[tuple[str, list[object]]] = [(f"o{width}_{stride}", [f"n{stride}", width]) for width, stride in names]
    save(path, nodes, [1, 3, "?", "?"], outputs, fixed | {"nought": np.array(0, np.float32)})


def recogniser(path: Path) -> None:
    """The mean of each of the three colour channels of the crop, then 509 zeros: [N, 512]."""
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Pad", ["mean", "pads"], ["683"]),
    ]
    save(path, nodes, ["N", 3, 112, 112], [("683", ["N", 512])], {"pads": np.array([0, 0, 0, 509], np.int64)})


def judge(path: Path, female: float, male: float, age: float) -> None:
    """(female, male, age / 100), whatever the picture."""
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "nought"], ["zero"]),
        helper.make_node("Unsqueeze", ["zero", "last"], ["column"]),
        helper.make_node("Add", ["column", "answer"], ["fc1"]),
    ]
    fixed = {
        "nought": np.array(0, np.float32),
        "last": np.array([1], np.int64),
        "answer": np.array([[female, male, age / 100]], np.float32),
    }
    save(path, nodes, ["N", 3, 96, 96], [("fc1", ["N", 3])], fixed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("insightface") / "a folder of mine"
    folder.mkdir()
    detector(folder / "det_10g.onnx")
    recogniser(folder / "w600k_r50.onnx")
    judge(folder / "genderage.onnx", 0.2, 0.9, 34)
    (folder / "1k3d68.onnx").write_bytes(b"large, and never opened")
    return folder


@pytest.fixture(scope="module")
def analyser(folder: Path) -> Insightface:
    return Insightface(folder)


def test_the_planted_face_is_decoded(analyser: Insightface) -> None:
    """By hand: anchor (176, 112); 1280×1280 is shown to the detector at half its size, so everything counts double."""
    (face,) = analyser.faces(Image.new("RGB", (1280, 1280), "grey"))
    assert face.box == pytest.approx((256, 160, 480, 384))
    expected = [((176 + x * 16) * 2, (112 + y * 16) * 2) for x, y in KEYS]
    assert np.abs(np.subtract(face.points, expected)).max() < 1e-3
    assert face.score == pytest.approx(SCORE) and not face.estimated
    assert face.roll == pytest.approx(np.degrees(np.arctan2(0.25, 3.5)), abs=0.01)


def test_other_shapes_of_picture(analyser: Insightface) -> None:
    (face,) = analyser.faces(Image.new("RGB", (320, 160)))
    assert face.box == pytest.approx((64, 40, 120, 96))


def test_capabilities_follow_the_files(analyser: Insightface, tmp_path: Path) -> None:
    assert analyser.capabilities == {"detect", "landmarks", "embed", "attributes"}
    detector(tmp_path / "anything.onnx")
    alone = Insightface(tmp_path)
    assert alone.capabilities == {"detect", "landmarks"}
    (face,) = alone.faces(Image.new("RGB", (640, 640)))
    with pytest.raises(MissingPackage, match=r"no model for recognition.*w600k_r50\.onnx"):
        alone.embed(Image.new("RGB", (640, 640)), face)
    with pytest.raises(MissingPackage, match="masks"):
        alone.parse(Image.new("RGB", (640, 640)), face)


def test_embedding_is_of_the_aligned_rgb_crop(analyser: Insightface) -> None:
    """A picture of one colour stays that colour in the crop: (200, 127.5+, 50) as (v - 127.5) / 127.5, length 1."""
    image = Image.new("RGB", (640, 640), (200, 140, 50))
    (face,) = analyser.faces(image)
    vector = analyser.embed(image, face)
    expected = (np.array([200, 140, 50]) - 127.5) / 127.5
    assert vector.shape == (512,) and vector.dtype == np.float32 and np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert np.abs(vector[:3] - expected / np.linalg.norm(expected)).max() < 1e-3 and not vector[3:].any()


@pytest.mark.parametrize(
    ("female", "male", "age", "gender", "group"),
    [(0.2, 0.9, 34, "male", (30, 39)), (0.9, 0.2, 9, "female", (3, 9)), (0.9, 0.2, 15, "female", (10, 19)), (0, 1, 88, "male", (70, 120))],
)
def test_attributes(tmp_path: Path, female: float, male: float, age: float, gender: str, group: tuple[int, int]) -> None:
    detector(tmp_path / "det.onnx")
    judge(tmp_path / "genderage.onnx", female, male, age)
    analyser, image = Insightface(tmp_path), Image.new("RGB", (640, 640))
    judged = analyser.attributes(image, analyser.faces(image)[0])
    assert (judged.gender, judged.age) == (gender, group)


def close_up_detector(path: Path) -> None:
    """A detector for any size that sees a face at the first anchor of stride 32, reaching 4 strides, only if shown 128 rows."""
    fixed = {
        "rows": np.array([2], np.int64),
        "columns": np.array([3], np.int64),
        "close": np.array([128], np.int64),
        "two": np.array([2], np.int64),
        "one": np.array([1], np.int64),
        "box": np.array([[0, 0, 4, 4]], np.float32),
        "keys": np.array([[1, 1, 3, 1, 2, 2, 1, 3, 3, 3]], np.float32),
        "score": np.array([0.75], np.float32),
    }
    nodes = [
        helper.make_node("Shape", ["input.1"], ["shape"]),
        helper.make_node("Gather", ["shape", "rows"], ["height"]),
        helper.make_node("Gather", ["shape", "columns"], ["width"]),
        helper.make_node("Equal", ["height", "close"], ["is_close"]),
        helper.make_node("Cast", ["is_close"], ["yes"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["yes", "score"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "one"], ["seen"]),
    ]
    outputs: list[tuple[str, list[object]]] = []
    for stride in (8, 16, 32):
        fixed[f"s{stride}"] = np.array([stride], np.int64)
        nodes += [
            helper.make_node("Div", ["height", f"s{stride}"], [f"h{stride}"]),
            helper.make_node("Div", ["width", f"s{stride}"], [f"w{stride}"]),
            helper.make_node("Mul", [f"h{stride}", f"w{stride}"], [f"cells{stride}"]),
            helper.make_node("Mul", [f"cells{stride}", "two"], [f"n{stride}"]),
            helper.make_node("Sub", [f"n{stride}", "one"], [f"rest{stride}"]),
        ]
    for width, first in ((1, "seen"), (4, "box"), (10, "keys")):
        fixed[f"k{width}"] = np.array([width], np.int64)
        for stride in (8, 16, 32):
            if stride == 32:
                nodes += [
                    helper.make_node("Concat", ["rest32", f"k{width}"], [f"size{width}"], axis=0),
                    helper.make_node("ConstantOfShape", [f"size{width}"], [f"zeros{width}"]),
                    helper.make_node("Concat", [first, f"zeros{width}"], [f"o{width}_32"], axis=0),
                ]
            else:
                nodes += [
                    helper.make_node("Concat", [f"n{stride}", f"k{width}"], [f"size{width}_{stride}"], axis=0),
                    helper.make_node("ConstantOfShape", [f"size{width}_{stride}"], [f"o{width}_{stride}"]),
                ]
            outputs.append((f"o{width}_{stride}", [f"n{stride}", width]))
    save(path, nodes, [1, 3, "?", "?"], outputs, fixed)


def test_a_face_that_fills_the_picture_is_seen_at_the_second_look(tmp_path: Path) -> None:
    """By hand: 400×200 is shown at 128×64, 32 stride units to the pixel, so a reach of 4 is 128 there and 400 here."""
    close_up_detector(tmp_path / "det.onnx")
    (face,) = Insightface(tmp_path).faces(Image.new("RGB", (400, 200)))
    assert face.box == pytest.approx((0, 0, 400, 400)) and face.score == pytest.approx(0.75)
    assert face.points[1] == pytest.approx((300, 100))


def test_no_face_and_nothing_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A detector of one size only, as many are, is asked once."""
    detector(tmp_path / "det.onnx", planted=False)
    model = onnx.load(str(tmp_path / "det.onnx"))
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = SIDE
    onnx.save(model, str(tmp_path / "det.onnx"))
    assert Insightface(tmp_path).faces(Image.new("RGB", (300, 200))) == []
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err == ""


@pytest.mark.parametrize("kind", ["no folder", "empty folder", "none"])
def test_missing_files_say_what_goes_where(tmp_path: Path, kind: str) -> None:
    folder = {"no folder": tmp_path / "nowhere", "empty folder": tmp_path, "none": None}[kind]
    able, missing = check(folder)
    assert able == frozenset() and "det_10g.onnx" in missing and missing.endswith(".") and missing.count(". ") == 0
    if folder is not None:
        with pytest.raises(BadWeights, match=r"w600k_r50\.onnx"):
            Insightface(folder)
    assert list(tmp_path.iterdir()) == []


def test_broken_files_and_folders_without_a_detector(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"half a model")
    with pytest.raises(BadWeights, match=r"broken\.onnx is not a whole insightface model"):
        Insightface(tmp_path)
    (tmp_path / "broken.onnx").unlink()
    recogniser(tmp_path / "recogniser.onnx")
    with pytest.raises(BadWeights, match="no face detector"):
        Insightface(tmp_path)
    detector(tmp_path / "six.onnx", keys=False)
    with pytest.raises(BadWeights, match="five points"):
        Insightface(tmp_path)


def test_a_missing_library_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facechain_ext.faces.insightface.find_spec", lambda name: None if name == "onnxruntime" else object())
    assert check(folder) == (frozenset(), "onnxruntime is not installed: pip install insightface onnxruntime.")
    with pytest.raises(MissingPackage, match="onnxruntime"):
        Insightface(folder)


def test_largest_first(tmp_path: Path) -> None:
    detector(tmp_path / "det.onnx")
    model = onnx.load(str(tmp_path / "det.onnx"))
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        if tensor.name == "v1_16":
            value[0] = 0.95
        if tensor.name == "v4_16":
            value[0] = (0, 0, 1, 1)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, str(tmp_path / "det.onnx"))
    faces: list[Face] = Insightface(tmp_path).faces(Image.new("RGB", (640, 640)))
    assert [round(face.width) for face in faces] == [112, 16] and faces[1].score > faces[0].score
