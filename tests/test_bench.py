"""The bench measures what it says: the naive layer is the same layer, the networks are of the published sizes, ratios are ratios."""

from __future__ import annotations

import pytest
import torch

from facechain_ext import bench
from facechain_ext.engine.injection import Person, attach
from tests.engine.cases import both, error, golden


def test_the_naive_formulation_gives_the_same_picture() -> None:
    io, unet, adapter = golden().io("unet"), golden().unet(), golden().adapter()
    person = Person(identity=golden().identity(), weight=0.5)
    with torch.inference_mode():
        with bench.naive(unet, adapter, person.stack):
            naive = unet(io["x"], io["t"], encoder_hidden_states=io["text"]).sample
        with attach(unet, adapter, [person], both((16, 16))):
            ours = unet(io["x"], io["t"], encoder_hidden_states=io["text"]).sample
        plain = unet(io["x"], io["t"], encoder_hidden_states=io["text"]).sample
    assert error(naive, io["eps_scale_0.5"]) <= 1e-4 and error(ours, naive) <= 1e-4
    assert error(plain, io["eps_plain"]) <= 1e-4


def test_networks_of_the_published_sizes() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in bench.published_encoder().parameters()) == pytest.approx(86.66e6, rel=1e-3)
        adapter = bench.published_adapter(layers=False)
    assert sum(p.numel() for p in adapter.resampler.parameters()) == pytest.approx(47.49e6, rel=1e-3)


def test_the_package_imports_without_torch() -> None:
    assert bench.import_time()["torch_imported"] is False


def test_ratios_are_of_medians_to_the_plain_step() -> None:
    found = bench.summary({"plain": [1.0, 2.0, 9.0], "adapter": [3.0, 2.5, 3.5], "naive": [4.0, 5.0, 6.0]})
    assert found == {"plain_s": 2.0, "adapter_s": 3.0, "naive_s": 5.0, "adapter_to_plain": 1.5, "naive_to_plain": 2.5}


def test_the_first_page_is_asked_of_a_history_of_that_size(monkeypatch) -> None:
    from facechain_ext.store.history import History

    asked: list[tuple[int, int]] = []
    page = History.page

    def watched(self, wanted):
        found = page(self, wanted)
        asked.append((self.amount(type(wanted)(user="one")), len(found.entries)))
        return found

    monkeypatch.setattr(History, "page", watched)
    figures = bench.first_page(300)
    assert figures["entries"] == 300 and set(figures) == {"entries", "newest_ms", "of_a_person_ms", "most_alike_ms", "with_words_ms"}
    assert {amount for amount, _ in asked} == {300} and [shown for _, shown in asked[::5]] == [50, 50, 50, 0]
