"""Composition root: picks the host, the face analyser, the encoder and the adapter, and is the only owner of what is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import BadInput, BadWeights
from facechain_ext.hosts.types import Folders

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.faces.types import FaceAnalyser
    from facechain_ext.hosts.standalone.host import Standalone

SIZE_KEY, SD15_SIZE = "facechain_size", 512
TEXT_KEY = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
FACECHAIN = "FaceChain"
"""The folder, beneath the models folder, of adapters, face encoders and the safety checker."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which weights and backends to use. Without checkpoint, adapter and encoder: the demo model, whose random files go to `scratch`."""

    checkpoint: Path | None = None
    adapter: Path | None = None
    encoder: Path | None = None
    analyser: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    models: Path = field(default_factory=lambda: Path("models"))
    scratch: Path = field(default_factory=lambda: Path("models"))


SUITED = {"prompt": "a photo of a person, smiling, at the beach", "template": "plain", "negative": "", "cfg": 4.0, "weight": 1.0}
"""For the trained demo model."""


class App:
    """What one run of the command line (or one WebUI) works with; everything is loaded on first use and once."""

    def __init__(self, choice: Choice) -> None:
        given = (choice.checkpoint, choice.adapter, choice.encoder)
        if any(given) and not all(given):
            names = ("--checkpoint", "--adapter", "--encoder")
            missing = " and ".join(name for name, value in zip(names, given, strict=True) if value is None)
            raise BadInput(
                f"A checkpoint, an adapter and its face encoder belong together: {missing} is missing "
                "(without all three the demo model is used)."
            )
        self.choice = choice
        self.note, self.drawn = "", False
        self.files = given if all(given) else self._demo()

    def _demo(self) -> tuple[Path, Path, Path]:
        from facechain_ext.demo.model import demo_files

        files = demo_files(self.choice.scratch)
        self.note, self.drawn = files.note, files.trained
        return files.checkpoint, files.adapter, files.encoder

    @cached_property
    def folders(self) -> Folders:
        """Where models lie: the WebUI's sub-folders beneath the models folder, and what comes with the trained demo model."""
        models = self.choice.models
        own = {"loras": models / "Lora", "checkpoints": models / "Stable-diffusion", "controlnets": models / "ControlNet"}
        return Folders(models=models, shipped=Path(str(self.files[0])).parent if self.drawn else None, **own)

    @cached_property
    def native_size(self) -> int:
        """The side in pixels of the square the checkpoint was made for: what its metadata states, else SD1.5's 512."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(self.files[0]), framework="pt") as file:
                stated = (file.metadata() or {}).get(SIZE_KEY, "")
        except (OSError, SafetensorError):
            return SD15_SIZE  # a file that cannot be read is refused with its reason when the host loads it
        return int(stated) if stated.isdigit() else SD15_SIZE

    @cached_property
    def text_width(self) -> int:
        """The width of the text the checkpoint reads, by which LoRAs made for it are known; SD1.5's where it does not say."""
        from facechain_ext.workflows.lora_files import SD15_TEXT, read_header

        try:
            shapes, _ = read_header(Path(str(self.files[0])))
        except BadWeights:
            return SD15_TEXT
        return shapes.get(TEXT_KEY, (0, SD15_TEXT))[1]

    @property
    def demo(self) -> bool:
        """Whether the demo model is in use."""
        return bool(self.note)

    @property
    def suited(self) -> dict[str, Any]:
        """Options of a portrait that suit what paints better than the usual ones: the trained demo model knows its own few words only."""
        return dict(SUITED) if self.drawn else {}

    @cached_property
    def host(self) -> Standalone:
        """The standalone host."""
        from facechain_ext.hosts.standalone.host import Standalone

        return Standalone(str(self.files[0]), device=self.choice.device, dtype=self.choice.dtype, folders=self.folders)

    @cached_property
    def adapter(self) -> Adapter:
        """The FACT adapter."""
        from facechain_ext.engine.checkpoints import read_adapter

        return read_adapter(Path(str(self.files[1])))

    @cached_property
    def encoder(self) -> FaceEncoder:
        """The face encoder the adapter was trained with."""
        from facechain_ext.engine.checkpoints import read_encoder

        return read_encoder(Path(str(self.files[2])))

    @cached_property
    def analyser(self) -> FaceAnalyser:
        """The chosen face analyser, or the best that is there; the trained demo model's own where that model paints."""
        device = "cpu" if self.choice.device == "auto" else self.choice.device
        if self.drawn and self.choice.analyser == "auto":
            return drawn_faces(self.choice.models, device)
        return face_analyser(self.choice.analyser, self.choice.models, device)

    def skeleton(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """The control picture for an openpose ControlNet, from a photo of somebody or a skeleton as it is (FACTS §1.2.6). BadInput."""
        from facechain_ext.faces.body import pose
        from facechain_ext.vision.pictures import letterbox
        from facechain_ext.vision.skeleton import draw_skeletons, is_skeleton

        fitted = letterbox(image, *size)
        return fitted if is_skeleton(image) else draw_skeletons(size, [pose(fitted)])


def completed(choice: Choice) -> Choice:
    """The choice, with what lies in the models folder where nothing was named: all three of checkpoint, adapter and encoder, or none."""
    from facechain_ext.hosts.standalone.folders import listed
    from facechain_ext.weights.locate import adapter_file, encoder_file

    if choice.checkpoint or choice.adapter or choice.encoder:
        return choice
    checkpoints = listed(choice.models / "Stable-diffusion")
    try:
        adapter = adapter_file(choice.models / FACECHAIN)
        encoder = encoder_file(choice.models / FACECHAIN, adapter)
    except BadWeights:
        return choice
    if not checkpoints:
        return choice
    return replace(choice, checkpoint=next(iter(checkpoints.values())), adapter=adapter, encoder=encoder)


def drawn_faces(models: Path, device: str = "cpu") -> FaceAnalyser:
    """The demo model's face analysis, which says so where a photograph is given; without its file the one for photographs."""
    from facechain_ext.faces.demo import DrawnOnly, check

    photos = face_analyser("auto", models, device)
    return DrawnOnly(face_analyser("demo", models, device), photos) if check(None)[0] else photos


def face_analyser(name: str, models: Path, device: str = "cpu") -> FaceAnalyser:
    """The face analysis of that name, with what lies in the models folder. BadInput, MissingPackage, BadWeights."""
    from facechain_ext.faces.choose import ModelFolders, analyser

    there = {backend: models / backend for backend in ("facexlib", "insightface", "modelscope") if (models / backend).is_dir()}
    return analyser(name, ModelFolders(**there), device)
