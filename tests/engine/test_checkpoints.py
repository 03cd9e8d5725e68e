"""Weight files: every container, every width, and each way a file can be wrong."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from facechain_ext.engine import checkpoints
from facechain_ext.engine.checkpoints import convert, read_adapter, read_encoder, read_tensors, write_adapter
from facechain_ext.errors import BadWeights, CannotWrite
from tests.engine.cases import GOLDEN, golden

ADAPTER, ENCODER = GOLDEN / "adapter_weights.safetensors", GOLDEN / "transface_weights.safetensors"
HEADS = golden().sizes["resampler"]["heads"]
SITE = "mid_block.attentions.0.transformer_blocks.0.attn2.processor."


def changed(tmp_path: Path, change, source: Path = ADAPTER, name: str = "changed.safetensors") -> Path:
    tensors = load_file(source)
    change(tensors)
    save_file(tensors, tmp_path / name)
    return tmp_path / name


def test_sizes_come_from_the_shapes() -> None:
    adapter, encoder, sizes = golden().adapter(), golden().encoder(), golden().sizes
    assert adapter.sizes.channels == (16, 16, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 16, 16, 16)
    resampler = adapter.sizes.resampler
    assert {key: getattr(resampler, key) for key in ("dim", "depth", "heads", "queries", "in_dim", "out_dim")} == {
        key: value for key, value in sizes["resampler"].items() if key != "dim_head"
    }
    assert (encoder.sizes.dim, encoder.sizes.depth, encoder.sizes.tokens) == (sizes["vit"]["dim"], sizes["vit"]["depth"], 144)


def test_pickle_and_safetensors_hold_the_same_adapter() -> None:
    one, other = golden().adapter("safetensors"), golden().adapter("ckpt")
    assert one.fingerprint == other.fingerprint
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_conversion_keeps_every_tensor_and_states_the_heads(tmp_path: Path) -> None:
    write_adapter(golden().adapter("ckpt"), tmp_path / "a.safetensors")
    written, published = load_file(tmp_path / "a.safetensors"), load_file(ADAPTER)
    assert written.keys() == published.keys() and len(written) == 16 * 17 + len(
        [key for key in published if key.startswith("local_fac_prj.")]
    )
    assert all(torch.equal(written[key], published[key]) for key in published)
    assert read_adapter(tmp_path / "a.safetensors").sizes.resampler.heads == HEADS


def test_convert_command_path(tmp_path: Path) -> None:
    tensors = load_file(ENCODER)
    torch.save(tensors, tmp_path / "encoder.pt")
    with pytest.raises(BadWeights, match="must state its number of heads"):  # width 32 holds no head of 64
        convert(tmp_path / "encoder.pt", tmp_path / "encoder.safetensors")
    save_file(tensors, tmp_path / "stated.safetensors", {"heads": "4"})
    convert(tmp_path / "stated.safetensors", tmp_path / "encoder.safetensors")
    with safe_open(tmp_path / "encoder.safetensors", framework="pt") as file:
        assert file.metadata()["heads"] == "4" and file.metadata()["source"] == "stated.safetensors"
    assert read_encoder(tmp_path / "encoder.safetensors").fingerprint == golden().encoder().fingerprint


def test_a_state_dict_wrapper_is_opened(tmp_path: Path) -> None:
    torch.save({"state_dict": load_file(ADAPTER), "epoch": 3}, tmp_path / "wrapped.ckpt")
    assert read_adapter(tmp_path / "wrapped.ckpt", heads=HEADS).fingerprint == golden().adapter().fingerprint


def test_half_precision_layers_keep_the_resampler_in_float32() -> None:
    adapter = read_adapter(ADAPTER, heads=HEADS, dtype=torch.float16)
    assert adapter.layers[0].linear.weight.dtype == torch.float16  # type: ignore[union-attr]
    assert adapter.resampler.latents.dtype == torch.float32


def test_extra_keys_are_reported_and_norm2_copies_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def add(tensors: dict) -> None:
        tensors[SITE + "ln.weight"] = torch.ones(32)
        tensors["optimizer.step"] = torch.ones(1)

    with caplog.at_level(logging.INFO, logger="facechain"):
        adapter = read_adapter(changed(tmp_path, add), heads=HEADS)
    assert "1 copies of the base model's norm2" in caplog.text
    assert "optimizer.step" in caplog.text
    assert adapter.fingerprint == golden().adapter().fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(SITE + "ff.net.2.bias"), rf"{SITE}ff.net.2.bias missing"),
        (lambda t: t.pop(SITE + "norm1.weight"), rf"{SITE}norm1.weight missing"),
        (lambda t: t.pop("local_fac_prj.layers.1.0.to_kv.weight"), "local_fac_prj.layers.1.0.to_kv.weight missing"),
        (lambda t: t.update({SITE + "attn.to_q.weight": torch.zeros(32, 16)}), r"attn.to_q.weight is \[32, 16\], expected \[32, 32\]"),
        (lambda t: t.update({"local_fac_prj.norm_out.bias": torch.zeros(7)}), r"norm_out.bias is \[7\], expected \[48\]"),
        (lambda t: t.update({"local_fac_prj.net.weight": torch.zeros(196, 144)}), "preview adapter of January 2024 with 196 face tokens"),
        (lambda t: [t.pop(key) for key in list(t) if key.startswith("local_fac_prj.")], "not a whole FACT adapter"),
    ],
    ids=["bias gone", "norm gone", "resampler key gone", "misshapen", "resampler misshapen", "preview", "no resampler"],
)
def test_a_wrong_adapter_is_refused_by_name(tmp_path: Path, change, message: str) -> None:
    with pytest.raises(BadWeights, match=message):
        read_adapter(changed(tmp_path, change), heads=HEADS)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("lora_unet_down_blocks_0.lora_up.weight", "a LoRA"),
        ("model.diffusion_model.out.2.bias", "a Stable Diffusion checkpoint"),
        ("control_model.input_hint_block.0.weight", "a ControlNet"),
        ("image_proj.norm.weight", "an IP-Adapter"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path: Path, key: str, kind: str) -> None:
    save_file({key: torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(BadWeights, match=f"is {kind}, not a FACT adapter"):
        read_adapter(tmp_path / "other.safetensors")
    with pytest.raises(BadWeights, match=f"is {kind}, not a face encoder"):
        read_encoder(tmp_path / "other.safetensors")


def test_adapter_and_encoder_swapped() -> None:
    with pytest.raises(BadWeights, match="is a face encoder, not a FACT adapter"):
        read_adapter(ENCODER)
    with pytest.raises(BadWeights, match="is a FACT adapter, not a face encoder"):
        read_encoder(ADAPTER)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("blocks.1.mlp.fc2.bias", None, "blocks.1.mlp.fc2.bias missing"),
        ("norm.weight", torch.ones(5), r"norm.weight is \[5\], expected \[32\]"),
    ],
)
def test_a_wrong_encoder_is_refused_by_name(tmp_path: Path, key: str, value, message: str) -> None:
    def change(tensors: dict) -> None:
        tensors.pop(key)
        if value is not None:
            tensors[key] = value

    with pytest.raises(BadWeights, match=message):
        read_encoder(changed(tmp_path, change, ENCODER), heads=4)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_a_pickle_with_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps({"local_fac_prj.latents": Harmful()}))
    torch.save({"x": Harmful()}, tmp_path / "zip.ckpt")
    for name in ("bad.ckpt", "zip.ckpt"):
        with pytest.raises(BadWeights, match="holds more than tensors"):
            read_adapter(tmp_path / name)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.ckpt", "empty.safetensors", "empty.pt", "text.safetensors"])
def test_broken_files(tmp_path: Path, name: str) -> None:
    whole = (GOLDEN / f"adapter_weights{Path(name).suffix}").read_bytes() if name.startswith("cut") else b""
    (tmp_path / name).write_bytes(whole[: len(whole) // 2] if whole else b"hello" * (name[0] == "t"))
    with pytest.raises(BadWeights, match=f"{name} is (not a complete|broken)"):
        read_adapter(tmp_path / name)


def test_what_is_no_weight_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="is not there"):
        read_tensors(tmp_path / "gone.safetensors")
    with pytest.raises(BadWeights, match="is a folder"):
        read_tensors(tmp_path)
    (tmp_path / "photo.png").write_bytes(b"x")
    with pytest.raises(BadWeights, match=r"photo\.png is no weight file"):
        read_tensors(tmp_path / "photo.png")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(BadWeights, match="no named tensors"):
        read_tensors(tmp_path / "list.pt")


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(tensors: dict, path: Path, metadata: dict) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full_disk)
    with pytest.raises(CannotWrite, match="No space left on device"):
        write_adapter(golden().adapter(), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite, match="cannot be written"):
        write_adapter(golden().adapter(), tmp_path / "file" / "a.safetensors")
