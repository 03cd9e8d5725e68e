"""A WebUI over HTTP: requests in its own words, pictures as arrays, and what its info text says."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.png"
WAIT = 600
LORA = "facechain-live-test"
"""How the LoRAs begin that these tests put into the WebUI's folder."""
CHANGED = ("token_merging_ratio", "skip_early_cond", "batch_cond_uncond", "pad_cond_uncond")
"""Settings which these tests override. The hosts give back only those that were ever saved, so every request states them."""


class Refused(Exception):
    """The WebUI answered with another status than 200."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail = status, detail


@dataclass(frozen=True)
class Pictures:
    """The pictures of one request, uint8 RGB [n, H, W, 3], and the info text of each."""

    pixels: np.ndarray
    infos: list[str]

    @property
    def trouble(self) -> str | None:
        """What the info text says went wrong with the face."""
        found = [info.split("FaceChain error: ", 1)[1] for info in self.infos if "FaceChain error: " in info]
        return found[0] if found else None


class WebUI:
    """A running WebUI. account: NAME:PASSWORD of whoever asks, where it has log-ins."""

    def __init__(self, url: str, account: str = "") -> None:
        self.url = url.rstrip("/")
        self.account = account
        self.headers = basic(account)
        self.host = self.ask("/facechain/v1/version")["host"]
        options = self.ask("/sdapi/v1/options")
        self.usual = {name: options[name] for name in CHANGED if name in options}

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """GET, or POST with a body, or another method; Refused where the answer is no 200."""
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self.fetch(path, data, "application/json", method))

    def fetch(self, path: str, data: bytes | None = None, kind: str = "application/octet-stream", method: str | None = None) -> bytes:
        """The same with bytes to send, and for bytes."""
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind, **self.headers}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=WAIT) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace")[:2000]) from error

    def make(self, face: dict | None = None, **changes: Any) -> Pictures:
        """Pictures by txt2img, or by img2img where there are init_images. face: our argument, None where we are not named at all."""
        body = {"prompt": "a portrait of a person", "negative_prompt": "blurry", "seed": 7, "steps": 2, "width": 64, "height": 64}
        body |= {"sampler_name": "Euler", "cfg_scale": 7, "save_images": False} | changes
        body["override_settings"] = self.usual | body.get("override_settings", {})
        if face is not None:
            body["alwayson_scripts"] = body.get("alwayson_scripts", {}) | {"FaceChain": {"args": [face]}}
        if body.get("enable_hr") and self.host == "forge":
            body["hr_additional_modules"] = ["Use same choices"]
        answer = self.ask("/sdapi/v1/img2img" if "init_images" in body else "/sdapi/v1/txt2img", body)
        info = json.loads(answer["info"])
        count = body.get("batch_size", 1) * body.get("n_iter", 1)
        first = info["index_of_first_image"]  # before it a grid, after them what ControlNet was given
        return Pictures(np.stack([decode(picture) for picture in answer["images"][first : first + count]]), info["infotexts"])

    def seeded(self, face: dict | None = None, **changes: Any) -> Pictures:
        """As `make`, after a small picture of a fixed seed, which leaves torch's generator, from which Forge encodes, as it was before."""
        self.make(None, steps=1, seed=99)
        return self.make(face, **changes)

    def give_back(self) -> None:
        """Leave the overridden settings as they were found."""
        self.make(None, steps=1, override_settings_restore_afterwards=False)

    def checkpoint(self) -> Path:
        """The file of the loaded checkpoint, on the WebUI's machine."""
        title = self.ask("/sdapi/v1/options")["sd_model_checkpoint"]
        models = self.ask("/sdapi/v1/sd-models")
        return Path(
            next(model["filename"] for model in models if title in (model["title"], model["model_name"], Path(model["filename"]).name))
        )

    def lora_folder(self) -> Path:
        """As the flags say; Forge fails to tell its flags (its answer has a wrong schema); there it lies beside that of the checkpoints."""
        try:
            return Path(self.ask("/sdapi/v1/cmd-flags")["lora_dir"])
        except Refused:
            return self.checkpoint().parents[1] / "Lora"

    def forget_loras(self) -> None:
        """Delete the LoRAs of these tests, where the WebUI's folder can be reached, also those of a run that was cut short."""
        left = sorted(self.lora_folder().glob(f"{LORA}*"))
        for file in left:
            file.unlink(missing_ok=True)
        if left:
            self.ask("/sdapi/v1/refresh-loras", {})

    def memory(self) -> float:
        """Memory of the WebUI's process in megabytes."""
        return self.ask("/sdapi/v1/memory")["ram"]["used"] / 1e6


def basic(account: str) -> dict[str, str]:
    """The header of HTTP Basic for NAME:PASSWORD; none for nobody."""
    return {"Authorization": f"Basic {base64.b64encode(account.encode()).decode()}"} if account else {}


def decode(picture: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(picture))).convert("RGB"))


def encode(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def photo(number: int = 0) -> str:
    """The example photo, darker or lighter and cut a little differently for every number: another photo of the same face."""
    image = Image.open(ASTRONAUT).convert("RGB")
    image = image.crop((number % 7, number % 5, image.width - number % 3, image.height - number % 11))
    return encode(ImageEnhance.Brightness(image).enhance(0.8 + 0.015 * number))


def person(number: int = 0, **changes: Any) -> dict:
    """One person of the REST argument."""
    return {"photos": [photo(number)], "weight": 1.0} | changes


def face(*persons: dict, **changes: Any) -> dict:
    """The REST argument: on, and strict, so that a face that is missing is an error here."""
    return {"enabled": True, "persons": list(persons or [person()]), "strict": True} | changes


def mask(width: int, height: int, *box: int) -> str:
    """White inside the box."""
    image = Image.new("RGB", (width, height))
    image.paste((255, 255, 255), box)
    return encode(image)
