"""Orders done: what is painted, scored, chosen, kept and told; with a host of flat pictures, and real history, library and face encoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facechain_ext.errors import BadInput, Interrupted, NoFace, OutOfMemory, PictureFailed, Skipped
from facechain_ext.hosts.types import Finish
from facechain_ext.store.names import NOBODY
from facechain_ext.store.records import Wanted
from facechain_ext.workflows.again import again
from facechain_ext.workflows.infotext import NOTE, parse_info
from facechain_ext.workflows.making import Chosen, Known, MakingOptions, Order, Result, make
from facechain_ext.workflows.own_styles import own_style
from facechain_ext.workflows.persons import Eyes, keep
from tests.fakes.room import BLACK, BLUE, GREEN, ORANGE, RED, SIDE, ColourCheck, ColourEyes, FakeRoom, FlatHost, cosine, photo, raising

START = 100


def options(**changes: Any) -> MakingOptions:
    usual = {"prompt": "in a garden", "width": SIDE, "height": SIDE, "steps": 2, "sampler": "DDIM", "seed": START}
    return MakingOptions(**(usual | changes))


ANNA = (photo(),)


def order(*, photos=ANNA, **changes: Any) -> Order:
    own = {name: changes.pop(name) for name in ("person", "style", "style_weight", "loras", "pose", "pose_weight") if name in changes}
    return Order(options=options(**changes), photos=photos, **own)


def room(tmp_path, colours=(RED, ORANGE, BLUE, BLACK), **more: Any) -> FakeRoom:
    trouble = more.pop("trouble", None)
    return FakeRoom(tmp_path, FlatHost(list(colours), start=START, trouble=trouble), **more)


def done(what: Order, where: FakeRoom, user: str = "anna", report=None) -> tuple[Known, list[Result], Chosen]:
    known, *results, chosen = make(what, where, user, report)
    assert isinstance(known, Known) and isinstance(chosen, Chosen) and all(isinstance(one, Result) for one in results)
    return known, results, chosen


def test_every_picture_is_scored_and_kept_with_all_that_made_it(tmp_path) -> None:
    here = room(tmp_path)
    known, results, chosen = done(order(count=4, photos=(photo(RED), photo((200, 60, 40), "photo 2"))), here)
    assert (
        known.judge == "colour-eyes" and known.between == pytest.approx([cosine(RED, (200, 60, 40))] * 2, abs=1e-6) and known.pictures == 4
    )
    wanted = [(cosine(c, RED) + cosine(c, (200, 60, 40))) / 2 for c in (RED, ORANGE, BLUE)]
    assert [one.likeness for one in results] == [*(pytest.approx(value, abs=1e-5) for value in wanted), None]
    assert [one.number for one in chosen.results] == [1, 2, 3, 4] and all(one.kept for one in chosen.results)
    entry = results[1].entry
    assert entry is not None and entry.path.relative_to(tmp_path / "outputs").parts[:3] == ("anna", "_", "_")
    assert entry.likeness == results[1].likeness and entry.judge == "colour-eyes" and entry.seed == 101
    saved = Image.open(entry.path)
    assert saved.text["Comment"] == NOTE and "AI-generated" in NOTE and saved.text["parameters"] == entry.info  # type: ignore[attr-defined]
    assert np.asarray(saved)[0, 0].tolist() == list(ORANGE)
    _, _, said = parse_info(entry.info)
    assert said["Seed"] == "101" and said["FaceChain likeness"] == f"{entry.likeness:.3f} by colour-eyes" and said["Model"] == "flat-model"
    assert here.history().amount(Wanted(user="anna")) == 4 and here.history().amount(Wanted(user="max")) == 0


def test_a_picture_whose_face_is_doubtful_is_kept_without_a_score(tmp_path) -> None:
    class Doubtful(ColourEyes):
        def embed(self, image, face):
            if image.getpixel((0, 0)) == BLUE:
                raise NoFace("No face was made out there.")
            return super().embed(image, face)

    class Refusing(ColourEyes):
        def faces(self, image):
            if image.getpixel((0, 0)) == BLUE:
                raise NoFace("This is a photograph.")
            return super().faces(image)

    for number, eyes in enumerate((Doubtful(), Refusing())):
        here = room(tmp_path / str(number), eyes=eyes)
        _, results, _ = done(order(count=3), here)
        assert [one.likeness is None for one in results] == [False, False, True] and here.history().amount(Wanted(user="anna")) == 3


def test_what_the_host_did_otherwise_is_told_with_the_result(tmp_path) -> None:
    here = room(tmp_path)
    here.host.noted = {101: "It was enlarged otherwise."}
    _, results, chosen = done(order(count=3), here)
    assert [one.note for one in results] == ["", "It was enlarged otherwise.", ""]
    assert {one.number: one.note for one in chosen.results}[2] == "It was enlarged otherwise."


def test_the_best_are_kept_and_the_others_set_aside(tmp_path) -> None:
    here = room(tmp_path, (BLUE, ORANGE, BLACK, RED))
    _, results, chosen = done(order(choose="best", count=2, most=4), here)
    assert len(results) == 4
    assert [(one.number, one.kept) for one in chosen.results] == [(4, True), (2, True), (1, False), (3, False)]
    assert [one.entry.aside for one in chosen.results if one.entry] == [False, False, True, True]
    assert all(one.entry and one.entry.there for one in chosen.results), "nothing that was finished is lost"
    assert here.history().amount(Wanted(user="anna", aside=True)) == 2


def test_making_goes_on_until_enough_are_alike(tmp_path) -> None:
    here = room(tmp_path, (BLUE, ORANGE, BLUE, RED, RED, RED))
    _, results, chosen = done(order(choose="until", count=2, most=6, until=0.9), here)
    assert [one.number for one in results] == [1, 2, 3, 4] and here.host.closed == 1, "the host's work ends with the second one alike"
    assert [(one.number, one.kept) for one in chosen.results] == [(4, True), (2, True), (1, False), (3, False)] and chosen.notes == ()


def test_making_until_has_an_end(tmp_path) -> None:
    _, results, chosen = done(order(choose="until", count=1, most=3, until=0.99), room(tmp_path, (BLUE, ORANGE, BLUE, RED)))
    assert len(results) == 3 and chosen.notes == ("0 of 3 pictures reached a likeness of 0.99: the most alike of them are kept.",)
    assert [(one.number, one.kept) for one in chosen.results] == [(2, True), (1, False), (3, False)]


def test_without_a_number_the_photos_say_what_is_alike(tmp_path) -> None:
    here = room(tmp_path, (BLUE, (225, 60, 40), RED))
    two = (photo(RED), photo((220, 80, 40), "photo 2"))
    _, results, _ = done(order(choose="until", count=1, most=3, photos=two), here)
    assert len(results) == 2, "the second is as near as the photos are to each other"
    with pytest.raises(BadInput, match="one photo only"):
        done(order(choose="until", count=1, most=3), here)


def test_a_skipped_picture_is_left_out_and_the_rest_is_made(tmp_path) -> None:
    here = room(tmp_path)
    _, results, _ = done(order(count=3), here, report=raising(Skipped("skip"), picture=1, step=1))
    assert [(one.number, one.seed) for one in results] == [(1, 100), (3, 102)]
    assert [(one.seed, one.count) for one in here.host.asked] == [(100, 3), (102, 1)]


def test_a_skip_leaves_out_what_is_painted_together_and_nothing_is_painted_twice(tmp_path) -> None:
    here = room(tmp_path, (RED, ORANGE, BLUE, RED, RED))
    _, results, _ = done(order(count=5, batch=2), here, report=raising(Skipped("skip"), picture=2, step=1))
    assert [(one.number, one.seed) for one in results] == [(1, 100), (2, 101), (5, 104)]
    assert [(one.seed, one.count) for one in here.host.asked] == [(100, 5), (104, 1)]
    last = room(tmp_path / "last", (RED, ORANGE, BLUE))
    _, results, _ = done(order(count=3, batch=2), last, report=raising(Skipped("skip"), picture=2, step=1))
    assert [one.number for one in results] == [1, 2] and len(last.host.asked) == 1, "the last batch is of one picture"


@pytest.mark.parametrize("choose", ["best", "until"])
def test_a_stop_chooses_among_what_is_finished(tmp_path, choose) -> None:
    here = room(tmp_path, (BLUE, ORANGE, RED, BLUE, BLUE))
    wanted = order(choose=choose, count=1, most=5, until=0.9999)
    told = []
    with pytest.raises(Interrupted):
        for event in make(wanted, here, "anna", raising(Interrupted("stop"), picture=2, step=1)):
            told.append(event)
    chosen = told[-1]
    assert isinstance(chosen, Chosen) and [(one.number, one.kept) for one in chosen.results] == [(2, True), (1, False)]
    assert chosen.notes[-1] == "2 of 5 pictures were finished before the stop: the most alike of them are kept."
    assert len(chosen.notes) == (2 if choose == "until" else 1)
    assert here.history().amount(Wanted(user="anna", aside=True)) == 1 and here.host.closed == 1


def test_a_stop_that_comes_with_a_result_chooses_too(tmp_path) -> None:
    """The one who listens throws it in, between two pictures."""
    here = room(tmp_path, (BLUE, RED, BLUE))
    events = make(order(choose="best", count=1, most=3), here, "anna")
    known, first = next(events), next(events)
    assert isinstance(known, Known) and isinstance(first, Result)
    chosen = events.throw(Interrupted("stop"))  # type: ignore[attr-defined]
    assert isinstance(chosen, Chosen) and [(one.number, one.kept) for one in chosen.results] == [(1, True)]
    with pytest.raises(Interrupted):
        next(events)
    assert here.host.closed == 1, "nothing more is painted"


def test_a_stop_before_the_first_picture_chooses_nothing(tmp_path) -> None:
    told = []
    with pytest.raises(Interrupted):
        for event in make(order(choose="best", count=1, most=3), room(tmp_path), "anna", raising(Interrupted("stop"), picture=0, step=1)):
            told.append(event)
    assert [type(one) for one in told] == [Known]


def test_what_was_finished_before_a_stop_is_kept(tmp_path) -> None:
    here = room(tmp_path)
    events = make(order(count=3), here, "anna", raising(Interrupted("stop"), picture=2, step=2))
    with pytest.raises(Interrupted):
        for _ in events:
            pass
    assert here.history().amount(Wanted(user="anna")) == 2


def test_one_failed_of_four_is_told_and_the_others_are_made(tmp_path) -> None:
    here = room(tmp_path, trouble={101: [PictureFailed("It came out empty.")]})
    _, results, chosen = done(order(count=4), here)
    assert [(one.number, one.failed, one.entry is None) for one in results][1] == (2, "It came out empty.", True)
    assert [one.number for one in chosen.results] == [1, 3, 4, 2] and here.history().amount(Wanted(user="anna")) == 3


def test_memory_that_does_not_suffice_for_two_at_once_may_for_one(tmp_path) -> None:
    here = room(tmp_path, trouble={100: [OutOfMemory("Too much.")]})
    _, results, _ = done(order(count=2, batch=2), here)
    assert [one.failed for one in results] == ["", ""] and [one.batch for one in here.host.asked] == [2, 1]


def test_memory_that_suffices_for_none_ends_the_work_at_once(tmp_path) -> None:
    here = room(tmp_path, trouble={seed: [OutOfMemory("Too much: choose a smaller size.")] for seed in range(100, 104)})
    events = make(order(count=4), here, "anna")
    next(events)
    result = next(events)
    assert isinstance(result, Result) and result.failed == "Too much: choose a smaller size."
    with pytest.raises(OutOfMemory):
        next(events)
    assert len(here.host.asked) == 1


def test_memory_that_failed_once_is_tried_once_more(tmp_path) -> None:
    here = room(tmp_path, trouble={101: [OutOfMemory("Too much.")]})
    _, results, _ = done(order(count=4), here)
    assert [bool(one.failed) for one in results] == [False, True, False, False]
    again_and_again = room(tmp_path / "b", trouble={101: [OutOfMemory("Too much.")], 102: [OutOfMemory("Too much.")]})
    with pytest.raises(OutOfMemory):
        list(make(order(count=4), again_and_again, "anna"))
    assert again_and_again.history().amount(Wanted(user="anna")) == 1


def test_a_saved_person_is_made_and_named(tmp_path) -> None:
    here = room(tmp_path)
    eyes = Eyes(analyser=here.eyes, encoder=here.encoder(None), adapter=here.adapter("auto"))
    saved = keep(eyes, here.library("anna"), "Anna", [photo(RED), photo(ORANGE, "photo 2")], consent=True)
    assert "agreed" in saved.consent and saved.originals == 0
    known, results, _ = done(order(photos=(), person="anna"), here)
    assert "TransFace" in known.judge, "without photos only the encoder's own embeddings are there to compare with"
    assert results[0].entry is not None and results[0].entry.person == "Anna"
    known, results, _ = done(order(photos=(photo(RED), photo(ORANGE, "photo 2"))), here)
    assert known.judge == "colour-eyes" and results[0].entry is not None and results[0].entry.person == "Anna"
    known, results, _ = done(order(photos=(photo(RED), photo(ORANGE, "photo 2"))), here, user="eve")
    assert results[0].entry is not None and results[0].entry.person == "", "whom another user calls Anna is nobody to her"
    with pytest.raises(BadInput, match="No saved person"):
        done(order(photos=(), person="Anna"), here, user="eve")
    with pytest.raises(BadInput, match="confirm that the person"):
        keep(eyes, here.library("anna"), "Max", [photo(BLUE)])


def test_kept_photos_judge_a_saved_person_by_the_analyser(tmp_path) -> None:
    here = room(tmp_path)
    eyes = Eyes(analyser=here.eyes, encoder=here.encoder(None), adapter=here.adapter("auto"))
    keep(eyes, here.library("anna"), "Anna", [photo(RED)], consent=True, keep_photos=True)
    known, results, _ = done(order(photos=(), person="Anna", count=2), here)
    assert known.judge == "colour-eyes" and results[1].likeness == pytest.approx(cosine(RED, ORANGE), abs=1e-5)


# ---- styles and LoRAs


def test_a_styles_words_are_fitted_to_the_person_and_its_lora_is_taken(tmp_path) -> None:
    here = room(tmp_path, eyes=ColourEyes(gender="female"))
    done(order(prompt="", style="Gentleman"), here)
    asked = here.host.asked[0]
    assert [(lora.source, lora.weight) for lora in asked.loras] == [
        ("trkshgntlmn10", next(one.style.weight for one in here.styles(NOBODY) if one.style.key == "Gentleman"))
    ]
    assert "1male" not in asked.prompt and "beautiful woman" in asked.prompt and "black classic suit" in asked.prompt


def test_ones_own_words_are_not_touched(tmp_path) -> None:
    here = room(tmp_path, eyes=ColourEyes(gender="female"))
    done(order(prompt="1male in a boat", style="Gentleman"), here)
    assert "1male in a boat" in here.host.asked[0].prompt


def test_a_style_without_its_lora_is_refused_unless_asked_for(tmp_path) -> None:
    here = room(tmp_path)
    with pytest.raises(BadInput, match=r"The style Kimono Style needs the LoRA .*safetensors, which is not there"):
        done(order(prompt="", style="Kimono"), here)
    _, results, _ = done(order(prompt="", style="Kimono", without_lora=True), here)
    assert here.host.asked[0].loras == () and results[0].entry is not None and results[0].entry.style == "Kimono"


def test_loras_are_called_by_name_file_or_training_name_and_weighed(tmp_path) -> None:
    here = room(tmp_path)
    _, results, _ = done(order(style="Gentleman", style_weight=0.2, loras=(("film v1.1", 0.7), ("Winter_Hanfu", -0.5))), here)
    assert [(one.source, one.weight) for one in here.host.asked[0].loras] == [
        ("trkshgntlmn10", 0.2),
        ("film v1.1", 0.7),
        ("Winter_Hanfu", -0.5),
    ]
    entry = results[0].entry
    assert entry is not None and entry.loras == (("trkshgntlmn10", 0.2), ("film v1.1", 0.7), ("Winter_Hanfu", -0.5))
    assert "<lora:film v1.1:0.7>" in entry.info and "<lora" not in entry.prompt
    done(order(loras=(("gentleman", 0.3),)), here)
    assert here.host.asked[-1].loras[0].source == "trkshgntlmn10"


@pytest.mark.parametrize("more", [{"loras": (("Winter_Hanfo", 1.0),)}, {"prompt": "a boat <lora:Winter_Hanfo:1>"}])
def test_a_lora_that_is_not_there_is_said_and_never_passed_over(tmp_path, more) -> None:
    with pytest.raises(BadInput, match="There is no LoRA 'Winter_Hanfo': perhaps Winter_Hanfu"):
        done(order(**more), room(tmp_path))


def test_no_picture_stays_in_ones_own_style(tmp_path) -> None:
    """A picture that is deleted is gone, and a style that is given away shows nobody."""
    here = room(tmp_path)
    here.own_styles(NOBODY).save(own_style("Mine", "film grain", lora="film v1.1.safetensors", negative="blurry"))
    done(order(prompt="", style="Mine", count=2), here, NOBODY)
    assert here.host.asked[0].negative.startswith("blurry") and here.history().names(NOBODY, "style") == {"Mine": 2}
    (file,) = here.own_styles(NOBODY).folder.glob("*.json")
    assert len(file.read_bytes()) < 1000, "words and numbers alone"
    assert here.own_styles(NOBODY).style("Mine").thumbnail == b""


def test_nobody_elses_style_can_be_ordered(tmp_path) -> None:
    here = room(tmp_path)
    for user in ("anna", "max"):
        here.own_styles(user).save(own_style("Mine", f"film grain of {user}"))
    here.own_styles("max").save(own_style("Secret", "velvet"))
    done(order(prompt="", style="Mine"), here, "anna")
    assert "film grain of anna" in here.host.asked[0].prompt
    with pytest.raises(BadInput, match="no style 'Secret'"):
        done(order(prompt="", style="Secret"), here, "anna")


def test_one_of_two_loras_of_a_name_is_painted_with_and_made_again(tmp_path) -> None:
    here = room(tmp_path)
    with pytest.raises(BadInput, match="2 LoRAs called anna: choose people/anna or styles/anna"):
        done(order(loras=(("anna", 0.5),)), here)
    _, (result,), _ = done(order(loras=(("styles/anna", 0.5),)), here)
    assert [(one.source, one.weight) for one in here.host.asked[0].loras] == [("styles/anna", 0.5)]
    assert result.entry is not None and "<lora:styles/anna:0.5>" in result.entry.info
    found = again(result.entry, here, "anna")
    assert found.loras == (("styles/anna", 0.5),) and not any("LoRA" in note for note in found.notes)


# ---- pose, hires


def test_a_pose_is_taken_by_the_openpose_controlnet(tmp_path) -> None:
    here = room(tmp_path)
    _, results, _ = done(order(pose=photo(BLUE), pose_weight=0.8), here)
    (control,) = here.host.asked[0].controls
    assert (control.model, control.weight, control.image.size) == ("control_v11p_sd15_openpose", 0.8, (SIDE, SIDE))
    entry = results[0].entry
    assert entry is not None and "The pose picture is not kept: give it again." in again(entry.info, here, "anna").notes
    found = again(entry, here, "anna")
    assert found.pose is not None and found.pose_weight == 0.8 and not any("pose" in note for note in found.notes)
    done(found.order(ANNA), here)
    (repeated,) = here.host.asked[1].controls
    assert repeated.weight == 0.8 and (np.asarray(repeated.image) == np.asarray(control.image)).all()


def test_hires_is_asked_of_the_host(tmp_path) -> None:
    here = room(tmp_path)
    done(order(hires=2.0, hires_strength=0.3, hires_steps=7, upscaler="ESRGAN"), here)
    hires = here.host.asked[0].hires
    assert hires is not None and (hires.scale, hires.strength, hires.steps, hires.upscaler) == (2.0, 0.3, 7, "ESRGAN")
    with pytest.raises(BadInput, match="no upscaler 'Magic': choose one of Lanczos, ESRGAN"):
        done(order(hires=2.0, upscaler="Magic"), here)


def test_a_finish_is_asked_of_the_host_and_made_again(tmp_path) -> None:
    here = room(tmp_path)
    _, (result,), _ = done(order(count=1, restore="CodeFormer", finish=1.5, finish_upscaler="ESRGAN"), here)
    assert here.host.asked[0].finish == Finish(restorer="CodeFormer", scale=1.5, upscaler="ESRGAN") and result.entry is not None
    said = parse_info(result.entry.info)[2]
    assert (said["Face restoration"], said["Postprocess upscale by"], said["Postprocess upscaler"]) == ("CodeFormer", "1.5", "ESRGAN")
    options = again(result.entry, here, "anna").options
    assert (options.restore, options.finish, options.finish_upscaler, options.hires) == ("CodeFormer", 1.5, "ESRGAN", 1.0)
    _, (plain,), _ = done(order(count=1, finish_upscaler="ESRGAN"), here)
    assert here.host.asked[1].finish is None and plain.entry is not None and "Postprocess" not in plain.entry.info
    with pytest.raises(BadInput, match="no face restoration 'Magic'"):
        done(order(restore="Magic"), here)
    with pytest.raises(BadInput, match="no upscaler 'Latent' for finished pictures"):
        done(order(finish=2.0, finish_upscaler="Latent"), here)


# ---- the check


def test_a_picture_that_is_objected_to_is_kept_as_a_blur_only(tmp_path) -> None:
    check = ColourCheck()
    here = room(tmp_path, (RED, GREEN), check=check)
    _, results, _ = done(order(count=2), here)
    assert results[0].withheld == "" and "not shown" in results[1].withheld and "colour-check" in results[1].withheld
    entry = results[1].entry
    assert entry is not None and results[1].likeness is None and parse_info(entry.info)[2]["FaceChain withheld"] == "colour-check"
    assert check.asked == [False, False]


def test_what_is_withheld_cannot_be_made_out(tmp_path) -> None:
    from facechain_ext.workflows.safety import coarse

    checkers = Image.fromarray((np.indices((128, 96)).sum(0) // 8 % 2 * 255).astype(np.uint8)).convert("RGB")
    seen = np.asarray(coarse(checkers)).astype(int)
    assert seen.shape == (128, 96, 3) and np.ptp(seen) < 60, "a pattern of eight pixels is gone"


def test_the_check_can_be_switched_off_for_adults_only(tmp_path) -> None:
    check = ColourCheck()
    _, results, _ = done(order(seed=101), room(tmp_path, (RED, GREEN), check=check, on=False))
    assert results[0].withheld == "" and check.asked == []
    young = room(tmp_path / "b", (RED, GREEN, ORANGE), check=check, on=False, eyes=ColourEyes(age=(10, 19)))
    known, results, _chosen = done(order(count=3), young)
    assert known.minor == "the face looks 10 to 19 years old" and check.asked == [True, True, True]
    assert [(bool(one.withheld), one.entry is None) for one in results] == [(False, False), (True, True), (True, True)]
    assert "nothing of it is kept" in results[1].withheld and young.history().amount(Wanted(user="anna")) == 1
    assert [path.name for path in (tmp_path / "b").rglob("*.png")] == [results[0].entry.path.name]  # type: ignore[union-attr]


def test_a_picture_that_came_out_young_is_checked_strictly(tmp_path) -> None:
    check = ColourCheck()
    here = room(tmp_path, (RED, ORANGE), check=check, eyes=ColourEyes(ages={ORANGE: (10, 19)}))
    _, results, _ = done(order(count=2), here)
    assert check.asked == [False, True] and [bool(one.withheld) for one in results] == [False, True]


def test_pictures_of_the_young_are_asked_for_with_care(tmp_path) -> None:
    here = room(tmp_path, eyes=ColourEyes(age=(3, 9), gender="female"))
    done(order(prompt="", style="Gentleman"), here)
    asked = here.host.asked[0]
    assert "a girl, child" in asked.prompt and "sexualized" in asked.negative and "nude" in asked.negative
    with pytest.raises(BadInput, match=r"Lolita fashion.*under 18.*the face looks 3 to 9"):
        done(order(prompt="", style="Lolita", without_lora=True), here)
    with pytest.raises(BadInput, match="“bikini”"):
        done(order(prompt="at the beach in a bikini"), here)
    assert len(here.host.asked) == 1, "what is refused is never painted"


def test_nobody_watches_how_the_young_are_painted(tmp_path) -> None:
    told = []
    done(order(count=2), room(tmp_path), report=told.append)
    assert [(at.picture, at.step, at.pictures, at.preview is None) for at in told] == [(n, s, 2, False) for n in (0, 1) for s in (1, 2)]
    told.clear()
    done(order(), room(tmp_path, eyes=ColourEyes(age=(10, 19))), report=told.append)
    assert [at.preview for at in told] == [None, None]


def test_the_name_of_a_lora_is_looked_at_too(tmp_path) -> None:
    here = room(tmp_path, eyes=ColourEyes(age=(10, 19)))
    here.host.listed_loras = lambda: [*FlatHost.listed_loras(here.host), replace(FlatHost.listed_loras(here.host)[0], name="sexy_v2")]  # type: ignore[method-assign]
    with pytest.raises(BadInput, match="“sexy”"):
        done(order(loras=(("sexy_v2", 0.5),)), here)


@pytest.mark.parametrize("more", [{"loras": (("trkshgntlmn10", 0.5),)}, {"prompt": "x <lora:trkshgntlmn10:1>"}, {"style": "Micro bikini"}])
def test_so_are_the_alias_of_a_lora_and_the_name_of_a_style_of_ones_own(tmp_path, more) -> None:
    here = room(tmp_path, eyes=ColourEyes(age=(10, 19)))
    here.own_styles("anna").save(own_style("Micro bikini", "at the sea"))
    here.host.listed_loras = lambda: [replace(one, alias="sexy") for one in FlatHost.listed_loras(here.host)]  # type: ignore[method-assign]
    with pytest.raises(BadInput, match=r"“sexy”|“bikini”"):
        done(order(**more), here)


def test_the_words_of_a_style_name_no_file_that_the_host_does_not_list(tmp_path) -> None:
    here = room(tmp_path)
    here.own_styles("anna").save(own_style("Sly", "x <lora:/etc/passwd:1>"))
    with pytest.raises(BadInput, match="There is no LoRA '/etc/passwd'"):
        done(order(prompt="", style="Sly"), here)


def test_the_negative_prompt_does_not_undress_the_young(tmp_path) -> None:
    with pytest.raises(BadInput, match="“no clothes”"):
        done(order(negative="clothes, text"), room(tmp_path, eyes=ColourEyes(age=(10, 19))))


# ---- make again


def test_an_order_is_made_again_from_what_a_picture_says(tmp_path) -> None:
    here = room(tmp_path)
    eyes = Eyes(analyser=here.eyes, encoder=here.encoder(None), adapter=here.adapter("auto"))
    keep(eyes, here.library("anna"), 'Anna, 5: "A"', [photo(RED)], consent=True)
    first = order(
        prompt='in a garden, (red:1.2), "x"',
        style="Gentleman",
        style_weight=0.25,
        loras=(("film v1.1", 0.7),),
        count=2,
        negative="blurry: a, b",
        weight=0.8,
        start=0.1,
        end=0.9,
        cfg=5.5,
        clip_skip=2,
        subject="man",
        template="plain",
        face=1,
        hires=1.5,
        hires_strength=0.3,
        hires_steps=5,
        upscaler="ESRGAN",
        analyser="colour-eyes",
        choose="best",
        most=3,
    )
    _, results, _ = done(first, here)
    assert results[1].entry is not None
    found = again(results[1].entry, here, "anna")
    assert found.notes == () and found.person == here.library("anna").people()[0].name
    assert found.options == replace(first.options, seed=101, count=1, choose="all", most=8, adapter="adapter")
    assert (found.style, found.style_weight, found.loras) == ("Gentleman", 0.25, (("film v1.1", 0.7),))
    _, repeated, _ = done(found.order(), here)
    assert replace(here.host.asked[-1], adapter=None, persons=(), count=0) == replace(
        here.host.asked[0], adapter=None, persons=(), count=0, seed=101
    )
    assert (
        repeated[0].entry is not None
        and repeated[0].entry.info.split("FaceChain likeness")[0] == results[1].entry.info.split("FaceChain likeness")[0]
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"prompt": ""},
        {"prompt": "", "style": "Gentleman"},
        {"negative": ""},
        {"template": "plain"},
        {"prompt": "", "style": "Bleak_autumn", "without_lora": True},
    ],
)
def test_what_is_not_said_stays_as_it_was(tmp_path, more) -> None:
    here = room(tmp_path)
    _, results, _ = done(order(**more), here)
    assert results[0].entry is not None
    done(again(results[0].entry, here, "anna").order((photo(),)), here)
    one, other = ((asked.prompt, asked.negative, asked.loras, asked.seed) for asked in here.host.asked)
    assert one == other


def test_what_is_gone_is_said(tmp_path) -> None:
    here = room(tmp_path)
    here.own_styles("anna").save(own_style("Mine", "film grain", lora="film v1.1.safetensors", weight=0.6))
    _, results, _ = done(order(style="Mine", loras=(("Winter_Hanfu", 0.5),)), here)
    here.own_styles("anna").delete("Mine")
    here.host.listed_loras = lambda: FlatHost.listed_loras(here.host)[2:]  # type: ignore[method-assign]
    here.host.checkpoint = lambda: "other [fedcba9876]"  # type: ignore[method-assign]
    here.adapters = lambda: ("newer",)  # type: ignore[method-assign]
    assert results[0].entry is not None
    found = again(results[0].entry.info, here, "anna")
    assert (found.person, found.style, found.loras) == ("", "", (("film v1.1", 0.6), ("Winter_Hanfu", 0.5)))
    assert found.photos == tuple(parse_info(results[0].entry.info)[2]["FaceChain photos"].split()) and found.options.adapter == "auto"
    text = " ".join(found.notes)
    for part in (
        "the adapter adapter",
        "style Mine is no longer there",
        "give the photos again",
        "LoRA Winter_Hanfu is no longer there",
        "other [fed",
    ):
        assert part in text
    with pytest.raises(BadInput, match="give the photos again"):
        found.order()


@pytest.mark.parametrize("info", ["", "a cat\nNegative prompt: x\nSteps: 3, Sampler: DDIM, Seed: 1, Size: 8x8"])
def test_a_picture_that_is_not_ours_cannot_be_made_again(tmp_path, info) -> None:
    with pytest.raises(BadInput, match="does not say how FaceChain made it"):
        again(info, room(tmp_path), "anna")


@pytest.mark.parametrize(
    ("photos", "why"),
    [((), "neither a photo nor a saved person"), (tuple(photo() for _ in range(7)), "There are 7 photos: 6 are the most")],
)
def test_an_order_needs_somebody(photos, why) -> None:
    with pytest.raises(BadInput, match=why):
        Order(options=MakingOptions(), photos=photos)
