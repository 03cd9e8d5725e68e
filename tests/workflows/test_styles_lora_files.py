"""What a dropped LoRA file is, from headers written by hand (no tensor library involved)."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path

import pytest

from facechain_ext.errors import BadWeights, UnsupportedModel
from facechain_ext.hosts.types import Listed
from facechain_ext.workflows.lora_files import hashes, install, lora_file, read_header, triggers
from facechain_ext.workflows.own_styles import own_style
from facechain_ext.workflows.styles import bind

BLOCK = "down_blocks_1_attentions_0_transformer_blocks_0"
KOHYA = {
    f"lora_unet_{BLOCK}_attn2_to_k.lora_down.weight": (4, 768), f"lora_unet_{BLOCK}_attn2_to_k.lora_up.weight": (640, 4),
    f"lora_unet_{BLOCK}_attn2_to_k.alpha": (), "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (8, 768),
    "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": (3072, 8),
}  # fmt: skip
DOTTED = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2"


def write(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None, missing: int = 0) -> Path:
    header, place = {"__metadata__": metadata} if metadata else {}, 0
    for key, shape in shapes.items():
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [place, place := place + 2 * math.prod(shape)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(place - missing))
    return path


def pair(down: str, up: str, width: int = 768) -> dict[str, tuple[int, ...]]:
    return {down: (2, width), up: (640, 2)}


def test_kohyas_lora_is_read(tmp_path) -> None:
    metadata = {"ss_output_name": "sea look", "ss_base_model_version": "sd_v1", "modelspec.trigger_phrase": "sealook, blue tide"}
    found = lora_file(write(tmp_path / "x.safetensors", KOHYA, metadata))
    assert (found.kind, found.layers, found.rank, found.unet, found.text) == ("kohya", 2, 8, True, True)
    assert (found.alias, found.triggers) == ("sea look", ("sealook", "blue tide"))


@pytest.mark.parametrize(
    "shapes",
    [
        pair(f"{DOTTED}.to_k.lora_A.weight", f"{DOTTED}.to_k.lora_B.weight"),
        pair(f"{DOTTED}.to_k.lora.down.weight", f"{DOTTED}.to_k.lora.up.weight"),
        pair(f"{DOTTED}.processor.to_k_lora.down.weight", f"{DOTTED}.processor.to_k_lora.up.weight"),
        pair(f"base_model.model.{DOTTED}.to_k.lora_A.default.weight", f"base_model.model.{DOTTED}.to_k.lora_B.default.weight"),
    ],
)
def test_diffusers_loras_are_read(tmp_path, shapes) -> None:
    found = lora_file(write(tmp_path / "x.safetensors", shapes))
    assert (found.kind, found.layers, found.rank, found.unet, found.text) == ("diffusers", 1, 2, True, False)


def test_convolutions_and_text_alone_are_loras_too(tmp_path) -> None:
    conv = {
        "lora_unet_mid_block_resnets_0_conv1.lora_down.weight": (4, 1280, 3, 3),
        "lora_unet_mid_block_resnets_0_conv1.lora_up.weight": (1280, 4, 1, 1),
    }
    assert lora_file(write(tmp_path / "c.safetensors", conv)).rank == 4
    stem = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer"
    found = lora_file(write(tmp_path / "t.safetensors", pair(f"{stem}.down.weight", f"{stem}.up.weight")))
    assert (found.text, found.unet) == (True, False)


def test_lycoris_is_told_apart(tmp_path) -> None:
    stem = f"lora_unet_{BLOCK}_attn2_to_k"
    shapes = {f"{stem}.hada_w1_a": (640, 4), f"{stem}.hada_w1_b": (4, 768), f"{stem}.alpha": ()}
    assert lora_file(write(tmp_path / "x.safetensors", shapes)).kind == "lycoris"
    shapes[f"{stem}.hada_w1_b"] = (4, 2048)
    with pytest.raises(UnsupportedModel, match="SDXL"):
        lora_file(write(tmp_path / "x.safetensors", shapes))


@pytest.mark.parametrize(
    ("shapes", "model"),
    [
        (pair(f"{DOTTED}.to_k.lora_A.weight", f"{DOTTED}.to_k.lora_B.weight", 2048), "SDXL"),
        (pair(f"lora_unet_{BLOCK}_attn2_to_v.lora_down.weight", f"lora_unet_{BLOCK}_attn2_to_v.lora_up.weight", 1024), "SD2"),
        (pair("lora_te2_a.lora_down.weight", "lora_te2_a.lora_up.weight"), "SDXL"),
        (pair("lora_unet_input_blocks_4_1_proj_in.lora_down.weight", "lora_unet_input_blocks_4_1_proj_in.lora_up.weight"), "SDXL"),
        (pair("lora_unet_double_blocks_0_img.lora_down.weight", "lora_unet_double_blocks_0_img.lora_up.weight"), "Flux"),
        (pair("transformer.x.lora_A.weight", "transformer.x.lora_B.weight"), "SD3 or Flux"),
        (pair("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
              "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight", 1024), "SD2"),
        (pair("somebody.lora_A.weight", "somebody.lora_B.weight"), "not known"),
    ],
)  # fmt: skip
def test_loras_for_other_models_are_refused_by_name(tmp_path, shapes, model) -> None:
    with pytest.raises(UnsupportedModel, match=model):
        lora_file(write(tmp_path / "x.safetensors", shapes))


def test_a_lora_for_a_checkpoint_of_another_width_fits_that_one_alone(tmp_path) -> None:
    small = write(tmp_path / "x.safetensors", pair(f"{DOTTED}.to_k.lora_A.weight", f"{DOTTED}.to_k.lora_B.weight", 128))
    assert lora_file(small, text_width=128).rank == 2
    with pytest.raises(UnsupportedModel, match="width 128"):
        lora_file(small)
    with pytest.raises(UnsupportedModel, match=r"for SD1\.5: choose one for text of width 128"):
        lora_file(write(tmp_path / "y.safetensors", KOHYA), text_width=128)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"model.diffusion_model.out.2.weight": (4, 4)}, "whole checkpoint"), ({"emb_params": (2, 768)}, "textual-inversion"),
        ({"local_fac_prj.latents": (1, 16, 768)}, "adapter"), ({"weird.weight": (3, 3)}, r"first tensor is weird\.weight"),
        ({f"lora_unet_{BLOCK}_attn2_to_k.lora_down.weight": (4, 768)}, "no fitting other half"),
        ({f"lora_unet_{BLOCK}_to_k.lora_down.weight": (4, 768), f"lora_unet_{BLOCK}_to_k.lora_up.weight": (640, 8)}, "fitting other half"),
    ],
)  # fmt: skip
def test_other_files_are_refused_by_what_they_are(tmp_path, shapes, said) -> None:
    with pytest.raises(BadWeights, match=said):
        lora_file(write(tmp_path / "x.safetensors", shapes))


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"\xff" * 64, struct.pack("<Q", 4) + b"nope", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2) + b"{}",
     struct.pack("<Q", 13) + b'{"a":{"b":1}}', struct.pack("<Q", 1 << 40) + b"{}"],
)  # fmt: skip
def test_what_is_no_safetensors_file_is_said(tmp_path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(BadWeights, match="safetensors"):
        read_header(tmp_path / "x.safetensors")


def test_a_file_that_broke_off_is_refused(tmp_path) -> None:
    with pytest.raises(BadWeights, match="download it again"):
        lora_file(write(tmp_path / "x.safetensors", KOHYA, missing=1))
    with pytest.raises(BadWeights, match="cannot be read"):
        lora_file(tmp_path / "gone.safetensors")


def test_trigger_words() -> None:
    counts = {"5_sea": {"sealook": 20, "1girl": 20, "hat": 3, "blue_tide": 18}, "1_more": {"sealook": 4, "1girl": 4, "blue_tide": 4}}
    assert triggers({"ss_tag_frequency": json.dumps(counts)}) == ("sealook", "blue_tide")  # 24 and 22 of 24
    folders = {"5_sea": {"n_repeats": 5, "img_count": 20}, "1_more": {"n_repeats": 1, "img_count": 5}}
    assert triggers({"ss_tag_frequency": json.dumps(counts), "ss_dataset_dirs": json.dumps(folders)}) == ("sealook",)  # 96 %, 88 % of 25
    assert triggers({"ss_dataset_dirs": json.dumps(folders)}) == ("sea", "more")
    assert triggers({"ss_tag_frequency": "{}", "modelspec.trigger_phrase": "None"}) == ()


@pytest.mark.parametrize("text", ["nope", "[]", "null", '{"a": 5}', '{"a": {"b": "c"}}', '{"a": {"b": -1}}', "[" * 9000])
def test_odd_metadata_calls_nothing_and_breaks_nothing(text: str) -> None:
    assert triggers({"ss_tag_frequency": text, "ss_dataset_dirs": text}) == ()


def test_a_lora_is_copied_once_and_replaces_none(tmp_path) -> None:
    folder = tmp_path / "Lora"
    given = write(tmp_path / "sea (v1).safetensors", KOHYA)
    first = install(given, folder)
    assert first == folder / "sea _v1.safetensors" and first.read_bytes() == given.read_bytes()
    assert install(given, folder) == first
    write(given, KOHYA, {"other": "content"})
    assert install(given, folder) == folder / "sea _v1-2.safetensors"
    assert sorted(path.name for path in folder.iterdir()) == ["sea _v1-2.safetensors", "sea _v1.safetensors"]


def test_every_hash_by_which_a_host_may_know_it(tmp_path) -> None:
    path = write(tmp_path / "x.safetensors", KOHYA, {"sshs_model_hash": "AB" * 32, "sshs_legacy_hash": "12345678"})
    whole, content = path.read_bytes(), bytes(2 * sum(math.prod(shape) for shape in KOHYA.values()))
    assert hashes(path) == (hashlib.sha256(whole).hexdigest(), hashlib.sha256(content).hexdigest(), "ab" * 32, "12345678")
    bare = write(tmp_path / "y.safetensors", KOHYA, {"sshs_model_hash": "None", "sshs_legacy_hash": "../x"})
    assert len(hashes(bare)) == 2 and hashes(bare)[1] == hashes(path)[1] and hashes(bare)[0] != hashes(path)[0]


def test_ones_own_style_is_bound_to_the_lora_it_was_made_with_whatever_hash_the_host_has(tmp_path) -> None:
    path = write(tmp_path / "x.safetensors", KOHYA, {"sshs_model_hash": "AB" * 32})
    style = own_style("Mine", "words", lora="x.safetensors", hashes=hashes(path))
    for known in ((), ("ab" * 32,), (hashes(path)[1],), ("ab" * 6,), (hashes(path)[0],)):
        (one,) = bind([style], [Listed(name="x", file="x.safetensors", hashes=known)])
        assert one.state == "bound", known
    (one,) = bind([style], [Listed(name="x", file="x.safetensors", hashes=("cd" * 32,))])
    assert one.state == "other file"
