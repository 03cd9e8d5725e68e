"""One declaration, many forms: REST, the panel's values, info text and back, schema, axes."""

from __future__ import annotations

import base64
from io import BytesIO

import pytest
from PIL import Image

from facechain_ext.errors import BadInput, BadPicture
from facechain_ext.options import fields_of
from facechain_ext.ui import request
from facechain_ext.ui.request import MASK, PanelOptions, PersonOptions, from_args, from_infotext, from_json
from facechain_ext.workflows.infotext import parse_info, quote

PNG = BytesIO()
Image.new("RGB", (4, 4), "red").save(PNG, format="PNG")
PHOTO = base64.b64encode(PNG.getvalue()).decode()
WHITE = BytesIO()
half = Image.new("L", (16, 8))
half.paste(255, (8, 0, 16, 8))
half.save(WHITE, format="PNG")
MASK_PICTURE = base64.b64encode(WHITE.getvalue()).decode()


def infotext(asked: request.Request, hashes: dict[int, tuple[str, ...]], adapter: str = "maj") -> dict[str, str]:
    """The settings line as the host writes and reads it."""
    persons = {f"FaceChain person {one.number}": request.person_info(one.options, hashes[one.number]) for one in asked.persons}
    stated = {"Steps": "20", "Size": "512x512", "Seed": "1", **persons, "FaceChain adapter": f"{adapter} [abc]"}
    stated |= request.panel_info(asked.panel)
    line = ", ".join(f"{key}: {quote(value)}" for key, value in stated.items())
    return parse_info(f"a prompt\nNegative prompt: none\n{line}")[2]


def test_the_documented_form():
    asked = from_json(
        {
            "enabled": True, "adapter": "maj", "analyser": "auto", "passes": "both", "strict": False,
            "persons": [{"photos": [PHOTO], "name": "Anna", "weight": 0.5, "start": 0, "end": 1, "face": 1, "region": "whole"}],
        }
    )  # fmt: skip
    assert asked.active and asked.panel.adapter == "maj"
    assert asked.persons[0].photos[0].data == PNG.getvalue() and asked.persons[0].options.name == "Anna"


def test_a_data_url_is_taken_too():
    asked = from_json({"enabled": True, "persons": [{"photos": ["data:image/png;base64," + PHOTO]}]})
    assert asked.persons[0].photos[0].data == PNG.getvalue()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"enabeld": True}, "There is no option 'enabeld', did you mean 'enabled'?"),
        ({"enabled": "yes"}, "must be true or false"),
        ({"persons": {}}, "persons must be a list"),
        ({"persons": [{"photos": [PHOTO]}] * 5}, "4 persons at most"),
        ({"persons": [{"photos": [PHOTO] * 7}]}, "must be at most 6 in number; got 7"),
        ({"persons": [{"photos": PHOTO}]}, "must be a list of texts"),
        ({"persons": [{"photos": [1]}]}, "must be a list of texts"),
        ({"persons": [{"photos": ["not base64!"]}]}, "photo 1 of person 1 is not base64"),
        ({"persons": [{"photos": [PHOTO], "weight": 2.5}]}, "must be from 0 to 2; got 2.5"),
        ({"persons": [{"photos": [PHOTO], "weight": float("nan")}]}, "must be from 0 to 2"),
        ({"persons": [{"photos": [PHOTO], "weight": True}]}, "must be a number"),
        ({"persons": [{"photos": [PHOTO], "start": 0.8, "end": 0.2}]}, "must not be after"),
        ({"persons": [{"photos": [PHOTO], "region": "left"}]}, "must be one of whole, left to right, mask"),
        ({"persons": [{"photos": [PHOTO], "region": "mask"}]}, "nothing of it is"),
        ({"passes": "third"}, "must be one of both, first, second"),
    ],
)
def test_what_is_wrong_is_named(body, says):
    with pytest.raises(BadInput, match=says):
        from_json(body)


def test_a_mask_that_is_no_picture_is_named():
    with pytest.raises(BadPicture, match="mask of person 1"):
        from_json({"persons": [{"photos": [PHOTO], "region": "mask", "mask": base64.b64encode(b"nothing").decode()}]})


def test_nobody_and_weight_zero_do_nothing():
    assert not from_json({"enabled": True}).active
    assert not from_json({"enabled": True, "persons": [{"name": " "}]}).active
    assert not from_json({"enabled": True, "persons": [{"photos": [PHOTO], "weight": 0}]}).active
    assert not from_json({"enabled": False, "persons": [{"photos": [PHOTO]}]}).active
    assert from_json({"enabled": True, "persons": [{"photos": [PHOTO], "weight": 0}, {"name": "Anna"}]}).active


def positional(tmp_path, **changes):
    path = tmp_path / "a.png"
    path.write_bytes(PNG.getvalue())
    values = {(one.person, one.field.name): one.field.default for one in request.controls()}
    values |= {(None, "enabled"): True, (2, "photos"): [str(path)], (2, "weight"): 1, (2, "face"): 3.0}
    values |= changes.pop("values", {})
    return tuple(values[one.person, one.field.name] for one in request.controls())


def test_the_panels_values(tmp_path):
    asked = from_args(positional(tmp_path), api=False)
    (one,) = asked.persons
    assert (one.number, one.options.weight, one.options.face, one.photos[0].data) == (2, 1.0, 3, PNG.getvalue())


def test_a_file_object_of_gradio_3_and_a_single_file(tmp_path):
    class Uploaded:
        name = str(tmp_path / "a.png")

    asked = from_args(positional(tmp_path, values={(2, "photos"): Uploaded()}), api=False)
    assert asked.persons[0].photos[0].data == PNG.getvalue()


def test_over_the_network_a_path_is_no_file(tmp_path):
    with pytest.raises(BadInput, match="is not base64"):
        from_args(positional(tmp_path), api=True)


def test_a_photo_that_is_gone_is_named(tmp_path):
    with pytest.raises(BadPicture, match="no longer there"):
        from_args(positional(tmp_path, values={(2, "photos"): [str(tmp_path / "gone.png")]}), api=False)


def test_the_controls_are_every_option_but_the_apis_own():
    names = [(one.person, one.field.name) for one in request.controls()]
    assert len(names) == len(set(names)) == 5 + 4 * 8
    assert (None, "strict") not in names and names[0] == (None, "enabled")


def test_every_field_survives_the_info_text():
    asked = from_json(
        {
            "enabled": True, "adapter": "sub/ma, j", "analyser": "facexlib+embedded", "passes": "second", "adetailer_pass": False,
            "persons": [
                {"name": 'An"na, 5: x', "weight": 1.25, "start": 0.1, "end": 0.85, "face": 2, "region": "mask", "mask": MASK_PICTURE},
                {"photos": [PHOTO], "region": "left to right"},
            ],
        }
    )  # fmt: skip
    pasted = from_infotext(infotext(asked, {1: ("0a1b", "2c3d"), 2: ("ffff",)}, adapter=asked.panel.adapter))
    assert pasted is not None and pasted.panel == asked.panel
    assert pasted.persons[1] == (asked.persons[0].options, ("0a1b", "2c3d"))
    assert pasted.persons[2] == (asked.persons[1].options, ("ffff",))


@pytest.mark.parametrize("field", [one.name for one in fields_of(PersonOptions) if one.name not in ("photos", "mask", "region")])
def test_no_field_of_a_person_is_forgotten(field):
    other = {"name": "Eva", "weight": 0.7, "start": 0.2, "end": 0.9, "face": 4}[field]
    asked = from_json({"enabled": True, "persons": [{"name": "A", field: other}]})
    pasted = from_infotext(infotext(asked, {1: ()}))
    assert pasted is not None and getattr(pasted.persons[1][0], field) == other


def test_an_info_text_without_us_and_a_portraits():
    assert from_infotext({"Steps": "20"}) is None
    pasted = from_infotext({"FaceChain weight": "0.8", "FaceChain start": "0.1", "FaceChain end": "1", "FaceChain photos": "ab cd"})
    assert pasted is not None and pasted.persons[1] == (PersonOptions(weight=0.8, start=0.1), ("ab", "cd"))


def test_a_damaged_info_text_is_refused_with_a_reason():
    with pytest.raises(BadInput, match="Likeness"):
        from_infotext({"FaceChain person 1": "weight: much, photos: ab"})


def test_the_schema_holds_every_option_and_its_limits():
    schema = request.schema()
    assert set(schema["properties"]) == {one.name for one in fields_of(PanelOptions)} | {"persons"}
    person = schema["properties"]["persons"]["items"]["properties"]
    assert set(person) == {one.name for one in fields_of(PersonOptions)}
    assert (person["weight"]["type"], person["weight"]["minimum"], person["weight"]["maximum"]) == ("number", 0, 2)
    assert person["region"]["enum"] == ["whole", "left to right", "mask"] and person["photos"]["maxItems"] == 6


def test_axes_change_everyone_or_the_first():
    asked = from_json({"enabled": True, "persons": [{"name": "A", "weight": 0.5}, {"name": "B", "weight": 0.6}]})
    changed = request.with_axes(asked, {"weight": 1.5, "adapter": "film", "name": "C"})
    assert [(one.options.name, one.options.weight) for one in changed.persons] == [("C", 1.5), ("B", 1.5)]
    assert changed.panel.adapter == "film" and request.with_axes(asked, {}) == asked


def test_an_axis_value_out_of_range_is_refused():
    asked = from_json({"enabled": True, "persons": [{"name": "A"}]})
    with pytest.raises(BadInput, match="from 0 to 2"):
        request.with_axes(asked, {"weight": 3.0})


def test_a_mask_is_what_it_will_be_after_pasting():
    asked = from_json({"enabled": True, "persons": [{"name": "A", "region": MASK, "mask": MASK_PICTURE}]})
    again = from_json({"enabled": True, "persons": [{"name": "A", "region": MASK, "mask": asked.persons[0].options.mask}]})
    assert again == asked
