"""Sets of drawn people: what is in their rows, how they are continued, and the trainings that read them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from facechain_ext.demo.world import person
from facechain_ext.demo.world.looks import looks
from facechain_ext.engine.checkpoints import write_adapter
from facechain_ext.engine.identity import to_input
from facechain_ext.engine.looks import looked_at
from facechain_ext.errors import BadInput
from facechain_ext.training import control, drawn, fact, latents, resampler, style_lora, subjects, vae
from facechain_ext.training.checkpoint import save_weights
from facechain_ext.training.drawn import DrawnSettings, draw_set, open_drawn
from facechain_ext.training.encoder import head_crop
from facechain_ext.training.latents import LatentSet
from facechain_ext.training.people import ALL_STYLES, PAINTED, picture
from facechain_ext.training.pixels import to_tensor
from facechain_ext.training.subjects import DrawnPeople, StoredPeople
from facechain_ext.training.tokens import joined, tokens_of
from tests.training.fact_cases import encoder, networks, write_latents

CPU = torch.device("cpu")
SINGLES = DrawnSettings(identities=40, each=4, workers=1)
PAIRS = DrawnSettings(identities=40, each=1, people=2, workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty people, four pictures of each, and forty pictures of two of them; as the trainings find them."""
    made = tmp_path_factory.mktemp("drawn")
    draw_set(SINGLES, made / "singles")
    draw_set(PAIRS, made / "pairs")
    return made


def encoded(where, **more):
    """Latents beside a set; each row holds its own number, so that rows can be told."""
    count, _, height, width = len(where.pictures), 4, *where.heads.shape[1:]
    rows = np.broadcast_to(np.arange(count)[:, None, None, None], (count, 4, height, width)).astype(np.float16)
    told = {"drawn": str(where.folder), **more}
    return LatentSet(latents=rows, heads=where.heads, tokens=where.tokens, done=where.done, people=where.people, **told)


def test_several_processes_draw_the_same(folder, tmp_path, monkeypatch):
    pools, pool = [], drawn.ProcessPoolExecutor
    monkeypatch.setattr(drawn, "ProcessPoolExecutor", lambda workers, *given: pools.append(workers) or pool(workers, *given))
    draw_set(replace(PAIRS, workers=2), tmp_path / "pairs")
    assert pools == [2]
    for file in (folder / "pairs").glob("*.npy"):
        assert (tmp_path / "pairs" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_row_is_the_picture_of_its_own_randomness(folder):
    kept = open_drawn(folder / "singles")
    assert kept.done == 160 and kept.pictures.shape == (160, 128, 128, 3)
    for row in (0, 7, 159):
        rng = np.random.default_rng((0, 1, row))
        drawing = picture(PAINTED.start + row // 4, rng)
        one = drawing.people[0]
        assert np.array_equal(kept.pictures[row], drawing.picture)
        assert np.array_equal(kept.faces[row, 0], head_crop(drawing, rng, True))
        assert np.array_equal(kept.tokens[row], tokens_of([drawing.caption])[0])
        assert kept.who[row].tolist() == [PAINTED.start + row // 4] and row in kept.rows_of(int(kept.who[row, 0]))
        assert ALL_STYLES[kept.styles[row]] == drawing.scene.style
        assert kept.heads[row, 5, 7] == round(one.head[40:48, 56:64].mean() * 255)
        assert kept.bodies(row)[0] == [None if joint is None else pytest.approx(joint, abs=1e-4) for joint in one.keypoints]


def test_pictures_of_two_show_two_of_the_same_people(folder):
    kept = open_drawn(folder / "pairs")
    assert kept.pictures.shape == (40, 128, 256, 3) and kept.faces.shape == (40, 2, 112, 112, 3)
    assert (kept.who[:, 0] != kept.who[:, 1]).all()
    assert PAINTED.start <= kept.who.min() and kept.who.max() < PAINTED.start + 40


def test_an_interrupted_set_is_continued_as_if_it_had_not_been(folder, tmp_path, monkeypatch):
    whole, fill = open_drawn(folder / "singles"), drawn._fill

    def broken_off(settings, where, chunk):
        if chunk[0] and not going_on:
            raise KeyboardInterrupt
        return fill(settings, where, chunk)

    monkeypatch.setattr(drawn, "_fill", broken_off)
    monkeypatch.setattr(drawn, "NOTED", 1)
    going_on = False
    with pytest.raises(KeyboardInterrupt):
        draw_set(SINGLES, tmp_path / "set")
    assert open_drawn(tmp_path / "set").done == drawn.CHUNK
    going_on = True
    draw_set(SINGLES, tmp_path / "set")
    again = open_drawn(tmp_path / "set")
    assert again.done == 160
    for name in drawn.ARRAYS:
        assert np.array_equal(getattr(again, name), getattr(whole, name), equal_nan=name == "joints"), name


def test_what_cannot_be_drawn_is_refused(folder, tmp_path):
    with pytest.raises(BadInput, match="drawn with other settings"):
        draw_set(replace(SINGLES, seed=1), folder / "singles")
    with pytest.raises(BadInput, match="no drawing style 'fresco'"):
        DrawnSettings(styles="fresco")
    with pytest.raises(BadInput, match="--each is 0"):
        DrawnSettings(each=0)
    with pytest.raises(BadInput, match="draw-people"):
        open_drawn(tmp_path)


def test_references_are_other_pictures_of_the_same_person(folder):
    singles = open_drawn(folder / "singles")
    people = StoredPeople(singles, encoded(singles))
    rng, photos, asked = np.random.default_rng(0), 0, 0
    for _ in range(150):
        example = people.example(rng, 1, 1.0, False)
        row = int(example.latents[0, 0, 0])
        (one,) = [other for other in range(160) if np.array_equal(singles.faces[other, 0], example.people[0].crops[0])]
        assert one != row and one // 4 == row // 4
        own = [other for other in range(row // 4 * 4, row // 4 * 4 + 4) if other != row]
        if 0 < sum(singles.styles[other] == 0 for other in own) < 3:
            asked, photos = asked + 1, photos + (singles.styles[one] == 0)
    assert ALL_STYLES[0] == "photo" and photos / asked > 0.5, "photos are taken more often than one in three"
    example = people.example(rng, 2, 0.0, False)
    row = int(example.latents[0, 0, 0])
    assert np.array_equal(example.people[0].crops, np.repeat(singles.faces[row], 2, axis=0)), "never shuffled: its own face"
    assert np.allclose(example.head, singles.heads[row] / 255) and np.array_equal(example.words, singles.tokens[row])


def test_two_people_have_their_places_and_their_own_faces(folder):
    singles, pairs = (open_drawn(folder / name) for name in ("singles", "pairs"))
    example = StoredPeople(singles, encoded(singles), (pairs, encoded(pairs))).example(np.random.default_rng(0), 3, 1.0, True)
    row = int(example.latents[0, 0, 0])
    for place, one in enumerate(example.people):
        rows = singles.rows_of(int(pairs.who[row, place]))
        assert all(any(np.array_equal(crop, singles.faces[other, 0]) for other in rows) for crop in one.crops)
        assert one.place.shape == (16, 32) and one.place[:, 16 * place : 16 * place + 16].all() and one.place.sum() == 256


def test_latents_of_other_pictures_are_refused(folder):
    singles, pairs = (open_drawn(folder / name) for name in ("singles", "pairs"))
    with pytest.raises(BadInput, match="not those of"):
        StoredPeople(singles, encoded(singles, drawn=""))
    with pytest.raises(BadInput, match="same --identities"):
        StoredPeople(replace(singles, done=100), encoded(singles), (pairs, encoded(pairs)))


def test_encoded_pictures_are_those_of_the_set(folder, tmp_path):
    torch.manual_seed(0)
    network = vae.build_vae().eval()
    save_weights(tmp_path / "vae.safetensors", network.state_dict())
    given = {"drawn": str(folder / "singles"), "vae": str(tmp_path / "vae.safetensors"), "batch": 2, "device": "cpu"}
    latents.encode(latents.LatentSettings(pictures=160, until=4, **given), tmp_path / "set")
    kept, pictures = latents.open_set(tmp_path / "set"), open_drawn(folder / "singles")
    with torch.no_grad():
        wanted = network.encode(to_tensor(pictures.pictures[:4].copy())).latent_dist.mean
    assert kept.done == 4 and kept.drawn == str(folder / "singles")
    assert np.allclose(kept.latents[:4], wanted.numpy(), atol=1e-2) and np.array_equal(kept.tokens[:4], pictures.tokens[:4])
    with pytest.raises(BadInput, match="holds 160 pictures of 1"):
        latents.encode(latents.LatentSettings(pictures=500, **given), tmp_path / "more")


def test_the_vae_learns_every_style_as_often(folder):
    blueprint = json.loads((folder / "singles" / "set.json").read_text())
    assert blueprint["styles"] == ""
    one = vae.VaeTrainee(vae.VaeSettings(drawn=f"{folder / 'singles'}", batch=1, device="cpu", widths="8,8,8,8"), CPU)
    other = replace(one.drawn[0], named=("blueprint", "woodcut"), pictures=np.zeros_like(one.drawn[0].pictures))
    one.drawn.append(other)
    one.shares = vae.shares_of(one.drawn)
    rng = np.random.default_rng(0)
    found = [one._picture(rng) for _ in range(400)]
    assert np.mean([not cut.picture.any() for cut in found]) == pytest.approx(0.25, abs=0.06), "two styles of eight"
    whole, head, laid = next(cut for cut in found if cut.picture.any())
    assert np.isnan(laid).all(), "a set does not keep how faces lie"
    row = next(row for row in range(160) if np.array_equal(one.drawn[0].pictures[row], whole))
    assert head.shape == (128, 128) and head[44, 60] == pytest.approx(one.drawn[0].heads[row, 5, 7] / 255)


def test_loras_and_controlnets_learn_from_sets(folder, tmp_path):
    kept = open_drawn(folder / "singles")
    with pytest.raises(BadInput, match="no pictures in the style blueprint"):
        style_lora.StyleTrainee(style_lora.StyleSettings(style="blueprint", drawn=str(kept.folder), device="cpu"), CPU, networks())
    blueprints = tmp_path / "blueprints"
    shutil.copytree(kept.folder, blueprints)
    styles, drawn_so = np.array(kept.styles), [5, 9, 77]
    styles[drawn_so] = ALL_STYLES.index("blueprint")
    np.save(blueprints / "styles.npy", styles)
    settings = style_lora.StyleSettings(style="blueprint", drawn=str(blueprints), batch=40, device="cpu", rank=2)
    pictures, tokens, heads, _ = style_lora.StyleTrainee(settings, CPU, networks())._batch(np.random.default_rng(0))
    rows = [next(row for row in range(160) if np.array_equal(kept.pictures[row], one)) for one in pictures]
    assert set(rows) == set(drawn_so) and np.array_equal(tokens, kept.tokens[rows]), "pictures of that style alone, each with its caption"
    assert np.array_equal(heads, kept.heads[rows])
    one = control.ControlTrainee.__new__(control.ControlTrainee)
    one.drawn = kept
    drawing = picture(PAINTED.start + 9 // 4, np.random.default_rng((0, 1, 9)))
    assert np.array_equal(one._skeleton(encoded(kept), 9), control.skeleton(drawing))


def test_a_set_without_its_latents_is_refused(folder, tmp_path):
    with pytest.raises(BadInput, match="needs --latents"):
        subjects.source_of(fact.FactSettings(drawn=str(folder / "singles")), tmp_path)


def test_faces_seen_ahead_are_the_same_faces(folder):
    """Tokens come from memory as the encoder would have said them; pictures of two have faces of their own until shuffling is the rule."""
    singles, pairs = open_drawn(folder / "singles"), open_drawn(folder / "pairs")
    tokens, looked = {False: [], True: []}, {False: [], True: []}
    for ahead in looked:
        settings = fact.FactSettings(steps=4, batch=4, warmup=1, device="cpu", pairs="there", pair_every=2, ahead=ahead, curriculum=0.1)
        source = StoredPeople(singles, encoded(singles), (pairs, encoded(pairs)))
        one = fact.FactTrainee(settings, CPU, networks(), encoder(), source)
        torch.manual_seed(5)
        torch.nn.init.normal_(one.adapter.resampler.latents)
        one.encoder.register_forward_hook(lambda *_, times=looked[ahead]: times.append(1))
        for number in range(2):
            found = one._persons(one.batches.draw(number, np.random.default_rng(number)), one.adapter)
            tokens[ahead] += [person.stack.detach() for person in found]
    assert looked[False] and not looked[True]
    assert len(tokens[True]) == 3, "one person, then two"
    for kept, said in zip(tokens[True], tokens[False], strict=True):
        assert (kept - said).abs().max() < 0.1 * (said[0] - said[1]).abs().max(), "nearer to itself than two people are to each other"


def test_captions_of_kept_people_say_how_they_look(folder):
    singles = open_drawn(folder / "singles")
    _, _, tokens = latents._pictures(latents.LatentSettings(looks=1.0), range(40, 44), singles)
    for row, said in zip(range(40, 44), tokens, strict=True):
        rng = np.random.default_rng((47, 0, row))
        rng.random()
        colours = ALL_STYLES[singles.styles[row]] != "pencil"
        assert np.array_equal(said, joined(singles.tokens[row], looks(person(int(singles.who[row, 0])), rng, colours)))
        assert not np.array_equal(said, singles.tokens[row])
    assert np.array_equal(latents._pictures(latents.LatentSettings(), range(40, 44), singles)[2], singles.tokens[40:44])


def test_faces_seen_ahead_are_seen_once(folder):
    """Kept beside the set by the encoder's fingerprint; another encoder looks itself, and what is of a smaller set is looked at anew."""
    singles = open_drawn(folder / "singles")
    looked = []
    for name, seed in (("one", 1), ("one", 1), ("other", 2)):
        network = encoder(seed)
        network.fingerprint = name
        network.register_forward_hook(lambda *_: looked.append(1))
        there, before = (singles.folder / f"seen-{name}.npy").is_file(), len(looked)
        tokens = resampler.look_ahead(network, singles)
        assert there == (len(looked) == before)
        with torch.no_grad():
            said = network(fact.to_input(torch.from_numpy(np.array(singles.faces[:2, 0]))))
        assert np.allclose(tokens[:2], said, atol=0.02)
    assert sorted(made.name for made in singles.folder.glob("seen-*")) == ["seen-one.npy", "seen-other.npy"]
    network.fingerprint = "one"
    assert len(resampler.look_ahead(network, replace(singles, done=8))) == 8
    assert len(resampler.look_ahead(network, singles)) == singles.done
    exact, rounded = (resampler.look_ahead(network, singles, autocast=autocast).astype(np.float32) for autocast in (False, True))
    assert 0 < np.linalg.norm(exact - rounded) < 0.02 * np.linalg.norm(exact), "each has a file of its own"


def test_faces_can_be_seen_ahead_where_they_are_kept_alone():
    with pytest.raises(BadInput, match="--ahead needs faces that are kept"):
        fact.kept_of(DrawnPeople())


def of_set(folder, drawn, people=1):
    """Latents of a set of draw-people, its path written so."""
    where = write_latents(folder, 6, people)
    note = where / "set.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "drawn": drawn}))
    return str(where)


def test_latents_of_a_set_are_nothing_without_it(folder, tmp_path):
    """Drawn again by their numbers they would show other people."""
    singles, pairs = of_set(tmp_path / "singles", str(folder / "singles")), of_set(tmp_path / "pairs", str(folder / "pairs"), 2)
    with pytest.raises(BadInput, match=r"alone knows whom they show: give it with --drawn\."):
        subjects.source_of(fact.FactSettings(latents=singles), tmp_path)
    with pytest.raises(BadInput, match="give it with --drawn-pairs, beside --drawn"):
        subjects.source_of(fact.FactSettings(latents=str(write_latents(tmp_path / "plain", 4)), pairs=pairs), tmp_path)
    with pytest.raises(BadInput, match="give it with --drawn"):
        control.ControlTrainee(control.ControlSettings(latents=singles, device="cpu"), CPU, networks())


@pytest.mark.parametrize(
    ("kept", "given"), [("{}/", "{}"), ("{}", "{}/"), ("singles", "{}"), ("{}", "./singles"), ("./singles/", "singles")]
)
def test_a_folder_is_the_same_however_it_is_written(folder, tmp_path, monkeypatch, kept, given):
    monkeypatch.chdir(folder)
    latents_of, drawn_as = of_set(tmp_path / "set", kept.format(folder / "singles")), given.format(folder / "singles")
    subjects.source_of(fact.FactSettings(latents=latents_of, drawn=drawn_as), tmp_path)
    control.ControlTrainee(control.ControlSettings(latents=latents_of, drawn=drawn_as, device="cpu"), CPU, networks())
    latents.check_drawn(latents.open_set(Path(latents_of)), Path(drawn_as))
    with pytest.raises(BadInput, match="not those of"):
        latents.check_drawn(latents.open_set(Path(latents_of)), folder / "pairs")


def test_a_set_begun_under_another_spelling_is_continued(folder, tmp_path, monkeypatch):
    """Also one noted as it was given, before paths were made whole."""
    monkeypatch.chdir(folder)
    settings = latents.LatentSettings(drawn=f"{folder / 'singles'}/", pictures=6)
    latents._open_or_make(settings, tmp_path / "set")
    latents._write_note(tmp_path / "set", settings, 2)
    note = tmp_path / "set" / "set.json"
    assert json.loads(note.read_text())["drawn"] == str((folder / "singles").resolve())
    note.write_text(json.dumps({**json.loads(note.read_text()), "drawn": "./singles/"}))
    assert latents._open_or_make(replace(settings, drawn="singles"), tmp_path / "set")[1] == 2
    with pytest.raises(BadInput, match="other settings"):
        latents._open_or_make(replace(settings, drawn="pairs"), tmp_path / "set")


def test_fewer_pictures_of_a_set_can_be_asked_for_than_there_are(folder, tmp_path):
    where, rng = of_set(tmp_path / "set", str(folder / "singles")), np.random.default_rng(0)
    source = subjects.source_of(fact.FactSettings(latents=where, drawn=str(folder / "singles"), pictures=3), tmp_path)
    assert isinstance(source, StoredPeople)
    assert {int(source.example(rng, 1, 0.0, False).people[0].rows[0]) for _ in range(60)} == {0, 1, 2}
    with pytest.raises(BadInput, match="Only 6 pictures"):
        subjects.source_of(fact.FactSettings(latents=where, drawn=str(folder / "singles"), pictures=7), tmp_path)
    with pytest.raises(BadInput, match="--drawn-pairs shows couples"):
        subjects.source_of(fact.FactSettings(drawn_pairs=str(folder / "pairs")), tmp_path)


def test_couples_are_not_taken_for_single_people(folder):
    pairs = open_drawn(folder / "pairs")
    with pytest.raises(BadInput, match="shows 2 people in every picture"):
        resampler.whose(pairs)
    with pytest.raises(BadInput, match="shows 2 people in every picture"):
        StoredPeople(pairs, encoded(pairs))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("set.json", b"{", r"set\.json cannot be read"),
        ("set.json", b"\xff\xfe", r"set\.json cannot be read"),
        ("set.json", b"[]", r"set\.json lacks a table"),
        ("set.json", b"{}", r"set\.json lacks done"),
        ("tokens.npy", None, r"tokens\.npy is missing or not whole"),
        ("tokens.npy", b"", r"tokens\.npy is missing or not whole"),
        ("tokens.npy", b"no array", r"tokens\.npy is missing or not whole"),
    ],
)
def test_a_broken_set_is_named(folder, tmp_path, name, content, said):
    shutil.copytree(folder / "pairs", tmp_path / "drawn")
    write_latents(tmp_path / "latents", 3)
    for kind, read in (("drawn", open_drawn), ("latents", latents.open_set)):
        (tmp_path / kind / name).unlink()
        if content is not None:
            (tmp_path / kind / name).write_bytes(content)
        with pytest.raises(BadInput, match=said):
            read(tmp_path / kind)


def test_a_set_with_fewer_rows_than_it_says_is_named(tmp_path):
    np.save(write_latents(tmp_path / "latents", 3) / "heads.npy", np.zeros((2, 16, 16), np.uint8))
    with pytest.raises(BadInput, match=r"heads\.npy is missing or not whole"):
        latents.open_set(tmp_path / "latents")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"people": 5}, "--people is 5: it must be at most 4"),
        ({"people": 3, "identities": 2}, "--identities is 2: give more"),
        ({"identities": 1_000_001}, "--identities is 1000001: it must be at most 1000000"),
        ({"seed": -1}, "--seed is -1"),
    ],
)
def test_more_people_than_there_are_or_than_there_is_room_for(given, said):
    with pytest.raises(BadInput, match=said):
        DrawnSettings(**given)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_as_many_references_as_asked_are_photos_as_people_give_them(folder, monkeypatch, share):
    """Each is the face in a photo of the same person without a hat; never in the stead of the picture's own face."""
    taken = []
    whole = subjects.photo_of
    monkeypatch.setattr(subjects, "photo_of", lambda who, rng: taken.append((who, whole(who, rng))) or taken[-1][1])
    singles, pairs = (open_drawn(folder / name) for name in ("singles", "pairs"))
    people = StoredPeople(singles, encoded(singles), (pairs, encoded(pairs)), photos=share)
    rng, seen = np.random.default_rng(0), 0
    for number in range(90):
        taken.clear()
        example = people.example(rng, 2, 1.0, number % 3 == 0)
        row = int(example.latents[0, 0, 0])
        who = (pairs if number % 3 == 0 else singles).who[row]
        kept = [crop for one in example.people for crop in one.crops if any(np.array_equal(crop, face) for face in singles.faces[:, 0])]
        assert len(kept) + len(taken) == 2 * len(who)
        assert all(one in [person(int(each)) for each in who] for one, _ in taken)
        assert all(drawing.scene.style == "photo" and not drawing.people[0].appearance.outfit.hat for _, drawing in taken)
        seen += len(taken)
    assert seen / (90 * 2 + 30 * 2) == pytest.approx(share, abs=0.1)
    taken.clear()
    people.example(rng, 2, 0.0, False)
    assert not taken
    DrawnPeople(photos=share).example(rng, 40, 1.0, False)
    assert len(taken) / 40 == pytest.approx(share, abs=0.25)


def test_an_adapter_that_looks_several_times_does_so_while_gates_learn(folder, tmp_path):
    """Tokens are the mean over the looks, by hand; a resampler that learns looks once."""
    singles = open_drawn(folder / "singles")
    first = fact.FactTrainee(fact.FactSettings(steps=4, batch=2), CPU, networks(), encoder(), StoredPeople(singles, encoded(singles)))
    torch.nn.init.normal_(first.adapter.resampler.latents)
    for stated, asked, rate in ((5, 0, 0.0), (1, 5, 0.0), (5, 0, 0.2), (5, 1, 0.0), (1, 0, 0.0)):
        first.adapter.looks = stated
        write_adapter(first.adapter, tmp_path / "adapter.safetensors")
        times = asked or stated
        given = {"begin": str(tmp_path / "adapter.safetensors"), "looks": asked, "resampler": rate, "ahead": times > 1}
        settings = fact.FactSettings(steps=4, batch=2, several=0.0, drop=0.0, drop_words=0.0, device="cpu", **given)
        one = fact.FactTrainee(settings, CPU, networks(), encoder(), StoredPeople(singles, encoded(singles)))
        batch = one.batches.draw(0, np.random.default_rng(0))
        with torch.no_grad():
            inputs = to_input(batch.crops[0][:, 0])
            five, plain = (
                torch.stack([one.adapter.resampler(one.encoder(each)) for each in looked_at(inputs, count)]).mean(dim=0) for count in (5, 1)
            )
            found = one._persons(batch, one.adapter)[0].stack
        wanted = five if (times, rate) == (5, 0.0) else plain
        # Not nearer: what was seen ahead is kept in half precision.
        assert (found - wanted).abs().max() < 0.1 * (five - plain).abs().max(), (stated, asked, rate)
