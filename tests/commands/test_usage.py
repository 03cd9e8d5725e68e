"""Every command's help says how it is called."""

from __future__ import annotations

import pytest

from facechain_ext.__main__ import COMMANDS, main
from facechain_ext.training.commands import COMMANDS as TRAINERS


@pytest.mark.parametrize("name", [*COMMANDS, *TRAINERS])
def test_the_help_of_a_command_names_run_py(name, capsys) -> None:
    with pytest.raises(SystemExit) as over:
        main([name, "--help"])
    said = capsys.readouterr().out
    assert over.value.code == 0 and said.split()[:3] == ["usage:", "run.py", name]


def test_the_list_of_commands_names_run_py(capsys) -> None:
    assert main([]) == 0 and "usage: run.py COMMAND [options]" in capsys.readouterr().out
