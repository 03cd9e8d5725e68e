"""The studio inside A1111 or Forge: the host's own models, folders, settings and tabs; persons and networks shared with the panel."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from facechain_ext.errors import BadInput, BadWeights, MissingPackage, UnsupportedModel
from facechain_ext.faces.nudity import checker_folder, picture_check
from facechain_ext.hosts import webui
from facechain_ext.hosts.webui_host import WebUIHost, output_folder
from facechain_ext.log import log
from facechain_ext.options import check_value, fields_of
from facechain_ext.store.history import History
from facechain_ext.store.names import NOBODY, owner
from facechain_ext.ui.accounts import accounts, door, page_accounts
from facechain_ext.ui.ids import PREFIX
from facechain_ext.ui.loaded import loaded, model_folders
from facechain_ext.ui.readiness import Ready, readiness
from facechain_ext.ui.settings import frozen, keep, models_folder, people_folder, setting, shared_models
from facechain_ext.ui.studio import Settings
from facechain_ext.ui.studio_base import StudioBase
from facechain_ext.weights.locate import encoder_file, found
from facechain_ext.workflows.infotext import parse_info
from facechain_ext.workflows.lora_files import SD15_TEXT, LoraFile, install, lora_file
from facechain_ext.workflows.making import AUTO, MakingOptions, Picture

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.engine.adapter import Adapter
    from facechain_ext.engine.encoder import FaceEncoder
    from facechain_ext.faces.types import FaceAnalyser, PictureCheck
    from facechain_ext.hosts.types import Listed

EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.png"
OURS = "FaceChain"
"""The folder of results beside the host's own."""
TABS = ("txt2img", "img2img", "inpaint", "extras")


class StudioWebUI(StudioBase):
    """ui.studio.Studio over the WebUI of this process."""

    def __init__(self) -> None:
        self.host = WebUIHost()
        super().__init__(door())

    @property
    def kind(self) -> Literal["a1111", "forge"]:
        """Which WebUI it is."""
        return webui.kind() or "a1111"

    # ---- what is loaded, together with the panel

    def adapters(self) -> tuple[str, ...]:
        """The adapters in the FaceChain folder."""
        return tuple(one.name for one in found(models_folder()) if one.kind == "adapter")

    def adapter(self, name: str) -> Adapter:
        """The adapter of that name; auto: the settings', else the first. BadWeights."""
        return loaded.adapter(name)

    def encoder(self, adapter: Adapter) -> FaceEncoder:
        """The face encoder beside an adapter. BadWeights."""
        return loaded.encoder(adapter)

    def analyser(self, name: str) -> FaceAnalyser:
        """The face analysis of that name; auto: the settings', else the best that is here."""
        return loaded.analyser(self.settings().analyser if name == AUTO else name)

    def analysers(self) -> tuple[str, ...]:
        """Face analyses that can be used here, auto first."""
        from facechain_ext.faces.choose import available_backends

        return (AUTO, *(one.name for one in available_backends(model_folders()) if one.capabilities))

    def checker(self) -> PictureCheck | None:
        """What looks for nudity in results."""
        return self._once("check", checker_folder(models_folder()), lambda: picture_check(models_folder()))

    # ---- what is kept

    def people_folder(self) -> Path:
        """Where the persons are saved, the panel's too."""
        return people_folder()

    def history(self) -> History:
        """The results, in a folder of ours beside the host's own pictures."""
        chosen = self.settings().outputs
        return History(Path(chosen).expanduser() if chosen else output_folder() / OURS, parse_info)

    def styles_folder(self) -> Path:
        """Where the styles of one's own are saved."""
        return models_folder() / "styles"

    def loras(self) -> tuple[Listed, ...]:
        """The LoRAs the host lists."""
        return tuple(self.host.listed_loras())

    def settings(self, user: str = NOBODY) -> Settings:
        """The host's settings of ours, everybody's; one that is not in order is left out and logged."""
        values = {}
        for declared in fields_of(Settings):
            value = setting(declared.name, declared.default)
            value = declared.default if value in ("", None) else value
            value = float(value) if declared.kind is float and isinstance(value, int) else value
            try:
                check_value(declared, value)
                values[declared.name] = value
            except BadInput as error:
                log.warning("A setting cannot be used, its default is: %s", error)
        return Settings(**values)

    def fixed(self, user: str) -> dict[str, str]:
        """What the host's command line has frozen: like all its settings, the others are for everybody who may see its page."""
        why = {one.name: frozen(f"{PREFIX}_{one.name}", PREFIX) for one in fields_of(Settings)}
        return {name: sentence for name, sentence in why.items() if sentence}

    def set_settings(self, settings: Settings, user: str = NOBODY) -> None:
        """Keep these settings in the host's file. NotAllowed."""
        changes = self.changed(settings, user)
        if changes:
            keep(changes)

    # ---- what can be done

    def defaults(self, user: str = NOBODY) -> MakingOptions:
        """What a user's page begins with."""
        from modules import shared

        settings, samplers = self.settings(user), self.host.samplers()
        return MakingOptions(
            steps=settings.steps, sampler=settings.sampler if settings.sampler in samplers else samplers[0], weight=settings.weight,
            clip_skip=int(getattr(shared.opts, "CLIP_stop_at_last_layers", 1)),
        )  # fmt: skip

    def everything_ready(self, user: str) -> tuple[Ready, ...]:
        """What is there and what is missing."""
        rest = readiness(self, user, note="", files=(), models=shared_models(), folders=model_folders(), eyes=self.settings().analyser)
        return (self._checkpoint(), self._adapter(), self._encoder(), *rest)

    def demo_person(self) -> tuple[Picture, ...]:
        """The example photo."""
        return (Picture(data=EXAMPLE.read_bytes(), name=EXAMPLE.name),) if EXAMPLE.is_file() else ()

    def install_lora(self, path: Path, name: str = "") -> LoraFile:
        """Copy a LoRA into the host's folder after checking it, and let the host see it."""
        width = webui.text_width() or SD15_TEXT
        lora_file(path, text_width=width)
        folder = self.host.folders.loras
        assert folder is not None
        made = lora_file(install(path, folder, name), text_width=width)
        self.host.refresh_loras()
        return made

    def skeleton(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """The pose of a photo as a control picture: drawn by the host's openpose where its files are here, else by mediapipe."""
        from facechain_ext.faces.body import pose
        from facechain_ext.vision.pictures import letterbox
        from facechain_ext.vision.skeleton import draw_skeletons, is_skeleton

        fitted = letterbox(image, *size)
        if is_skeleton(image):
            return fitted
        try:
            return self.host.skeleton(fitted, size)
        except MissingPackage as error:
            try:
                return draw_skeletons(size, [pose(fitted)])
            except MissingPackage:
                raise error from None

    def poses_possible(self) -> str:
        """Empty, or why no pose can be followed here and what to do."""
        return self.host.poses_possible()

    def send_to(self) -> tuple[str, ...]:
        """The host's tabs that take a picture."""
        return TABS

    def places(self) -> list[Path]:
        """The folders of models and results."""
        folders = self.host.folders
        given = (folders.loras, folders.checkpoints, folders.controlnets)
        return [shared_models(), models_folder(), output_folder(), self.history().folder, *(one for one in given if one is not None)]

    def own_places(self) -> list[Path]:
        """Where what is somebody's own lies: saved persons and styles, everybody's results and their index.

        Of a folder that the settings name the rest is not ours: it may hold the host's own pictures.
        """
        history = self.history()
        users = (NOBODY, *accounts(), *page_accounts())
        mine = [history.folder / owner(user) for user in users] if setting("outputs") else [history.folder]
        index = [history.index.with_name(f"{history.index.name}{end}") for end in ("", "-wal", "-shm", "-journal")]
        return [self.people_folder(), self.styles_folder(), *mine, *index]

    # ---- below

    def _checkpoint(self) -> Ready:
        reason, name = webui.supports(), self.host.checkpoint()
        return Ready(
            name="checkpoint", there=bool(name) and not reason, needed=True,
            sentence=reason or name or "There is no checkpoint.",
            advice="" if name and not reason else "Choose an SD1.5 checkpoint at the top of the page.",
        )  # fmt: skip

    def _adapter(self) -> Ready:
        try:
            name = loaded.adapter_path().name
            here = loaded.adapter_here()
            reason = webui.supports(None, here) if here is not None else None
        except (BadWeights, UnsupportedModel) as error:
            name, reason = "", str(error)
        return Ready(name="adapter", there=not reason, needed=True, sentence=reason or name)

    def _encoder(self) -> Ready:
        try:
            return Ready(name="encoder", there=True, needed=True, sentence=encoder_file(models_folder()).name)
        except BadWeights as error:
            return Ready(name="encoder", there=False, needed=True, sentence=str(error))


@cache
def studio() -> StudioWebUI:
    """The one studio of this process."""
    return StudioWebUI()


def on_ui_tabs() -> list[tuple[Any, str, str]]:
    """Our tab: the page, its name, and its id."""
    from facechain_ext.ui.tab import build

    return [(build(studio()), OURS, "facechain")]
