"""Names of the code and words of the documentation are the field's standard terms."""

import ast
import functools
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "sharpeye"
MODULES = sorted(SOURCE.rglob("*.py"))


def word_set(text: str) -> set[str]:
    return set(text.split())


# Words that no name contains: metaphors, participles as nouns, and words of which the field has
# better ones (image, targets, prediction, class names, out-of-distribution score, thumbnail).
# A word that names a contract or is an ordinary one, such as `rows` or `order`, is not among them.
FORBIDDEN_IN_NAMES = word_set(
    """
    answer answers asked asking believed careful carved  crew desk doubt doubtful
    doubts feeds found gate grown hop hops intake judge judged judges kept learned lease leases
    look looked looks material mislabel mislabels oddity outcome picture pictures places
    question questions recalled said seen shipped slips stranger strangers stretch taken tally
    taught  told tower towers truth truths unseen wanted way ways wish wishes
    """
)
# Complete names of earlier versions whose words are ordinary ones elsewhere.
FORBIDDEN_NAMES = word_set(
    """
    AgainstZero alike box_moves Course Enlarge export_wish facts Feed  go_on graph_bounds
    graph_rules graph_step grow InTheMiddle Learned  MapOf Material near new_folder
     odd onnx_wire Outcome Places prove_parity publish  Recalled room Seen
    set_aside strength sweep_board sweep_crew Taught Told turns Unknown unknown_score_of 
    """
)
# (file, name): the name is that of a key in a file or a request, which must not change.
CONTRACTS = {
    ("cli/serve.py", "max_pictures"),  # an option
    ("core/config.py", "max_pictures"),  # `report.max_pictures`
    ("errors.py", "GateError"),  # public
    ("report/run_page.py", "max_pictures"),
    ("studio/train_request.py", "way"),  # in the page's JSON
}
# Words that comments, docstrings and pages do without, since each stood for a standard term.
FORBIDDEN_IN_TEXT = re.compile(
    r"\b(crews?|desks?|leases?|oddit(y|ies)|strangers?|tally|wishes|hair's breadth|"
    r"mislabels|taught|grown)\b",
    re.IGNORECASE,
)


def words(name: str) -> set[str]:
    """`_TrainState` and `train_state` have the words `train` and `state`."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def definitions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of each class, function, parameter, variable and attribute that is defined."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname


def is_forbidden(name: str) -> bool:
    if name.lstrip("_").startswith(("MOST_", "LEAST_")):
        return True
    return name.lstrip("_") in FORBIDDEN_NAMES or bool(words(name) & FORBIDDEN_IN_NAMES)


def test_the_check_tells_old_names_from_new_ones() -> None:
    old = ["Learned", "_Course", "picture_count", "readPictures", "_MOST_BYTES", "truth", "told"]
    assert all(map(is_forbidden, old))
    new = ["FittedHead", "TrainState", "image_count", "_MAX_BYTES", "targets", "near_duplicates"]
    assert not any(map(is_forbidden, new))


def test_no_name_is_an_old_one() -> None:
    bad = []
    for file in MODULES:
        path = file.relative_to(SOURCE).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = [(0, part) for part in Path(path).with_suffix("").parts]
        bad += [
            f"{path}:{line}: {name}"
            for line, name in (*names, *definitions(tree))
            if is_forbidden(name) and (path, name) not in CONTRACTS
        ]
    assert not bad, "\n".join(bad)


def test_no_two_modules_have_one_name() -> None:
    """A module of `cli` may have the name of the job that its command runs."""
    rooms: dict[str, list[str]] = {}
    for file in MODULES:
        if file.stem != "__init__":
            rooms.setdefault(file.stem, []).append(file.relative_to(SOURCE).parts[0])
    allowed = (["cli", "jobs"], ["cli", "compat"])
    twice = {name: where for name, where in rooms.items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if sorted(where) not in allowed} == {}


def test_no_two_public_classes_have_one_name() -> None:
    names = [
        node.name
        for file in MODULES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []


@functools.cache
def comments_and_docstrings(file: Path) -> list[tuple[int, str]]:
    """(line, text) of the comments and docstrings of a module."""
    return list(_comments_and_docstrings(file.read_text(encoding="utf-8")))


def _comments_and_docstrings(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines = str(node.value.value).splitlines()
            yield from enumerate(lines, node.lineno)


def test_comments_and_docstrings_do_without_old_words() -> None:
    bad = [
        f"{file.relative_to(SOURCE)}:{line}: {match.group()}"
        for file in MODULES
        for line, text in comments_and_docstrings(file)
        for match in FORBIDDEN_IN_TEXT.finditer(text)
    ]
    assert not bad, "\n".join(bad)


def test_the_code_speaks_of_images() -> None:
    """The studio, the report and messages may say "picture" to people; docstrings say "image"."""
    bad = [
        f"{file.relative_to(SOURCE)}:{line}: {text.strip()}"
        for file in MODULES
        for line, text in comments_and_docstrings(file)
        if re.search(r"\bpictures?\b", re.sub(r"`[^`]*`|\"[^\"]*\"", "", text))
    ]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs"])
def test_pages_do_without_old_words(page: str) -> None:
    root = ROOT / page
    pages = sorted(root.rglob("*.md")) if root.is_dir() else [root]
    if not all(file.is_file() for file in pages):
        pytest.skip("the pages are not here")
    bad = [
        f"{file.relative_to(ROOT)}:{number}: {match.group()}"
        for file in pages
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for match in FORBIDDEN_IN_TEXT.finditer(line)
    ]
    assert not bad, "\n".join(bad)
