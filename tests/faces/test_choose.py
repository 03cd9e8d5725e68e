"""Which analysis is taken, and several working as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facechain_ext.errors import BadInput, BadWeights, MissingPackage
from facechain_ext.faces import choose
from facechain_ext.faces.choose import Backend, ModelFolders, analyser, available_backends, chain
from facechain_ext.faces.types import Attributes, Capability, Face, Parsing

FACE = Face(box=(0.0, 0.0, 9.0, 9.0), points=((2.0, 2.0), (6.0, 2.0), (4.0, 4.0), (2.0, 7.0), (6.0, 7.0)), score=0.9)
IMAGE = Image.new("RGB", (10, 10))


class Able:
    """A backend that can do what it was told, and answers with its name."""

    def __init__(self, name: str, *able: Capability) -> None:
        self.name, self.capabilities = name, frozenset(able)

    def faces(self, image: Image.Image) -> list[Face]:
        assert "detect" in self.capabilities
        return [FACE]

    def parse(self, image: Image.Image, face: Face) -> Parsing:
        assert "parse" in self.capabilities and face is FACE
        return Parsing(face=np.full((1, 1), len(self.name)))

    def attributes(self, image: Image.Image, face: Face) -> Attributes:
        assert "attributes" in self.capabilities
        return Attributes(age=(len(self.name), 99))

    def embed(self, image: Image.Image, face: Face) -> np.ndarray:
        assert "embed" in self.capabilities
        return np.array([len(self.name)])


def test_the_embedded_one_is_always_there(tmp_path: Path) -> None:
    found = analyser("auto", ModelFolders(insightface=tmp_path, facexlib=tmp_path, modelscope=tmp_path))
    assert found.name == "embedded" and {"detect", "parse"} <= found.capabilities and "attributes" not in found.capabilities
    with pytest.raises(MissingPackage, match=r"embedded.*attributes"):
        found.attributes(IMAGE, FACE)


def test_every_backend_says_what_is_missing() -> None:
    states = {state.name: state for state in available_backends()}
    assert set(states) == {"facexlib", "insightface", "modelscope", "demo", "embedded"}
    for name in ("facexlib", "insightface", "modelscope"):
        assert states[name].capabilities == frozenset() and states[name].missing.endswith(".")
    assert states["embedded"].missing == "" and "detect" in states["embedded"].capabilities
    assert "non-commercial" in states["insightface"].licence


def test_several_work_as_one() -> None:
    finder, judge, spare = (
        Able("finder", "detect", "landmarks", "parse"),
        Able("judge", "attributes", "eyes"),
        Able("sp", "attributes", "embed"),
    )
    one = chain({able: [finder, judge, spare] for able in ("detect", "parse", "attributes", "embed")})
    assert one.name == "finder+judge+sp"
    assert one.capabilities == {"detect", "landmarks", "parse", "attributes", "embed"}  # eyes are seen by who finds the face
    assert one.faces(IMAGE) == [FACE] and one.parse(IMAGE, FACE).face[0, 0] == 6
    assert one.attributes(IMAGE, FACE).age == (5, 99) and one.embed(IMAGE, FACE)[0] == 2


def test_the_best_that_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[tuple[str, Path, str]] = []

    def backend(name: str, *able: Capability) -> Backend:
        def make(folder: Path, device: str) -> Able:
            opened.append((name, folder, device))
            return Able(name, *able)

        return Backend(
            check=lambda folder: (frozenset(able if folder else ()), "" if folder else f"{name} lacks files."), make=make, licence="any"
        )

    monkeypatch.setattr(
        choose,
        "BACKENDS",
        {
            "facexlib": backend("facexlib", "detect", "landmarks", "parse"),
            "insightface": backend("insightface", "detect", "landmarks", "attributes", "embed"),
            "modelscope": backend("modelscope", "attributes"),
        },
    )
    everything = ModelFolders(facexlib=tmp_path, insightface=tmp_path, modelscope=tmp_path)
    best = analyser("auto", everything, device="cuda")
    assert best.capabilities == {"detect", "landmarks", "parse", "attributes", "embed"}
    assert best.parse(IMAGE, FACE).face[0, 0] == len("facexlib") and best.attributes(IMAGE, FACE).age[0] == len("modelscope")
    assert best.embed(IMAGE, FACE)[0] == len("insightface")
    assert sorted(opened) == [(name, tmp_path, "cuda") for name in ("facexlib", "insightface", "modelscope")]
    opened.clear()
    part = analyser("auto", ModelFolders(insightface=tmp_path))
    assert [name for name, *_ in opened] == ["insightface"] and part.faces(IMAGE) == [FACE] and part.name == "insightface+embedded"
    assert analyser("modelscope+insightface", everything).attributes(IMAGE, FACE).age[0] == len("modelscope")
    with pytest.raises(MissingPackage, match="facexlib lacks files"):
        analyser("facexlib", ModelFolders())


def test_names_and_folders_that_do_not_fit(tmp_path: Path) -> None:
    assert analyser("embedded").name == "embedded"
    with pytest.raises(BadInput, match="choose auto, facexlib, insightface, modelscope, demo, embedded"):
        analyser("dlib")
    with pytest.raises(BadWeights, match=r"det_10g\.onnx"):
        analyser("insightface", ModelFolders(insightface=tmp_path))
    with pytest.raises(MissingPackage, match="FairFace"):
        analyser("embedded+modelscope", ModelFolders(modelscope=tmp_path))
