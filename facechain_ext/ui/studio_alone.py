"""The studio without a WebUI: an app, and a data folder for results, persons, styles and settings."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from facechain_ext.app import FACECHAIN, App, drawn_faces, face_analyser
from facechain_ext.errors import BadInput, BadWeights, CannotWrite
from facechain_ext.faces.choose import ModelFolders, available_backends
from facechain_ext.faces.nudity import checker_folder, picture_check
from facechain_ext.log import log
from facechain_ext.options import fields_of, from_mapping, to_mapping
from facechain_ext.store.history import History
from facechain_ext.store.names import NOBODY, owner
from facechain_ext.ui.door import Door
from facechain_ext.ui.readiness import Ready, readiness
from facechain_ext.ui.studio import PERSONAL, Settings
from facechain_ext.ui.studio_base import StudioBase
from facechain_ext.weights.locate import encoder_file, found, named
from facechain_ext.workflows.infotext import parse_info
from facechain_ext.workflows.looking import png
from facechain_ext.workflows.lora_files import LoraFile, install, lora_file
from facechain_ext.workflows.making import AUTO, MakingOptions, Picture
from facechain_ext.workflows.planning import openpose
from facechain_ext.workflows.styles import DRAWN, Style, presets

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.faces.types import FaceAnalyser, PictureCheck
    from facechain_ext.hosts.types import Host, Listed

EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.png"
ALONE = Door()
NO_OPENPOSE = "There is no openpose ControlNet: put control_v11p_sd15_openpose.pth (or another for SD1.5) into {folder}."


class StudioAlone(StudioBase):
    """ui.studio.Studio over the standalone host."""

    kind: Literal["standalone"] = "standalone"

    def __init__(self, app: App, data: Path, door: Door = ALONE) -> None:
        """data: the folder for outputs/, people/, styles/ and settings; made when first written to. door: who comes in."""
        self.app, self.data = app, data
        super().__init__(door)

    @property
    def host(self) -> Host:
        """The standalone host."""
        return self.app.host

    # ---- what is loaded: each once, and one of a kind at a time

    def adapters(self) -> tuple[str, ...]:
        """The app's own adapter, and those in the FaceChain folder, by name."""
        names = [Path(str(self.app.files[1])).stem, *(one.name for one in found(self._facechain) if one.kind == "adapter")]
        return tuple(dict.fromkeys(names))

    def adapter(self, name: str) -> Adapter:
        """The adapter of that name; auto: the settings', else the app's own. BadWeights."""
        from facechain_ext.engine.checkpoints import read_adapter

        path = self._adapter_path(self.settings().adapter if name == AUTO else name)
        return self._once("adapter", path, lambda: self.app.adapter if path == self._own_adapter else read_adapter(path))

    def encoder(self, adapter: Adapter) -> FaceEncoder:
        """The app's encoder for the app's adapter, else the one beside the adapter. BadWeights."""
        from facechain_ext.engine.checkpoints import read_encoder

        if adapter.file is None or adapter.file == self._own_adapter:
            return self._once("encoder", "own", lambda: self.app.encoder)
        path = encoder_file(self._facechain, adapter.file)
        return self._once("encoder", path, lambda: read_encoder(path))

    def analyser(self, name: str) -> FaceAnalyser:
        """The face analysis of that name; auto: the settings', else the app's, else the best that is here for what the app paints."""
        chosen = self._analyser_name(name)
        device = "cpu" if self.app.choice.device == AUTO else self.app.choice.device
        if chosen == AUTO and self.app.drawn:
            return self._once("analyser", "drawn", lambda: drawn_faces(self.app.choice.models, device))
        return self._once("analyser", chosen, lambda: face_analyser(chosen, self.app.choice.models, device))

    def analysers(self) -> tuple[str, ...]:
        """Face analyses that can be used here, auto first."""
        return (AUTO, *(one.name for one in available_backends(self._analyser_folders()) if one.capabilities))

    def checker(self) -> PictureCheck | None:
        """What looks for nudity in results."""
        return self._once("check", checker_folder(self._facechain), lambda: picture_check(self._facechain))

    # ---- what is kept

    def people_folder(self) -> Path:
        """Where the persons are saved."""
        return self.data / "people"

    def history(self) -> History:
        """The results."""
        chosen = self.settings().outputs
        return History(Path(chosen).expanduser() if chosen else self.data / "outputs", parse_info)

    def styles_folder(self) -> Path:
        """Where the styles of one's own are saved."""
        return self.data / "styles"

    def suited_styles(self) -> tuple[Style, ...]:
        """What the trained demo model draws, each with a picture of it."""
        return drawn_styles() if self.app.drawn else ()

    def loras(self) -> tuple[Listed, ...]:
        """The LoRAs of the folder."""
        return tuple(self.host.listed_loras())

    def settings(self, user: str = NOBODY) -> Settings:
        """The installation's settings, with what a user who logs in has chosen for oneself."""
        everybodys = _kept(self._settings_file, Settings())
        return _kept(self._own_settings(user), everybodys) if self._second(user) else everybodys

    def fixed(self, user: str) -> dict[str, str]:
        """With log-ins, the installation's settings are for the first account."""
        if not self._second(user):
            return {}
        why = f"Only {self.door.owners[0]}, the first account, can change this."
        return {one.name: why for one in fields_of(Settings) if one.name not in PERSONAL}

    def set_settings(self, settings: Settings, user: str = NOBODY) -> None:
        """Keep these settings: of those who may not change the installation's, their own. CannotWrite, NotAllowed."""
        self.changed(settings, user)
        target = self._own_settings(user) if self._second(user) else self._settings_file
        kept = {name: value for name, value in to_mapping(settings).items() if name in PERSONAL or not self._second(user)}
        whole = target.with_name(f".{uuid.uuid4().hex}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            whole.write_text(json.dumps(kept, ensure_ascii=False, indent=1), encoding="utf-8")
            os.replace(whole, target)
        except OSError as error:
            raise CannotWrite(f"{target} cannot be written ({error.strerror}): check that its folder may be.") from error
        finally:
            with suppress(OSError):  # where the folder cannot be made, there is nothing to tidy up either
                whole.unlink()

    # ---- what can be done

    def defaults(self, user: str = NOBODY) -> MakingOptions:
        """What a user's page begins with."""
        settings, side = self.settings(user), self.app.native_size
        usual = {"steps": settings.steps, "sampler": settings.sampler, "weight": settings.weight}
        return MakingOptions(width=side, height=side, **{**usual, **self.app.suited})

    def everything_ready(self, user: str) -> tuple[Ready, ...]:
        """What is there and what is missing."""
        files = [Path(str(path)) for path in self.app.files]
        eyes = "demo" if self.app.drawn and self._analyser_name(AUTO) == AUTO else self._analyser_name(AUTO)
        models, folders = self.app.choice.models, self._analyser_folders()
        noise = bool(self.app.note) and not self.app.drawn
        return readiness(self, user, note=self.app.note, files=files, models=models, folders=folders, eyes=eyes, noise=noise)

    def demo_person(self) -> tuple[Picture, ...]:
        """Photos of the person to try things with: drawn ones for the trained demo model."""
        if self.app.drawn:
            return drawn_person()
        return (Picture(data=EXAMPLE.read_bytes(), name=EXAMPLE.name),) if EXAMPLE.is_file() else ()

    def install_lora(self, path: Path, name: str = "") -> LoraFile:
        """Copy a LoRA into the folder after checking it, under its own name or the given one."""
        lora_file(path, text_width=self.app.text_width)
        folder = self.app.folders.loras
        assert folder is not None
        return lora_file(install(path, folder, name), text_width=self.app.text_width)

    def skeleton(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """The pose of a photo as a control picture."""
        return self.app.skeleton(image, size)

    def poses_possible(self) -> str:
        """Empty, or that there is no openpose ControlNet."""
        return "" if openpose(self.host.controlnets()) else NO_OPENPOSE.format(folder=self.app.folders.controlnets)

    def send_to(self) -> tuple[str, ...]:
        """There are no other tabs."""
        return ()

    def places(self) -> list[Path]:
        """The folders of data, models and results, and those of the weights."""
        given = [Path(str(path)).parent for path in self.app.files]
        return [self.data, self.app.choice.models, self.app.choice.scratch, self.history().folder, *given]

    # ---- below

    def _second(self, user: str) -> bool:
        """Whether it is an account that is not the first."""
        return self.door.login and not self.door.owner(user)

    def _own_settings(self, user: str) -> Path:
        return self.data / "settings" / f"{owner(user)}.json"

    @property
    def _facechain(self) -> Path:
        return self.app.choice.models / FACECHAIN

    @property
    def _settings_file(self) -> Path:
        return self.data / "settings.json"

    @property
    def _own_adapter(self) -> Path:
        return Path(str(self.app.files[1]))

    def _adapter_path(self, name: str) -> Path:
        if name in ("", AUTO, self._own_adapter.stem):
            return self._own_adapter
        there = [one for one in found(self._facechain) if one.kind == "adapter"]
        one = named(there, name)
        if one is None:
            raise BadWeights(f"There is no adapter {name!r}: choose {' or '.join(self.adapters())}.")
        return one.path

    def _analyser_folders(self) -> ModelFolders:
        models = self.app.choice.models
        return ModelFolders(**{name: models / name for name in ("facexlib", "insightface", "modelscope") if (models / name).is_dir()})

    def _analyser_name(self, name: str) -> str:
        """What a name stands for: auto for the settings', else for the app's choice, which may be auto."""
        chosen = self.settings().analyser if name == AUTO else name
        return self.app.choice.analyser if chosen == AUTO else chosen


def _kept(path: Path, base: Settings) -> Settings:
    """The settings of a file over others; those others where it is not in order, which is logged."""
    try:
        return from_mapping(Settings, to_mapping(base) | json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return base
    except (OSError, ValueError, TypeError, AttributeError, BadInput) as error:
        log.warning("%s cannot be used, the defaults are: %s", path, error)
        return base


@lru_cache(maxsize=1)
def drawn_person() -> tuple[Picture, ...]:
    """Both photos of one of the people in examples/demo."""
    from facechain_ext.demo.photos import SCENES, photo

    return tuple(Picture(data=png(photo("ann", place)), name=f"ann-{place + 1}.png") for place in range(len(SCENES)))


@lru_cache(maxsize=1)
def drawn_styles() -> tuple[Style, ...]:
    """The demo model's styles with one of the people of examples/demo drawn in each."""
    from facechain_ext.demo.photos import in_style

    return tuple(replace(one, thumbnail=png(in_style(one.key.removeprefix("Drawn_")))) for one in presets(DRAWN))
