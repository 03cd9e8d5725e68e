"""models.json: every record is complete, frozen, and says honestly what is not known."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from facechain_ext.errors import BadInput
from facechain_ext.weights.records import record, records


def test_every_record_is_complete():
    ids = [one.id for one in records()]
    assert len(ids) == len(set(ids))
    for one in records():
        assert one.purpose and one.file and one.folder and one.sources, one.id
        assert all(source.startswith("https://") for source in one.sources), one.id
        assert one.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", one.sha256), one.id
        assert one.bytes is None or one.bytes > 0, one.id
        assert one.licence is None or one.licence.strip(), one.id
        assert not Path(one.folder).is_absolute() and ".." not in Path(one.folder).parts and Path(one.file).name == one.file, one.id


def test_what_is_offered_is_known_to_the_byte():
    for name, size in (("retinaface", 109_497_761), ("parsenet", 85_331_193)):
        one = record(name)
        assert (one.bytes, one.licence, one.folder) == (size, "MIT", "GFPGAN") and one.sha256


def test_the_published_adapters_and_their_encoder():
    names = {one.purpose: one.file for one in records() if one.id in ("fact-maj", "transface")}
    assert names["adapter"].startswith("adapter_maj_mask_large_new") and names["encoder"] == "ms1mv2_model_TransFace_S.pt"


def test_non_commercial_weights_say_so():
    for one in records():
        if one.id.startswith(("insightface", "openpose")):
            assert "non-commercial" in (one.licence or "")


def test_records_are_frozen_and_know_their_place(tmp_path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        record("parsenet").file = "x"  # type: ignore[misc]
    assert record("parsenet").target(tmp_path) == tmp_path / "GFPGAN" / "parsing_parsenet.pth"


def test_an_unknown_model_is_named():
    with pytest.raises(BadInput, match="There is no model 'magic'"):
        record("magic")
