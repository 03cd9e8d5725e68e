"""Several processes of one training, started for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys, torch
from facechain_ext.training.team import assemble
team = assemble()
weight = torch.nn.Parameter(torch.zeros(3))
weight.grad = torch.full((3,), float(team.rank + 1))
team.average([weight])
said = {"count": team.count, "first": team.first, "stated": team.stated, "gradient": weight.grad.tolist(), "device": team.device(None).type}
said["one stops"], said["nobody stops"] = team.any(team.rank == 1), team.any(False)
open(f"{sys.argv[1]}/{team.rank}.json", "w").write(json.dumps(said))
"""


def test_two_processes_know_of_each_other(tmp_path):
    """As demo/README.md starts them on a CPU: gradients 1 and 2 become 1.5 in both."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    root = str(Path(__file__).parents[2])
    command += [str(tmp_path / "script.py"), str(tmp_path)]
    alone = {**os.environ, "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=alone, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [one["first"] for one in found] == [True, False]
    for one in found:
        assert one["count"] == 2 and one["stated"] == {"processes": 2} and one["device"] == "cpu"
        assert one["gradient"] == [1.5, 1.5, 1.5]
        assert one["one stops"] and not one["nobody stops"]
