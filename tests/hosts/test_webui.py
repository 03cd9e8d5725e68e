"""What both WebUI hosts share: which host this is, where a region lies in what is being painted, what an adapter costs."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_ext.engine.adapter import Adapter, AdapterSizes
from facechain_ext.hosts import webui
from tests.fakes import networks
from tests.fakes.forge import PatchedUNet, engine
from tests.fakes.networks import shared_unet
from tests.fakes.webui import LatentDiffusion, Processing, install
from tests.hosts.webui_cases import LATENT, plan


def test_outside_of_a_webui_there_is_no_host_and_nothing_is_asked(monkeypatch):
    monkeypatch.delitem(sys.modules, "modules.sd_models", raising=False)
    assert webui.kind() is None
    assert webui.loaded_model() is None
    assert webui.supports() is None
    webui.release()
    webui.denoiser_callback(object())


def test_the_host_is_known_by_what_is_there(monkeypatch):
    install(monkeypatch, LatentDiffusion(shared_unet()))
    assert webui.kind() == "a1111"
    install(monkeypatch, engine(PatchedUNet(networks.ldm_unet())))
    assert webui.kind() == "forge"


def test_before_a_checkpoint_is_loaded(monkeypatch):
    install(monkeypatch, None)
    assert webui.kind() == "a1111" and webui.supports() is None
    install(monkeypatch, SimpleNamespace(cond_stage_model=None))  # Forge's stand-in
    monkeypatch.setitem(sys.modules, "modules_forge", SimpleNamespace())
    assert webui.kind() == "forge" and webui.supports() is None


def test_the_width_of_the_text_is_the_loaded_checkpoints(monkeypatch):
    install(monkeypatch, None)
    assert webui.text_width() is None
    install(monkeypatch, LatentDiffusion(torch.nn.Linear(2, 2)))
    assert webui.text_width() is None
    install(monkeypatch, LatentDiffusion(shared_unet()))
    assert webui.text_width() == networks.CONTEXT
    install(monkeypatch, engine(PatchedUNet(networks.ldm_unet())))
    assert webui.text_width() == networks.CONTEXT


def test_importing_it_loads_no_network_code():
    code = "import sys, facechain_ext.hosts.webui; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def attached_mask(monkeypatch, mask, **about):
    """The mask as the engine gets it, for a processing object of these attributes."""
    modules = install(monkeypatch, LatentDiffusion(shared_unet()))
    p = Processing(modules.sd_models, **about)
    kept = []
    monkeypatch.setattr("facechain_ext.hosts.a1111.attach", lambda current, model: kept.extend(current.persons))
    webui.begin(p, plan(networks.adapter(), mask=mask), LATENT)
    webui.release()
    return np.asarray(kept[0].mask) if kept else None


def picture(width, height, *boxes):
    mask = Image.new("L", (width, height))
    for box in boxes:
        mask.paste(255, box)
    return mask


def test_a_region_of_an_ordinary_picture_stays_as_it_is(monkeypatch):
    got = attached_mask(monkeypatch, picture(64, 32, (0, 0, 32, 32)))
    assert got.shape == (32, 64) and got[:, :32].min() == 1 and got[:, 32:].max() == 0


def test_only_masked_inpainting_paints_a_part_of_the_picture(monkeypatch):
    """The person is in the left half of a picture of 200×100; the region from x 80 to 120 is painted: its left half is theirs."""
    about = {"paste_to": (80, 20, 40, 40), "init_images": [Image.new("RGB", (200, 100))]}
    got = attached_mask(monkeypatch, picture(400, 200, (0, 0, 200, 200)), **about)
    assert got.shape == (40, 40)
    assert got[:, :19].min() == 1 and got[:, 21:].max() == 0


def test_a_person_outside_the_painted_part_has_no_part(monkeypatch):
    about = {"paste_to": (80, 20, 40, 40), "init_images": [Image.new("RGB", (200, 100))]}
    assert attached_mask(monkeypatch, picture(200, 100, (0, 0, 60, 100)), **about) is None


def test_hires_fix_will_cut_the_first_pass_to_size(monkeypatch):
    """512×512 first, 1024×512 wanted: upscaled to 1024×1024, of which 32 latent rows above and below are cut (HOSTS: truncate_y)."""
    about = {"enable_hr": True, "truncate_y": 64, "hr_upscale_to_x": 1024, "hr_upscale_to_y": 1024}
    mask = picture(1024, 512, (0, 0, 1024, 256))  # the upper half of the final picture
    first = attached_mask(monkeypatch, mask, **about)
    assert first.shape == (1024, 1024)
    assert first[:256].max() == 0 and first[256:512].min() == 1 and first[512:].max() == 0
    second = attached_mask(monkeypatch, mask, **about, is_hr_pass=True)
    assert second.shape == (512, 1024) and second[:256].min() == 1


def test_memory_is_reckoned_in_the_type_of_the_checkpoint(monkeypatch):
    """32 bits before it is loaded; in a host that computes with 16, half of that."""
    adapter, model = networks.adapter(), engine(PatchedUNet(networks.ldm_unet()))
    monkeypatch.delitem(sys.modules, "modules.sd_models", raising=False)
    numbers = sum(parameter.numel() for layer in adapter.layers for parameter in layer.parameters())
    assert webui.cost(adapter).megabytes == round(4 * numbers / 1e6)
    install(monkeypatch, model)
    model.forge_objects.unet.model.computation_dtype = torch.float16
    assert webui.cost(adapter).megabytes == round(2 * numbers / 1e6)


def test_cost_of_the_published_adapter(monkeypatch):
    """208 million numbers (FACTS §2.4), half precision; by hand 164e9 of 402e9 multiplications at 512×512, twice that for two persons."""
    monkeypatch.delitem(sys.modules, "modules.sd_models", raising=False)
    channels = (320, 320, 640, 640, 1280, 1280, 1280, 1280, 1280, 1280, 640, 640, 640, 320, 320, 320)
    with torch.device("meta"):
        published = Adapter(AdapterSizes(resampler=networks.RESAMPLER, channels=channels)).half()
    published.layers = torch.nn.ModuleList(_published_layers(channels))
    assert webui.cost(published).megabytes == 416
    assert webui.cost(published).percent == pytest.approx(41, abs=1)
    assert webui.cost(published, persons=2).percent == pytest.approx(82, abs=2)
    assert webui.cost(published, (96, 96)).percent > webui.cost(published).percent


def _published_layers(channels):
    from facechain_ext.engine.gate import GatedLayer

    with torch.device("meta"):
        return [GatedLayer(width, 768).half() for width in channels]
