"""The demo world: reproducible, of the promised shape, with the planted truth and nothing but the planted truth."""

import hashlib
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from crossrec.data.demo import FEWEST, DemoConfig, World, generate, oracle_scores
from crossrec.data.grammar import MOODS, THEMES
from crossrec.errors import CrossrecError

DOMAINS = ("source", "target")
SMALL = DemoConfig(users=60, source_items=60, target_items=60, source_events=700, target_events=400, seed=5)
GOOD = r"superb|gorgeous|wonderful|flawless|magnificent|glorious|loved|feast|treat|perfectly|favourites|applaud|bravo"
BAD = r"dull|flat|clumsy|lifeless|tedious|awful|waste|hollow|tiresome|muddled|regret|apology|wooden|stale"


@pytest.fixture(scope="module")
def worlds() -> dict[float, World]:
    return {strength: generate(DemoConfig(transfer_strength=strength)) for strength in (0.0, 0.5, 1.0)}


@pytest.fixture(scope="module")
def world(worlds) -> World:
    return worlds[1.0]


def digest(world: World) -> str:
    total = hashlib.sha256()
    for which in ("source", "target"):
        total.update(world.events[which].to_csv(index=False).encode())
        total.update(world.items[which].to_csv(index=False).encode())
    for name, array in world.truth.items():
        total.update(name.encode() + array.tobytes())
    return total.hexdigest()


def flat(world: World, which: str) -> pd.DataFrame:
    """Rows u, i (column number), time, rating, previous (column number or 0) in the order of a dataset folder."""
    events = world.events[which]
    frame = pd.DataFrame(
        {
            "u": np.searchsorted(world.user_ids, events["user_id"].to_numpy(str)),
            "i": np.searchsorted(world.item_ids[which], events["item_id"].to_numpy(str)) + 1,
            "time": events["time"],
            "rating": events["rating"],
            "row": events["row"],
        }
    ).sort_values(["u", "time", "row"], ignore_index=True)
    frame["previous"] = frame.groupby("u")["i"].shift(fill_value=0)
    return frame


def theme_shares(world: World, which: str) -> np.ndarray:
    """(U, themes) shares of each user's events by category label, NaN without events. Reads the frames alone."""
    labels = [theme.screen if which == "source" else theme.sound for theme in THEMES]
    events = world.events[which].merge(world.items[which], on="item_id", suffixes=("", "_item"))
    table = pd.crosstab(events["user_id"], events["category"]).reindex(index=world.user_ids, columns=labels)
    return table.div(table.sum(axis=1), axis=0).to_numpy()


def test_same_seed_same_world():
    first, second, other = generate(SMALL), generate(SMALL), generate(DemoConfig(**{**SMALL.__dict__, "seed": 6}))
    for which in ("source", "target"):
        pd.testing.assert_frame_equal(first.events[which], second.events[which], check_exact=True)
        pd.testing.assert_frame_equal(first.items[which], second.items[which], check_exact=True)
        assert not first.items[which]["title"].equals(other.items[which]["title"])
    assert first.truth.keys() == second.truth.keys()
    for name, array in first.truth.items():
        assert array.tobytes() == second.truth[name].tobytes(), name
    assert digest(first) == digest(second) != digest(other)
    assert not np.array_equal(first.truth["source_taste"], other.truth["source_taste"])


def test_another_process_makes_the_same_bytes():
    """Text is written with sets of strings about, whose order differs between processes."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_demo import SMALL, digest, generate\nsys.stdout.write(digest(generate(SMALL)))"
    )
    here = os.path.dirname(__file__)
    run = subprocess.run(
        [sys.executable, "-c", code, here],
        env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": os.path.join(here, "..", "..")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == digest(generate(SMALL))


def test_sizes_and_columns(world):
    config = world.config
    assert len(world.user_ids) == config.users
    people = {which: set(world.events[which]["user_id"]) for which in ("source", "target")}
    assert people["source"] | people["target"] == set(world.user_ids)
    assert len(people["source"] & people["target"]) == 850
    assert (len(people["source"]), len(people["target"])) == (940, 910)
    for which, events in (("source", 13_000), ("target", 8_000)):
        frame, items = world.events[which], world.items[which]
        assert list(frame.columns) == ["user_id", "item_id", "rating", "time", "title", "text", "row"]
        assert list(items.columns) == ["item_id", "title", "creator", "category", "year"]
        assert len(frame) == events
        assert (frame["rating"].dtype, frame["time"].dtype) == (np.float32, np.int64)
        assert set(frame["rating"]) == {1, 2, 3, 4, 5}
        assert frame["rating"].mean() == pytest.approx(4.0, abs=0.15)
        assert frame["rating"].std() == pytest.approx(1.1, abs=0.12)
        assert not frame.duplicated(["user_id", "item_id"]).any()
        assert not frame.isna().any(axis=None)
        assert not items.isna().any(axis=None)
        assert 490 <= len(items) <= 500
        assert items["year"].between(1968, 2024).all()
        # Nobody reviews what is not out yet.
        assert items["year"].max() < pd.to_datetime(frame["time"].min(), unit="ms").year
        counts = frame["user_id"].value_counts()
        assert counts.min() >= FEWEST[which]
        assert counts.max() > 3 * counts.median()
    cold = (world.events["target"]["user_id"].value_counts() <= 5).mean()
    assert 0.27 < cold < 0.40


def test_ids_and_columns_agree(world):
    """A dataset folder numbers users and items by their sorted ids; the truth must have these rows and columns."""
    both = pd.concat([world.events["source"]["user_id"], world.events["target"]["user_id"]])
    assert sorted(set(both)) == world.user_ids.tolist()
    for which in ("source", "target"):
        ids = sorted(set(world.events[which]["item_id"]))
        assert ids == world.item_ids[which].tolist() == world.items[which]["item_id"].tolist()
        prefix = "source_" if which == "source" else ""
        assert world.truth[f"{prefix}affinity"].shape == (len(world.user_ids), len(ids) + 1)
        assert world.truth[f"{prefix}transition"].shape == (len(ids) + 1, len(ids) + 1)
        labels = np.array([theme.screen if which == "source" else theme.sound for theme in THEMES])
        assert world.items[which]["category"].tolist() == labels[world.truth[f"{which}_theme"][1:]].tolist()


def test_columns_agree_where_items_are_left_out():
    world = generate(DemoConfig(users=40, target_items=300, target_events=120, source_items=40, source_events=300))
    ids = world.item_ids["target"]
    assert len(ids) < 120
    assert ids.tolist() == sorted(set(world.events["target"]["item_id"]))
    for name in ("affinity", "taste_affinity"):
        assert world.truth[name].shape == (40, len(ids) + 1)
    labels = [THEMES[theme].sound for theme in world.truth["target_theme"][1:]]
    assert world.items["target"]["category"].tolist() == labels
    same = world.items["target"]["creator"].to_numpy()[:, None] == world.items["target"]["creator"].to_numpy()[None, :]
    step = (world.truth["target_mood"][None, 1:] - world.truth["target_mood"][1:, None]) % len(MOODS)
    expected = 2.0 * (step == 1) + 0.6 * (step == 0) + 1.5 * same
    np.testing.assert_allclose(world.truth["transition"][1:, 1:], expected, rtol=1e-6)


def test_times(world):
    for which in ("source", "target"):
        frame = world.events[which]
        assert frame["row"].tolist() == list(range(len(frame)))
        assert frame["time"].is_monotonic_increasing
        span = (frame["time"].max() - frame["time"].min()) / 86_400_000 / 365
        assert 3.2 < span <= 4
        ties = frame.duplicated(["user_id", "time"]).mean()
        assert 0.003 < ties < 0.03
    last = world.events["target"].groupby("user_id")["time"].max()
    source = world.events["source"]
    before = (source["time"] < source["user_id"].map(last))[source["user_id"].isin(last.index)]
    assert 0.8 < before.groupby(source["user_id"]).mean().mean() < 0.97


def test_strength_leaves_each_domain_alone(worlds):
    """Screen is the same to the byte; Sound keeps who has how many events and when, and its statistics."""
    full = worlds[1.0]
    for strength in (0.0, 0.5):
        other = worlds[strength]
        pd.testing.assert_frame_equal(full.events["source"], other.events["source"], check_exact=True)
        pd.testing.assert_frame_equal(full.items["source"], other.items["source"], check_exact=True)
        first, second = full.events["target"], other.events["target"]
        assert first["user_id"].equals(second["user_id"])
        assert first["time"].equals(second["time"])
        assert not first["item_id"].equals(second["item_id"])
        assert first["rating"].mean() == pytest.approx(second["rating"].mean(), abs=0.06)
        assert first["rating"].std() == pytest.approx(second["rating"].std(), abs=0.06)
        top = [frame["item_id"].value_counts().head(50).sum() / len(frame) for frame in (first, second)]
        assert top[0] == pytest.approx(top[1], abs=0.04)
        deviations = [w.truth["taste_affinity"][:, 1:].std() for w in (full, other)]
        assert deviations[0] == pytest.approx(deviations[1], rel=0.03)
        # How strongly a person keeps to a few themes.
        spread = [np.nanmean((theme_shares(w, "target") ** 2).sum(axis=1)) for w in (full, other)]
        assert spread[0] == pytest.approx(spread[1], abs=0.03)


def test_strength_is_what_the_source_tells(worlds):
    """Seen from the events alone: do a person's Screen themes go with the Sound themes?"""
    found, near = {}, {}
    for strength, world in worlds.items():
        source, target = theme_shares(world, "source"), theme_shares(world, "target")
        both = ~np.isnan(source[:, 0]) & ~np.isnan(target[:, 0])
        source = source[both] - source[both].mean(axis=0)
        target = target[both] - target[both].mean(axis=0)
        found[strength] = np.corrcoef(source.ravel(), target.ravel())[0, 1]
        # Transfer from the person with the most similar Screen themes.
        unit = source / np.linalg.norm(source, axis=1, keepdims=True)
        likeness = unit @ unit.T
        np.fill_diagonal(likeness, -np.inf)
        near[strength] = np.corrcoef(target[likeness.argmax(axis=1)].ravel(), target.ravel())[0, 1]
    assert abs(found[0.0]) < 0.04
    assert abs(near[0.0]) < 0.06
    assert found[1.0] > 0.5
    assert near[1.0] > 0.25
    assert 0.2 < found[0.5] < found[1.0] - 0.1
    truth = worlds[0.5].truth
    taste = np.corrcoef(truth["source_taste"].ravel(), truth["target_taste"].ravel())[0, 1]
    assert taste**2 == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(worlds[1.0].truth["source_taste"], worlds[1.0].truth["target_taste"])


def test_strength_zero_leaves_no_side_channel(worlds):
    """Neither activity nor generosity nor a fondness for the popular carries over."""
    measures = []
    for which in ("source", "target"):
        frame = flat(worlds[0.0], which)
        frame["fame"] = np.log(frame.groupby("i")["u"].transform("size"))
        by_user = frame.groupby("u").agg(count=("i", "size"), rating=("rating", "mean"), fame=("fame", "mean"))
        measures.append(by_user.assign(count=np.log(by_user["count"])))
    joined = measures[0].join(measures[1].add_suffix("_target"), how="inner")
    table = joined.corr().loc[["count", "rating", "fame"], ["count_target", "rating_target", "fame_target"]]
    # 850 people: the standard error of a correlation is .034.
    assert np.abs(table.to_numpy()).max() < 0.12


@pytest.mark.parametrize("which", ["source", "target"])
def test_choices_follow_the_stated_probabilities(world, which):
    """What was chosen must have, on average, the affinity and the transition that the stated distribution expects."""
    prefix = "source_" if which == "source" else ""
    affinity, transition = (world.truth[f"{prefix}{name}"] for name in ("affinity", "transition"))
    frame = flat(world, which)

    def deviations(sequence: float, taste: float) -> np.ndarray:
        """Of affinity and of transition, in standard errors, were the weights multiplied by these numbers."""
        surprise, variance = np.zeros(2), np.zeros(2)
        taken = np.zeros(affinity.shape, dtype=bool)
        taken[:, 0] = True
        for _, rows in frame.groupby(frame.groupby("u").cumcount()):
            u, i, last = rows["u"].to_numpy(), rows["i"].to_numpy(), rows["previous"].to_numpy()
            terms = np.stack([affinity[u], transition[last]]).astype(np.float64)
            scores = taste * terms[0] + sequence * terms[1]
            scores[taken[u]] = -np.inf
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            mean = (p * terms).sum(axis=2)
            surprise += (terms[:, np.arange(len(u)), i] - mean).sum(axis=1)
            variance += ((p * terms**2).sum(axis=2) - mean**2).sum(axis=1)
            taken[u, i] = True
        return surprise / np.sqrt(variance)

    assert np.abs(deviations(1.0, 1.0)).max() < 3.5
    # The check has teeth: weights a tenth off are noticed.
    assert abs(deviations(0.9, 1.0)[1]) > 4
    assert abs(deviations(1.0, 0.9)[0]) > 6


def last_item_ndcg(world: World, scores: np.ndarray, frame: pd.DataFrame) -> float:
    """Mean NDCG@10 of each user's last target item among all items not taken before; `scores` (U, I+1)."""
    gains = []
    for user, items in frame.groupby("u")["i"]:
        if len(items) > 1:
            *before, answer = items
            row = scores[user].astype(np.float64)
            row[[0, *before]] = -np.inf
            rank = 1 + (row > row[answer]).sum()
            gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0.0)
    return float(np.mean(gains))


def measured(world: World) -> dict[str, float]:
    frame = flat(world, "target")
    truth = world.truth
    users = np.arange(len(world.user_ids))
    last = frame.groupby("u")["previous"].last().reindex(users, fill_value=0).to_numpy()
    train = frame[frame.duplicated("u", keep="last")]
    popular = np.bincount(train["i"], minlength=truth["affinity"].shape[1])
    from_source = world.config.taste_strength * truth["source_taste"] @ truth["target_features"].T
    rankings = {
        "popular": np.tile(popular, (len(users), 1)),
        "oracle": oracle_scores(truth, users, last),
        "taste": oracle_scores(truth, users, last, sequence=False),
        "source": from_source + truth["target_popularity"],
    }
    return {name: last_item_ndcg(world, scores, frame) for name, scores in rankings.items()}


def test_oracle_is_far_above_popularity(worlds):
    full, none = measured(worlds[1.0]), measured(worlds[0.0])
    for figures in (full, none):
        assert 0.03 < figures["popular"] < 0.10
        assert 0.22 < figures["oracle"] < 0.36
        assert 0.65 < figures["taste"] / figures["oracle"] < 0.88
    assert full["source"] > 2.5 * full["popular"]
    assert none["source"] < none["popular"]


def test_oracle_scores(world):
    truth = world.truth
    one = oracle_scores(truth, 3, 7)
    np.testing.assert_array_equal(one[1:], truth["affinity"][3, 1:] + truth["transition"][7, 1:])
    assert one[0] == -np.inf
    many = oracle_scores(truth, np.array([3, 4]), np.array([7, 0]))
    np.testing.assert_array_equal(many[0], one)
    np.testing.assert_array_equal(many[1, 1:], truth["affinity"][4, 1:])
    assert (truth["affinity"][:, 0] == 0).all()  # left as it was
    assert truth["affinity"].dtype == truth["transition"].dtype == one.dtype == np.float32


def test_names_are_distinct_and_labels_are_not_reviewed(world):
    titles = pd.concat([world.items[which]["title"] for which in ("source", "target")])
    assert titles.str.casefold().is_unique
    assert titles.str.contains(" ").all()
    creators = [set(world.items[which]["creator"]) for which in ("source", "target")]
    assert creators[0].isdisjoint(creators[1])
    assert all(100 < len(names) < 200 for names in creators)
    text = "\n".join(
        world.events[which][column].str.lower().str.cat(sep="\n") for which in DOMAINS for column in ("title", "text")
    )
    labels = {label for theme in THEMES for label in (theme.screen, theme.sound)}
    for name in {*titles, *creators[0], *creators[1], *labels}:
        if name.lower() in text:  # the plain search first: it is quick
            assert not re.search(rf"\b{re.escape(name.lower())}\b", text), name


@pytest.mark.parametrize("which", ["source", "target"])
def test_reviews_read_like_sentences(world, which):
    texts = world.events[which]["text"]
    assert texts.duplicated().mean() < 0.03
    words = texts.str.split().str.len()
    assert words.min() >= 8
    assert words.max() <= 90
    assert words.quantile(0.95) > 2.5 * words.quantile(0.05)
    for column in (texts, world.events[which]["title"]):
        assert not column.str.contains(r"[{}|_]|  |\.\.|,,|\b(?:the|a|an) (?:the|a|an)\b").any()
        assert not [text for text in column if re.search(r"(?i)\b([a-z]+) \1\b", text)]
        assert not column.str.contains(r"(?i)\ba (?:[aei]|u(?!n[ic]|s))").any()
        assert not column.str.contains(r"(?i)\ban [bcdfgjklmnpqrstvwxyz]").any()
        assert column.str.match(r"[A-Z]").all()
    assert texts.str.contains(r"[.!?]$").all()
    assert not texts.str.contains(r"[.!?] [a-z]").any()


def test_vocabulary_is_rich_and_shared(world):
    words = {which: set(re.findall(r"[a-z'-]+", " ".join(world.events[which]["text"]).lower())) for which in DOMAINS}
    assert len(words["source"] | words["target"]) > 1500
    assert {"vocals", "harmonies"} <= words["target"] - words["source"]
    assert {"camera", "episode"} <= words["source"] - words["target"]
    for adjectives, _ in MOODS:
        assert set(adjectives) <= words["source"] & words["target"]


@pytest.mark.parametrize("which", ["source", "target"])
def test_reviews_speak_of_the_item(world, which):
    """A review names its item's main theme far more often than any other, and its mood rather than another."""
    events = world.events[which].merge(world.items[which], on="item_id", suffixes=("", "_item"))
    columns = np.searchsorted(world.item_ids[which], events["item_id"].to_numpy(str)) + 1
    theme, mood = world.truth[f"{which}_theme"][columns], world.truth[f"{which}_mood"][columns]
    text = events["text"].str.lower()

    def mentions(words: list[str]) -> np.ndarray:
        return text.str.contains("|".join(rf"\b{re.escape(word.lower())}\b" for word in words)).to_numpy()

    themes = np.stack([mentions(t.phrases + t.adjectives) for t in THEMES], axis=1)
    moods = np.stack([mentions(adjectives) for adjectives, _ in MOODS], axis=1)
    own = np.eye(len(THEMES), dtype=bool)[theme]
    assert themes[own].mean() > 0.6
    assert themes[~own].mean() < 0.1
    assert moods[np.eye(len(MOODS), dtype=bool)[mood]].mean() > 4 * moods[~np.eye(len(MOODS), dtype=bool)[mood]].mean()


@pytest.mark.parametrize("which", ["source", "target"])
def test_words_agree_with_stars(world, which):
    events = world.events[which]

    good, bad = (events["text"].str.count(rf"(?i)\b(?:{words})\b") for words in (GOOD, BAD))
    tones = (good - bad).groupby(events["rating"]).mean()
    assert tones.loc[1] < -0.2
    assert tones.loc[2] < -0.2
    assert abs(tones.loc[3]) < 0.35
    assert tones.loc[4] > 0.2
    assert tones.loc[5] > tones.loc[4]


def test_ratings_follow_taste(world):
    for which, name in (("source", "source_taste_affinity"), ("target", "taste_affinity")):
        frame = flat(world, which)
        match = world.truth[name][frame["u"], frame["i"]]
        assert np.corrcoef(match, frame["rating"])[0, 1] > 0.35


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transfer_strength": 1.5}, "transfer_strength is 1.5; give a number from 0 to 1"),
        ({"transfer_strength": float("nan")}, "transfer_strength is nan"),
        ({"users": 0}, "users is 0"),
        ({"users": 100.5}, "users is 100.5; give a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"source_items": 3}, "source_items is 3"),
        ({"target_events": 100}, "target_events is 100; give a number from 910"),
        ({"target_events": 10**7}, "target_events is 10000000"),
        ({"source_events": 3000}, "source_events is 3000; give a number from 3760"),
        ({"taste_strength": "high"}, "taste_strength is 'high'"),
        ({"sequence_strength": -1.0}, "sequence_strength is -1.0"),
    ],
)
def test_impossible_worlds_are_refused(change, words):
    with pytest.raises(CrossrecError, match=re.escape(words)):
        DemoConfig(**change)


def test_forces_can_be_switched_off():
    plain = generate(DemoConfig(**{**SMALL.__dict__, "sequence_strength": 0.0, "popularity_exponent": 0.0}))
    assert not plain.truth["transition"].any()
    np.testing.assert_array_equal(plain.truth["affinity"], plain.truth["taste_affinity"])
    everyone = generate(DemoConfig(**{**SMALL.__dict__, "overlap": 1.0}))
    assert set(everyone.events["source"]["user_id"]) == set(everyone.events["target"]["user_id"])
