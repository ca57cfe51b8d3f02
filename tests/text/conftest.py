"""Encoders for tests: one that counts, one with real weights, and a folder of a tiny model."""

import hashlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crossrec.text.encoder import load_encoder
from crossrec.text.sentence import SentenceEncoder


class CountingEncoder:
    """Four numbers of a text's hash; remembers what it was given."""

    name, key, dim = "counting", "counting-1-f32", 4

    def __init__(self, fails_at: int | None = None):
        self.seen: list[str] = []
        self.fails_at = fails_at

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.fails_at is not None and len(self.seen) + len(texts) > self.fails_at:
            raise KeyboardInterrupt
        self.seen += texts
        return np.stack([self.of(text) for text in texts])

    @staticmethod
    def of(text: str) -> NDArray[np.float32]:
        return np.frombuffer(hashlib.sha256(text.encode()).digest()[:4], np.uint8).astype(np.float32) / 7


@pytest.fixture
def counting() -> Callable[..., CountingEncoder]:
    return CountingEncoder


@pytest.fixture(scope="session")
def minilm() -> SentenceEncoder:
    encoder = load_encoder("minilm")
    assert isinstance(encoder, SentenceEncoder)
    return encoder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects to anything fails the test."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "game", ".", "the", "story", "is", "long"]


@pytest.fixture(scope="session")
def tiny_distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DistilBERT of one layer and few words, with random weights and the real width."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "tiny distil..bert"
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = DistilBertConfig(vocab_size=len(WORDS), n_layers=1, hidden_dim=32, pad_token_id=0)
        DistilBertModel(config).save_pretrained(folder)
    return folder
