"""A training that is stopped and taken up again ends bit-equal to one that never stopped; nothing else is taken up."""

from __future__ import annotations

import csv
import os
import signal
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facechain_ext.errors import BadInput, BadWeights, CannotWrite, Interrupted
from facechain_ext.training import base, judge, style_lora, vae
from facechain_ext.training.checkpoint import default_folder, load_weights
from facechain_ext.training.loop import Pace, train
from facechain_ext.training.noise import sample
from facechain_ext.training.team import Team
from tests.training.fact_cases import networks

SMALL_CLIP = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "projection_dim": 32}


@pytest.fixture
def trainee_of(tmp_path, monkeypatch):
    """Name → a function that makes the same small trainee anew."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(base, "CLIP", {**base.CLIP, **SMALL_CLIP})
    monkeypatch.setattr(base, "sample", in_two_steps)
    monkeypatch.setattr(base, "UNET", {**base.UNET, "block_out_channels": [32, 32, 32, 32], "cross_attention_dim": 32})
    write_set(tmp_path / "set", 12, (16, 16))
    write_set(tmp_path / "pairs", 6, (16, 32), people=2)
    cpu = torch.device("cpu")

    def make(name):
        if name == "vae":
            return vae.VaeTrainee(vae.VaeSettings(steps=4, batch=2, crop=32, widths="8,8,8,8", warmup=2), cpu)
        if name == "judge":
            return judge.trainee(judge.LikenessSettings(steps=4, batch=2, pictures=2, tested=2, warmup=2, device="cpu"))
        if name == "style LoRA":
            return style_lora.StyleTrainee(style_lora.StyleSettings(steps=4, batch=2, warmup=1, style="woodcut"), cpu, networks())
        settings = base.BaseSettings(
            steps=4, batch=2, pictures=12, data=str(tmp_path / "set"), pairs=str(tmp_path / "pairs"), pair_every=2, warmup=2,
            muon=0.5 if name == "base with Muon" else 0.0,
        )  # fmt: skip
        return base.BaseTrainee(settings, cpu)

    return make


def in_two_steps(*given, **more):
    """A sample sheet's pictures, sooner."""
    return sample(*given, **more | {"steps": 2})


def write_set(folder, count, size, people=1):
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "latents.npy", rng.standard_normal((count, 4, *size)).astype(np.float16))
    np.save(folder / "heads.npy", np.zeros((count, *size), np.uint8))
    np.save(folder / "tokens.npy", rng.integers(0, 49408, (count, 77)).astype(np.uint16))
    (folder / "set.json").write_text(f'{{"done": {count}, "people": {people}}}')


@pytest.mark.parametrize("name", ["vae", "judge", "base", "base with Muon"])
def test_stop_and_go_on_is_bit_equal_to_going_through(trainee_of, tmp_path, name):
    pace = {"log_every": 1, "sheet_every": 3}
    train(trainee_of(name), tmp_path / "through", {"a": 1}, 7, Pace(steps=4, **pace))
    with pytest.raises(Interrupted):
        train(Stopping(trainee_of(name), 1), tmp_path / "stopped", {"a": 1}, 7, Pace(steps=4, **pace))
    assert torch.load(tmp_path / "stopped" / "state.pt", weights_only=True)["step"] == 2
    train(trainee_of(name), tmp_path / "stopped", {"a": 1}, 7, Pace(steps=4, **pace))
    states = [torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("through", "stopped")]
    assert states[0]["step"] == states[1]["step"] == 4
    assert_equal(states[0]["trainee"], states[1]["trainee"])
    through, stopped = (load_file(tmp_path / run / "weights.safetensors") for run in ("through", "stopped"))
    assert through and all(torch.equal(through[key], stopped[key]) for key in through)
    rows = [without_time(tmp_path / run / "log.csv") for run in ("through", "stopped")]
    assert rows[0] == rows[1] and [row["step"] for row in rows[0]] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("name", ["vae", "base", "style LoRA"])
def test_what_learns_together_asks_the_team(trainee_of, name):
    """Gradients are there when the team is asked, and the step is taken by what it answers: zeros move nothing but decay."""
    one, asked = trainee_of(name), []

    class Zeros(Team):
        def average(self, parameters):
            for parameter in parameters:
                asked.append(float(parameter.grad.abs().sum()))
                parameter.grad.zero_()

    one.team = Zeros()
    for group in one.optimiser.param_groups:
        group["weight_decay"] = 0.0
    before = {key: value.clone() for key, value in one.weights().items()}
    one.step(0, np.random.default_rng(0))
    assert sum(asked) > 0 and all(torch.equal(value, before[key]) for key, value in one.weights().items())


class Stopping:
    """A trainee that is told to stop during one of its steps."""

    def __init__(self, trainee, at):
        self.trainee, self.at = trainee, at

    def __getattr__(self, name):
        return getattr(self.trainee, name)

    def step(self, number, rng):
        if number == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.trainee.step(number, rng)


def assert_equal(a, b):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    else:
        assert a == b


def without_time(path):
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds_per_step"} for row in csv.DictReader(file)]


class Counter:
    """The smallest trainee: counts; sends this process a signal at a step."""

    def __init__(self, stop_at=None):
        self.value, self.stop_at = torch.zeros(1), stop_at

    def step(self, number, rng):
        if number == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        self.value = self.value + float(rng.random()) + torch.rand(1)
        return {"value": float(self.value)}

    def state(self):
        return {"value": self.value}

    def restore(self, state):
        self.value = state["value"]

    def weights(self):
        return {"value": self.value}

    def metadata(self):
        return {}

    def sheet(self):
        return None


def test_sigterm_saves_and_the_same_command_goes_on(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="after step 3 of 8"):
        train(Counter(stop_at=2), tmp_path / "a", {}, 1, Pace(steps=8, log_every=2))
    assert signal.getsignal(signal.SIGTERM) is before
    go_on, through = Counter(), Counter()
    train(go_on, tmp_path / "a", {}, 1, Pace(steps=8, log_every=2))
    train(through, tmp_path / "b", {}, 1, Pace(steps=8, log_every=2))
    assert torch.equal(go_on.value, through.value)
    assert not list((tmp_path / "a").glob("*.partial"))


def test_other_settings_are_refused_by_name(tmp_path):
    train(Counter(), tmp_path, {"rate": 0.1, "batch": 4}, 1, Pace(steps=1))
    with pytest.raises(BadInput, match=r"rate 0.1 → 0.2"):
        train(Counter(), tmp_path, {"rate": 0.2, "batch": 4}, 1, Pace(steps=2))


def test_a_damaged_state_is_named(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"half a file")
    with pytest.raises(BadWeights, match=r"state\.pt cannot be read"):
        train(Counter(), tmp_path, {}, 1, Pace(steps=1))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot be made"):
        train(Counter(), tmp_path / "file" / "run", {}, 1, Pace(steps=1))


def test_trainings_live_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder("vae") == tmp_path / "facechain" / "training" / "vae"


def test_an_option_of_a_later_version_may_be_there_where_it_is_off(trainee_of, tmp_path):
    with pytest.raises(Interrupted):
        train(Stopping(trainee_of("base"), 0), tmp_path / "run", {"a": 1}, 7, Pace(steps=2))
    with pytest.raises(BadInput, match=r"new None → 0\.5"):
        train(trainee_of("base"), tmp_path / "run", {"a": 1, "new": 0.5}, 7, Pace(steps=2))
    train(trainee_of("base"), tmp_path / "run", {"a": 1, "new": 0.0, "begin": ""}, 7, Pace(steps=2))
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 2


class Telling(Counter):
    """Logs one thing more, in the middle of its row."""

    def step(self, number, rng):
        return {"new": float(number), **super().step(number, rng)}


def test_what_a_later_version_logs_beside_gets_a_column(tmp_path):
    pace = {"log_every": 1}
    train(Counter(), tmp_path, {}, 1, Pace(steps=2, **pace))
    train(Telling(), tmp_path, {}, 1, Pace(steps=3, **pace))
    train(Counter(), tmp_path, {}, 1, Pace(steps=4, **pace))
    rows = without_time(tmp_path / "log.csv")
    assert [(row["step"], row["new"]) for row in rows] == [("1", ""), ("2", ""), ("3", "2.0"), ("4", "")]
    assert all(row.keys() == {"step", "value", "new"} and float(row["value"]) for row in rows)
    assert not list(tmp_path.glob("*.partial"))


def test_a_log_whose_rows_outgrew_its_columns_does_not_stop_a_training(tmp_path):
    """As an earlier version left it, with half a row at the end."""
    train(Counter(), tmp_path, {}, 1, Pace(steps=2, log_every=1))
    with (tmp_path / "log.csv").open("a") as file:
        file.write("2,0.5,0.5,0.1\n,")
    train(Counter(), tmp_path, {}, 1, Pace(steps=3, log_every=1))
    assert [row["step"] for row in without_time(tmp_path / "log.csv")] == ["1", "2", "2", "3"]


class Showing(Counter):
    """Measures something at its sheets, and fails where it is told to."""

    def __init__(self, fails=""):
        super().__init__()
        self.fails, self.measured = fails, 0.0

    def step(self, number, rng):
        if self.fails == "step" and number == 2:
            raise KeyboardInterrupt
        return super().step(number, rng)

    def state(self):
        return {**super().state(), "measured": self.measured}

    def sheet(self):
        if self.fails == "sheet":
            raise MemoryError
        self.measured += float(self.value)


def test_a_sheet_that_fails_takes_nothing_of_what_was_learnt(tmp_path):
    with pytest.raises(MemoryError):
        train(Showing("sheet"), tmp_path, {}, 1, Pace(steps=4, sheet_every=2))
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 2


def test_what_a_sheet_measured_is_kept_with_it(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(Showing("step"), tmp_path, {}, 1, Pace(steps=4, sheet_every=2))
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    assert kept["step"] == 2 and kept["trainee"]["measured"] == float(kept["trainee"]["value"]) > 0
    train(Showing(), tmp_path / "through", {}, 1, Pace(steps=2, sheet_every=2))
    assert torch.load(tmp_path / "through" / "state.pt", weights_only=True)["trainee"]["measured"] == kept["trainee"]["measured"]


def test_a_file_that_is_no_state_is_named(tmp_path):
    foreign = {"step": 1, "settings": "[]", "trainee": {}}
    for write in (
        lambda path: torch.save({"a": torch.zeros(1)}, path),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save(foreign, path),
        lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"),
    ):
        write(tmp_path / "state.pt")
        with pytest.raises(BadWeights, match=r"state\.pt cannot be read: move it away"):
            train(Counter(), tmp_path, {}, 1, Pace(steps=1))


def test_weights_that_are_not_whole_are_named(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"half a file")
    with pytest.raises(BadWeights, match=r"w\.safetensors is not a complete safetensors file"):
        load_weights(tmp_path / "w.safetensors")
