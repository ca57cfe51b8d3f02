"""Whitening: identity covariance, spread directions, and nothing learnt from what it is shown later."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossrec.text.whiten import Whitening


def crowded(rows: int = 400, width: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Vectors that nearly all point one way, as an encoder's do."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(rows, width)) @ rng.normal(size=(width, width))
    return (mixed + 15).astype(np.float32)


def mean_cosine(vectors: NDArray[np.float32]) -> float:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = unit @ unit.T
    return float((pairs.sum() - np.trace(pairs)) / (len(pairs) * (len(pairs) - 1)))


@pytest.mark.parametrize("components", [None, 12, 5])
def test_covariance_becomes_identity(components: int | None) -> None:
    vectors = crowded()
    whitened = Whitening.fit(vectors, components, shrinkage=0).whiten(vectors)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(components or 12), atol=2e-3)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-3)


def test_shrinkage_by_hand() -> None:
    # Variances 4 and 0 along the axes, 2 on average: half of each is shared, so 3 and 1.
    vectors = np.array([[2, 1], [-2, 1], [2, 1], [-2, 1]]) * np.sqrt([3 / 4, 1])
    fitted = Whitening.fit(vectors, shrinkage=0.5)
    np.testing.assert_allclose(fitted.mean, [0, 1], atol=1e-6)
    np.testing.assert_allclose(fitted.matrix, np.diag([3**-0.5, 1]), rtol=1e-5, atol=1e-6)
    fitted = Whitening.fit(vectors, 1, shrinkage=0.5)
    np.testing.assert_allclose(fitted.matrix, [[3**-0.5], [0]], rtol=1e-5, atol=1e-6)


def test_directions_spread() -> None:
    vectors = crowded()
    assert mean_cosine(vectors) > 0.8
    assert abs(mean_cosine(Whitening.fit(vectors)(vectors))) < 0.05


def test_zca_stays_closest() -> None:
    vectors = crowded()
    centred = vectors - vectors.mean(axis=0)
    zca, pca = Whitening.fit(vectors, shrinkage=0), Whitening.fit(vectors, 12, shrinkage=0)
    np.testing.assert_allclose(zca.matrix, zca.matrix.T, atol=1e-5)
    assert (centred * zca.whiten(vectors)).sum() > (centred * pca.whiten(vectors)).sum()


def test_components_are_those_of_greatest_variance() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(500, 4)) * [1, 9, 3, 0.1]
    matrix = Whitening.fit(vectors, 2).matrix
    assert np.abs(matrix).argmax(axis=0).tolist() == [1, 2]
    assert (matrix[[1, 2], [0, 1]] > 0).all()


def test_unseen_rows_are_measured_by_the_fitted_ones() -> None:
    train, other = crowded(seed=0), crowded(seed=5) + 3
    fitted = Whitening.fit(train)
    alone = np.concatenate([fitted(row[None]) for row in other])
    np.testing.assert_allclose(fitted(other), alone, atol=1e-5)
    np.testing.assert_allclose(fitted.mean, train.mean(axis=0), rtol=1e-5)
    assert np.abs(fitted(other).mean(axis=0)).max() > 0.1  # they are not centred by themselves


def test_fewer_rows_than_dimensions() -> None:
    vectors = crowded(5, 40)
    for shrinkage in (0.0, 0.1):
        out = Whitening.fit(vectors, shrinkage=shrinkage)(vectors)
        assert np.isfinite(out).all()
        np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-5)
    assert Whitening.fit(vectors[:1])(vectors[:1]).tolist() == [[0.0] * 40]  # one row is its own mean


def test_zero_rows_are_no_text() -> None:
    vectors = crowded()
    with_gaps = np.concatenate([np.zeros((50, 12), np.float32), vectors])
    fitted = Whitening.fit(with_gaps)
    np.testing.assert_allclose(fitted.matrix, Whitening.fit(vectors).matrix, rtol=1e-4, atol=1e-6)
    out = fitted(with_gaps.reshape(9, 50, 12))
    assert out.shape == (9, 50, 12)
    assert not out[0].any()
    np.testing.assert_allclose(np.linalg.norm(out[1:], axis=-1), 1, rtol=1e-5)


def test_half_precision_is_read() -> None:
    vectors = crowded()
    fitted, half = Whitening.fit(vectors), Whitening.fit(vectors.astype(np.float16))
    out = half(vectors.astype(np.float16))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, fitted(vectors), atol=0.02)


def test_blocks_are_one_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = crowded()
    whole = Whitening.fit(vectors)
    monkeypatch.setattr("crossrec.text.whiten._BLOCK", 7)
    np.testing.assert_allclose(Whitening.fit(vectors).matrix, whole.matrix, rtol=1e-5, atol=1e-7)


def test_state_goes_through_safetensors() -> None:
    from safetensors.numpy import load, save

    vectors = crowded()
    fitted = Whitening.fit(vectors, 5)
    again = Whitening.from_state(load(save(fitted.state())))
    np.testing.assert_array_equal(again(vectors), fitted(vectors))
    with pytest.raises(ValueError, match="must be"):
        Whitening.from_state({"mean": fitted.mean[1:], "matrix": fitted.matrix})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"components": 0}, "components"),
        ({"components": 13}, "components"),
        ({"shrinkage": -0.1}, "shrinkage"),
        ({"shrinkage": 1.1}, "shrinkage"),
        ({"vectors": np.zeros((3, 12))}, "nothing to fit"),
        ({"vectors": np.zeros((0, 12))}, "nothing to fit"),
        ({"vectors": np.full((3, 12), np.nan)}, "finite"),
        ({"vectors": np.zeros(12)}, "\\(N, W\\)"),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Whitening.fit(**{"vectors": crowded(), **change})  # type: ignore[arg-type]


@given(st.integers(0, 1000), st.floats(0.01, 1))
def test_the_length_is_one_whatever_the_data(seed: int, shrinkage: float) -> None:
    vectors = crowded(20, 6, seed)
    out = Whitening.fit(vectors, shrinkage=shrinkage)(vectors)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-4)
