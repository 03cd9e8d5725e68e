"""Any picture file in, upright RGB out; every bad one refused in one sentence that names it."""

from __future__ import annotations

import errno
import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facechain_ext.errors import BadPicture, CannotWrite
from facechain_ext.vision import pictures
from facechain_ext.vision.pictures import as_rgb, letterbox, read, save_png, sha256, shrink

RED, GREEN, BLUE = (200, 10, 20), (10, 200, 30), (20, 30, 200)


def corners(image: Image.Image) -> list[tuple[int, int, int]]:
    """Dominant colour of each quarter: top left, top right, bottom left, bottom right."""
    width, height = image.size
    return [image.getpixel((x, y)) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]


@pytest.fixture
def quarters() -> Image.Image:
    """60×40: red, green over blue, white."""
    image = Image.new("RGB", (60, 40))
    for colour, corner in zip((RED, GREEN, BLUE, (250, 250, 250)), ((0, 0), (30, 0), (0, 20), (30, 20)), strict=True):
        image.paste(colour, (*corner, corner[0] + 30, corner[1] + 20))
    return image


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def sixteen_bit_grey(path: Path, values: list[int]) -> None:
    """A 16-bit grey PNG of one row, written by hand."""
    row = b"\0" + struct.pack(f">{len(values)}H", *values)
    head = struct.pack(">IIBBBBB", len(values), 1, 16, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(row)) + png_chunk(b"IEND", b""))


# What a picture shows when its pixels, as stored, are to be shown by each EXIF orientation.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, quarters: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(quarters))))
    stored.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(read(tmp_path / "turned.png")), np.asarray(quarters))
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert np.abs(np.asarray(read(tmp_path / "turned.jpg")).astype(int) - np.asarray(quarters)).mean() < 4


def test_where_a_photo_was_taken_is_not_carried_on(tmp_path: Path, quarters: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "a name"
    quarters.save(tmp_path / "photo.jpg", exif=exif, comment=b"secret")
    image = read(tmp_path / "photo.jpg")
    assert image.info == {} and len(image.getexif()) == 0 and image.size == (40, 60)


def test_damaged_exif_does_not_spoil_the_picture(tmp_path: Path, quarters: Image.Image) -> None:
    quarters.save(tmp_path / "photo.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken", quality=95)
    assert read(tmp_path / "photo.jpg").size == (60, 40)


def test_transparency_is_laid_over_white(quarters: Image.Image) -> None:
    layer = quarters.convert("RGBA")
    layer.putalpha(Image.fromarray(np.repeat([[0, 128]], 40, 0).repeat(30, 1).astype(np.uint8)))
    shown = np.asarray(as_rgb(layer)).astype(int)
    assert (shown[:, :30] == 255).all()
    assert np.abs(shown[10, 45] - (np.array(GREEN) * 128 + 255 * 127) / 255).max() <= 1
    assert (np.asarray(as_rgb(Image.new("LA", (3, 3), (0, 0)))) == 255).all()
    assert (np.asarray(as_rgb(Image.new("RGBa", (3, 3), (0, 0, 0, 0)))) == 255).all()


def test_transparent_palette_and_keyed_colour(tmp_path: Path, quarters: Image.Image) -> None:
    indexed = quarters.quantize(4)
    see_through = indexed.getpixel((5, 5))
    indexed.save(tmp_path / "palette.png", transparency=see_through)
    shown = corners(read(tmp_path / "palette.png"))
    assert shown[0] == (255, 255, 255) and np.abs(np.subtract(shown[1], GREEN)).max() <= 2
    quarters.save(tmp_path / "keyed.png", transparency=GREEN)
    assert corners(read(tmp_path / "keyed.png"))[:2] == [RED, (255, 255, 255)]


def test_cmyk_one_bit_grey_and_animations(tmp_path: Path, quarters: Image.Image) -> None:
    quarters.convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(np.subtract(corners(read(tmp_path / "print.jpg"))[0], RED)).max() < 12
    assert as_rgb(Image.new("1", (2, 2), 1)).getpixel((0, 0)) == (255, 255, 255)
    assert as_rgb(Image.new("L", (2, 2), 77)).getpixel((0, 0)) == (77, 77, 77)
    quarters.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (60, 40))])
    assert np.abs(np.subtract(corners(read(tmp_path / "moving.gif"))[2], BLUE)).max() < 4


def test_sixteen_bits_keep_their_brightness(tmp_path: Path) -> None:
    sixteen_bit_grey(tmp_path / "deep.png", [0, 255, 32896, 65535])
    assert np.asarray(read(tmp_path / "deep.png"))[0, :, 0].tolist() == [0, 1, 128, 255]
    values = np.array([[0, 32896, 65535]], np.uint16)
    assert np.asarray(as_rgb(Image.fromarray(values)))[0, :, 1].tolist() == [0, 128, 255]
    Image.fromarray(values).save(tmp_path / "deep.tif")
    assert np.asarray(read(tmp_path / "deep.tif"))[0, :, 2].tolist() == [0, 128, 255]
    assert np.asarray(as_rgb(Image.fromarray(values.astype(np.int32))))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0, 0.5, 1.0], [0, 128, 255]),
        ([0, 100, 255], [0, 100, 255]),
        ([0, 32896, 65535], [0, 128, 255]),
        ([float("nan"), 0, 1], [0, 0, 255]),
    ],
)
def test_float_pictures(values: list[float], shown: list[int]) -> None:
    assert np.asarray(as_rgb(Image.fromarray(np.array([values], np.float32))))[0, :, 0].tolist() == shown


def test_the_given_image_is_left_alone(quarters: Image.Image) -> None:
    before = quarters.tobytes()
    as_rgb(quarters).paste((0, 0, 0), (0, 0, 60, 40))
    assert quarters.tobytes() == before


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(b"\0" * 100)) + png_chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(BadPicture, match=r"bomb\.png.*megapixels"):
        read(tmp_path / "bomb.png")
    Image.new("L", (30, 20)).save(tmp_path / "small.png")
    with pytest.raises(BadPicture, match=r"small\.png has 30×20 pixels"):
        read(tmp_path / "small.png", max_pixels=599)
    assert read(tmp_path / "small.png", max_pixels=600).size == (30, 20)


def test_a_text_bomb_is_refused(tmp_path: Path) -> None:
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 80_000_000))
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    end = png_chunk(b"IDAT", zlib.compress(b"\0\0")) + png_chunk(b"IEND", b"")
    (tmp_path / "text.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + text + end)
    with pytest.raises(BadPicture, match=r"text\.png"):
        read(tmp_path / "text.png")


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "bmp", "gif"])
def test_half_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    noise.save(tmp_path / f"whole.{kind}")
    whole = (tmp_path / f"whole.{kind}").read_bytes()
    (tmp_path / f"half.{kind}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadPicture, match=rf"half\.{kind} is"):
        read(tmp_path / f"half.{kind}")
    assert read(tmp_path / f"whole.{kind}").size == (64, 64)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("letter.jpg", b"Dear Madam, this is no picture at all.", "not a picture"),
        ("empty.png", b"", "is empty"),
        ("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "not a picture"),
        ("zeros.bin", bytes(1000), "not a picture"),
        ("broken.png", b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", b"\0\0"), "damaged|not a picture"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadPicture, match=says) as refused:
        read(tmp_path / name)
    assert name in str(refused.value) and "\n" not in str(refused.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(BadPicture, match=r"no file .*nowhere\.png"):
        read(tmp_path / "nowhere.png")
    with pytest.raises(BadPicture, match="is a folder"):
        read(tmp_path)
    with pytest.raises(BadPicture, match="path"):
        read("a\0b.png")
    with pytest.raises(BadPicture):
        read(tmp_path / ("x" * 5000))


@pytest.mark.parametrize("kind", ["png"] if not hasattr(os, "mkfifo") else ["png", "fifo"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"photo.{kind}"
    if kind == "fifo":
        os.mkfifo(path)
        with pytest.raises(BadPicture, match="not an ordinary file"):
            read(path)
    else:
        Image.new("RGB", (2, 2)).save(path)
        assert read(path).size == (2, 2)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "locked.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(pictures.Image, "open", refuse)
    with pytest.raises(BadPicture, match=r"locked\.png may not be read"):
        read(tmp_path / "locked.png")


def test_an_open_file_with_a_name_of_its_own(quarters: Image.Image) -> None:
    stream = io.BytesIO()
    quarters.save(stream, "PNG")
    stream.seek(0)
    assert np.array_equal(np.asarray(read(stream)), np.asarray(quarters))
    with pytest.raises(BadPicture, match=r"^Upload 3 "):
        read(io.BytesIO(b"nothing"), name="Upload 3")


def test_fingerprint_is_of_pixels_and_shape(tmp_path: Path, quarters: Image.Image) -> None:
    quarters.save(tmp_path / "a.png")
    quarters.save(tmp_path / "b.bmp")
    assert sha256(read(tmp_path / "a.png")) == sha256(read(tmp_path / "b.bmp")) == sha256(quarters)
    changed = quarters.copy()
    changed.putpixel((59, 39), (249, 250, 250))
    assert sha256(changed) != sha256(quarters)
    assert sha256(Image.new("RGB", (2, 3))) != sha256(Image.new("RGB", (3, 2)))


def test_shrink_cuts_sizes_to_whole_pixels() -> None:
    assert shrink(Image.new("RGB", (3001, 2000)), 1000).size == (1000, 666)
    assert shrink(Image.new("RGB", (10, 4000)), 100).size == (1, 100)
    small = Image.new("RGB", (30, 20))
    assert shrink(small, 30) is small


def test_letterbox_places_as_the_reference_does() -> None:
    wide = np.asarray(letterbox(Image.new("RGB", (200, 100), "white")))
    assert wide.shape == (512, 512, 3) and (wide[:256] == 0).all() and (wide[256:] == 255).all()
    tall = np.asarray(letterbox(Image.new("RGB", (101, 512), "white")))
    columns = np.flatnonzero(tall[0, :, 0])
    assert (columns[0], columns[-1]) == (205, 305)  # 411 empty columns: 205 left, 206 right
    assert letterbox(Image.new("RGB", (64, 64)), 640, 384).size == (640, 384)


def test_png_keeps_its_words_and_pixels(tmp_path: Path, quarters: Image.Image) -> None:
    words = {"parameters": "a woman, (smile:1.2)\nSteps: 30", "title": "肖像 ü"}
    path = save_png(quarters, tmp_path / "new" / "folder" / "out.png", words)
    with Image.open(path) as image:
        assert image.text == words
        assert np.array_equal(np.asarray(image), np.asarray(quarters))
    assert [entry.name for entry in path.parent.iterdir()] == ["out.png"]


def test_a_full_disk_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quarters: Image.Image) -> None:
    target = save_png(quarters, tmp_path / "out.png")
    before = target.read_bytes()

    def half(_: Image.Image, file: io.BufferedWriter, **__: object) -> None:
        file.write(b"half a picture")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(CannotWrite, match=r"out\.png cannot be written, the disk is full"):
        save_png(Image.new("RGB", (5, 5)), target)
    assert target.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"]


def test_stopping_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quarters: Image.Image) -> None:
    def stop(_: Image.Image, file: io.BufferedWriter, **__: object) -> None:
        file.write(b"half a picture")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        save_png(quarters, tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == []


def test_a_real_limit_on_file_size(tmp_path: Path) -> None:
    """The kernel itself refuses to write more: the same path as a full disk, with nothing replaced by a fake."""
    if sys.platform == "win32":
        target = tmp_path / "is_a_folder.png"
        target.mkdir()
        with pytest.raises(CannotWrite):
            save_png(Image.new("RGB", (5, 5)), target)
        return
    import resource

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(CannotWrite, match=r"out\.png cannot be written"):
            save_png(noise, tmp_path / "out.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path, quarters: Image.Image) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CannotWrite, match="file, not a folder"):
        save_png(quarters, tmp_path / "file" / "out.png")
    (tmp_path / "out.png").mkdir()
    with pytest.raises(CannotWrite, match=r"out\.png"):
        save_png(quarters, tmp_path / "out.png")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "out.png"]
