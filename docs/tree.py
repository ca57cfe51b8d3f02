"""Writes the tree of the README, a line a file, from the first line of each file's docstring: `python docs/tree.py`.

`python docs/tree.py --check` only says whether it is as the files are.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
FOLDERS = ("app", "pages", "crossrec", "bench", "docs")
BEGIN, END = "<!-- tree -->\n", "<!-- end of the tree -->\n"


def first_line(path: Path) -> str:
    """What a module says of itself, without its full stop."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return told.split("\n\n")[0].replace("\n", " ").rstrip(".")


def tree() -> str:
    lines = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ".venv" in path.parts or not (said := first_line(path)):
                continue
            name = str(path.relative_to(ROOT).parent if path.name == "__init__.py" else path.relative_to(ROOT))
            lines.append(f"{name + '/' if path.name == '__init__.py' else name:<40} {said}")
    return f"{BEGIN}```\n" + "\n".join(lines) + f"\n```\n{END}"


def main() -> int:
    text = README.read_text(encoding="utf-8")
    made = re.sub(f"{BEGIN}.*?{END}", lambda _: tree(), text, flags=re.DOTALL)
    if "--check" in sys.argv[1:]:
        return int(made != text)
    README.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
