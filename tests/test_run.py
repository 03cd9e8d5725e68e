"""run.py: what an old Python says, what is installed when, what goes wrong and is said so, and that the child gets everything.

Real virtual environments and real processes; only what pip would fetch is replaced, by a lock file that asks for nothing or for something
that is nowhere.
"""

from __future__ import annotations

import ast
import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATIENCE = 600  # seconds until a process counts as hanging; nothing is measured by it
CHILD = """
import json, os, sys, time
if "--wait" in sys.argv:
    try:
        print("waiting", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(130)
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "prefix": sys.prefix, "path": os.environ.get("PYTHONPATH")}))
sys.exit(int(os.environ.get("CHILD_EXIT", "0")))
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A small project: the real run.py, lock files that need nothing fetched, and a command line that tells what it was given."""
    place = tmp_path / "a clone with ünusual name"
    (place / "requirements").mkdir(parents=True)
    for lock in ("standalone", "mediapipe", "ui", "insightface", "test", "host-code"):
        (place / "requirements" / f"{lock}.lock.txt").write_text("# nothing\n")
    (place / "facechain_ext").mkdir()
    (place / "facechain_ext" / "__init__.py").touch()
    (place / "facechain_ext" / "__main__.py").write_text(CHILD)
    shutil.copy(ROOT / "run.py", place)
    return place


@pytest.fixture(scope="session")
def made_venv(tmp_path_factory) -> Path:
    """One environment with pip, made once; tests that need one get a copy of its folders."""
    folder = tmp_path_factory.mktemp("made") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def ready(clone: Path, made_venv: Path) -> Path:
    """The small project with an environment in which nothing is installed yet; files are shared, so replace them, never write into them."""
    shutil.copytree(made_venv, clone / ".venv", symlinks=True, copy_function=os.link)
    return clone


def instead_of_pip(clone: Path, source: str) -> None:
    """Have the environment's pip do something else."""
    main = next((clone / ".venv").glob("lib/python*/site-packages/pip/__main__.py"))
    main.unlink()
    main.write_text(source)


def hear_signals() -> None:
    """In the child before it begins: a build machine may run everything with Ctrl-C switched off."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("FACECHAIN_VENV", "PYTHONPATH", "CI")}
    unreachable = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_NO_CACHE_DIR": "1"}
    return {**kept, **unreachable, **more}


def start(clone: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(clone / "run.py"), *arguments]
    return subprocess.run(command, cwd=clone.parent, env=environment(**more), capture_output=True, text=True, timeout=PATIENCE)


@pytest.fixture
def run(clone: Path):
    """run.py of the small project as a module; what its `main` does at SIGTERM is undone."""
    before = signal.getsignal(signal.SIGTERM)
    spec = importlib.util.spec_from_file_location("run_of_the_clone", clone / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    signal.signal(signal.SIGTERM, before)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a start that could not go on."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("run.py: ") and last.endswith(".")
    return last


# ---- an old Python


def test_the_source_is_readable_by_every_python():
    """Nothing in run.py is newer than Python 2.7: such a Python reads the whole file before it comes to the check."""
    source = (ROOT / "run.py").read_text(encoding="utf-8")
    assert source.isascii()
    tree = ast.parse(source)
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Nonlocal, ast.AsyncFunctionDef, ast.YieldFrom, ast.Match, ast.TryStar)
    for node in ast.walk(tree):
        assert not isinstance(node, newer), node.lineno
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            assert not any(isinstance(item, ast.Starred) for item in node.elts), node.lineno
        if isinstance(node, ast.FunctionDef):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            assert node.returns is None and not any(argument.annotation for argument in every), node.lineno
            assert not node.args.kwonlyargs and not node.args.posonlyargs, node.lineno
        if isinstance(node, ast.Raise):
            assert node.cause is None, node.lineno
        if isinstance(node, ast.Call):  # print(x, file=...) is no Python 2
            assert not (isinstance(node.func, ast.Name) and node.func.id == "print"), node.lineno


@pytest.mark.parametrize(("version", "told"), [((2, 7, 18), "2.7"), ((3, 8, 10), "3.8"), ((3, 10, 12), "3.10")])
def test_an_old_python_is_told_in_one_sentence(version, told):
    """The real file in this Python, which is made to say that it is an old one."""
    code = f"import sys, runpy; sys.version_info = {version!r}; sys.argv = ['run.py']; runpy.run_path('run.py', {{}}, '__main__')"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Python 3.11 or newer is needed; this is {told} (") and done.stderr.count("\n") == 1


def test_only_the_standard_library_is_imported():
    tree = ast.parse((ROOT / "run.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


# ---- what goes right


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_installs_nothing(clone, arguments):
    done = start(clone, *arguments)
    assert done.returncode == 0 and "python run.py portrait --photo" in done.stdout
    assert not (clone / ".venv").exists()


def test_the_first_start_makes_the_environment_and_later_ones_begin_at_once(clone):
    done = start(clone, "portrait", "--photo", "a b.png", "--seed=1")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["argv"] == ["portrait", "--photo", "a b.png", "--seed=1"]
    assert Path(told["prefix"]) == clone / ".venv" and told["path"] == str(clone)
    assert Path(told["cwd"]) == clone.parent  # relative paths mean what the person means by them
    assert "making" in done.stderr and "Ready" in done.stderr
    again = start(clone, "faces", "x.png")
    assert again.returncode == 0 and again.stderr == ""


def test_exit_code_of_the_child_comes_through(ready):
    assert start(ready, "portrait", CHILD_EXIT="7").returncode == 7


@pytest.mark.skipif("os.name == 'nt'")
def test_a_signal_reaches_the_child(ready):
    assert start(ready, "portrait").returncode == 0  # installed: what follows is the child alone
    child = subprocess.Popen(
        [sys.executable, str(ready / "run.py"), "portrait", "--wait"],
        env=environment(), stdout=subprocess.PIPE, text=True, preexec_fn=hear_signals,
    )  # fmt: skip
    assert child.stdout and child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    assert child.wait(PATIENCE) == 130
    child.stdout.close()


def test_each_lock_is_installed_once_and_again_when_it_changes(ready, run):
    venv = str(ready / ".venv")
    assert run.missing(venv, "standalone") == ["standalone.lock.txt", "mediapipe.lock.txt"]
    assert start(ready, "portrait").returncode == 0
    assert run.missing(venv, "standalone") == []
    assert run.missing(venv, "test") == ["ui.lock.txt", "insightface.lock.txt", "test.lock.txt", "host-code.lock.txt"]
    lock = ready / "requirements" / "standalone.lock.txt"
    lock.write_bytes(b"# only a comment more, and other line ends\r\n")
    assert run.missing(venv, "standalone") == []
    lock.write_text("pip>=1\n")
    assert run.missing(venv, "standalone") == ["standalone.lock.txt"]
    assert start(ready, "portrait").returncode == 0
    assert run.missing(venv, "standalone") == []


def test_the_page_gets_gradio_and_its_arguments(ready, run):
    venv = str(ready / ".venv")
    assert run.missing(venv, "ui") == ["standalone.lock.txt", "mediapipe.lock.txt", "ui.lock.txt"]
    done = start(ready, "ui", "--port", "7999")
    assert json.loads(done.stdout)["argv"] == ["ui", "--port", "7999"]
    assert run.missing(venv, "ui") == [] and "insightface.lock.txt" in run.missing(venv, "test")


def test_tests_get_their_extra_and_their_arguments(ready, run):
    (next((ready / ".venv").glob("lib/python*/site-packages")) / "pytest.py").write_text(CHILD)
    done = start(ready, "test", "--live", "http://127.0.0.1:7860", "-x")
    assert run.missing(str(ready / ".venv"), "test") == []
    told = json.loads(done.stdout)
    assert told["argv"] == ["--live", "http://127.0.0.1:7860", "-x"] and Path(told["cwd"]) == ready


def test_a_package_of_the_same_name_where_the_person_is_does_not_matter(ready):
    """As from within another clone."""
    stray = ready.parent / "facechain_ext"
    stray.mkdir()
    (stray / "__init__.py").touch()
    done = start(ready, "portrait")  # starts in ready.parent
    assert done.returncode == 0, done.stderr


def test_another_place_for_the_environment(clone, made_venv, tmp_path):
    shutil.copytree(made_venv, tmp_path / "else where", symlinks=True, copy_function=os.link)
    done = start(clone, "portrait", FACECHAIN_VENV=str(tmp_path / "else where"))
    assert Path(json.loads(done.stdout)["prefix"]) == tmp_path / "else where"
    assert not (clone / ".venv").exists()


def test_strays_of_the_surroundings_do_not_lead_the_child_elsewhere(ready, tmp_path):
    done = start(ready, "portrait", PYTHONPATH=str(tmp_path / "stray"), PIP_TARGET=str(tmp_path / "target"), PIP_USER="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == str(ready) and not (tmp_path / "target").exists()


# ---- what is half there


def broken(venv: Path, left: str) -> None:
    """Leave of an environment what an interrupted start might."""
    if left == "empty folders":
        shutil.rmtree(venv)
        (venv / "bin").mkdir(parents=True)
    if left == "no pip":
        for found in venv.glob("lib/python*/site-packages/pip*"):
            shutil.rmtree(found)
    if left == "a dangling python":
        for found in venv.glob("bin/python*"):
            found.unlink()
        (venv / "bin" / "python").symlink_to("/nowhere/python")


@pytest.mark.parametrize("left", ["empty folders", "no pip", "a dangling python"])
def test_a_half_made_environment_is_seen(ready, run, left):
    assert run.usable(str(ready / ".venv"))
    broken(ready / ".venv", left)
    assert not run.usable(str(ready / ".venv"))


def test_a_half_made_environment_is_repaired(ready):
    broken(ready / ".venv", "a dangling python")
    (ready / ".venv" / "facechain-installed.json").write_text("{}")
    done = start(ready, "portrait")
    assert done.returncode == 0, done.stderr
    assert Path(json.loads(done.stdout)["prefix"]) == ready / ".venv"
    assert start(ready, "portrait").stderr == ""


@pytest.mark.parametrize("stamp", ['{"standalone.lock.txt": "', "[]", "{}", ""])
def test_a_torn_stamp_counts_as_none(ready, run, stamp):
    (ready / ".venv" / "facechain-installed.json").write_text(stamp)
    assert run.missing(str(ready / ".venv"), "standalone") == list(run.EXTRAS["standalone"])


def test_a_package_cut_off_in_the_middle_is_installed_again(ready, run):
    """pip takes a package for installed as soon as its METADATA is there; it writes INSTALLER when the rest is."""
    site = next((ready / ".venv").glob("lib/python*/site-packages"))
    for name, wholly in (("whole-1.0.dist-info", True), ("torn-1.0.dist-info", False)):
        (site / name).mkdir()
        (site / name / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
        if wholly:
            (site / name / "INSTALLER").write_text("pip\n")
    (site / "~orn").mkdir()
    run.drop_torn(str(ready / ".venv"))
    assert (site / "whole-1.0.dist-info").exists()
    assert not (site / "torn-1.0.dist-info").exists() and not (site / "~orn").exists()


def test_a_failed_installation_leaves_no_stamp_and_the_next_start_goes_on(ready, run):
    lock = ready / "requirements" / "mediapipe.lock.txt"
    lock.write_text("facechain-no-such-package==1.0\n")
    assert start(ready, "portrait").returncode == 2
    assert run.missing(str(ready / ".venv"), "standalone") == ["standalone.lock.txt", "mediapipe.lock.txt"]
    assert "facechain-no-such-package" in (ready / ".venv" / "facechain-install.log").read_text()
    lock.write_text("# nothing\n")
    assert start(ready, "portrait").returncode == 0


@pytest.mark.skipif("os.name == 'nt'")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_installation_can_be_stopped_and_leaves_no_process_behind(ready, number, code):
    note = ready / "pid"
    instead_of_pip(ready, f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n")
    (ready / "requirements" / "standalone.lock.txt").write_text("x==1\n")
    command = [sys.executable, str(ready / "run.py"), "portrait"]
    child = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, preexec_fn=hear_signals)
    while not (note.exists() and note.read_text()):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(number)
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == code and "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    assert not (ready / ".venv" / "facechain-installed.json").exists()


@pytest.mark.skipif("os.name == 'nt'")
def test_two_starts_at_once_install_once(ready, run):
    import fcntl

    with open(ready / ".venv" / ".facechain-lock", "a") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        command = [sys.executable, str(ready / "run.py"), "portrait"]
        child = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stderr and "another start is installing" in child.stderr.readline()
        run.stamp(str(ready / ".venv"), run.EXTRAS["standalone"])  # the other one is done
    told, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0 and json.loads(told) and "looking up" not in said


# ---- what goes wrong


def test_no_network_is_one_sentence(ready):
    (ready / "requirements" / "standalone.lock.txt").write_text("facechain-no-such-package==1.0\n")
    assert "network cannot be reached" in sentence(start(ready, "portrait"))


def test_a_package_that_is_not_offered_is_one_sentence(ready):
    (ready / "requirements" / "standalone.lock.txt").write_text("facechain-no-such-package==1.0\n")
    said = sentence(start(ready, "portrait", PIP_NO_INDEX="1"))
    assert "no package facechain-no-such-package==1.0 was found at all" in said


def test_a_lock_that_is_not_one_is_one_sentence_that_names_the_log(ready):
    (ready / "requirements" / "standalone.lock.txt").write_text("this is no requirement\n")
    said = sentence(start(ready, "portrait"))
    assert "Invalid requirement" in said and str(ready / ".venv" / "facechain-install.log") in said


def test_an_unwritable_place_is_one_sentence(clone, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in sentence(start(clone, "portrait", FACECHAIN_VENV=str(tmp_path / "file" / "venv")))


def test_files_of_somebody_are_never_cleared_away(clone, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "letter.txt").write_text("dear")
    for _ in range(2):
        assert "holds files but no virtual environment" in sentence(start(clone, "portrait", FACECHAIN_VENV=str(theirs)))
    assert [path.name for path in theirs.iterdir()] == ["letter.txt"]


def test_a_missing_lock_is_one_sentence(ready):
    (ready / "requirements" / "standalone.lock.txt").unlink()
    assert "requirements/standalone.lock.txt cannot be read" in sentence(start(ready, "portrait"))


def test_too_little_disk_is_said_before_anything_is_made(clone, run, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(run.shutil, "disk_usage", lambda place: usage(10**12, 10**12 - 10**9, 10**9))
    assert run.main(["portrait"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("run.py: at least 3.2 GB of disk are needed") and "1.0 GB are free" in said
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("OSError: [WinError 112] There is not enough space on the disk", "the disk is full"),
        ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/x'", "cannot be written"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...)'", "network cannot be reached"),
        ("Temporary failure in name resolution", "network cannot be reached"),
        ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.", "network cannot be reached"),
        ("ERROR: Could not find a version that satisfies x==2 (from versions: 0.9, 1.0)", "another Python"),
        ("ERROR: Could not find a version that satisfies x==2 (from versions: none)", "was found at all"),
        ("The virtual environment was not created successfully because ensurepip is not available.", "python3-venv"),
    ],
)
def test_what_pip_says_becomes_one_sentence(run, said, told):
    told_by_run = run.explain(["Collecting torch", said, "ERROR: No matching distribution found for torch==2"], "installing", os.curdir)
    assert told in told_by_run and "\n" not in told_by_run


def test_a_disk_that_fills_up_is_seen_although_the_child_hides_it(clone, run, monkeypatch):
    said = ["Error: Command '['/x/.venv/bin/python', '-m', 'ensurepip', '--upgrade']' returned non-zero exit status 1."]
    assert "failed" in run.explain(said, "making the virtual environment", str(clone))
    monkeypatch.setattr(run, "free_space", lambda folder: 4096)
    assert "the disk is full" in run.explain(said, "making the virtual environment", str(clone))


def test_a_disk_that_fills_up_while_the_environment_is_made(clone, run, monkeypatch, capsys):
    def full(path, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(run.os, "makedirs", full)
    assert run.main(["portrait"]) == 2
    assert "the disk is full" in capsys.readouterr().err


# ---- the progress line


def test_pip_is_read_as_progress(ready, run):
    (ready / "requirements" / "standalone.lock.txt").write_text("a==1\ntorch==2.13.0\nwindows-only==1 ; sys_platform == 'win32'\n")
    pip = run.Pip(str(ready / ".venv"), ["standalone.lock.txt"])
    said = [
        pip.read(line)
        for line in (
            "Collecting a==1 (from -r x (line 1))",
            "Processing /wheels/torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl (from -r x (line 2))",
            "  Downloading torch-2.13.0-cp311-none-macosx_11_0_arm64.whl (80.5 MB)",
            "Requirement already satisfied: typing-extensions>=4 in ./site-packages (from torch)",
            "Installing collected packages: a, torch",
            "Successfully installed a-1",
        )
    ]
    assert said == [
        "looking up 1/2 a",
        "looking up 2/2 torch",
        "downloading torch (80.5 MB)",
        "looking up 3/3 typing-extensions",
        "installing 1/2 a",
        None,
    ]
    site = next((ready / ".venv").glob("lib/python*/site-packages"))
    (site / "a-1.dist-info").mkdir()
    (site / "a-1.dist-info" / "INSTALLER").touch()
    assert pip.look() == "installing 2/2 torch"


@pytest.mark.skipif("os.name == 'nt'")
def test_on_a_terminal_it_is_one_line_and_nothing_of_it_stays(ready):
    """A real terminal, as the person has one."""
    import pty

    instead_of_pip(ready, "import time\nfor name in 'ab':\n    print('Collecting', name, flush=True)\n    time.sleep(0.4)\n")
    (ready / "requirements" / "mediapipe.lock.txt").write_text("a==1\nb==1\n")
    leader, follower = pty.openpty()
    command = [sys.executable, str(ready / "run.py"), "portrait"]
    with subprocess.Popen(command, env=environment(COLUMNS="60"), stdout=subprocess.PIPE, stderr=follower) as child:
        os.close(follower)
        lines = everything(leader).decode().replace("\r\n", "\n").split("\n")
    os.close(leader)
    assert child.returncode == 0
    assert len(lines) == 2 and lines[1] == ""
    frames = lines[0].split("\r")
    assert any("looking up 2/2 b" in frame for frame in frames)
    assert all(len(frame) <= 59 for frame in frames[:-1])
    assert frames[-2].strip() == "" and frames[-1].startswith("Ready: ")


def everything(terminal: int) -> bytes:
    """What is written to a terminal until its other end is closed, which Linux says with an error and others with nothing."""
    said = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            return said
        if not piece:
            return said
        said += piece
