"""What holds for every test: where live tests run, and that nothing is skipped unseen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Threads of torch that wait for each other must not burn the core the other one needs: on a busy machine that costs a factor of ten.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Several processes of tests share the cores; what they start does so too.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(share))

LIVE = Path(__file__).parent / "live"
STARTED = {"--accounts": LIVE / "test_accounts.py", "--frozen": LIVE / "test_frozen.py"}
"""Live tests of a WebUI that was started with certain flags, by the option that says it was."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--live URL`: instead of the other tests, those that talk to a WebUI which already runs there."""
    parser.addoption("--live", metavar="URL", help="run tests/live against the WebUI at this address, and nothing else")
    of_accounts = "with --live: the WebUI was started with --gradio-auth of these two users; of tests/live run test_accounts.py alone"
    parser.addoption("--accounts", metavar="NAME:PASSWORD,NAME:PASSWORD", help=of_accounts)
    of_frozen = "with --live: the WebUI was started with --freeze-settings; of tests/live run test_frozen.py alone"
    parser.addoption("--frozen", action="store_true", help=of_frozen)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process of tests per core and one more, for a browser is waited for as often as not; four at most, for each takes a gigabyte and
    more; none for a single file, which stays together.

    And none for live tests: they share one WebUI.
    """
    files = {argument.split("::")[0] for argument in config.args}
    alone = config.getoption("--live") or (len(files) == 1 and Path(files.pop()).is_file())
    return 0 if alone else min(4, (os.cpu_count() or 1) + 1)


def pytest_configure(config: pytest.Config) -> None:
    """What says how a WebUI was started says nothing without one."""
    for option in STARTED:
        if config.getoption(option) and not config.getoption("--live"):
            raise pytest.UsageError(f"{option} is about a running WebUI: name it with --live URL")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Live tests are collected with --live alone, and with --live nothing else is: neither is ever skipped.

    Of the live tests those of `STARTED` are collected with their option, and alone.
    """
    if collection_path.is_dir() and collection_path in LIVE.parents:
        return None
    live = collection_path == LIVE or LIVE in collection_path.parents
    if live != bool(config.getoption("--live")):
        return True
    wanted = [file for option, file in STARTED.items() if config.getoption(option)]
    if not live or collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    return None if (collection_path in wanted if wanted else collection_path not in STARTED.values()) else True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """On a build machine (CI is set) a skipped test is a failed run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and (reporter.stats.get("skipped") or reporter.stats.get("xfailed")):
        reporter.write_line("")
        reporter.write_line("CI is set and tests were skipped: that counts as failure.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
