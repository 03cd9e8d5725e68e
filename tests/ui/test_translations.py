"""Every sentence that the page or the panel can show has its Chinese: collected from the code that says it, not from the dictionary."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice, product
from pathlib import Path

import pytest

from facechain_ext.errors import BadInput
from facechain_ext.options import check_value, fields_of
from facechain_ext.ui import words

PACKAGE = Path(__file__).parents[2] / "facechain_ext"
ELSEWHERE = {
    "training": "trainers are run from the command line",
    "demo": "makes and trains the demo world, from the command line",
    "parity": "a command",
    "bench": "a command",
    "__main__": "the command line itself",
    "ui.command": "commands",
    "ui.page_server": "starts the page, from the command line",
    "ui.api": "the REST API, whose language is English",
    "ui.foreign": "answers of HTTP to what is no page of ours",
    "ui.closed": "answers of HTTP to what is no page of ours",
}
"""Modules, by how their names begin, of which no sentence reaches the page or the panel, and why."""
UNSEEN = {
    "persons must be a list of objects.": "the panel sends a list; the REST API may not",
    " is not base64: send the picture": "the page sends pictures as base64; the REST API may not",
    "as this request names no user": "only a request without a session has none",
    "There is no model ": "what the page fetches is named in the code",
    "AI-generated picture made with": "written into files, in English for whatever reads them",
}
"""What is in sentences that reach neither, and why."""

SAMPLE = "7"
"""What stands for a value that the code does not tell."""
NAMES = re.compile(r"--dtype \w+|pip install [\w\[\] ]+|textual inversion|Stable Diffusion|“[^”]*”|'[^']*'|\S*[._/\\<>=]\w\S*")
"""What is the same in every language: commands, names, quotations, files."""
ENGLISH = re.compile(r"\b[a-z]{2,} [a-z]{2,}|\b[A-Za-z]{2,}(?: [A-Za-z]{2,}){2,}")
HOLLOW = re.compile(r"^\s|\s\s|\s$|\s[:,;]|\s\.$|''")
"""What no sentence looks like: one of its holes begins empty in the code, and is filled before it is said."""
MOST = 400
"""Alternatives of one message that are looked at."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Loop = ast.For | ast.comprehension
Generator = ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp
Scope = Function | Generator


@dataclass(frozen=True)
class Part:
    """An expression, and where names in it are looked up: a module, and the functions and loops around it, the innermost first."""

    node: ast.expr
    source: Source
    inside: tuple[Scope, ...] = ()

    def at(self, node: ast.expr) -> Part:
        """Another expression of the same place."""
        return Part(node, self.source, self.inside)

    def member(self) -> Part:
        """What a loop of one line yields each time."""
        assert isinstance(self.node, (ast.GeneratorExp, ast.ListComp))
        return Part(self.node.elt, self.source, (self.node, *self.inside))


class Source:
    """A module's syntax tree with what is defined in it."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.tree = name, ast.parse(text)

    @cached_property
    def nodes(self) -> list[tuple[ast.AST, tuple[Scope, ...]]]:
        """Every node with what is around it."""
        return list(_walk(self.tree, ()))

    @cached_property
    def functions(self) -> dict[str, list[Part]]:
        """What each function or method returns."""
        found: dict[str, list[Part]] = {node.name: [] for node, _ in self.nodes if isinstance(node, Function)}
        for node, inside in self.nodes:
            if isinstance(node, ast.Return) and node.value is not None and isinstance(inside[0], Function):
                found[inside[0].name].append(Part(node.value, self, inside))
        return found

    @cached_property
    def calls(self) -> dict[str, list[Part]]:
        """All calls by the last name of what is called."""
        found: dict[str, list[Part]] = {}
        for node, inside in self.nodes:
            if isinstance(node, ast.Call):
                found.setdefault(_last(node.func), []).append(Part(node, self, inside))
        return found

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Our modules and what is in them, by the names they have here."""
        found = {}
        for node, _ in self.nodes:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("facechain_ext"):
                within = (node.module or "").removeprefix("facechain_ext").lstrip(".")
                found |= {one.asname or one.name: (within, one.name) for one in node.names}
        return found

    @cached_property
    def assigned(self) -> dict[tuple[Scope | None, str], list[Part]]:
        """What is assigned to a name, in each function and in none; a loop's names are `Subscript`s of what it goes through."""
        found: dict[tuple[Scope | None, str], list[Part]] = {}
        for node, inside in self.nodes:
            for target, value in _bound(node):
                found.setdefault((inside[0] if inside else None, target), []).append(Part(value, self, inside))
        return found


def _walk(node: ast.AST, inside: tuple[Scope, ...]) -> Iterator[tuple[ast.AST, tuple[Scope, ...]]]:
    for child in ast.iter_child_nodes(node):
        yield child, inside
        yield from _walk(child, (child, *inside) if isinstance(child, Scope) else inside)


EACH = ast.Name("each member")
"""In place of an index: a loop's."""


def _bound(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names that a statement gives values to."""
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr | Loop):
        return
    value = ast.Subscript(node.iter, EACH) if isinstance(node, Loop) else node.value
    if value is None:
        return
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if isinstance(target, ast.Name):
            yield target.id, value
        elif isinstance(target, ast.Tuple):
            pairs = zip(target.elts, value.elts, strict=False) if isinstance(value, ast.Tuple) else ()
            yield from ((one.id, given) for one, given in pairs if isinstance(one, ast.Name))
            if not isinstance(value, ast.Tuple):
                members = ((one, ast.Subscript(value, ast.Constant(n))) for n, one in enumerate(target.elts))
                yield from ((one.id, member) for one, member in members if isinstance(one, ast.Name))


@lru_cache(maxsize=1)
def sources() -> dict[str, Source]:
    """All our modules by name."""
    paths = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}
    return {name: Source(name, path.read_text(encoding="utf-8")) for name, path in paths.items()}


def _last(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def meanings(part: Part) -> list[Part]:
    """What a name, a call or a member stands for, one step on; nothing where the code does not tell."""
    node, source = part.node, part.source
    if isinstance(node, ast.Name):
        return _of_name(part, node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        within = _module(source, node.value.id)
        return within.assigned.get((None, node.attr), []) if within else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "next" and node.args:
            return [part.at(ast.Subscript(node.args[0], EACH)), *map(part.at, node.args[1:])]
        if node.func.id not in source.imports:
            return source.functions.get(node.func.id, [])
        within, name = source.imports[node.func.id]
        return sources()[within].functions.get(name, []) if within in sources() else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        within = _module(source, _last(node.func.value)) or (source if _last(node.func.value) == "self" else None)
        if node.func.attr == "get":
            return [part.at(ast.Subscript(node.func.value, EACH)), *map(part.at, node.args[1:])]
        return within.functions.get(node.func.attr, []) if within else []
    return _members(part) if isinstance(node, ast.Subscript) else []


def _module(source: Source, name: str) -> Source | None:
    within, called = source.imports.get(name, ("", name))
    return sources().get(f"{within}.{called}".lstrip(".")) if name in source.imports else None


def _of_name(part: Part, name: str) -> list[Part]:
    """A name's values: in the functions around it, as their argument, or in the module."""
    for function in part.inside:
        if isinstance(function, Generator):
            if (function, name) in part.source.assigned:
                return part.source.assigned[function, name]
            continue
        given = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        found = part.source.assigned.get((function, name), [])
        if name in given or name in [one.arg for one in function.args.kwonlyargs]:
            return found + list(_arguments(part.source, function, name, given))
        if found:
            return found
    if name in part.source.imports:
        within, called = part.source.imports[name]
        return sources()[within].assigned.get((None, called), []) if within in sources() else []
    return part.source.assigned.get((None, name), [])


def _arguments(source: Source, function: Function, name: str, given: list[str]) -> Iterator[Part]:
    """What a function is called with; calls from elsewhere count where no other function is called so."""
    alone = sum(function.name in one.functions for one in sources().values()) == 1
    at = given.index(name) - (given[0] in ("self", "cls")) if name in given else MOST
    for call in (one for where in ({*sources().values(), source} if alone else {source}) for one in where.calls.get(function.name, [])):
        assert isinstance(call.node, ast.Call)
        arguments = call.node.args
        found = next((one.value for one in call.node.keywords if one.arg == name), arguments[at] if at < len(arguments) else None)
        if found is not None:
            yield call.at(found)


def _members(part: Part) -> list[Part]:
    """Members of a tuple, a list or a dictionary that is written down in the code."""
    assert isinstance(part.node, ast.Subscript)
    index = part.node.slice
    items = isinstance(part.node.value, ast.Call) and _last(part.node.value.func) == "items"
    found = []
    for one in ends(part.at(part.node.value.func.value if items else part.node.value)):  # type: ignore[attr-defined]
        if isinstance(one.node, (ast.GeneratorExp, ast.ListComp)):
            found.append(one.member())
        elif isinstance(one.node, ast.Dict) and items:
            pairs = zip(one.node.keys, one.node.values, strict=True)
            found += [one.at(ast.Tuple([key, value])) for key, value in pairs if key is not None]
        elif isinstance(one.node, ast.Dict):
            found += map(one.at, one.node.values)
        elif isinstance(one.node, (ast.Tuple, ast.List)) and index is EACH:
            found += map(one.at, one.node.elts)
        elif isinstance(one.node, (ast.Tuple, ast.List)) and isinstance(index, ast.Constant) and isinstance(index.value, int):
            found += map(one.at, one.node.elts[index.value : index.value + 1])
        elif isinstance(one.node, ast.Tuple) and isinstance(index, ast.Slice):
            first, behind = (ast.literal_eval(edge) if edge else None for edge in (index.lower, index.upper))
            found.append(one.at(ast.Tuple(one.node.elts[first:behind])))
    return found


def ends(part: Part, depth: int = 8) -> list[Part]:
    """What an expression stands for in the end."""
    if isinstance(part.node, ast.IfExp):
        return [end for one in (part.node.body, part.node.orelse) for end in ends(part.at(one), depth)]
    if isinstance(part.node, ast.BoolOp):
        return [end for one in part.node.values for end in ends(part.at(one), depth)]
    found = meanings(part) if depth else []
    return [end for one in found for end in ends(one, depth - 1)] if found else [part]


def texts(part: Part, depth: int = 8) -> list[str]:
    """What an expression may say, with samples for what the code does not tell."""
    node = part.node
    if isinstance(node, ast.Constant):
        return [re.sub(r"\{[^}]*\}", SAMPLE, node.value) if isinstance(node.value, str) else SAMPLE]
    if isinstance(node, ast.JoinedStr):
        return _joined([texts(part.at(one), depth) for one in node.values])
    if isinstance(node, ast.FormattedValue):
        found = texts(part.at(node.value), depth)
        return [repr(one) for one in found] if node.conversion == ord("r") else found
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined([texts(part.at(node.left), depth), texts(part.at(node.right), depth)])
    if isinstance(node, ast.IfExp):
        return texts(part.at(node.body), depth) + texts(part.at(node.orelse), depth)
    if isinstance(node, ast.BoolOp):
        return [text for one in node.values for text in texts(part.at(one), depth) if text or one is node.values[-1]]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("strip", "rstrip", "format"):
        return texts(part.at(node.func.value), depth)
    if isinstance(node, ast.Call) and _last(node.func) == "join" and node.args and isinstance(node.args[0], ast.GeneratorExp):
        return texts(part.at(node.args[0]).member(), depth)
    found = [text for one in (meanings(part) if depth else []) for text in texts(one, depth - 1)]
    return list(dict.fromkeys(found)) or [SAMPLE]


def _joined(parts: list[list[str]]) -> list[str]:
    return list(dict.fromkeys("".join(one) for one in islice(product(*parts), MOST)))


def errors() -> set[str]:
    """The names of our kinds of errors, and of those that are made of them elsewhere."""
    found = {"FaceChainError"}
    classes = [node for one in sources().values() for node, _ in one.nodes if isinstance(node, ast.ClassDef)]
    while more := {one.name for one in classes if {_last(base) for base in one.bases} & found} - found:
        found |= more
    return found


def raised(source: Source) -> Iterator[Part]:
    """The messages of our errors in a module."""
    kinds = errors()
    for node, inside in source.nodes:
        if isinstance(node, ast.Call) and node.args and kinds & {_last(one) for one in ast.walk(node.func) if isinstance(one, ast.expr)}:
            yield Part(node.args[0], source, inside)


SENTENCE = re.compile(r"'?[A-Z0-9].*[A-Za-z]+ \S+ .*[a-z0-9'})”][.?!]", re.DOTALL)


def noted(source: Source) -> Iterator[Part]:
    """What else looks like a sentence for somebody: notes, advice, reasons; not what is a docstring, logged, or an option's words."""
    unspoken = {id(child) for node, _ in source.nodes if _unspoken(node) for child in ast.walk(node)}
    for node, inside in source.nodes:
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in unspoken and SENTENCE.fullmatch(_own(node)):
            yield Part(node, source, inside)


def _own(node: ast.Constant | ast.JoinedStr) -> str:
    """A text with samples for its holes, without looking what they hold."""
    values = [node] if isinstance(node, ast.Constant) else node.values
    return "".join(str(one.value) if isinstance(one, ast.Constant) else SAMPLE for one in values)


def _unspoken(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or (isinstance(node.value, ast.Call) and _logs(node.value))
    return isinstance(node, ast.Call) and _last(node.func) in ("option", "Option", "add_argument", "ArgumentParser", "NotImplementedError")


def _logs(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and _last(call.func.value) == "log"


def said() -> dict[str, str]:
    """Every sentence that can be seen, and where it is said."""
    found = {}
    for source in sources().values():
        if not any(source.name == one or source.name.startswith((f"{one}.", f"{one}_")) for one in ELSEWHERE):
            for part in (*raised(source), *noted(source)):
                found |= dict.fromkeys(texts(part), f"{source.name}:{part.node.lineno}")
    worded = {text: where for text, where in found.items() if re.search("[a-z]{3,}", text) and not HOLLOW.search(text)}
    return {text: where for text, where in worded.items() if not any(one in text for one in UNSEEN)}


def untranslated(sentence: str) -> str:
    """What of a sentence is not said in Chinese."""
    chinese = words.translate_all(sentence, "zh")
    left = ENGLISH.search(NAMES.sub(" · ", chinese))
    return left.group() if left else "" if re.search("[\u4e00-\u9fff]", chinese) else chinese


@pytest.mark.parametrize(("sentence", "where"), sorted(said().items(), key=lambda one: one[::-1]))
def test_every_sentence_has_its_chinese(sentence, where):
    assert untranslated(sentence) == "", f"{where}: {sentence}\n{words.translate_all(sentence, 'zh')}"


def test_every_exception_is_needed():
    everything = {text for source in sources().values() for part in (*raised(source), *noted(source)) for text in texts(part)}
    assert [one for one in UNSEEN if not any(one in text for text in everything)] == []
    assert [one for one in ELSEWHERE if not any(name.startswith(one) for name in sources())] == []


@pytest.mark.parametrize("code", [
    "raise BadInput(f'The {hat!r} is not on a head: put it there.')",
    "def wear(hat):\n    raise (NoFace if hat else BadWeights)(WHY.format(hat))\nWHY = 'The {} is not on a head: put it there.'",
    "class Lost(BadInput): pass\ndef wear(p):\n    note(p, f'The hat of {p} is not on a head: put it there.')",
    "def wear():\n    need(False, f'The hat is {worn()}.')\ndef worn():\n    return 'not on a head: put it there'\n"
    "def need(holds, otherwise):\n    raise BadInput(otherwise)",
    "def wear():\n    for name, why in {'hat': 'not on a head'}.items():\n        raise CannotFetch(f'The hat is {why}: put it there.')",
])  # fmt: skip
def test_a_sentence_without_chinese_is_found(code):
    source = Source("hats", code)
    found = [text for part in (*raised(source), *noted(source)) for text in texts(part)]
    assert any("not on a head: put it there" in text and untranslated(text) for text in found), found


@pytest.mark.parametrize(
    "declared", [one for declaring in words.DECLARED.values() for cls in declaring for one in fields_of(cls)], ids=lambda one: one.name
)
def test_a_refused_value_is_told_by_the_label_on_the_page(declared):
    with pytest.raises(BadInput) as refused:
        check_value(declared, object())
    ids = [f"{prefix}.{declared.name}" for prefix in words.DECLARED]
    labels = [text for key, text in words.declared_in("zh").items() if key in ids]
    told = words.translate_all(str(refused.value), "zh")
    assert any(told.startswith(f"{label}（{declared.name}）应为") for label in labels), told


@pytest.mark.parametrize(("sentence", "chinese"), [
    ("Seed (seed) must be from -1 to 4294967295; got -5.", "种子（seed）应为 -1 至 4294967295 之间的数；当前为 -5。"),
    ("Photos (photos) must be at most 6 in number; got 7.", "照片（photos）应为最多 6 项；当前为 7。"),
    ("'Anna' cannot be taken in: its face tokens do not belong together.", "无法导入 'Anna'：其人脸特征彼此不符。"),
    ("FairFace needs a/b.pt in /m; M2FP needs c/d.pt in /m.", "FairFace 需要 /m 中有 a/b.pt；M2FP 需要 /m 中有 c/d.pt。"),
    (
        "a.pth could not be fetched: one.org did not answer (timed out); two.org gave another file (a.pth has 1 bytes, expected 2: "
        "delete it and get it again.). Put it into /m by hand.",
        "a.pth 无法下载：one.org 没有响应（timed out）；two.org 给出的是另一个文件（a.pth 有 1 字节，应为 2：请删除后重新获取。）。"
        "请手动将它放入 /m。",
    ),
    ("There is no LoRA a b in /my loras: perhaps ab.", "/my loras 中没有 LoRA a b：是否是 ab？"),
    ("photo 3 is empty: save or copy it again from its source.", "照片 3 是空文件：请从来源重新保存。"),
    ("a.pt is not a whole face encoder: k, l, m and 4 more missing.", "a.pt 不是完整的人脸编码器：缺少 k, l, m 及另外 4 个。"),
])  # fmt: skip
def test_what_is_put_together_is_said_in_chinese(sentence, chinese):
    assert words.translate_all(sentence, "zh") == chinese
