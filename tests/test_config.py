"""Configs from dicts and words: what is read, what is refused, and with which sentence."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from crossrec.config import from_dict, pairs
from crossrec.errors import CrossrecError, nearest
from crossrec.training.racrec import RACRecRecipeConfig
from crossrec.training.sequence import SequenceConfig, TransferConfig
from crossrec.training.simple import LinearMapConfig, PopularityConfig


@dataclass(frozen=True)
class Sample:
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"small": {"width": 2, "rate": 0.5}, "plain": {}}
    preset: str = "plain"
    width: int = 7
    rate: float = 1.0
    deep: bool = False
    label: str = "x"
    limit: int | None = 3


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("width", "12", 12),
        ("width", 12.0, 12),
        ("rate", "1e-3", 0.001),
        ("rate", 2, 2.0),
        ("deep", "true", True),
        ("deep", "False", False),
        ("deep", "no", False),
        ("deep", "1", True),
        ("deep", True, True),
        ("label", "pre", "pre"),
        ("limit", "none", None),
        ("limit", None, None),
        ("limit", "", None),
        ("limit", "9", 9),
    ],
)
def test_strings_are_read_as_the_fields_type(key: str, value: Any, expected: Any) -> None:
    read = getattr(from_dict(Sample, {key: value}), key)
    assert read == expected
    assert type(read) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("width", "twelve", "int"),
        ("width", "1.5", "int"),
        ("width", 1.5, "int"),
        ("width", None, "int"),
        ("rate", "fast", "a finite float"),
        ("deep", "maybe", "bool"),
        ("limit", "few", "int"),
    ],
)
def test_a_value_of_another_type_is_told_with_the_value(key: str, value: Any, kind: str) -> None:
    with pytest.raises(CrossrecError) as told:
        from_dict(Sample, {key: value})
    assert str(told.value) == f"{key} wants {kind}, and {value!r} is not one."


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(CrossrecError, match=r"SequenceConfig has no setting 'droput'. Did you mean 'dropout'?"):
        from_dict(SequenceConfig, {"droput": 0.1})
    with pytest.raises(CrossrecError, match=r"Known: .*width"):
        from_dict(Sample, {"zzzzzz": 1})
    with pytest.raises(CrossrecError, match="PopularityConfig has no setting 'k'"):
        from_dict(PopularityConfig, {"k": 1})


def test_a_preset_sets_fields_that_other_keys_override() -> None:
    assert from_dict(Sample, {"preset": "small"}) == Sample("small", 2, 0.5)
    assert from_dict(Sample, {"rate": "9", "preset": "small"}) == Sample("small", 2, 9.0)
    assert from_dict(Sample, {}) == Sample()
    with pytest.raises(CrossrecError, match=r"no preset 'smal' of Sample. Did you mean 'small'"):
        from_dict(Sample, {"preset": "smal"})
    classic = from_dict(TransferConfig, {"preset": "classic", "dim": "32", "bridge_hidden": "16"})
    assert (classic.dim, classic.bridge_hidden, classic.norm, classic.negatives) == (32, 16, "post", 4)


@pytest.mark.parametrize(
    ("cls", "values", "sentence"),
    [
        (SequenceConfig, {"epochs": "0"}, "epochs (0) must be positive."),
        (SequenceConfig, {"dim": 10, "heads": 4}, "dim (10) must be divisible by heads (4)."),
        (TransferConfig, {"bridge_dropout": "1.5"}, "bridge_dropout (1.5) must be in [0, 1)."),
        (SequenceConfig, {"lr": "nan"}, "lr wants a finite float, and 'nan' is not one."),
        (LinearMapConfig, {"ridge": "-3"}, "ridge (-3.0) must be positive."),
        (RACRecRecipeConfig, {"context_dropout": 5}, "context_dropout (5.0) must be in [0, 1]."),
        (RACRecRecipeConfig, {"liked": "9"}, "liked (9.0) must be from 0 to 5 stars."),
    ],
)
def test_bad_numbers_become_one_sentence(cls: type, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CrossrecError) as told:
        from_dict(cls, values)
    assert str(told.value) == sentence


@pytest.mark.parametrize(
    ("cls", "values"),
    [(LinearMapConfig, {"prior": "nan"}), (LinearMapConfig, {"ridge": "inf"}), (SequenceConfig, {"lr": "inf"})],
)
def test_numbers_must_be_finite(cls: type, values: dict[str, Any]) -> None:
    with pytest.raises(CrossrecError):
        from_dict(cls, values)


def test_an_infinite_whole_number_is_told() -> None:
    with pytest.raises(CrossrecError):
        from_dict(Sample, {"width": float("inf")})


def test_words() -> None:
    assert pairs(["dim=64", "batch-size=8", "label=a=b", "limit="]) == {
        "dim": "64", "batch_size": "8", "label": "a=b", "limit": "",
    }  # fmt: skip
    assert pairs([" dim = 64 "]) == {"dim": "64"}
    for word in ("dim", "=3", ""):
        with pytest.raises(CrossrecError, match="key=value"):
            pairs([word])


def test_nearest() -> None:
    assert nearest("trane", ["train", "tree", "runs"]) == " Did you mean 'train'?"
    assert nearest("xyz", ["b", "a"]) == " Known: a, b."
    assert nearest("xyz", []) == ""
