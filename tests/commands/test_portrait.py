"""The portrait command, run as a person runs it, with the demo model at a small size."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from facechain_ext.__main__ import main
from facechain_ext.demo.model import DemoFiles, demo_files
from facechain_ext.hosts.types import Progress
from facechain_ext.ui import command_portrait
from facechain_ext.vision import pictures
from facechain_ext.workflows.infotext import parse_info
from facechain_ext.workflows.portrait import PortraitOptions
from tests.engine.cases import GOLDEN

ROOT = Path(__file__).parents[2]
ASTRONAUT = ROOT / "examples" / "astronaut.png"
ANN = ROOT / "examples" / "demo" / "ann-1.png"
SMALL = ("--size", "64x72", "--steps", "2", "--seed", "7")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    return demo_files(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def weights(demo: DemoFiles) -> list[str]:
    return ["--checkpoint", str(demo.checkpoint), "--adapter", str(demo.adapter), "--encoder", str(demo.encoder)]


def run(out: Path, *more: str, photo: str | None = None) -> int:
    """A portrait of the astronaut; of a drawn person where the demo model chooses who looks at photos."""
    somebody = ASTRONAUT if "--checkpoint" in more else ANN
    return main(["portrait", "--photo", photo or str(somebody), "--out", str(out), *SMALL, *more])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_two_portraits_from_the_demo_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "out", "--count", "2", "--prompt", "in a garden, (red:1.2)", "--weight", "0.8", "--end", "0.9") == 0
    said = capsys.readouterr()
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["00001-7.png", "00002-8.png"]
    assert all(Image.open(file).size == (64, 72) for file in files)
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines] == [str(file) for file in files]
    assert all("TransFace" in line and ("likeness" in line or "no face found" in line) for line in lines)
    assert "Demo model" in said.err
    prompt, negative, settings = parse_info(Image.open(files[1]).text["parameters"])  # type: ignore[attr-defined]
    assert prompt == "in a garden, (red:1.2)" and negative == "" and settings["CFG scale"] == "4", "what suits the drawn people's model"
    assert settings["Seed"] == "8" and settings["Size"] == "64x72" and settings["Steps"] == "2" and settings["Sampler"] == "DPM++ 2M Karras"
    assert settings["FaceChain weight"] == "0.8" and settings["FaceChain end"] == "0.9" and settings["FaceChain start"] == "0"
    assert len(settings["FaceChain photos"]) == 12 and len(settings["FaceChain encoder"]) == 12
    assert "AI-generated" in Image.open(files[0]).text["Comment"]  # type: ignore[attr-defined]


def test_the_same_again_and_numbers_go_on(tmp_path: Path, weights: list[str]) -> None:
    assert run(tmp_path, *weights) == 0 and run(tmp_path, *weights) == 0
    one, two = tmp_path / "00001-7.png", tmp_path / "00002-7.png"
    assert np.array_equal(pixels(one), pixels(two))
    assert run(tmp_path, *weights, "--weight", "0") == 0 and run(tmp_path, *weights, "--weight", "2") == 0
    assert not np.array_equal(pixels(tmp_path / "00003-7.png"), pixels(tmp_path / "00004-7.png"))


def test_json_several_photos_and_the_best(tmp_path: Path, weights: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Image.open(ASTRONAUT).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirror.png")
    code = run(tmp_path / "out", *weights, "--photo", str(tmp_path / "mirror.png"), "--best", "1", "of", "2", "--json")
    assert code == 0
    said = json.loads(capsys.readouterr().out)
    assert [photo["name"] for photo in said["photos"]] == ["astronaut.png", "mirror.png"]
    assert [picture["seed"] for picture in said["pictures"]] == [7, 8]
    assert sorted(picture["kept"] for picture in said["pictures"]) == [False, True]
    assert all(Path(picture["file"]).is_file() for picture in said["pictures"])
    assert [Path(p["file"]).parent.name for p in said["pictures"] if not p["kept"]] == ["others"]
    low, high = said["among_photos"]
    assert -1 <= low <= high <= 1


def test_where_photos_weigh_as_one_the_same_photo_twice_is_that_photo(tmp_path: Path, weights: list[str], demo: DemoFiles) -> None:
    """To a grey value or two of 255; and the picture says so."""
    Image.open(ASTRONAUT).save(tmp_path / "again.bmp")  # another file of the same pixels
    away, said = {}, {}
    for kind in ("as-one", "no-as-one"):
        assert main(["convert", str(demo.adapter), str(tmp_path / f"{kind}.safetensors"), f"--{kind}"]) == 0
        given = [*weights, "--adapter", str(tmp_path / f"{kind}.safetensors"), "--weight", "2"]
        assert run(tmp_path / kind, *given) == 0 and run(tmp_path / kind, *given, "--photo", str(tmp_path / "again.bmp")) == 0
        once, twice = (tmp_path / kind / name for name in ("00001-7.png", "00002-7.png"))
        away[kind] = np.abs(pixels(once).astype(int) - pixels(twice)).max()
        said[kind] = [parse_info(Image.open(one).text["parameters"])[2].get("FaceChain photos weigh") for one in (once, twice)]
    assert away["as-one"] <= 2 and away["no-as-one"] > 8
    assert said == {"as-one": [None, "as one"], "no-as-one": [None, None]}


def test_nothing_is_written_outside_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, work, scratch = tmp_path / "home", tmp_path / "work", tmp_path / "tmp"
    for folder in (home, work, scratch):
        folder.mkdir()
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "facechain_ext", "portrait", "--photo", str(ANN), "--out", str(tmp_path / "out"), *SMALL]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 1
    ours = [path for folder in (home, work, scratch) for path in folder.rglob("*") if path.is_file() and "matplotlib" not in str(path)]
    assert ours == []


def test_reading_the_checkpoint_is_said_and_counts_for_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty seconds of reading and the first step, then one of two seconds: the two that are left take four more."""
    bar, now = command_portrait._bar(PortraitOptions(count=1, steps=4)), [100.0]
    monkeypatch.setattr(bar, "_time", lambda: now[0])
    bar.start_t = bar.last_print_t = now[0]
    assert bar.desc == "loading the model"
    for seconds, step in ((30, 1), (2, 2)):
        now[0] += seconds
        command_portrait._advance(bar, Progress(picture=0, pictures=1, step=step, steps=4))
    assert bar.n == 2 and bar.format_dict["elapsed"] == 2 and "picture 1 of 1" in str(bar) and "00:02<00:04" in str(bar)
    bar.close()


def test_control_c_keeps_what_is_finished(tmp_path: Path, weights: list[str]) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "facechain_ext", "portrait", "--photo", str(ASTRONAUT), "--out", str(out), *weights]
    process = subprocess.Popen(
        [*command, "--size", "64", "--steps", "40", "--count", "50"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "00001-" in first and "finished and kept" in errors and "Traceback" not in errors
    files = list(out.iterdir())
    assert 1 <= len(files) < 50 and all(Image.open(file).load() is not None for file in files)


def test_exif_turns_the_photo(tmp_path: Path, weights: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    lying = Image.open(ASTRONAUT).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it upright
    lying.save(tmp_path / "lying.png", exif=exif)
    assert run(tmp_path / "a", *weights, "--json", photo=str(tmp_path / "lying.png")) == 0
    turned = json.loads(capsys.readouterr().out)["photos"][0]["hash"]
    assert run(tmp_path / "b", *weights, "--json") == 0
    assert json.loads(capsys.readouterr().out)["photos"][0]["hash"] == turned


BAD_OPTIONS = [
    (("--weight", "3"), "Likeness (weight) must be from 0 to 2"),
    (("--steps", "none"), "Steps (steps) must be a whole number"),
    (("--start", "0.8", "--end", "0.2"), "must not be after"),
    (("--size", "65"), "multiples of 8; got 65×65"),
    (("--size", "big"), "--size must be WIDTHxHEIGHT"),
    (("--size", "8000"), "Width (width) must be from 64 to 2048"),
    (("--count", "0"), "Pictures (count) must be from 1 to 100"),
    (("--best", "3", "of", "2"), "--best 3 needs at least as many"),
    (("--best", "some"), "--best must be N or N of M"),
    (("--best", "2", "--count", "abc"), "Pictures (count) must be a whole number; got 'abc'"),
    (("--sampler", "DPM++ 2N Karras"), "DPM++ 2M Karras"),
    (("--subject", "women"), "did you mean 'woman'"),
    (("--photo", "gone.jpg"), "gone.jpg"),
    (("--face", "4"), "There is no face 4"),
    (("--lora", "gone:0.5"), "gone"),
    (("--pose", "x.png"), "--pose and --controlnet belong together"),
    (("--device", "toaster"), "toaster"),
    (("--dtype", "fp3"), "fp3"),
    (("--analyser", "nobody"), "nobody"),
    (("--adapter", "gone.safetensors"), "gone.safetensors is not there"),
    (("--encoder", "gone.pt"), "gone.pt is not there"),
    (("--checkpoint", "gone.safetensors"), "gone.safetensors"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_bad_input_is_one_sentence(tmp_path: Path, weights: list[str], options: tuple[str, ...], message: str, capsys) -> None:
    assert run(tmp_path / "out", *weights, *options) == 2
    said = capsys.readouterr()
    last = said.err.strip().splitlines()[-1]
    assert message in last and "Traceback" not in said.err
    assert list((tmp_path / "out").rglob("*")) == []


def photo_of(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.png"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(ASTRONAUT.read_bytes()[:5000])
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "folder":
        path.mkdir()
    elif kind == "faceless":
        Image.new("RGB", (300, 200), "green").save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "empty.png"),
        ("cut", "cut.png"),
        ("text", "text.png"),
        ("folder", "folder.png"),
        ("faceless", "No face found in faceless.png"),
    ],
)
def test_bad_photos_are_named(tmp_path: Path, weights: list[str], kind: str, message: str, capsys) -> None:
    assert run(tmp_path / "out", *weights, photo=str(photo_of(kind, tmp_path))) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert list((tmp_path / "out").rglob("*")) == []


def test_a_bad_photo_among_good_ones_is_left_out_with_a_word(tmp_path: Path, weights: list[str], capsys) -> None:
    assert run(tmp_path / "out", *weights, "--photo", str(photo_of("faceless", tmp_path)), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [photo["name"] for photo in said["photos"]] == ["astronaut.png"]
    assert any("No face found in faceless.png" in note for note in said["notes"])


def test_weights_that_do_not_belong_together(tmp_path: Path, demo: DemoFiles, capsys) -> None:
    assert run(tmp_path, "--checkpoint", str(demo.checkpoint)) == 2
    assert "--adapter and --encoder is missing" in capsys.readouterr().err
    save_file(load_file(GOLDEN / "adapter_weights.safetensors"), tmp_path / "other.safetensors", {"resampler_heads": "4"})
    assert (
        run(
            tmp_path, "--checkpoint", str(demo.checkpoint), "--encoder", str(demo.encoder), "--adapter", str(tmp_path / "other.safetensors")
        )
        == 2
    )
    assert "choose the encoder the adapter was trained with" in capsys.readouterr().err
    assert run(tmp_path, "--checkpoint", str(demo.adapter), "--encoder", str(demo.encoder), "--adapter", str(demo.adapter)) == 2
    assert demo.adapter.name in capsys.readouterr().err


@pytest.mark.parametrize(("context", "kind"), [(1024, "SD2"), (2048, "SDXL")])
def test_other_checkpoints_are_refused(tmp_path: Path, demo: DemoFiles, context: int, kind: str, capsys) -> None:
    tensors = load_file(demo.checkpoint)
    for key in [key for key in tensors if "attn2.to_k.weight" in key or "attn2.to_v.weight" in key]:
        tensors[key] = torch.zeros(tensors[key].shape[0], context)
    text = {"SD2": "cond_stage_model.model.ln_final.weight", "SDXL": "conditioner.embedders.1.model.ln_final.weight"}[kind]
    tensors = {key: value for key, value in tensors.items() if not key.startswith("cond_stage_model.")} | {text: torch.zeros(1280)}
    save_file(tensors, tmp_path / "other.safetensors")
    assert (
        run(
            tmp_path / "out",
            "--checkpoint",
            str(tmp_path / "other.safetensors"),
            "--encoder",
            str(demo.encoder),
            "--adapter",
            str(demo.adapter),
        )
        == 2
    )
    said = capsys.readouterr().err
    assert kind in said and "Traceback" not in said


def test_a_folder_that_cannot_be_written(tmp_path: Path, weights: list[str], capsys) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(tmp_path / "file" / "out", *weights) == 2
    assert "cannot be written to" in capsys.readouterr().err


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, weights: list[str], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    save = Image.Image.save
    calls: list[int] = []

    def fill_up(self: Image.Image, target, **more) -> None:
        calls.append(1)
        if len(calls) > 1:
            target.write(b"half")
            raise OSError(28, "No space left on device")
        save(self, target, **more)

    monkeypatch.setattr(pictures.Image.Image, "save", fill_up)
    assert run(tmp_path / "out", *weights, "--count", "2") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00001-7.png"]


def test_kohya_lora_by_file_and_by_name(tmp_path: Path, weights: list[str], demo: DemoFiles) -> None:
    key = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    width = load_file(demo.checkpoint)[key].shape[0]
    name, generator = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", torch.Generator().manual_seed(1)
    lora = {
        f"{name}.lora_down.weight": torch.randn(2, width, generator=generator),
        f"{name}.lora_up.weight": torch.randn(width, 2, generator=generator),
    }
    (tmp_path / "models" / "Lora").mkdir(parents=True)
    save_file(lora | {f"{name}.alpha": torch.tensor(2.0)}, tmp_path / "models" / "Lora" / "style.safetensors")
    assert run(tmp_path / "plain", *weights) == 0
    assert run(tmp_path / "file", *weights, "--lora", f"{tmp_path / 'models' / 'Lora' / 'style.safetensors'}:0.8") == 0
    assert run(tmp_path / "name", *weights, "--lora", "style:0.8", "--models", str(tmp_path / "models")) == 0
    plain, file, by_name = (pixels(tmp_path / folder / "00001-7.png") for folder in ("plain", "file", "name"))
    assert np.array_equal(file, by_name) and not np.array_equal(plain, file)
    assert "<lora:style:0.8>" in Image.open(tmp_path / "name" / "00001-7.png").text["parameters"]  # type: ignore[attr-defined]


def test_faces_command(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["faces", str(ASTRONAUT), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    face = said["faces"][0]
    assert said["size"] == [512, 512] and len(said["faces"]) == 1
    assert face["box"] == pytest.approx([178, 83, 273, 178], abs=3)  # mediapipe's own box of this photo, as it was measured apart from us
    assert len(face["points"]) == 5 and {"yaw", "pitch", "roll", "sharpness", "brightness", "problems"} <= face.keys()
    drawn = Image.open(tmp_path / said["annotated"])
    assert drawn.size == (512, 512) and not np.array_equal(np.asarray(drawn), np.asarray(Image.open(ASTRONAUT).convert("RGB")))
    assert main(["faces", str(ASTRONAUT)]) == 0
    words = capsys.readouterr().out
    assert "Face 1: box" in words and "yaw" in words and "good: fit" in words
    assert main(["faces", str(photo_of("faceless", tmp_path))]) == 2
    assert "No face found in faceless.png (300×200)" in capsys.readouterr().err


def test_convert_and_unknown_commands(tmp_path: Path, capsys) -> None:
    shutil.copy(GOLDEN / "adapter_weights.ckpt", tmp_path / "a.ckpt")
    assert main(["convert", str(tmp_path / "a.ckpt")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "a.safetensors")
    assert load_file(tmp_path / "a.safetensors").keys() == load_file(GOLDEN / "adapter_weights.safetensors").keys()
    assert main(["convert", str(tmp_path / "a.ckpt")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["portrat"]) == 2
    assert "no command 'portrat'" in capsys.readouterr().err
    assert main([]) == 0 and "portrait" in capsys.readouterr().out


def test_a_pose_is_taken_from_a_photo_or_a_skeleton(tmp_path: Path, weights: list[str], capsys) -> None:
    from facechain_ext.vision.skeleton import draw_skeletons
    from tests.hosts.standalone_cases import controlnet, ldm_controlnet

    save_file(ldm_controlnet(controlnet()), tmp_path / "pose.safetensors")
    body = [(32.0, 12.0), (32.0, 24.0), (22.0, 24.0), (18.0, 36.0), None, (42.0, 24.0), (46.0, 36.0), *[None] * 11]
    draw_skeletons((64, 72), [body]).save(tmp_path / "skeleton.png")
    follow = ["--controlnet", str(tmp_path / "pose.safetensors")]
    assert run(tmp_path / "plain", *weights) == 0
    assert run(tmp_path / "drawn", *weights, *follow, "--pose", str(tmp_path / "skeleton.png")) == 0
    assert run(tmp_path / "weak", *weights, *follow, "--pose", str(tmp_path / "skeleton.png"), "--pose-weight", "0.2") == 0
    plain, drawn, weak = (pixels(tmp_path / folder / "00001-7.png").astype(int) for folder in ("plain", "drawn", "weak"))
    assert 0 < np.abs(weak - plain).mean() < np.abs(drawn - plain).mean()
    assert 'ControlNet 0: "Model: pose, Weight: 1' in Image.open(tmp_path / "drawn" / "00001-7.png").text["parameters"]  # type: ignore[attr-defined]
    assert run(tmp_path / "nobody", *weights, *follow, "--pose", str(photo_of("faceless", tmp_path))) == 2
    assert "No person was found in the pose picture" in capsys.readouterr().err
