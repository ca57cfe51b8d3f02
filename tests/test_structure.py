"""The shape of the house: imports go one way, what is committed imports, and some things are never done."""

import ast
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "crossrec"
ROOMS = ["data", "text", "models", "training", "evaluation", "runs", "recommend", "feedback", "report"]
"""A room may use itself and the earlier ones. What stands beside them, but for the doors, is used by all."""
DOORS = {
    "api",
    "api_docs",
    "cli",
    "cli_data",
    "cli_feedback",
    "cli_recommend",
    "cli_runs",
    "cli_text",
    "cli_train",
    "cli_tune",
    "console",
    "console_results",
    "__main__",
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "crossrec" and len(parts) > 1 else None


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imported(path):
        assert module.split(".")[0] not in ("streamlit", "app", "pages"), f"{path.name} imports {module}"
        there = room(module)
        if here in DOORS or there is None:
            continue
        assert there not in DOORS, f"{path.name} imports {module}"
        if there in ROOMS:
            assert here in ROOMS, f"{path.name}, which every room uses, imports {module}"
            assert ROOMS.index(there) <= ROOMS.index(here), f"{path.name} in {here} imports {module}"


def test_every_room_has_its_place() -> None:
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert rooms <= set(ROOMS), "a new room needs its place in the order"
    assert len(rooms) >= 6


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_is_never_done(path: Path) -> None:
    modules = set(imported(path))
    assert not modules & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in ("eval", "exec", "compile", "torch.load", "torch.save", "os.system", "pd.read_pickle"), (
            called
        )
        assert called not in ("np.random.seed", "random.seed"), "nothing is seeded globally"
        for keyword in node.keywords:
            if keyword.arg in ("shell", "allow_pickle"):
                assert isinstance(keyword.value, ast.Constant)
                assert keyword.value.value is False


def test_the_one_global_seed_is_inside_its_fork() -> None:
    seeders = [
        p for p in FILES if "manual_seed(" in p.read_text(encoding="utf-8").replace("Generator().manual_seed(", "")
    ]
    assert [p.name for p in seeders] == ["job.py"]
    tree = ast.parse((PACKAGE / "training" / "job.py").read_text(encoding="utf-8"))
    withs = [n for n in ast.walk(tree) if isinstance(n, ast.With) and "fork_rng" in ast.unparse(n.items[0])]
    inside = "".join(ast.unparse(n) for n in withs)
    assert inside.count("torch.manual_seed") == ast.unparse(tree).count("torch.manual_seed") == 1


def test_library_code_does_not_print() -> None:
    for path in FILES:
        if path.stem in DOORS:
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"], path


IMPORT_ALL = """
import importlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(root))
for path in sorted((root / "crossrec").rglob("*.py")):
    parts = path.relative_to(root).with_suffix("").parts
    if parts[-1] == "__main__":
        continue
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert module.__file__.startswith(str(root)), module.__file__
print("all imported", "streamlit" in sys.modules)
"""


def test_what_is_committed_imports(tmp_path: Path) -> None:
    """A file that .gitignore hides, or that nobody added, is on this disk and not in the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(tmp_path, filter="data")
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_ALL, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all imported False\n"


def test_the_tree_of_the_readme_is_that_of_the_files() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs" / "tree.py"), "--check"], check=False)
    assert done.returncode == 0, "run `python docs/tree.py`"


def test_names_of_test_modules_are_unique() -> None:
    """There is no package around the tests: two modules of one name would be one."""
    names = [p.name for p in (ROOT / "tests").rglob("*.py") if p.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_tests_do_not_touch_the_real_artifacts() -> None:
    from crossrec import paths

    assert not paths.home().is_relative_to(ROOT)


# Made of the other arguments, which are in the key.
NOT_IN_THE_KEY = {"_drawing", "_found", "_chosen"}


@pytest.mark.parametrize("path", sorted((ROOT / "app").rglob("*.py")), ids=lambda path: path.stem)
def test_what_is_cached_is_found_by_all_that_it_depends_on(path: Path) -> None:
    """Streamlit leaves arguments whose names begin with "_" out of a cache's key: a version so named is no version."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and any("st.cache" in ast.unparse(one) for one in node.decorator_list):
            hidden = {one.arg for one in node.args.args if one.arg.startswith("_")}
            assert hidden <= NOT_IN_THE_KEY, f"{path.name}: {node.name}"
