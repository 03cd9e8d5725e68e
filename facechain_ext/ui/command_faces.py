"""`faces`: what is seen in a photo, in words and drawn."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import NoFace

if TYPE_CHECKING:
    from PIL import Image

    from facechain_ext.faces.types import Face, FaceAnalyser
    from facechain_ext.faces.vetting import Problem


def run(argv: Sequence[str]) -> int:
    """Print every face and save the annotated picture."""
    from facechain_ext.app import face_analyser
    from facechain_ext.faces.types import left_to_right
    from facechain_ext.ui.command_portrait import read_photo
    from facechain_ext.ui.console import say
    from facechain_ext.vision.pictures import save_png

    arguments = _parser().parse_args(argv)
    image, path = read_photo(arguments.photo), Path(arguments.photo)
    analyser = face_analyser(arguments.analyser, arguments.models)
    found = [describe(analyser, image, face, number) for number, face in enumerate(left_to_right(analyser.faces(image)), 1)]
    if not found:
        raise NoFace(
            f"No face found in {path.name} ({image.width}×{image.height}): "
            "use one where the face is at least 64 pixels wide and turned to the camera."
        )
    drawn = save_png(annotated(image, found), Path(arguments.out or f"{path.stem}-faces.png"))
    if arguments.json:
        faces = [{key: value for key, value in face.items() if key != "kind"} for face in found]
        say(
            json.dumps(
                {"photo": str(path), "size": image.size, "analyser": analyser.name, "faces": faces, "annotated": str(drawn)}, indent=2
            )
        )
        return 0
    say(f"{path.name}, {image.width}×{image.height}, seen by {analyser.name} ({', '.join(sorted(analyser.capabilities))})")
    for face in found:
        say("\n".join(lines(face)))
    say(f"Annotated picture: {drawn}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py faces", description="What is seen in a photo, and whether a person can be learnt from it."
    )
    parser.add_argument("photo")
    parser.add_argument("--out", metavar="FILE", help="the annotated picture (default: NAME-faces.png in the current folder)")
    parser.add_argument("--analyser", default="auto", help="auto, embedded, insightface, facexlib, modelscope, or several joined by +")
    parser.add_argument(
        "--models", type=Path, default=Path("models"), metavar="DIR", help="folder with facexlib/, insightface/, modelscope/"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    return parser


def describe(analyser: FaceAnalyser, image: Image.Image, face: Face, number: int) -> dict[str, Any]:
    """Everything known of a face, in plain values. Angles in degrees, sizes in pixels, brightness 0–255."""
    from facechain_ext.faces.vetting import of_face
    from facechain_ext.vision.quality import angles, brightness, sharpness

    yaw, pitch, roll = angles(face.points)
    problems: list[Problem] = of_face(image, face, f"face {number}")
    judged = analyser.attributes(image, face) if "attributes" in analyser.capabilities else None
    rejected = any(problem.severity == "reject" for problem in problems)
    return {
        "number": number,
        "box": [round(v, 1) for v in face.box],
        "points": [[round(x, 1), round(y, 1)] for x, y in face.points],
        "points_estimated": face.estimated,
        "score": round(face.score, 3),
        "width": round(face.width),
        "height": round(face.height),
        "yaw": round(yaw if face.yaw is None else face.yaw),
        "pitch": round(pitch if face.pitch is None else face.pitch),
        "roll": round(roll if face.roll is None else face.roll),
        "sharpness": round(sharpness(image, face.box), 4),
        "brightness": round(brightness(image, face.box)),
        "eyes_open": None if face.eyes_open is None else round(face.eyes_open, 2),
        "gender": judged.gender if judged else None,
        "age": judged.age if judged else None,
        "problems": [{"code": p.code, "sentence": p.sentence, "advice": p.advice, "severity": p.severity} for p in problems],
        "kind": "reject" if rejected else "warn" if problems else "good",
    }


def lines(face: dict[str, Any]) -> list[str]:
    """A face in words."""
    left, top, right, bottom = (round(v) for v in face["box"])
    points = " ".join(f"({x:.0f},{y:.0f})" for x, y in face["points"])
    eyes = "" if face["eyes_open"] is None else f", eyes open {face['eyes_open']:.2f}"
    judged = "" if face["gender"] is None else f", looks {face['gender']}" + (f" {face['age'][0]}–{face['age'][1]}" if face["age"] else "")
    return [
        f"Face {face['number']}: box {left},{top} to {right},{bottom} ({face['width']}×{face['height']} pixels), score {face['score']:.2f}",
        f"  points {points}" + (" (estimated from the box)" if face["points_estimated"] else ""),
        f"  yaw {face['yaw']}°, pitch {face['pitch']}°, roll {face['roll']}°, sharpness {face['sharpness']:.3f}, "
        f"brightness {face['brightness']}{eyes}{judged}",
        *([f"  {p['severity']}: {p['sentence']} {p['advice']}" for p in face["problems"]] or ["  good: fit to learn the face from"]),
    ]


def annotated(image: Image.Image, found: list[dict[str, Any]]) -> Image.Image:
    """The photo with boxes, points, numbers and what stands against each face."""
    from facechain_ext.vision.annotate import Mark, annotate

    marks = [
        Mark(
            box=tuple(f["box"]),
            points=f["points"],
            kind=f["kind"],
            words=", ".join([str(f["number"]), *(p["code"].replace("_", " ") for p in f["problems"])]),
        )
        for f in found
    ]
    return annotate(image, marks)
