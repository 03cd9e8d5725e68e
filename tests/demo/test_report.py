"""The report: its measures by hand, its table on random weights (whose figures mean nothing), and what it says is missing."""

from __future__ import annotations

import json
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.demo import report
from facechain_ext.demo.judge import Judge
from facechain_ext.demo.mixed import MIXES
from facechain_ext.demo.probe import GROUPS
from facechain_ext.demo.reader import ATTRIBUTES, Reader, labels_of
from facechain_ext.demo.world import appearance, scene
from facechain_ext.errors import BadInput, FaceChainError
from facechain_ext.training import people
from facechain_ext.training.checkpoint import save_weights
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.reader import ReaderSettings, ReaderTrainee, answers, right, unseen
from facechain_ext.training.recognition import KINDS


def test_ranking_by_hand():
    """Three people along the axes; of four vectors the second and the last are nearest to somebody else."""
    gallery = torch.eye(3)
    vectors = torch.nn.functional.normalize(torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.1, 0.9], [0.1, 0.1, 0.8], [0.6, 0.5, 0.1]]), dim=1)
    assert report.places(vectors, gallery, np.array([0, 1, 2, 1])).tolist() == [1, 3, 1, 2]
    assert report.places(torch.eye(3), gallery, np.arange(3)).tolist() == [1, 1, 1]
    assert report.places(torch.ones(2, 3), torch.ones(3, 3), np.array([0, 2])).tolist() == [3, 3], "whom all are like, is nobody"


def test_chance_is_one_in_all():
    generator = torch.Generator().manual_seed(0)
    vectors, gallery = (torch.nn.functional.normalize(torch.randn(size, 64, generator=generator), dim=1) for size in (4000, 100))
    assert (report.places(vectors, gallery, np.arange(4000) % 100) == 1).mean() == pytest.approx(0.01, abs=0.006)


def test_answers_by_hand():
    found = np.array([[0, 1, 2, 3], [0, 0, 0, 0]])
    shares = report.answer_shares(found, np.array([[0, 1, 0, 3], [1, 0, 0, 0]]))
    assert shares == {"style": 0.5, "clothes": 1.0, "hat": 0.5, "background": 1.0, "all": 0.75}


def test_change_by_hand():
    """Inside a change of 8 grey levels, outside of 2 in one channel of three on half the pixels: 1/3 by 8."""
    one, other = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    head = np.zeros((4, 4), bool)
    head[:2] = True
    other[:2] = 8
    other[2, :, 0] = 2
    assert report.change_ratio([(one, other, head)]) == pytest.approx((1 / 3) / 8)
    assert report.change_ratio([(one, one, head)]) == 0.0


def test_change_near_the_head_can_be_left_out_by_hand():
    """A head of one pixel; its four neighbours are one pixel away, the next ones two."""
    one = np.full((9, 9, 3), 100, np.uint8)
    head, other = np.zeros((9, 9), bool), one.copy()
    head[4, 4], other[4, 4], other[4, 5], other[4, 6] = True, 180, 140, 120
    assert report.change_ratio([(one, other, head)]) == pytest.approx((40 + 20) / 80 / 80)
    assert report.change_ratio([(one, other, head)], 1) == pytest.approx(20 / (81 - 5) / 80)
    assert report.change_ratio([(one, other, head)], 2) == 0.0


def test_wishes_are_the_same_for_every_way_and_differ_among_people():
    settings = report.ReportSettings(people=3, prompts=2)
    first, second = report.wishes_of(0, settings), report.wishes_of(1, settings)
    assert first == report.wishes_of(0, settings) and len({wish.seed for wish in first + second}) == 4
    styled = report.wishes_of(0, settings, "woodcut")
    assert all("woodcut" in wish.prompt and ATTRIBUTES["style"][wish.answers[0]] == "woodcut" for wish in styled)
    code = first[1].seed
    assert first[1].answers == labels_of(scene(code), appearance(code))


def test_the_usual_head_is_in_the_upper_middle():
    head = report.usual_head()
    rows, columns = np.nonzero(head)
    assert 0.05 < head.mean() < 0.5 and abs(columns.mean() - 64) < 6 and rows.mean() < 64


def test_in_a_picture_of_two_everybody_has_a_half_and_their_own_name():
    """The person of a row stands left, the next one right; the judge looks at the middle of each half."""
    left, right_half = report.half_masks()
    assert left[:, :128].all() and not left[:, 128:].any() and torch.equal(left + right_half, torch.ones(128, 256))
    shown = [np.zeros((128, 256, 3), np.uint8) for _ in range(3)]
    for place, one in enumerate(shown):
        one[:, :128], one[:, 128:] = 10 * place, 10 * ((place + 1) % 3)

    class Telling:
        """Everybody is a grey level, and everybody's vector an axis."""

        people = (0, 1, 2)
        gallery, judge = torch.eye(3), None

    telling = Telling()
    run = report.Run(pictures=[[one] for one in shown])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "embed", lambda _judge, views: torch.eye(3)[views[:, 40, 48, 0].astype(int) // 10])
        telling.places = lambda *given: report.Bench.places(telling, *given)
        assert report.Bench.likeness(telling, run, 64) == 1.0 and report.Bench.likeness(telling, run, 192, 1) == 1.0
        assert report.Bench.likeness(telling, run, 192) == 0.0, "who stands right is not the row's own person"


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(BadInput, match="names no file"):
        report.named_files("blueprint=nowhere.safetensors")
    (tmp_path / "x").write_text("")
    assert report.named_files(f"a={tmp_path / 'x'},b={tmp_path / 'x'}") == {"a": tmp_path / "x", "b": tmp_path / "x"}
    with pytest.raises(BadInput, match="--people is 1: it must be at least 2"):
        report.ReportSettings(people=1)


def test_loras_and_controlnet_are_the_demo_models_unless_another_paints(tmp_path):
    """None of the shipped ones would fit another checkpoint."""
    loras, control = report.beside(report.ReportSettings())
    assert [path.name for path in loras.values()] == ["blueprint.safetensors", "woodcut.safetensors"] and control.is_file()
    assert report.beside(report.ReportSettings(checkpoint="other.safetensors")) == ({}, None)
    (tmp_path / "w").write_text("")
    given = report.ReportSettings(checkpoint="other.safetensors", loras=f"woodcut={tmp_path / 'w'}", control=str(tmp_path / "w"))
    assert report.beside(given) == ({"woodcut": tmp_path / "w"}, tmp_path / "w")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ablation": "full=nowhere.safetensors"}, "names no file"),
        ({"ablation": "full={foreign}"}, "not a whole FACT adapter"),
        ({"loras": "woodcut=nowhere.safetensors"}, "names no file"),
        ({"loras": "fresco={foreign}"}, "no LoRA style 'fresco'"),
        ({"loras": "woodcut={foreign}"}, "is not a LoRA"),
        ({"control": "nowhere.safetensors"}, "no ControlNet at"),
        ({"control": "{foreign}"}, "is not a ControlNet"),
        ({"reader": "{foreign}"}, "is not a reader"),
        ({"judge": "{foreign}"}, "is not a judge"),
    ],
)
def test_wrong_files_are_found_before_anything_is_measured(tmp_path, monkeypatch, given, said):
    monkeypatch.setattr(report, "figures", lambda *_: pytest.fail("it has begun to measure"))
    save_weights(tmp_path / "foreign.safetensors", {"a": torch.zeros(1)})
    told = {key: value.format(foreign=tmp_path / "foreign.safetensors") for key, value in given.items()}
    with pytest.raises(FaceChainError, match=said):
        report.report(report.ReportSettings(people=2, device="cpu", **told), tmp_path / "out")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report on the random demo weights: two people, one prompt, one step."""
    folder = tmp_path_factory.mktemp("report")
    torch.manual_seed(0)
    save_weights(folder / "judge.safetensors", Judge().state_dict())
    save_weights(folder / "reader.safetensors", Reader().state_dict())
    files = {"judge": str(folder / "judge.safetensors"), "reader": str(folder / "reader.safetensors")}
    from facechain_ext.demo.random import write_random
    from facechain_ext.engine.checkpoints import read_encoder
    from facechain_ext.hosts.standalone.checkpoint import load_networks
    from facechain_ext.training import fact
    from tests.training.test_fact import OnePicture

    names = ("checkpoint", "encoder", "adapter")
    write_random(*(folder / f"{name}.safetensors" for name in names))
    networks = load_networks(folder / "checkpoint.safetensors", torch.device("cpu"), torch.float32)
    settings = fact.FactSettings(parallel=True)
    other = fact.FactTrainee(settings, torch.device("cpu"), networks, read_encoder(folder / "encoder.safetensors"), OnePicture())
    save_weights(folder / "parallel.safetensors", other.weights(), other.metadata())
    ablation = f"full={folder / 'adapter.safetensors'},parallel={folder / 'parallel.safetensors'}"
    given = {name: str(folder / f"{name}.safetensors") for name in names} | files
    settings = report.ReportSettings(people=2, prompts=1, sampling=1, device="cpu", probed=8, ablation=ablation, **given)
    return folder, report.report(settings, folder / "out")


def test_the_reports_photos_are_those_people_give():
    for number in people.TESTED[:12]:
        rngs = [np.random.default_rng((31, number, place)) for place in range(2)]
        wanted = [head_crop(people.photo(number, rng), rng, False) for rng in rngs]
        assert np.array_equal(report.Bench.crops(cast("report.Bench", None), number, 2), wanted)


def test_the_table_on_random_weights(written):
    _, rows = written
    named = {row.name: row for row in rows}
    assert rows[0].name == "ceiling: judge on real renders" and rows[0].held is False, "first the ceiling"
    twelfths = (named["ceiling: judge on real renders through the VAE"].value or 0.0) * 12
    assert twelfths == pytest.approx(round(twelfths), abs=1e-4) and 0 < twelfths <= 12
    halves = [named[f"renders right in {name}"].value for name in MIXES]
    assert len(halves) == 6 and set(halves) <= {0.0, 0.5, 1.0}, "two people, one render each"
    on, off = named["identity first, adapter on"], named["identity first, adapter off"]
    assert {on.value, off.value} <= {0.0, 0.5, 1.0} and on.ceiling == rows[0].value
    assert named["pixel change outside the head by inside"].value > 0, "open random gates change the picture"
    assert {f"prompt kept, on: {name}" for name in (*ATTRIBUTES, "all")} <= set(named)
    for name in ("style LoRA blueprint", "style LoRA woodcut", "pose ControlNet"):
        assert named[f"identity first, {name}"].value is None and named[f"identity first, {name}"].held is None
    assert named["identity first, two people"].value in (0.0, 0.25, 0.5, 0.75, 1.0)
    looks = {row.name: row for row in rows if row.name.startswith("looks right, on: ")}
    assert len(looks) == len(KINDS) + len(GROUPS)
    assert all(-1.001 <= one <= 1.001 for row in looks.values() for one in (row.value, row.ceiling))
    assert all(row.value is None or row.value >= 0 for row in rows if row.name not in looks)


def test_the_files_of_a_report(written):
    folder, rows = written
    kept = json.loads((folder / "out" / "report.json").read_text())
    assert [one["name"] for one in kept["figures"]] == [row.name for row in rows] and kept["settings"]["people"] == 2
    assert [one["recipe"] for one in kept["ablation"]] == ["full", "parallel"]
    full = kept["ablation"][0]
    assert full["identity first"] == next(row.value for row in rows if row.name == "identity first, adapter on")
    first = full["identity first"]
    assert full["place, mean of the logarithm"] == pytest.approx((1 - first) * np.log(2)), "of two people, whoever is not first is second"
    assert kept["ablation"][1]["outside by inside"] == 0.0, "an untrained parallel adapter changes nothing"
    table = (folder / "out" / "report.md").read_text().splitlines()
    assert sum(line.startswith("| ") for line in table) == len(rows) + 1 + 1 + 2
    assert any("not measured" in line for line in table)
    sheet = np.asarray(Image.open(folder / "out" / "sheet.png"))
    assert sheet.shape == (2 * (4 * 128 + 8), 128 + 256, 3)


def test_the_reader_learns_and_goes_on_exactly():
    import copy

    cpu, settings = torch.device("cpu"), ReaderSettings(steps=12, batch=8, warmup=1, rate=3e-3, tested=4)
    one, other = ReaderTrainee(settings, cpu), ReaderTrainee(settings, cpu)
    losses = [sum(list(one.step(number, np.random.default_rng(number % 2)).values())[:4]) for number in range(10)]
    other.restore(copy.deepcopy(one.state()))
    for number in (10, 11):
        losses.append(sum(list(one.step(number, np.random.default_rng(number % 2)).values())[:4]))
        other.step(number, np.random.default_rng(number % 2))
    assert losses[-1] < 0.8 * losses[1], "the same pictures"
    assert all(torch.equal(value, other.network.state_dict()[key]) for key, value in one.network.state_dict().items())
    one.sheet()
    assert 0 <= one.ceiling <= 1


def test_right_answers_are_counted():
    class Knowing(torch.nn.Module):
        def __init__(self, rows):
            super().__init__()
            self.rows, self.weight = rows, torch.nn.Parameter(torch.zeros(1))

        def forward(self, pictures):
            sizes = [len(names) for names in ATTRIBUTES.values()]
            return [torch.nn.functional.one_hot(torch.tensor(self.rows)[:, i], size).float() for i, size in enumerate(sizes)]

    drawn = unseen(3)
    rows = [answers(one) for one in drawn]
    assert right(Knowing(rows), drawn) == 1.0
    wrong = [((rows[0][0] + 1) % 6, *rows[0][1:]), *rows[1:]]
    assert right(Knowing(wrong), drawn) == pytest.approx(11 / 12)
