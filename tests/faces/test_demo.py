"""The demo world's own face analysis: what a network's maps mean, what the trainer teaches, and what is said where it is not there."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.demo.parser import Parser, read_parser
from facechain_ext.demo.world import appearance, draw, person, scene
from facechain_ext.engine.checkpoints import write_tensors
from facechain_ext.errors import BadWeights, MissingPackage, NoFace
from facechain_ext.faces.choose import ModelFolders, analyser, available_backends
from facechain_ext.faces.demo import FILE, Demo, DrawnOnly, check
from facechain_ext.faces.types import left_to_right
from facechain_ext.training import analyser as trainer
from facechain_ext.training.people import pair_picture, picture
from facechain_ext.vision.masks import head_from_parsing

CPU = torch.device("cpu")


class Knowing(torch.nn.Module):
    """A network that knows the answer: the maps the trainer asks for."""

    def __init__(self, lesson: trainer.Lesson) -> None:
        super().__init__()
        self.maps = torch.from_numpy(np.concatenate((lesson.spots, lesson.masks)))[None]

    def forward(self, pictures):
        assert tuple(pictures.shape[2:]) == (2 * self.maps.shape[2], 2 * self.maps.shape[3])
        assert pictures.min() >= -1 and pictures.max() <= 1
        return torch.logit(self.maps, eps=1e-6)


def knowing(drawing):
    plain = np.hstack([np.eye(2), np.zeros((2, 1))])
    return Demo(network=Knowing(trainer.lesson(drawing, plain, np.random.default_rng(0))))


@pytest.mark.parametrize("seed", range(4))
def test_maps_become_points_and_masks(seed):
    drawing = picture(seed, np.random.default_rng(seed))
    eyes, image = knowing(drawing), Image.fromarray(drawing.picture)
    (face,) = eyes.faces(image)
    one = drawing.people[0]
    assert np.linalg.norm(np.array(one.points) - face.points, axis=1).max() < 0.1
    assert face.box[0] < min(x for x, _ in one.points) and face.box[3] > max(y for _, y in one.points)
    parsing = eyes.parse(image, face)
    for name in ("face", "hair", "person", "clothes"):
        truth = getattr(one, name)
        assert trainer.overlap(getattr(parsing, name), truth) > 0.8 or truth.sum() < 200
    assert head_from_parsing(parsing.face, parsing.hair, parsing.person).sum() > 500


def test_people_side_by_side_are_kept_apart():
    drawing = pair_picture([5, 6, 7], np.random.default_rng(1))
    eyes, image = knowing(drawing), Image.fromarray(drawing.picture)
    found = left_to_right(eyes.faces(image))
    assert len(found) == 3
    for one, face in zip(drawing.people, found, strict=True):
        assert np.linalg.norm(np.array(one.points) - face.points, axis=1).max() < 0.1
        parsing = eyes.parse(image, face)
        assert trainer.overlap(parsing.face | parsing.hair, one.head) > 0.75, "nobody else's hair"


def test_larger_pictures_are_measured_in_their_own_pixels():
    drawing = picture(3, np.random.default_rng(3))
    eyes = knowing(drawing)
    large = Image.fromarray(drawing.picture).resize((512, 512))
    (face,) = eyes.faces(large)
    assert np.abs(np.array(drawing.people[0].points) * 4 - face.points).max() < 3
    assert eyes.parse(large, face).face.shape == (512, 512)


def test_where_nobody_is():
    lesson = trainer.nobody(1, np.random.default_rng(0))
    eyes, image = Demo(network=Knowing(lesson)), Image.fromarray(lesson.picture)
    assert eyes.faces(image) == []
    drawing = picture(3, np.random.default_rng(3))
    (face,) = knowing(drawing).faces(Image.fromarray(drawing.picture))
    with pytest.raises(NoFace, match="drawn people only"):
        eyes.parse(image, face)
    for ask in (eyes.attributes, eyes.embed):
        with pytest.raises(MissingPackage):
            ask(image, face)


def test_it_is_not_there_until_it_is_trained(tmp_path):
    able, missing = check(tmp_path)
    assert able == frozenset() and FILE in missing
    with pytest.raises(MissingPackage, match="not trained yet"):
        analyser("demo", ModelFolders(demo=tmp_path))
    states = {state.name: state for state in available_backends(ModelFolders(demo=tmp_path))}
    assert states["demo"].capabilities == frozenset() and states["demo"].missing.endswith(".")


def test_it_is_taken_by_name_alone(tmp_path):
    network = Parser()
    write_tensors({key: value.half() for key, value in network.state_dict().items()}, tmp_path / FILE, {})
    assert check(tmp_path) == (frozenset({"detect", "landmarks", "parse"}), "")
    assert (tmp_path / FILE).stat().st_size < 3 * 1024 * 1024
    folders = ModelFolders(demo=tmp_path)
    assert analyser("demo", folders).name == "demo" and "demo" not in analyser("auto", folders).name
    assert isinstance(analyser("demo", folders).faces(Image.new("RGB", (100, 70))), list)
    read = read_parser(tmp_path / FILE)
    assert all(torch.equal(value, network.state_dict()[key].half().float()) for key, value in read.state_dict().items())


def test_another_file_is_refused(tmp_path):
    write_tensors({"a": torch.zeros(1)}, tmp_path / FILE, {})
    with pytest.raises(BadWeights, match="face analysis"):
        Demo(tmp_path).faces(Image.new("RGB", (64, 64)))


def test_a_spot_by_hand():
    found = trainer.spot((4, 6), [np.array((2.5, 1.5)), np.array((5.5, 3.5))])
    assert found.shape == (4, 6) and found[1, 2] == found[3, 5] == 1
    assert found[1, 3] == pytest.approx(np.exp(-1 / (2 * trainer.SPREAD**2)))


def test_missing_overlap_by_hand():
    """Half of the truth found, and nothing else: Dice is 2·2 / (2 + 4), with one counted in on both sides."""
    truth = torch.zeros(1, 2, 2, 4)
    truth[:, 0, 0] = 1
    found = torch.zeros_like(truth)
    found[:, 0, 0, :2] = 1
    assert trainer.missing_overlap(found, truth).tolist() == pytest.approx([1 - 5 / 7, 0.0])


def test_what_is_moved_moves_with_its_answers():
    """Shrunk to half around the corner: the spots lie at half their places, the masks have a quarter of their area."""
    who, look = person(1), appearance(1, hat="")
    drawing = draw(who, scene(1, style="photo"), look)
    matrix = np.array([[0.5, 0, 0], [0, 0.5, 0]])
    moved = trainer.lesson(drawing, matrix, np.random.default_rng(0))
    for place, heat in zip(drawing.people[0].points, moved.spots, strict=True):
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert np.abs(np.array((column + 0.5, row + 0.5)) - np.array(place) / 4).max() <= 0.5
    assert moved.masks[0].sum() * 4 * 4 == pytest.approx(drawing.people[0].face.sum(), rel=0.05)


def test_placing_keeps_or_moves():
    found = [trainer.placing(np.random.default_rng(seed), 256) for seed in range(40)]
    scales = [matrix[0, 0] for matrix in found]
    assert 8 < scales.count(1.0) < 32 and min(scales) >= 0.55 and max(scales) <= 1.25
    assert all(np.array_equal(matrix[:, 2], (0, 0)) for matrix in found if matrix[0, 0] == 1.0)


def test_it_learns_and_goes_on_exactly():
    settings = trainer.AnalyserSettings(steps=8, batch=2, warmup=1, rate=3e-3, several=0.3, tested=4)
    one, other = trainer.AnalyserTrainee(settings, CPU), trainer.AnalyserTrainee(settings, CPU)
    errors = [one.step(number, np.random.default_rng(number % 2))["masks"] for number in range(4)]
    other.restore(copy.deepcopy(one.state()))
    for number in range(4, 8):
        errors.append(one.step(number, np.random.default_rng(number % 2))["masks"])
        other.step(number, np.random.default_rng(number % 2))
    assert errors[-1] < 0.9 * errors[1], "the same pictures"
    assert all(torch.equal(value, other.network.state_dict()[key]) for key, value in one.network.state_dict().items())
    assert all(torch.equal(value, other.average.tensors[key]) for key, value in one.average.tensors.items())


def test_measures_of_an_answer_that_is_right_and_of_none():
    class Right:
        """Answers with the truth of the very picture it is shown."""

        def __init__(self):
            self.known = {}

        def faces(self, image):
            return knowing(self.known[image.tobytes()]).faces(image)

        def parse(self, image, face):
            return knowing(self.known[image.tobytes()]).parse(image, face)

    eyes, people = Right(), [3_000_000, 3_000_001, 3_000_002, 3_000_003]
    for place, number in enumerate(people):
        rng, style = np.random.default_rng((6, number)), [trainer.ALL_STYLES[place]]
        drawing = pair_picture([number, people[place - 1]], rng, style) if place == 3 else picture(number, rng, style)
        eyes.known[Image.fromarray(drawing.picture).tobytes()] = drawing
    good = trainer.measure(eyes, people)
    assert good["points_error"] < 0.1 and good["head_overlap"] > 0.8 and good["missed"] == 0
    blind = Demo(network=Knowing(trainer.nobody(1, np.random.default_rng(0))))
    blind._network.forward = lambda pictures: torch.full((1, 9, pictures.shape[2] // 2, pictures.shape[3] // 2), -9.0)
    assert trainer.measure(blind, people) == {"points_error": 999.0, "head_overlap": 0.0, "missed": 1.0}


class Seeing:
    """A face analysis that sees a given number of faces."""

    def __init__(self, count: int) -> None:
        self.count = count

    def faces(self, image):
        return [object()] * self.count


class Named:
    """A face analysis that is only asked who it is."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize(("drawn", "photographed", "told"), [(1, 1, False), (2, 0, False), (0, 0, False), (0, 1, True)])
def test_a_photograph_given_to_the_demo_model_is_called_one(drawn, photographed, told):
    eyes = DrawnOnly(Seeing(drawn), Seeing(photographed))
    picture_given = Image.new("RGB", (64, 64))
    if told:
        with pytest.raises(NoFace, match="examples/demo"):
            eyes.faces(picture_given)
    else:
        assert len(eyes.faces(picture_given)) == drawn


def test_the_trained_demo_model_looks_with_its_own_eyes(tmp_path, monkeypatch):
    """Where its files are there; another analyser that is asked for by name stays."""
    from facechain_ext import app
    from facechain_ext.app import App, Choice
    from facechain_ext.demo import model
    from facechain_ext.faces import demo

    for name in (*model.NAMES, FILE):
        (tmp_path / name).touch()
    monkeypatch.setattr(model, "TRAINED", tmp_path)
    monkeypatch.setattr(app, "face_analyser", lambda name, models, device="cpu": Named(name))
    assert App(Choice(scratch=tmp_path, models=tmp_path, analyser="embedded")).analyser.name == "embedded"
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    assert isinstance(App(Choice(scratch=tmp_path, models=tmp_path)).analyser, DrawnOnly)
    (tmp_path / FILE).unlink()
    assert App(Choice(scratch=tmp_path, models=tmp_path)).analyser.name == "auto"
    monkeypatch.setattr(model, "TRAINED", tmp_path / "none")
    assert App(Choice(scratch=tmp_path, models=tmp_path)).analyser.name == "auto", "random weights paint nobody"
