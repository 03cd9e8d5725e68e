"""Speed and memory, as JSON: medians and ratios within one run, so that machines can be compared by the ratios.

The published networks at full size with random weights: a UNet step plain, with the adapter, and with a naive formulation of
the same layer (concatenate, full softmax matrix, nothing cached), interleaved; photo → Identity; import of the package; the
first page of a very large history.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

NETWORK = {"latent": (64, 64), "rows": 2, "context": 768, "tokens": 77}
IMPORTS = 5


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run every measurement and return the figures; `--rounds N` sets how often each UNet step is timed (default 5)."""
    import argparse

    parser = argparse.ArgumentParser(prog="run.py bench", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(argv).rounds
    return {"import": import_time(), "history": first_page(), "identity": identity_time(), "unet_step": unet_step(rounds)}


def import_time() -> dict[str, Any]:
    """Seconds that `import facechain_ext` adds to a bare interpreter (median), and whether torch came along."""
    code = "import sys, time; t = time.perf_counter(); import facechain_ext; print(time.perf_counter() - t, 'torch' in sys.modules)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() for _ in range(IMPORTS)]
    return {
        "seconds": round(statistics.median(float(seconds) for seconds, _ in runs), 4),
        "torch_imported": any(torch == "True" for _, torch in runs),
    }


def first_page(entries: int = 50_000) -> dict[str, Any]:
    """Milliseconds until a history of so many entries shows its first page of 50, freshly opened (median), by what is asked for."""
    import tempfile

    from facechain_ext.store.crowd import fill
    from facechain_ext.store.history import History
    from facechain_ext.store.records import Wanted
    from facechain_ext.workflows.infotext import parse_info

    with tempfile.TemporaryDirectory() as folder:
        fill(History(Path(folder), parse_info), entries)
        asked = {
            "newest": Wanted(user="one"),
            "of_a_person": Wanted(user="one", person="Anna"),
            "most_alike": Wanted(user="one", sort="likeness"),
            "with_words": Wanted(user="one", text="flowers 12345"),
        }
        runs = {name: timed(lambda wanted=wanted: History(Path(folder), parse_info).page(wanted), 5) for name, wanted in asked.items()}
    return {"entries": entries} | {f"{name}_ms": round(1000 * statistics.median(seconds), 1) for name, seconds in runs.items()}


def identity_time() -> dict[str, Any]:
    """A photo of 512×512 → Identity with networks of the published sizes: median seconds, of which the networks, and memory in MB."""
    import torch

    from facechain_ext.app import face_analyser
    from facechain_ext.engine.identity import identify
    from facechain_ext.parity import ASTRONAUT
    from facechain_ext.vision.pictures import read
    from facechain_ext.workflows.people import Photo, meet

    before = peak_rss()
    encoder, adapter, analyser = published_encoder(), published_adapter(layers=False), face_analyser("auto", Path("models"))
    photo = Photo(image=read(ASTRONAUT), name=ASTRONAUT.name)
    crops = torch.from_numpy(meet(analyser, encoder, adapter, [photo]).crops[0][None])
    networks = timed(lambda: identify(encoder, adapter, crops, ["bench"]), 5)
    whole = timed(lambda: meet(analyser, encoder, adapter, [photo]), 5)
    size = sum(p.numel() * p.element_size() for module in (encoder, adapter.resampler) for p in module.parameters())
    return {
        "seconds": round(statistics.median(whole), 3),
        "of_which_networks_s": round(statistics.median(networks), 3),
        "analyser": analyser.name,
        "networks_mb": round(size / 1e6),
        "peak_rss_added_mb": peak_rss() - before,
    }


def unet_step(rounds: int) -> dict[str, Any]:
    """One UNet step at 512×512 with CFG (2 rows): plain, adapter, naive; interleaved so that a busy machine hits all alike."""
    import torch
    from diffusers import UNet2DConditionModel

    from facechain_ext.engine.injection import Call, Person, attach

    torch.manual_seed(0)
    unet = empty(lambda: UNet2DConditionModel(cross_attention_dim=NETWORK["context"], attention_head_dim=8))
    adapter = published_adapter()
    rows, (height, width) = NETWORK["rows"], NETWORK["latent"]
    x, text = torch.randn(rows, 4, height, width), torch.randn(rows, NETWORK["tokens"], NETWORK["context"])
    call = Call(rows=(0, 1), pictures=(0, 0), progress=0.0, latent=(height, width))
    person = Person(identity=random_identity(adapter), weight=0.5)

    def step() -> None:
        unet(x, torch.tensor(500), encoder_hidden_states=text)

    times: dict[str, list[float]] = {"plain": [], "adapter": [], "naive": []}
    with torch.inference_mode():
        step()  # the first forward also pays for memory that later ones reuse
        for _ in range(rounds):
            times["plain"] += timed(step, 1)
            with attach(unet, adapter, [person], lambda _: call):
                times["adapter"] += timed(step, 1)
            with naive(unet, adapter, person.stack):
                times["naive"] += timed(step, 1)
    return summary(times) | {
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "adapter_mb": round(adapter.bytes / 1e6),
        "peak_rss_mb": peak_rss(),
    }


def summary(times: dict[str, list[float]]) -> dict[str, Any]:
    """Medians in seconds, and the ratios to the plain step."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {f"{name}_to_plain": round(medians[name] / medians["plain"], 3) for name in ("adapter", "naive")}
    return {f"{name}_s": round(value, 3) for name, value in medians.items()} | ratios


def naive(unet: Any, adapter: Any, stack: Any) -> Any:
    """The layer as its formula reads: face tokens appended each step, every token asks, the softmax matrix in memory."""
    from contextlib import ExitStack

    from facechain_ext.engine.sites import find_sites

    stack = stack.to(next(adapter.layers.parameters()))
    hooks, sites = ExitStack(), find_sites(unet)
    for layer, block in zip(adapter.layers, sites.blocks, strict=True):
        pending: list[Any] = []

        def enter(_norm: Any, args: tuple, layer: Any = layer, pending: list = pending) -> Any:
            y = naive_layer(layer, args[0], stack, sites.heads, 0.5)
            pending.append(y - args[0])
            return y

        def leave(_attn: Any, _args: tuple, output: Any, pending: list = pending) -> Any:
            return output + pending.pop()

        hooks.callback(block.norm2.register_forward_pre_hook(enter).remove)
        hooks.callback(block.attn2.register_forward_hook(leave).remove)
    return hooks


def naive_layer(layer: Any, x: Any, tokens: Any, heads: int, weight: float) -> Any:
    """FACTS §2.5 line by line."""
    import torch

    both = layer.norm1(torch.cat((x, layer.linear(tokens)), dim=1))
    q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (both @ w.T for w in layer.to_qkv.weight.chunk(3)))
    probabilities = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
    attended = layer.to_out((probabilities @ v).transpose(1, 2).flatten(2))[:, : x.shape[1]]
    y = x + weight * layer.alpha_attn.tanh() * attended
    return y + weight * layer.alpha_dense.tanh() * layer.ff(layer.norm2(y))


def timed(work: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of several runs."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def peak_rss() -> int:
    """Highest resident memory of this process so far, in MB."""
    if sys.platform == "win32":
        import psutil

        return round(psutil.Process().memory_info().peak_wset / 1e6)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3))


def empty(build: Callable[[], Any]) -> Any:
    """A network with small random numbers, without the time its own initialisation takes."""
    import torch

    with torch.device("meta"):
        network = build()
    network.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(-0.02, 0.02) if tensor.ndim > 1 else tensor.fill_(0.5)
    return network.eval().requires_grad_(False)


def published_encoder() -> Any:
    """TransFace-S of random numbers."""
    from facechain_ext.engine.encoder import EncoderSizes, FaceEncoder

    return empty(lambda: FaceEncoder(EncoderSizes(dim=512, depth=12, heads=8, hidden=2048, patch=9, tokens=144, embedding=512)))


def published_adapter(layers: bool = True) -> Any:
    """An adapter of the published sizes, of random numbers; without its layers for what needs the resampler only."""
    from facechain_ext.engine.adapter import Adapter, AdapterSizes
    from facechain_ext.engine.resampler import ResamplerSizes

    resampler = ResamplerSizes(dim=1024, depth=4, heads=12, inner=768, queries=16, in_dim=512, out_dim=768, hidden=4096)
    channels = (320, 320, 640, 640, *(1280,) * 6, *(640,) * 3, *(320,) * 3)
    return empty(lambda: Adapter(AdapterSizes(resampler=resampler, channels=channels if layers else ())))


def random_identity(adapter: Any) -> Any:
    """Random face tokens of one photo."""
    import torch

    from facechain_ext.engine.identity import Identity

    size = adapter.sizes.resampler
    tokens, null = torch.randn(2, size.queries, size.out_dim)
    return Identity(tokens=tokens, null=null, embeddings=torch.ones(1, 1), photos=("bench",), encoder="", adapter="")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:]), indent=2) + "\n")
