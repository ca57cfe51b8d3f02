"""Sentence-transformers models run on batches of texts of nearly one length, in bfloat16 where the hardware has it."""

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CPU_TOKENS = 1024
"""Tokens in a batch on a processor: what passes between two layers then stays in the cache. More is slower."""
GPU_TOKENS = 32_768

Build = Callable[[], "SentenceTransformer"]
"""Loads a model in float32, on the device that sentence-transformers chooses."""


def precision() -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster than float32 (AVX-512 BF16, AMX, Arm BF16, CUDA)."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if torch.backends.mps.is_available() or torch.xpu.is_available():
        return torch.float32
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is None:  # an older torch asks one by one
        known = [getattr(torch.cpu, f"_is_{kind}_supported", bool)() for kind in ("avx512_bf16", "amx_tile")]
    else:
        known = [ask().get(kind, False) for kind in ("avx512_bf16", "amx_bf16", "bf16")]
    return torch.bfloat16 if any(known) else torch.float32


class SentenceEncoder:
    """A sentence-transformers model by its name, key and width; the model itself is loaded at the first text.

    Its transformer runs in `precision()`; pooling and what follows it run in float32. Every text is tokenised once,
    and a batch holds texts of nearly one length up to a number of tokens, so that next to nothing is spent on padding.
    """

    def __init__(self, name: str, revision: str, build: Build, dim: int | None = None):
        """
        Args:
            name: what people call the encoder.
            revision: names its weights and settings in the key.
            build: loads the model.
            dim: width of its vectors; None loads the model to see.
        """
        self.name = name
        self.dtype = precision()
        plain = re.sub(r"[^A-Za-z0-9_.-]+|\.\.+", "-", Path(name).name if Path(name).is_dir() else name)
        self.key = f"{plain.strip('._-')[:60] or 'model'}-{revision}-{_SHORT[self.dtype]}"
        self._build = build
        self._lock = RLock()
        self._model: SentenceTransformer | None = None
        self.dim = dim or int(self.model.get_embedding_dimension() or 0)

    @property
    def model(self) -> "SentenceTransformer":
        """The model, loaded once."""
        with self._lock:
            if self._model is None:
                with quiet():
                    model = self._build().eval()
                if _is_plain(model):
                    model[0].to(self.dtype)
                self._model = model
            return self._model

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, dim) vectors in the order of the texts; a blank text gives zeros, a long one is cut by the model."""
        out = np.zeros((len(texts), self.dim), np.float32)
        clean = [text.strip().encode("utf-8", "replace").decode() for text in texts]
        there = [row for row, text in enumerate(clean) if text]
        if not there:
            return out
        model = self.model
        if not _is_plain(model):
            out[there] = model.encode([clean[row] for row in there], show_progress_bar=False)
            return out
        with self._lock:  # a tokenizer that is set up by two threads at once fails
            ids = _tokenise(model, [clean[row] for row in there])
        cpu = model.device.type == "cpu"

        def run(batch: list[int]) -> None:
            with torch.inference_mode():
                features = model[0](_pad([ids[i] for i in batch], model))
                features["token_embeddings"] = features["token_embeddings"].float()
                for module in list(model.children())[1:]:
                    features = module(features)
                out[[there[i] for i in batch]] = features["sentence_embedding"].cpu().numpy()

        in_threads(run, list(batches([len(one) for one in ids], CPU_TOKENS if cpu else GPU_TOKENS)), cpu)
        return out


def in_threads(run: Callable[[list[int]], None], jobs: list[list[int]], many: bool) -> None:
    """Runs jobs on as many threads as torch has been given, each on one core.

    Torch by itself would put all threads on each operation of one batch, and they would wait for each other hundreds
    of times a batch: on a busy machine that is several times slower than batches that know nothing of each other.
    """
    threads = min(torch.get_num_threads(), len(jobs)) if many else 1
    if threads <= 1:
        for job in jobs:
            run(job)
        return
    before = torch.get_num_threads()
    try:
        # The number holds for the thread that sets it, and for threads that torch has not seen yet.
        with ThreadPoolExecutor(threads, "encode", initializer=partial(torch.set_num_threads, 1)) as pool:
            list(pool.map(run, jobs))
    finally:
        torch.set_num_threads(before)


_SHORT = {torch.bfloat16: "bf16", torch.float32: "f32"}


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Cuts texts into batches, the longest first; a batch times its longest text is at most `tokens`, or one text."""
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    start = 0
    while start < len(order):
        many = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + many]
        start += many


def _is_plain(model: "SentenceTransformer") -> bool:
    """Whether a model is a transformer of texts without prompts, which the loop above can run."""
    first = model[0]
    return (
        hasattr(first, "auto_model")
        and getattr(getattr(first, "tokenizer", None), "is_fast", False)
        and not model.default_prompt_name
    )


def _tokenise(model: "SentenceTransformer", texts: list[str]) -> list[list[int]]:
    longest = model.max_seq_length
    options: dict[str, Any] = {"truncation": True, "max_length": longest} if longest else {}
    tokenizer: Any = model[0].tokenizer
    return tokenizer(
        texts, padding=False, return_attention_mask=False, return_token_type_ids=False, verbose=False, **options
    )["input_ids"]


def _pad(rows: list[list[int]], model: "SentenceTransformer") -> dict[str, Any]:
    tokenizer: Any = model[0].tokenizer
    width = len(rows[0])  # the longest comes first
    ids = np.full((len(rows), width), tokenizer.pad_token_id or 0, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for row, one in enumerate(rows):
        where = slice(width - len(one), width) if tokenizer.padding_side == "left" else slice(0, len(one))
        ids[row, where], mask[row, where] = one, 1
    return {
        "input_ids": torch.from_numpy(ids).to(model.device),
        "attention_mask": torch.from_numpy(mask).to(model.device),
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps progress bars and warnings of the model libraries off stderr while they load a model."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in ("sentence_transformers", "transformers", "huggingface_hub")]
    levels = [one.level for one in loggers]
    hub_bars, bars = not are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()
    try:
        for one in loggers:
            one.setLevel(logging.CRITICAL)
        disable_progress_bars()
        transformers_logging.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
        if hub_bars:
            enable_progress_bars()
        if bars:
            transformers_logging.enable_progress_bar()
