"""Start FaceChain without a WebUI: make .venv beside this file, install what the command needs, run it.

    python run.py portrait --photo me.jpg --out out/
    python run.py test

Standard library only. Written in words that even Python 2 can read (hence type comments, `%` and no f-strings), so that
an old Python comes as far as the sentence that it is too old.
"""

import sys

# pyright: reportTypeCommentUsage=false

NEEDED = (3, 11)

if sys.version_info < NEEDED:
    sys.stderr.write(
        "Python %d.%d or newer is needed; this is %d.%d (%s): install a newer one and start run.py with it, as in python3.11 run.py\n"
        % (NEEDED + tuple(sys.version_info[:2]) + (sys.executable,))
    )
    sys.exit(2)

import contextlib
import errno
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Mapping, Sequence  # noqa: F401 used in type comments
from typing import Any, NoReturn, cast  # noqa: F401 used in type comments

ROOT = os.path.dirname(os.path.abspath(__file__))

HELP = """FaceChain for WebUI, without a WebUI: pictures of a person from one photo, on this computer.

  python run.py portrait --photo examples/demo/ann-1.png --out out/   portraits of the person in a photo
  python run.py ui --open                                             the same as a page in the browser, on this computer alone
  python run.py faces PHOTO                                           what is seen in a photo, and whether it will do
  python run.py COMMAND --help                                        the options of a command
  python run.py test [options of pytest]                              the tests; --live URL: those against a running WebUI

The first start makes the folder .venv beside run.py and installs what is needed; later starts begin at once.
To have that folder elsewhere, set FACECHAIN_VENV to its path; delete it to begin afresh.
"""

EXTRAS = {
    "standalone": ("standalone.lock.txt", "mediapipe.lock.txt"),
    "ui": ("standalone.lock.txt", "mediapipe.lock.txt", "ui.lock.txt"),
    "test": ("standalone.lock.txt", "mediapipe.lock.txt", "ui.lock.txt", "insightface.lock.txt", "test.lock.txt", "host-code.lock.txt"),
}
ALONE = ("mediapipe.lock.txt", "insightface.lock.txt", "host-code.lock.txt")  # installed without their dependencies; each file says why
MAIN_LOCK = "standalone.lock.txt"

GIB = 2**30
SPACE = 3 * GIB  # what the main lock takes with a torch for the CPU, while wheels are being unpacked
SPACE_MORE = GIB // 2  # what the rest takes once the main lock is there
BRIM = 2**24  # a disk with less is full, whatever a failed child says: making an environment hides the reason

STAMP = "facechain-installed.json"
GATE = ".facechain-lock"
LOG = "facechain-install.log"

NO_SPACE = r"no space left|errno 28\b|disk quota exceeded|errno 122\b|winerror 112\b|not enough space"
NO_WRITE = r"permission denied|errno 13\b|read-only file system|errno 30\b|winerror 5\b|access is denied"
NO_NETWORK = (
    r"connection broken|newconnectionerror|connectionerror|max retries exceeded|name resolution|name or service not known|"
    r"getaddrinfo failed|network is unreachable|connection refused|connection reset|timed out|timeouterror|proxyerror|sslerror|http error"
)


class Stop(Exception):
    """The start cannot go on; the message is the one sentence for the person."""


# ---- what is there -------------------------------------------------------------------------------------------------


def venv_folder():  # type: () -> str
    """Folder of the virtual environment, absolute."""
    return os.path.abspath(os.path.expanduser(os.environ.get("FACECHAIN_VENV") or os.path.join(ROOT, ".venv")))


def venv_python(folder):  # type: (str) -> str
    """The environment's own Python."""
    return os.path.join(folder, "Scripts", "python.exe") if os.name == "nt" else os.path.join(folder, "bin", "python")


def lock_path(name):  # type: (str) -> str
    """Where a lock file lies."""
    return os.path.join(ROOT, "requirements", name)


def pins(name):  # type: (str) -> list[str]
    """The requirements of a lock file, without comments and blank lines."""
    try:
        with open(lock_path(name), encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except OSError as problem:
        raise_stop("requirements/%s cannot be read (%s); get the project's files again" % (name, problem.strerror))
    return [line for line in lines if line and not line.startswith("#")]


def digest(name):  # type: (str) -> str
    """A lock's fingerprint; comments and line ends do not change it."""
    return hashlib.sha256("\n".join(pins(name)).encode("utf-8")).hexdigest()


def stamped(folder):  # type: (str) -> dict[str, str]
    """Fingerprints of the locks that were installed to the end, by lock; empty where none was, or the stamp is not one."""
    try:
        with open(os.path.join(folder, STAMP), encoding="utf-8") as file:
            stamp = json.load(file)  # type: Any
    except (OSError, ValueError):
        return {}
    return cast("dict[str, str]", stamp) if isinstance(stamp, dict) else {}


def missing(folder, extra):  # type: (str, str) -> list[str]
    """The locks of an extra that are not installed as they stand now."""
    there = stamped(folder) if os.path.exists(venv_python(folder)) else {}
    return [name for name in EXTRAS[extra] if there.get(name) != digest(name)]


# ---- the progress line ---------------------------------------------------------------------------------------------


class Line:
    """What is being done, on stderr: one line that renews itself on a terminal, plain lines elsewhere."""

    def __init__(self):  # type: () -> None
        self.live = sys.stderr.isatty()
        self.text = ""
        self.began = self.spoke = time.monotonic()

    def say(self, text):  # type: (str) -> None
        """Show `text` as what is being done now."""
        if text != self.text:
            self.text = text
            self.show()

    def tick(self):  # type: () -> None
        """Show that it is still going on: the seconds on a terminal, a line every half minute elsewhere."""
        if self.live or time.monotonic() - self.spoke > 30:
            self.show()

    def show(self):  # type: () -> None
        """Write the line."""
        now = time.monotonic()
        text = "%s (%d s)" % (self.text, now - self.began)
        if self.live:
            wide = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r" + ("|/-\\"[int(now * 5) % 4] + " " + text)[:wide].ljust(wide))
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()
        self.spoke = now

    def close(self):  # type: () -> None
        """Clear the line, so that what follows begins on a clean one."""
        if self.live and self.text:
            sys.stderr.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            sys.stderr.flush()


class Pip:
    """Reads pip's output line by line and says what it means: which package of how many, downloading or unpacking."""

    def __init__(self, folder, locks):  # type: (str, Sequence[str]) -> None
        self.expected = sum(" ; " not in pin for name in locks for pin in pins(name))
        self.site = site_packages(folder)
        self.seen = 0
        self.unpacking = []  # type: list[str]
        self.before = 0

    def read(self, line):  # type: (str) -> str | None
        """What to show for a line, or None where it says nothing new."""
        found = re.match(r"(?:Collecting|Processing|Requirement already satisfied:) (\S+)", line)
        if found:
            self.seen += 1
            name = re.split(r"[\[=<>!~;]|-\d", os.path.basename(found.group(1)))[0]
            return "looking up %d/%d %s" % (self.seen, max(self.seen, self.expected), name)
        found = re.match(r"\s*Downloading (\S+?)-\S+ (\(.+?\))", line)
        if found:
            return "downloading %s %s" % (os.path.basename(found.group(1)), found.group(2))
        if line.startswith("Installing collected packages:"):
            self.unpacking = line.split(":", 1)[1].strip().split(", ")
            self.before = len(self.finished())
            return self.look()
        return None

    def finished(self):  # type: () -> list[str]
        """Packages that are in place: pip writes INSTALLER when everything else of a package is there."""
        return packages(self.site, complete=True)

    def look(self):  # type: () -> str | None
        """How far unpacking is, seen from the outside (pip says nothing while it unpacks)."""
        if not self.unpacking:
            return None
        done = min(max(len(self.finished()) - self.before, 0), len(self.unpacking) - 1)
        return "installing %d/%d %s" % (done + 1, len(self.unpacking), self.unpacking[done])


# ---- making and installing -----------------------------------------------------------------------------------------


def raise_stop(sentence):  # type: (str) -> NoReturn
    """End the start with a sentence, without the error it came from."""
    stop = Stop(sentence)
    stop.__suppress_context__ = True
    raise stop


def site_packages(folder):  # type: (str) -> str
    """Where the environment keeps its packages; a path that does not exist where there is none yet."""
    if os.name == "nt":
        return os.path.join(folder, "Lib", "site-packages")
    lib = os.path.join(folder, "lib")
    versions = [name for name in os.listdir(lib) if name.startswith("python")] if os.path.isdir(lib) else []
    return os.path.join(lib, versions[0] if versions else "python", "site-packages")


def packages(site, complete):  # type: (str, bool) -> list[str]
    """The dist-info folders of packages that are wholly there (complete), or of those that were cut off."""
    names = os.listdir(site) if os.path.isdir(site) else []
    return [n for n in names if n.endswith(".dist-info") and os.path.exists(os.path.join(site, n, "INSTALLER")) == complete]


def drop_torn(folder):  # type: (str) -> None
    """Forget packages whose installation was cut off, so that pip does not take them for installed."""
    site = site_packages(folder)
    for name in packages(site, complete=False):
        shutil.rmtree(os.path.join(site, name))
    if os.path.isdir(site):
        for name in os.listdir(site):
            if name.startswith("~"):  # what pip had moved aside when it was cut off
                shutil.rmtree(os.path.join(site, name), ignore_errors=True)


def child_environment(**more):  # type: (str) -> dict[str, str]
    """This process's environment for a child in the virtual environment, free of what would lead it elsewhere."""
    stray = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "__PYVENV_LAUNCHER__")
    kept = {name: value for name, value in os.environ.items() if name not in stray}
    return dict(kept, **more)


def follow(command, environment, line, meaning=None):
    # type: (Sequence[str], Mapping[str, str], Line, Pip | None) -> tuple[int, list[str]]
    """Run a child to its end with its output read and the progress line kept alive; its exit code and its lines.

    A child is never left behind: whatever ends this function early, Ctrl-C too, ends the child first.
    """
    child = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    arriving = queue.Queue()  # type: queue.Queue[str | None]
    threading.Thread(target=pour, args=(child.stdout, arriving), daemon=True).start()
    lines = []  # type: list[str]
    try:
        while True:
            try:
                text = arriving.get(timeout=0.25)
            except queue.Empty:
                line.say(meaning.look() or line.text) if meaning else None
                line.tick()
                continue
            if text is None:
                return child.wait(), lines
            lines.append(text)
            line.say((meaning.read(text) if meaning else None) or line.text)
    finally:
        end(child)


def pour(stream, into):  # type: (Any, queue.Queue[str | None]) -> None
    """Hand over a stream's lines as they come, then None."""
    for text in stream:
        into.put(text.rstrip())
    into.put(None)


def end(child):  # type: (subprocess.Popen[str]) -> None
    """End a child that still runs: politely, then by force."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def explain(lines, doing, folder):  # type: (Sequence[str], str, str) -> str
    """One sentence for a child that failed, from what it wrote."""
    text = "\n".join(lines)
    if re.search(NO_SPACE, text, re.I) or free_space(folder) < BRIM:
        return "the disk is full while %s: free some gigabytes at %s, or set FACECHAIN_VENV to a folder on another disk" % (doing, folder)
    if re.search(NO_WRITE, text, re.I):
        return "%s cannot be written while %s: get the right to, or set FACECHAIN_VENV to a folder of yours" % (folder, doing)
    if re.search(r"ensurepip is not available|No module named '?ensurepip", text):
        return "this Python has no ensurepip, which a virtual environment needs: install your system's package python3-venv"
    if re.search(NO_NETWORK, text, re.I):
        return "the network cannot be reached while %s: check it (and pip's proxy) and start again; what was fetched is kept" % doing
    found = re.search(r"No matching distribution found for (\S+)", text)
    if found and "(from versions: none)" in text:
        return "no package %s was found at all while %s: check the network and where pip is set to look" % (found.group(1), doing)
    if found:
        what = (found.group(1), "%d.%d" % sys.version_info[:2], sys.platform)
        return "no package %s is offered for Python %s on %s: try another Python, 3.11 is the one this was tested with" % what
    last = [entry for entry in lines if entry.startswith("ERROR")] or [entry for entry in lines if entry] or ["it said nothing"]
    return "%s failed (%s); its whole output is in %s" % (doing, last[-1], os.path.join(folder, LOG))


def free_space(folder):  # type: (str) -> int
    """Free bytes where a folder lies or will lie."""
    while not os.path.exists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free


def check_space(folder, locks):  # type: (str, Sequence[str]) -> None
    """Refuse before the work where the disk cannot hold what is to be installed."""
    free, need = free_space(folder), SPACE if MAIN_LOCK in locks else SPACE_MORE
    if free < need:
        raise_stop(
            "at least %.1f GB of disk are needed at %s and %.1f GB are free: free some, or set FACECHAIN_VENV to a folder on another disk"
            % (need / 1e9, folder, free / 1e9)
        )


def check_owner(folder):  # type: (str) -> None
    """Refuse a FACECHAIN_VENV that holds something else than a virtual environment which works or which run.py began."""
    ours = folder == os.path.join(ROOT, ".venv") or os.path.exists(os.path.join(folder, GATE))
    if not ours and os.path.isdir(folder) and os.listdir(folder) and not usable(folder):
        raise_stop("FACECHAIN_VENV is %s, which holds files but no virtual environment with pip: name an empty or a new folder" % folder)


@contextlib.contextmanager
def alone(folder, line):  # type: (str, Line) -> Generator[None]
    """Only one process at a time changes the environment; the system lets go of the gate whichever way this one ends."""
    try:
        os.makedirs(folder, exist_ok=True)
        gate = open(os.path.join(folder, GATE), "a")  # noqa: SIM115 closed below, at the end of the block
    except OSError as problem:
        raise_stop(refusal(problem, folder))
    with gate:
        while not grasp(gate):
            line.say("another start is installing into %s; waiting for it" % folder)
            line.tick()
            time.sleep(0.25)
        yield


def grasp(gate):  # type: (Any) -> bool
    """Take the gate; False while another process has it."""
    try:
        if os.name == "nt":
            import msvcrt

            gate.seek(0)
            msvcrt.locking(gate.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        # any other error is a file system without locks (some network folders): go on without
        return problem.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


def refusal(problem, folder):  # type: (OSError, str) -> str
    """One sentence for a folder that this process cannot write to."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return explain(["errno 28"], "preparing it", folder)
    return "%s cannot be written (%s): get the right to, or set FACECHAIN_VENV to a folder of yours" % (folder, problem.strerror)


def usable(folder):  # type: (str) -> bool
    """Whether the environment has a Python that runs, is new enough, and has pip."""
    python = venv_python(folder)
    if not os.path.exists(python):
        return False
    probe = "import sys, pip; sys.exit(sys.version_info < %r)" % (NEEDED,)
    try:
        return subprocess.run([python, "-c", probe], env=child_environment(), capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def make(folder, line):  # type: (str, Line) -> None
    """Make the virtual environment, after clearing away what an interrupted start left of one."""
    line.say("making %s" % folder)
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif name != GATE:
            os.remove(path)
    code, lines = follow([sys.executable, "-m", "venv", folder], child_environment(), line)
    if code:
        keep_log(folder, lines)
        raise_stop(explain(lines, "making the virtual environment", folder))


def install(folder, locks, line):  # type: (str, Sequence[str], Line) -> None
    """Have pip install the locks into the environment: first those with dependencies, together, then those without."""
    drop_torn(folder)
    scratch = os.path.join(folder, "tmp")  # on the same disk: /tmp may be a small one in memory
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch)
    log = []  # type: list[str]
    try:
        for group in ([name for name in locks if name not in ALONE], [name for name in locks if name in ALONE]):
            if group:
                code, lines = follow(pip_command(folder, group), pip_environment(scratch), line, Pip(folder, group))
                log += lines
                if code:
                    raise_stop(explain(lines, "installing the packages", folder))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        keep_log(folder, log)


def keep_log(folder, lines):  # type: (str, Sequence[str]) -> None
    """Keep what a child wrote; on a full disk there is no keeping it, and the sentence says enough."""
    with contextlib.suppress(OSError), open(os.path.join(folder, LOG), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def pip_command(folder, locks):  # type: (str, Sequence[str]) -> list[str]
    """pip's command line for locks that are all of one sort. What comes later never moves a version of the main lock."""
    command = [venv_python(folder), "-m", "pip", "install", "--progress-bar", "off"]
    if locks[0] in ALONE:
        command += ["--no-deps"]
    elif MAIN_LOCK not in locks:
        command += ["-c", lock_path(MAIN_LOCK)]
    for name in locks:
        command += ["-r", lock_path(name)]
    return command


def pip_environment(scratch):  # type: (str) -> dict[str, str]
    """Environment for pip: no question, no look at its own version, temporary files in `scratch`."""
    environment = child_environment(PYTHONUNBUFFERED="1", TMPDIR=scratch, TEMP=scratch, TMP=scratch)
    environment.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PIP_USER="0")
    environment.setdefault("PIP_RETRIES", "3")
    return environment


def stamp(folder, locks):  # type: (str, Sequence[str]) -> None
    """Remember that the locks are installed to the end; written whole or not at all."""
    path = os.path.join(folder, STAMP)
    with open(path + ".partial", "w", encoding="utf-8") as file:
        json.dump(dict(stamped(folder), **{name: digest(name) for name in locks}), file, indent=1)
    os.replace(path + ".partial", path)


def ensure(folder, extra):  # type: (str, str) -> None
    """Have everything an extra needs installed; does nothing, and fast, where it is."""
    locks = missing(folder, extra)
    if not locks:
        return
    line = Line()
    try:
        check_owner(folder)
        check_space(folder, locks)
        with alone(folder, line):
            if not usable(folder):
                make(folder, line)
            locks = missing(folder, extra)  # another process may have installed them while this one waited
            if locks:
                install(folder, locks, line)
                stamp(folder, locks)
    except OSError as problem:
        raise_stop(refusal(problem, folder))
    finally:
        line.close()
    sys.stderr.write("Ready: %s, after %d s.\n" % (folder, time.monotonic() - line.began))


# ---- running -------------------------------------------------------------------------------------------------------


def hand_over(folder, arguments):  # type: (str, Sequence[str]) -> int
    """Become the environment's Python with these arguments; where a process cannot become another (Windows), wait for it.

    Signals and the exit code are the child's own. -P: the folder the person is in is not searched for modules.
    """
    command = [venv_python(folder), "-P"] + list(arguments)
    environment = child_environment(PYTHONPATH=ROOT, VIRTUAL_ENV=folder)
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execve(command[0], command, environment)
    child = subprocess.Popen(command, env=environment)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # the child got the same Ctrl-C and decides what becomes of it


def main(arguments):  # type: (Sequence[str]) -> int
    """Run one command; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    folder = venv_folder()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        if arguments[0] != "test":
            ensure(folder, "ui" if arguments[0] == "ui" else "standalone")
            return hand_over(folder, ["-m", "facechain_ext"] + list(arguments))
        ensure(folder, "test")
        os.chdir(ROOT)
        return hand_over(folder, ["-m", "pytest"] + list(arguments[1:]))
    except Stop as stop:
        sys.stderr.write("run.py: %s.\n" % stop)
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped; the next start goes on from here.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
