"""Picture files and PIL images of any kind in, RGB out; and PNG files that are whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import uuid
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from facechain_ext.errors import BadPicture, CannotWrite
from facechain_ext.log import log

MAX_PIXELS = 100_000_000
MAX_SIDE = 32_000  # OpenCV's warps take no more than 32766
# EPS, PDF, WMF and their like are left out: opening one starts other programs.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF", "HEIF")
UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, OverflowError, EOFError, struct.error, zlib.error)
WRITE_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "writing there is not allowed",
    errno.EPERM: "writing there is not allowed",
    errno.EROFS: "the disk is read-only",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EEXIST: "a part of its path is a file, not a folder",
    errno.EISDIR: "there is a folder of that name",
}


def read(source: str | Path | IO[bytes], name: str | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture of a file as RGB, turned upright as its EXIF data says.

    name: what messages call it (default: its path). BadPicture for anything that is not a whole picture of at most
    `max_pixels`; the size is looked at before any pixel is unpacked.
    """
    called = name or _name(source)
    if isinstance(source, (str, Path)):
        _check_file(Path(source), called)
    try:
        # PIL warns of large pictures on opening; the limit below answers for that.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source, formats=_formats()) as image:
                _check_size(image, called, max_pixels)
                image.load()
                return as_rgb(image)
    except BadPicture:
        raise
    except UnidentifiedImageError as error:
        raise BadPicture(f"{called} is not a picture of a kind that can be read: give a JPEG, PNG, WebP, TIFF, BMP or GIF file.") from error
    except Image.DecompressionBombError as error:
        raise BadPicture(f"{called} unpacks to far more than {max_pixels / 1e6:.0f} megapixels: make it smaller first.") from error
    except PermissionError as error:
        raise BadPicture(f"{called} may not be read: change its permissions or copy it elsewhere.") from error
    except MemoryError as error:
        raise BadPicture(f"{called} does not fit into memory: make it smaller first.") from error
    except UNREADABLE as error:
        raise BadPicture(f"{called} is damaged or incomplete ({_reason(error)}): save or copy it again from its source.") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """A new upright RGB image of one in any mode; transparency is laid over white, 16-bit and float values scaled to 8 bits.

    What the file said of itself (EXIF, GPS, profiles) is not carried on.
    """
    upright = _upright(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        rgb = _eight_bits(upright).convert("RGB")
    elif _transparent(upright):
        layer = upright.convert("RGBA")
        rgb = Image.new("RGB", layer.size, "white")
        rgb.paste(layer, mask=layer.getchannel("A"))
    else:
        rgb = upright.convert("RGB")
    rgb.info.clear()
    return rgb


def sha256(image: Image.Image) -> str:
    """Fingerprint of size and pixels: equal for the same picture, whatever file it came from."""
    rgb = image if image.mode == "RGB" else as_rgb(image)
    return hashlib.sha256(b"%dx%d:" % rgb.size + rgb.tobytes()).hexdigest()


def shrink(image: Image.Image, longest: int) -> Image.Image:
    """The image with its longer side at most `longest` pixels (sizes cut to whole pixels, FACTS §1.2.1); smaller ones as they are."""
    side = max(image.size)
    if side <= longest:
        return image
    width, height = (max(1, int(edge * longest / side)) for edge in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def letterbox(image: Image.Image, width: int = 512, height: int = 512) -> Image.Image:
    """The whole image on black of the given size: a relatively taller one in the middle, a wider one at the bottom (FACTS §1.2.6)."""
    scale = min(width / image.width, height / image.height)
    inner = (min(width, max(1, round(image.width * scale))), min(height, max(1, round(image.height * scale))))
    canvas = Image.new("RGB", (width, height))
    canvas.paste(image.resize(inner, Image.Resampling.BICUBIC), ((width - inner[0]) // 2, height - inner[1]))
    return canvas


def save_png(image: Image.Image, path: str | Path, info: Mapping[str, str] | None = None) -> Path:
    """Write a PNG with text fields in one step: the file is whole, or the old one (or none) is there.

    Folders are made. CannotWrite names the file and the reason; nothing half-written stays.
    """
    target = Path(path)
    fields = PngInfo()
    for key, text in (info or {}).items():
        fields.add_text(key, text)
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as file:
            image.save(file, format="PNG", pnginfo=fields)
        os.replace(part, target)
    except OSError as error:
        reason = WRITE_REASONS.get(error.errno or 0, error.strerror or str(error))
        raise CannotWrite(f"{target} cannot be written, {reason}: free space or choose another folder.") from error
    finally:
        _remove(part)
    return target


def _name(source: str | Path | IO[bytes]) -> str:
    return str(source) if isinstance(source, (str, Path)) else str(getattr(source, "name", "The picture"))


def _check_file(path: Path, called: str) -> None:
    """Refuse what is no ordinary file before it is opened (a pipe would wait for ever)."""
    try:
        if path.is_dir():
            raise BadPicture(f"{called} is a folder: give a picture file inside it.")
        if not path.exists():
            raise BadPicture(f"There is no file {called}: check its path.")
        if not path.is_file():
            raise BadPicture(f"{called} is not an ordinary file: give a picture file.")
        if path.stat().st_size == 0:
            raise BadPicture(f"{called} is empty: save or copy it again from its source.")
    except (OSError, ValueError) as error:
        raise BadPicture(f"{called!r} cannot be looked at ({_reason(error)}): check its path and permissions.") from error


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _check_size(image: Image.Image, called: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        most = f"more than the {max_pixels / 1e6:g} megapixels (or {MAX_SIDE} pixels a side) allowed"
        raise BadPicture(f"{called} has {width}×{height} pixels, {most}: make it smaller first.")


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except UNREADABLE as error:
        log.warning("The EXIF data of a picture is damaged, so it is taken as it lies: %s", _reason(error))
        return image


def _transparent(image: Image.Image) -> bool:
    return "transparency" in image.info or any(band in ("A", "a") for band in image.getbands())


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16, 32 bits or floats as 8 bits.

    Whole numbers count to 65535, floats to 1, 255 or 65535 by their largest; beyond that the largest value is white.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0, neginf=0.0)
    peak = float(values.max(initial=0.0))
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    white = next((top for top in usual if peak <= top), peak)
    return Image.fromarray(np.clip(np.rint(values * (255.0 / white)), 0, 255).astype(np.uint8))


def _remove(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError as error:
        log.debug("Could not look for %s: %s", part, error)
