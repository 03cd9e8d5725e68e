"""The checks of finished pictures: found only where they can be used, and asked rightly. Networks are small and random, or stand-ins."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.errors import BadWeights
from facechain_ext.faces import nudity
from facechain_ext.faces.nudity import NudeNet, SafetyChecker, clip_input, picture_check
from facechain_ext.weights.records import record

CACHED = nudity._cached
RED, BLUE = Image.new("RGB", (64, 96), (250, 10, 10)), Image.new("RGB", (64, 96), (10, 10, 250))


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch, tmp_path) -> None:
    """No cache of Hugging Face, no NudeNet, whatever this machine has."""
    monkeypatch.setattr(nudity, "_cached", lambda repository, within: None)
    monkeypatch.setattr(nudity, "find_spec", lambda name: None if name == "nudenet" else object())


def small_checker(folder: Path) -> Path:
    """A safety checker of random numbers whose one live concept is the red picture itself."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 32}
    network = StableDiffusionSafetyChecker(CLIPConfig(vision_config=sizes | {"image_size": 224}, projection_dim=16)).eval()
    with torch.no_grad():
        for embeds in (network.concept_embeds, network.special_care_embeds):
            embeds.copy_(torch.randn(embeds.shape))
        network.concept_embeds_weights.fill_(2.0)  # no cosine reaches it
        network.special_care_embeds_weights.fill_(2.0)
        red = torch.from_numpy(clip_input(RED))[None]
        network.concept_embeds[3] = network.visual_projection(network.vision_model(red)[1])[0]
        network.concept_embeds_weights[3] = 0.995
    network.save_pretrained(folder / "safety_checker")
    return folder


def test_the_safety_checker_objects_to_what_is_near_a_concept(tmp_path) -> None:
    check = picture_check(small_checker(tmp_path))
    assert check is not None and check.name == "Stable Diffusion's safety checker"
    assert check.objects(RED) and not check.objects(BLUE) and check.objects(RED, strict=True)


def test_strictly_it_objects_earlier(tmp_path, monkeypatch) -> None:
    check = picture_check(small_checker(tmp_path))
    assert isinstance(check, SafetyChecker)
    check._loaded().concept_embeds_weights.data[3] = 1.01  # out of reach by a hundredth; strictly two are added
    assert not check.objects(RED) and check.objects(RED, strict=True)
    monkeypatch.setattr(nudity, "STRICTER", 0.0)
    assert not check.objects(RED, strict=True)


def test_special_care_lowers_the_threshold_as_published(tmp_path) -> None:
    check = picture_check(small_checker(tmp_path))
    assert isinstance(check, SafetyChecker)
    network = check._loaded()
    network.concept_embeds_weights.data[3] = 1.005
    assert not check.objects(RED)
    network.special_care_embeds_weights.data[0] = -2.0
    assert check.objects(RED), "0.01 is added for special care"


def test_its_verdict_is_the_published_one(tmp_path) -> None:
    """The network's own forward, on the same input, over pictures on both sides."""
    check = picture_check(small_checker(tmp_path))
    assert isinstance(check, SafetyChecker)
    network = check._loaded()
    for red in range(0, 256, 15):
        picture = Image.new("RGB", (64, 64), (red, 10, 250 - red // 2))
        published = network(torch.from_numpy(clip_input(picture))[None], [np.zeros((8, 8, 3))])[1][0]
        assert check.objects(picture) == published, red


def test_clip_sees_the_whole_picture_normalised() -> None:
    seen = clip_input(Image.new("RGB", (30, 90), (255, 0, 127)))
    assert seen.shape == (3, 224, 224) and seen.dtype == np.float32
    red, green, blue = (1 - 0.48145466) / 0.26862954, -0.4578275 / 0.26130258, (127 / 255 - 0.40821073) / 0.27577711
    assert seen[:, 100, 100] == pytest.approx([red, green, blue])


def test_weights_that_cannot_be_read_are_said(tmp_path) -> None:
    (small_checker(tmp_path) / "safety_checker" / "model.safetensors").write_bytes(b"broken")
    check = picture_check(tmp_path)
    assert check is not None
    with pytest.raises(BadWeights, match="cannot be read: put it there again"):
        check.objects(RED)


@pytest.mark.parametrize(
    ("repository", "within"),
    [("CompVis--stable-diffusion-safety-checker", ""), ("stable-diffusion-v1-5--stable-diffusion-v1-5", "safety_checker")],
)
def test_what_other_programs_have_fetched_is_used(tmp_path, monkeypatch, repository, within) -> None:
    import huggingface_hub

    cache = tmp_path / "hub" / f"models--{repository}"
    snapshot = cache / "snapshots" / "0123456789abcdef" / within
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    (small_checker(tmp_path) / "safety_checker").rename(snapshot)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123456789abcdef")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(nudity, "_cached", CACHED)
    check = picture_check(None)
    assert isinstance(check, SafetyChecker) and check.objects(RED)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_half_a_checker_is_none(tmp_path, missing) -> None:
    (small_checker(tmp_path) / "safety_checker" / missing).unlink()
    assert picture_check(tmp_path) is None and picture_check(None) is None and picture_check(tmp_path / "nowhere") is None


def test_without_diffusers_the_next_is_taken(tmp_path, monkeypatch) -> None:
    small_checker(tmp_path)
    monkeypatch.setattr(nudity, "find_spec", lambda name: None if name == "diffusers" else object())
    assert isinstance(picture_check(tmp_path), NudeNet)


class Detector:
    """nudenet.NudeDetector as 3.4 has it: a BGR array in, a list of findings out."""

    found: tuple[tuple[str, float], ...] = ()

    def detect(self, image: np.ndarray) -> list[dict[str, object]]:
        assert image.dtype == np.uint8 and image.flags["C_CONTIGUOUS"] and tuple(image[0, 0]) == (10, 10, 250), "blue comes first"
        return [{"class": name, "score": score, "box": [0, 0, 1, 1]} for name, score in self.found]


@pytest.mark.parametrize(
    ("found", "adult", "young"),
    [
        ((), False, False),
        ((("FACE_FEMALE", 0.9), ("FEMALE_BREAST_COVERED", 0.9), ("FEET_EXPOSED", 0.9), ("ARMPITS_EXPOSED", 0.9)), False, False),
        ((("FEMALE_BREAST_EXPOSED", 0.7),), True, True),
        ((("FEMALE_BREAST_EXPOSED", 0.3),), False, True),
        ((("FEMALE_BREAST_EXPOSED", 0.21),), False, False),
        ((("MALE_BREAST_EXPOSED", 0.9),), False, True),
        ((("BELLY_EXPOSED", 0.8),), False, True),
        ((("FACE_MALE", 0.9), ("MALE_GENITALIA_EXPOSED", 0.4)), True, True),
    ],
)
def test_nudenet_is_asked_what_is_exposed(monkeypatch, found, adult, young) -> None:
    module = ModuleType("nudenet")
    module.NudeDetector = type("NudeDetector", (Detector,), {"found": found})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nudenet", module)
    check = NudeNet()
    assert (check.objects(RED), check.objects(RED, strict=True)) == (adult, young)


def test_the_checkers_weights_can_be_offered_with_their_licence() -> None:
    both = [record("safety-checker"), record("safety-checker-config")]
    assert {one.target(Path("models")).parent for one in both} == {Path("models/FaceChain/safety_checker")}
    assert {one.licence for one in both} == {"CreativeML OpenRAIL-M"}
    assert [one.file for one in both] == ["model.safetensors", "config.json"]
