"""Injection: the same in LDM and diffusers, nothing where nothing is asked, and no trace afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from facechain_ext.engine.adapter import Adapter
from facechain_ext.engine.identity import join
from facechain_ext.engine.injection import Call, Injector, Person, attach
from facechain_ext.engine.sites import SITES, find_sites
from facechain_ext.errors import BadInput, BadWeights, UnsupportedModel
from tests.engine.cases import both, error, golden

LATENT = (10, 14)  # neither square nor a multiple of 8: tokens round up at each halving


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    return golden().unet()


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return golden().adapter()


def inputs(rows: int = 2, latent: tuple[int, int] = LATENT) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, 4, *latent, generator=generator)
    return x, torch.full((rows,), 500), torch.randn(rows, 9, 48, generator=generator)


def run(unet: nn.Module, rows: int = 2) -> torch.Tensor:
    x, t, text = inputs(rows)
    with torch.no_grad():
        return unet(x, t, encoder_hidden_states=text).sample


def person(**changes: object) -> Person:
    return replace(Person(identity=golden().identity(), weight=1.0), **changes)  # type: ignore[arg-type]


def hooks_of(unet: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules())


def small_unets() -> tuple[nn.Module, nn.Module]:
    """LDM's real UNet and diffusers' with the same random weights (LDM fixes 32 norm groups, hence 32 channels)."""
    from diffusers import UNet2DConditionModel
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    torch.manual_seed(11)
    config = golden().unet().config | {"block_out_channels": [32, 64, 64, 64], "norm_num_groups": 32}
    unet = UNet2DConditionModel.from_config(config)
    ldm = UNetModel(
        image_size=16, in_channels=4, out_channels=4, model_channels=32, attention_resolutions=[4, 2, 1], num_res_blocks=2,
        channel_mult=[1, 2, 2, 2], num_heads=4, use_spatial_transformer=True, transformer_depth=1, context_dim=48,
        use_checkpoint=False, legacy=False,
    )  # fmt: skip
    ours = unet.state_dict()
    with torch.no_grad():
        for key, value in ldm.state_dict().items():
            value.copy_(ours[to_diffusers(key)].reshape(value.shape))
    return ldm.eval().requires_grad_(False), unet.eval().requires_grad_(False)


def small_adapter() -> Adapter:
    """An adapter of random weights for `small_unets`."""
    torch.manual_seed(12)
    adapter = Adapter(replace(golden().adapter().sizes, channels=find_sites(small_unets()[1]).channels))
    for layer in adapter.layers:
        nn.init.constant_(layer.alpha_attn, 0.8)
        nn.init.constant_(layer.alpha_dense, 0.5)
    return adapter.eval().requires_grad_(False)


RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2", "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}  # fmt: skip
OUTER = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2", "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}  # fmt: skip


def to_diffusers(key: str) -> str:
    """LDM's key of an SD1.5 UNet → diffusers' key."""
    for theirs, ours in OUTER.items():
        if key.startswith(theirs + "."):
            return key.replace(theirs, ours)
    part, number, *rest = key.split(".")
    n = int(number)
    if part == "middle_block":
        return _inner(f"mid_block.{'attentions.0' if n == 1 else f'resnets.{n // 2}'}", rest)
    inner = int(rest[0])
    if part == "input_blocks":
        block, layer = divmod(n - 1, 3)
        if layer == 2:
            return f"down_blocks.{block}.downsamplers.0.conv.{rest[-1]}"
        return _inner(f"down_blocks.{block}.{'resnets' if inner == 0 else 'attentions'}.{layer}", rest[1:])
    block, layer = divmod(n, 3)
    if rest[1] == "conv":
        return f"up_blocks.{block}.upsamplers.0.conv.{rest[-1]}"
    return _inner(f"up_blocks.{block}.{'resnets' if inner == 0 else 'attentions'}.{layer}", rest[1:])


def _inner(path: str, rest: list[str]) -> str:
    tail = ".".join(rest)
    for theirs, ours in RESNET.items():
        if tail.startswith(theirs + "."):
            tail = tail.replace(theirs, ours)
    return f"{path}.{tail}"


def test_ldm_and_diffusers_agree() -> None:
    (ldm, unet), adapter = small_unets(), small_adapter()
    latent = (16, 8)  # LDM's UNet wants sizes that halve evenly
    x, t, text = inputs(latent=latent)
    with torch.no_grad():
        plain = ldm(x, t, context=text)
        assert error(plain, unet(x, t, encoder_hidden_states=text).sample) <= 1e-4
        with attach(ldm, adapter, [person()], both(latent)):
            injected = ldm(x, t, context=text)
        with attach(unet, adapter, [person()], both(latent)):
            expected = unet(x, t, encoder_hidden_states=text).sample
        assert error(injected, expected) <= 1e-4
        assert error(injected, plain) > 1e-2
        assert torch.equal(ldm(x, t, context=text), plain)


def test_sites_are_in_order_of_execution(unet: nn.Module) -> None:
    seen: list[int] = []
    hooks = [block.norm2.register_forward_hook(lambda *_, i=i: seen.append(i)) for i, block in enumerate(find_sites(unet).blocks)]
    run(unet)
    for hook in hooks:
        hook.remove()
    assert seen == list(range(16))
    assert [site.forge for site in SITES[:3]] == [("input", 1), ("input", 2), ("input", 4)]


@pytest.mark.parametrize(
    ("changes", "progress"),
    [({"weight": 0.0}, 0.0), ({"start": 0.5}, 0.49), ({"end": 0.5}, 0.5), ({"start": 0.3, "end": 0.3}, 0.3)],
    ids=["weight 0", "before start", "after end", "empty range"],
)
def test_inactive_is_bit_equal(unet: nn.Module, adapter: Adapter, changes: dict, progress: float) -> None:
    plain = run(unet)
    with attach(unet, adapter, [person(**changes)], both(LATENT, progress)):
        assert torch.equal(run(unet), plain)


@pytest.mark.parametrize(("changes", "progress"), [({"start": 0.5}, 0.5), ({"end": 0.5}, 0.49), ({}, 0.99)])
def test_active_inside_the_range(unet: nn.Module, adapter: Adapter, changes: dict, progress: float) -> None:
    with attach(unet, adapter, [person()], both(LATENT)):
        expected = run(unet)
    with attach(unet, adapter, [person(**changes)], both(LATENT, progress)):
        assert torch.equal(run(unet), expected)


def test_unannounced_calls_carry_no_face(unet: nn.Module, adapter: Adapter) -> None:
    plain = run(unet)
    with attach(unet, adapter, [person()], lambda rows: None):
        assert torch.equal(run(unet), plain)


def test_detached_is_bit_equal(unet: nn.Module, adapter: Adapter) -> None:
    plain, before = run(unet), hooks_of(unet)
    for _ in range(2):
        with attach(unet, adapter, [person()], both(LATENT)):
            assert not torch.equal(run(unet), plain)
        assert torch.equal(run(unet), plain)
    assert hooks_of(unet) == before


def test_nested_twice(unet: nn.Module, adapter: Adapter) -> None:
    plain = run(unet)
    with attach(unet, adapter, [person()], both(LATENT)):
        once = run(unet)
        with attach(unet, adapter, [person(weight=0.7)], both(LATENT)):
            assert not torch.equal(run(unet), once)
        assert torch.equal(run(unet), once)
    assert torch.equal(run(unet), plain)


class Broken(Exception):
    pass


@pytest.mark.parametrize("part", ["attn2", "ff"])
def test_exception_in_the_middle_of_a_forward(unet: nn.Module, adapter: Adapter, part: str) -> None:
    plain, before = run(unet), hooks_of(unet)

    def fail(*_: object) -> None:
        raise Broken

    with attach(unet, adapter, [person()], both(LATENT)):
        expected = run(unet)
    with pytest.raises(Broken), attach(unet, adapter, [person()], both(LATENT)):
        trap = getattr(find_sites(unet).blocks[6], part).register_forward_pre_hook(fail)
        try:
            run(unet)
        finally:
            trap.remove()
    assert torch.equal(run(unet), plain)
    assert hooks_of(unet) == before
    with attach(unet, adapter, [person()], both(LATENT)) as injector:
        trap = getattr(find_sites(unet).blocks[6], part).register_forward_pre_hook(fail)
        with pytest.raises(Broken):
            run(unet)
        trap.remove()
        assert torch.equal(run(unet), expected), "a failed forward leaves nothing to the next one"
    assert injector.active(0.0)


def test_null_rows_and_conditional_rows(unet: nn.Module, adapter: Adapter) -> None:
    """Any row layout gives each row what it gets alone."""
    x, t, text = inputs(3)
    rows = (1, 0, 1)

    def forward(at: slice, kinds: tuple[int, ...]) -> torch.Tensor:
        call = Call(rows=kinds, pictures=(0,) * len(kinds), progress=0.0, latent=LATENT)
        with torch.no_grad(), attach(unet, adapter, [person()], lambda _: call):
            return unet(x[at], t[at], encoder_hidden_states=text[at]).sample

    together = forward(slice(0, 3), rows)
    for i, kind in enumerate(rows):
        assert error(together[i : i + 1], forward(slice(i, i + 1), (kind,))) <= 1e-5
        assert error(together[i : i + 1], forward(slice(i, i + 1), (1 - kind,))) > 1e-3


def test_wrong_row_count_is_refused(unet: nn.Module, adapter: Adapter) -> None:
    call = Call(rows=(1,), pictures=(0,), progress=0.0, latent=LATENT)
    with pytest.raises(BadInput, match="2 rows, the host announced 1"), attach(unet, adapter, [person()], lambda _: call):
        run(unet)


def increments(adapter: Adapter, persons: list[Person], site: int, x: torch.Tensor, pictures: tuple[int, ...] = (0, 0)) -> torch.Tensor:
    call = Call(rows=(0, 1), pictures=pictures, progress=0.0, latent=LATENT)
    found = Injector(adapter, persons, heads=golden().sizes["heads"]).increment(site, x, call)
    assert found is not None
    return found


def test_persons_add_up_under_their_masks(adapter: Adapter) -> None:
    left = torch.zeros(80, 112)
    left[:, :56] = 1  # 7 of the grid's 14 columns, so the edge falls between two tokens
    x = torch.randn(2, 140, 16, generator=torch.Generator().manual_seed(1))
    other = replace(golden().identity(), tokens=golden().identity().tokens.flip(0) * 0.5)
    one, two = person(), person(identity=other, weight=0.6)
    whole = [increments(adapter, [p], 0, x) for p in (one, two)]
    got = increments(adapter, [replace(one, mask=left), replace(two, mask=1 - left)], 0, x).unflatten(1, LATENT)
    first, second = (w.unflatten(1, LATENT) for w in whole)
    # antialiased resizing by 8 blends over the pixels of two tokens, so only the columns beside the edge mix
    assert torch.allclose(got[:, :, :6], first[:, :, :6], atol=1e-6)
    assert torch.allclose(got[:, :, 8:], second[:, :, 8:], atol=1e-6)
    assert torch.allclose(increments(adapter, [one, two], 0, x), whole[0] + whole[1], atol=1e-6)


def test_masks_at_every_level_and_per_picture(adapter: Adapter) -> None:
    nothing, everything = torch.zeros(80, 112), torch.ones(80, 112)
    for site, channels, tokens in ((0, 16, 10 * 14), (2, 32, 5 * 7), (4, 32, 3 * 4), (6, 32, 2 * 2), (15, 16, 10 * 14)):
        x = torch.randn(2, tokens, channels, generator=torch.Generator().manual_seed(site))
        masked = increments(adapter, [person(mask=torch.stack((nothing, everything)))], site, x, pictures=(0, 1))
        assert torch.equal(masked[0], torch.zeros_like(masked[0]))
        assert torch.allclose(masked[1], increments(adapter, [person()], site, x)[1], atol=1e-6)


def test_several_photos_are_joined_along_the_sequence(adapter: Adapter) -> None:
    """Attention over a photo given twice equals attention over it once with weights log 2 heavier: computed by hand here."""
    identity = golden().identity()
    one = replace(identity, tokens=identity.tokens[:16], null=identity.null[:16], photos=("a",))
    layer, x = adapter.layers[0], torch.randn(1, 140, 16, generator=torch.Generator().manual_seed(5))
    face = layer.norm1(layer.linear(one.tokens))[None]
    q, k, v = F.linear(layer.norm1(x), layer.to_qkv.weight).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4)
    kf, vf = F.linear(face, layer.to_qkv.weight[16:]).unflatten(2, (2, 4, -1)).permute(2, 0, 3, 1, 4)
    scores = torch.cat((q @ k.mT, q @ kf.mT), dim=3) / (16 // 4) ** 0.5
    scores[..., 140:] += torch.log(torch.tensor(2.0))
    out = (scores.softmax(-1) @ torch.cat((v, vf), dim=2)).transpose(1, 2).flatten(2)
    step = layer.to_out(out) * layer.alpha_attn.tanh()
    expected = step + layer.ff(layer.norm2(x + step)) * layer.alpha_dense.tanh()
    call = Call(rows=(1,), pictures=(0,), progress=0.0, latent=LATENT)
    got = Injector(adapter, [person(identity=join([one, one]))], heads=4).increment(0, x, call)
    assert got is not None and error(got, expected) <= 1e-5


def test_face_is_computed_once_per_generation(unet: nn.Module, adapter: Adapter) -> None:
    calls: list[int] = []
    hooks = [layer.linear.register_forward_hook(lambda *_: calls.append(1)) for layer in adapter.layers]
    with attach(unet, adapter, [person()], both(LATENT)):
        for _ in range(3):
            run(unet)
    for hook in hooks:
        hook.remove()
    assert len(calls) == 16


class Attention(nn.Module):
    def __init__(self, context: int, heads: int = 8) -> None:
        super().__init__()
        self.heads, self.to_k = heads, nn.Linear(context, 8)


class FakeBlock(nn.Module):
    def __init__(self, context: int, heads: int = 8) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3, self.ff = (nn.LayerNorm(8) for _ in range(4))
        self.attn1, self.attn2 = Attention(8, heads), Attention(context, heads)


def fake_unet(paths: list[str], context: int, heads: Callable[[int], int] = lambda i: 8) -> nn.Module:
    root = nn.Module()
    for i, path in enumerate(paths):
        parent = root
        *parents, last = path.split(".")
        for name in parents:
            if not hasattr(parent, name):
                parent.add_module(name, nn.Module())
            parent = getattr(parent, name)
        parent.add_module(last, FakeBlock(context, heads(i)))
    return root


LDM = [site.ldm + ".transformer_blocks.0" for site in SITES]


@pytest.mark.parametrize(
    ("unet", "reason"),
    [
        (fake_unet([*LDM, "input_blocks.4.1.transformer_blocks.1"], 2048), "is SDXL"),
        (fake_unet(LDM, 1024, lambda i: (5, 10, 20, 20)[i % 4]), "is Stable Diffusion 2"),
        (fake_unet(LDM[:7], 768), "has 7 transformer blocks"),
        (nn.Sequential(nn.Linear(2, 2)), "has no transformer blocks"),
    ],
    ids=["SDXL", "SD2", "ControlNet", "no UNet"],
)
def test_other_models_are_refused_with_the_reason(unet: nn.Module, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        find_sites(unet)


def test_adapter_of_another_width_is_refused(adapter: Adapter) -> None:
    with (
        pytest.raises(BadWeights, match="text of width 48, this checkpoint's is 768"),
        attach(fake_unet(LDM, 768), adapter, [person()], both(LATENT)),
    ):
        pass
    with (
        pytest.raises(BadWeights, match="32 channels wide, this checkpoint's is 8"),
        attach(fake_unet(LDM, 48), adapter, [person()], both(LATENT)),
    ):
        pass


@pytest.mark.parametrize("bad", [{"start": 0.6, "end": 0.5}, {"start": -0.1}, {"end": 1.5}, {"mask": torch.zeros(3)}])
def test_bad_person_is_refused(bad: dict) -> None:
    with pytest.raises(BadInput):
        person(**bad)
