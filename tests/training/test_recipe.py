"""Recipes: every stage gets its options, timed ones as many steps as fit, and nothing finished is done again."""

from __future__ import annotations

import json
from importlib import import_module

import numpy as np
import pytest

from facechain_ext.demo.model import TRAINED
from facechain_ext.errors import BadInput, Interrupted
from facechain_ext.training import arguments, base, commands, recipe
from facechain_ext.training.commands import COMMANDS, Command
from facechain_ext.training.latents import open_set
from tests.training.test_restart import in_two_steps

SHIPPED = sorted(recipe.RECIPES.glob("*.json"))


def write(path, *stages):
    path.write_text(json.dumps([{"name": name, "command": command, **more} for name, command, more in stages]))
    return path


@pytest.fixture
def kitchen(monkeypatch):
    """Two commands that keep what they were asked for: `draw`, and `train`, whose step takes half a second."""
    asked: list[list[str]] = []

    def draw(argv):
        asked.append(["draw", *argv])
        return 0

    def train(argv):
        asked.append(["train", *argv])
        folder = recipe.Path(argv[argv.index("--folder") + 1])
        folder.mkdir(parents=True)
        (folder / "log.csv").write_text("step,seconds_per_step\n6,9.0\n12,0.5\n")
        return 0

    monkeypatch.setattr(commands, "COMMANDS", {"draw": Command("", draw), "train": Command("", train)})
    return asked


def test_stages_get_their_options_and_each_others_folders(kitchen, tmp_path):
    file = write(
        tmp_path / "r.json",
        ("people", "draw", {"options": {"each": 8, "drawn_pairs": "x", "quick": True, "slow": False}}),
        ("base", "draw", {"options": {"data": "{people}/set", "begin": "{weights}/a.safetensors"}}),
    )
    recipe.main(["--recipe", str(file), "--folder", str(tmp_path / "out")])
    people = tmp_path / "out" / "people"
    assert kitchen == [
        ["draw", "--each", "8", "--drawn-pairs", "x", "--quick", "--no-slow", "--folder", str(people)],
        ["draw", "--data", f"{people}/set", "--begin", f"{TRAINED}/a.safetensors", "--folder", str(tmp_path / "out" / "base")],
    ]


@pytest.mark.parametrize(("minutes", "steps"), [("0", ("120", "360")), ("2", ("60", "180"))])
def test_minutes_become_steps_by_a_trial(kitchen, tmp_path, minutes, steps):
    """Half a second a step: 120 in a minute; with half of the time, half as many."""
    file = write(tmp_path / "r.json", ("a", "train", {"minutes": 1}), ("b", "train", {"minutes": 3}))
    recipe.main(["--recipe", str(file), "--folder", str(tmp_path / "out"), "--minutes", minutes])
    given = [argv[argv.index("--steps") + 1] for argv in kitchen]
    assert given == ["12", steps[0], "12", steps[1]], "each tried first"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b", "recipe.json"], "trials leave nothing"


def test_what_was_interrupted_goes_on_with_the_same_steps_and_nothing_is_done_twice(kitchen, tmp_path, monkeypatch):
    file = write(tmp_path / "r.json", ("a", "draw", {}), ("b", "train", {"minutes": 1}), ("c", "draw", {}))
    whole = dict(commands.COMMANDS)

    def stopped(argv):
        whole["train"].run(argv)
        if "120" in argv:
            raise Interrupted("Stopped.")
        return 0

    monkeypatch.setitem(commands.COMMANDS, "train", Command("", stopped))
    with pytest.raises(Interrupted):
        recipe.main(["--recipe", str(file), "--folder", str(tmp_path / "out")])
    before = len(kitchen)
    monkeypatch.setitem(commands.COMMANDS, "train", Command("", lambda argv: kitchen.append(["train", *argv]) or 0))
    recipe.main(["--recipe", str(file), "--folder", str(tmp_path / "out"), "--minutes", "60"])
    assert [argv[0] for argv in kitchen[before:]] == ["train", "draw"] and "120" in kitchen[before]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "is no recipe"),
        ('[{"name": "a"}]', "is no recipe"),
        ('[{"name": "a", "command": "cook"}]', "asks for 'cook'"),
        ('[{"name": "a", "command": "train-demo"}]', "that is no training"),
        ('[{"name": "a", "command": "draw-people"}, {"name": "a", "command": "draw-people"}]', "Two stages"),
        ('[{"name": "a", "command": "train-base", "options": {"data": "{later}"}}]', "must name a stage before it"),
        ('[{"name": "a", "command": "train-base", "options": {"data": "{"}}]', "must name a stage before it"),
        ('[{"name": "a", "command": "train-base", "options": ["--data"]}]', "options by name"),
        ('[{"name": "../a", "command": "train-base"}]', "can be a folder's"),
        ('[{"name": "", "command": "train-base"}]', "can be a folder's"),
        ('[{"name": "..", "command": "train-base"}]', "can be a folder's"),
        ('[{"name": 3, "command": "train-base"}]', "can be a folder's"),
        ('[{"name": "recipe.json", "command": "train-base"}]', "can be a folder's"),
        ('[{"name": "a", "command": ["train-base"]}]', "that is no training"),
        ('[{"name": "a", "command": "train-base", "minutes": "5"}]', "has '5' minutes"),
        ('[{"name": "a", "command": "train-base", "minutes": -1}]', "has -1 minutes"),
        ('[{"name": "a", "command": "train-base", "minutes": NaN}]', "has nan minutes"),
    ],
)
def test_what_is_no_recipe_is_refused_before_anything_begins(tmp_path, text, said):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(BadInput, match=said):
        recipe.main(["--recipe", str(tmp_path / "r.json"), "--folder", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_broken_note_is_named(kitchen, tmp_path):
    file = write(tmp_path / "r.json", ("a", "draw", {}))
    for text in ("{", '{"done": 3, "steps": {}}', "[]"):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(BadInput, match="cannot be read: move it away"):
            recipe.main(["--recipe", str(file), "--folder", str(tmp_path)])
    assert not kitchen


def test_a_missing_recipe_and_negative_minutes_are_refused(tmp_path):
    with pytest.raises(BadInput, match="is no recipe"):
        recipe.main(["--recipe", str(tmp_path / "none.json"), "--folder", str(tmp_path)])
    with pytest.raises(BadInput, match="--minutes is -1: it must be at least 0"):
        recipe.DemoSettings(minutes=-1)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_recipes_that_come_with_the_product_fit_the_commands(path, tmp_path, monkeypatch):
    """Every option exists and has a value that its command takes."""
    parsed = []

    class Parsed(Exception):
        pass

    def only_parse(*given):
        parsed.append(arguments.parse(*given)[0])
        raise Parsed

    folders = {"weights": TRAINED}
    for stage in recipe.read_recipe(path):
        assert stage.command in COMMANDS
        module = module_of(stage.command)
        monkeypatch.setattr(module, "parse", only_parse)
        argv = [*recipe.arguments(stage, folders), *(["--steps", "5"] if stage.minutes else []), "--folder", str(tmp_path)]
        with pytest.raises(Parsed):
            module.main(argv)
        folders[stage.name] = tmp_path / stage.name
    assert len(parsed) == len(folders) - 1 == {"cpu": 26, "gpu": 22}[path.stem]


def module_of(command):
    """The module behind a command of the trainers."""
    names = {"draw-people": "drawn", "encode-pictures": "latents", "export-base": "export", "train-style-lora": "style_lora"}
    names |= {"train-recogniser": "identity_loss", "blend-adapters": "blend"}
    return import_module(f"facechain_ext.training.{names.get(command, command.removeprefix('train-'))}")


def test_a_small_recipe_is_trained_for_real(tmp_path, monkeypatch):
    """People are drawn, encoded by the product's own VAE, and the base model takes as many steps as fit into a moment."""
    monkeypatch.setattr(base, "sample", in_two_steps)
    vae = "{weights}/checkpoint.safetensors"
    file = write(
        tmp_path / "r.json",
        ("people", "draw-people", {"options": {"identities": 2, "each": 2, "workers": 1}}),
        ("latents", "encode-pictures", {"options": {"drawn": "{people}", "pictures": 4, "batch": 4, "vae": vae}}),
        ("base", "train-base", {"minutes": 0.001, "options": {"data": "{latents}", "pictures": 4, "batch": 1, "device": "cpu"}}),
        ("checkpoint", "export-base", {"options": {"base": "{base}/weights.safetensors", "vae": vae}}),
    )
    recipe.main(["--recipe", str(file), "--folder", str(tmp_path / "out")])
    latents = open_set(tmp_path / "out" / "latents")
    assert latents.done == 4 and np.isfinite(latents.latents).all()
    assert (tmp_path / "out" / "checkpoint" / "checkpoint.safetensors").stat().st_size > 30_000_000
