"""What holds for every test: where live tests run, and that nothing is skipped unseen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Threads of torch that wait for each other must not burn the core the other one needs: on a busy machine that costs a factor of ten.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

LIVE = Path(__file__).parent / "live"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--live URL`: instead of the other tests, those that talk to a WebUI which already runs there."""
    parser.addoption("--live", metavar="URL", help="run tests/live against the WebUI at this address, and nothing else")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Live tests are collected with --live alone, and with --live nothing else is: neither is ever skipped."""
    if collection_path.is_dir() and collection_path in LIVE.parents:
        return None
    live = collection_path == LIVE or LIVE in collection_path.parents
    return True if live != bool(config.getoption("--live")) else None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """On a build machine (CI is set) a skipped test is a failed run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and (reporter.stats.get("skipped") or reporter.stats.get("xfailed")):
        reporter.write_line("")
        reporter.write_line("CI is set and tests were skipped: that counts as failure.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
