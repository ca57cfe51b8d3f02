"""The demo world: two invented domains, Screen and Sound, whose every cause is known.

Screen (source) holds films and series, Sound (target) albums. People have tastes for themes and moods; what they take
next also depends on what is popular and on what they took last. Because the generator's own probabilities are kept in
`World.truth`, the best possible ranking is known, and so is how much of the target taste the source can tell.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec.data.grammar import MOODS, THEMES, Writer, creator_name, item_title
from crossrec.errors import CrossrecError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

WORLDS = {"demo": 1.0, "demo-unrelated": 0.0}
"""Datasets of the demo and the share of taste that their two domains have in common."""
START_MS = 1_609_459_200_000  # 2021-01-01; no item is from a later year than 2020
SPAN_MS = 4 * 365 * 86_400_000
FIRST_YEAR, LAST_YEAR = 1968, 2020
# The fewest events of a user who is in the domain at all.
FEWEST = {"source": 4, "target": 1}
MOST_ITEMS = 2_500  # the grammar runs short of titles beyond that


@dataclass(frozen=True)
class DemoConfig:
    """How large the world is and which forces act in it.

    Raises:
        CrossrecError: a field is out of its range.
    """

    users: int = 1000
    """U, people in either domain."""
    source_items: int = 500
    """Films and series in Screen; the world has fewer where nobody takes one, at the default size at most a few."""
    target_items: int = 500
    """Albums in Sound, likewise."""
    source_events: int = 13_000
    """Reviews in Screen, exactly."""
    target_events: int = 8_000
    """Reviews in Sound, exactly."""
    transfer_strength: float = 1.0
    """Share of the variance of a person's target taste that comes from the source taste: 1 is the same taste in both
    domains, 0 two independent ones. It changes no statistic of either domain alone."""
    seed: int = 0
    """The same seed gives the same bytes."""
    overlap: float = 0.85
    """Share of people in both domains; of the others, 60 % are in Screen only and 40 % in Sound only."""
    taste_strength: float = 3.0
    """Standard deviation of the taste term of the log choice weights over random items."""
    sequence_strength: float = 1.0
    """Multiplies the log weights for what follows what; 0 makes the order of events meaningless."""
    popularity_exponent: float = 0.7
    """Zipf exponent of the popularity weights; 0 makes all items equally well known."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.type is int or field.type == "int"
            kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
            if isinstance(value, bool) or not isinstance(value, kinds) or not np.isfinite(value):
                raise CrossrecError(f"{field.name} is {value!r}; give a {'whole ' if whole else ''}number.")
        self._between("users", 20, 100_000)
        self._between("source_items", 24, MOST_ITEMS)
        self._between("target_items", 24, MOST_ITEMS)
        self._between("transfer_strength", 0, 1)
        self._between("seed", 0, 2**63)
        self._between("overlap", 0.1, 1)
        self._between("taste_strength", 0.1, 10)
        self._between("sequence_strength", 0, 10)
        self._between("popularity_exponent", 0, 5)
        both, source_only, target_only = self.groups
        for which, members in (("source", both + source_only), ("target", both + target_only)):
            # A person takes at most half of the catalogue, and half of that on average leaves room for a long tail.
            most = members * (getattr(self, f"{which}_items") // 4)
            self._between(f"{which}_events", members * FEWEST[which], most)

    def _between(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise CrossrecError(f"{name} is {value}; give a number from {low} to {high}.")

    @property
    def groups(self) -> tuple[int, int, int]:
        """People in both domains, in Screen only, in Sound only."""
        both = round(self.overlap * self.users)
        source_only = round(0.6 * (self.users - both))
        return both, source_only, self.users - both - source_only


@dataclass(frozen=True)
class World:
    """A generated world.

    Ids sort in the order of the arrays: `user_ids[u]` is row u, and `item_ids[which][j - 1]` is column j, column 0
    being padding. Everybody and every item has an event, so that a dataset folder that keeps all events numbers them in
    the same way; an item that nobody took is left out of the world, which leaves a gap in the ids.
    """

    config: DemoConfig
    """What it was generated from."""
    events: dict[str, pd.DataFrame]
    """'source' and 'target': user_id, item_id, rating (float32, 1 to 5), time (int64, ms), title (the headline),
    text, row (0, 1, ... in order of time; it settles the order of a user's events of the same time)."""
    items: dict[str, pd.DataFrame]
    """'source' and 'target': item_id, title, creator, category, year; sorted by item_id."""
    truth: dict[str, NDArray[Any]]
    """Float32 unless said. F is the number of themes plus moods. For the target, P(next item j | user u, previous
    target item i) is proportional to exp(affinity[u, j] + transition[i, j]) over the items j that u has not yet taken.

    affinity (U, I+1): taste_affinity plus the user's conformity times popularity; column 0 is 0.
    transition (I+1, I+1): row 0 is "no previous item"; row and column 0 are 0.
    taste_affinity (U, I+1): the taste alone, also behind the ratings.
    source_affinity, source_transition, source_taste_affinity: the same for the source.
    source_taste, target_taste (U, F): normal(0, 1) tastes, themes first, then moods.
    source_features, target_features (I+1, F): rows of length 1, row 0 zeros; taste_affinity = taste_strength * taste @
    features.T.
    source_popularity, target_popularity (I+1,): log weights.
    source_theme, target_theme, source_mood, target_mood (I+1,) int64: main theme and mood, -1 for padding.
    """
    user_ids: NDArray[Any]
    """(U,) ids of all people, sorted."""
    item_ids: dict[str, NDArray[Any]]
    """'source' and 'target': (I,) ids, sorted."""


@dataclass(frozen=True)
class _Catalogue:
    """The items of one domain; arrays without a padding row."""

    theme: Ints  # (I, 2) main and second
    mood: Ints  # (I,)
    creator: Ints  # (I,)
    kind: list[str]  # (I,) of "film", "series", "album"
    year: Ints  # (I,)
    popularity: NDArray[np.float64]  # (I,) log weight
    quality: NDArray[np.float64]  # (I,)
    features: NDArray[np.float64]  # (I, F), rows of length 1


def generate(config: DemoConfig) -> World:
    """Returns the world of that configuration; about two seconds at the default size."""
    # One stream of random numbers per purpose, so that a change to one leaves the others as they were.
    general, *seeds = np.random.SeedSequence(config.seed).spawn(3)
    members, windows, names, shared_taste, own_taste = map(np.random.default_rng, general.spawn(5))
    size = (config.users, len(THEMES) + len(MOODS))
    shared, own = shared_taste.standard_normal(size), own_taste.standard_normal(size)
    # Weights whose squares sum to one, so that the target taste is normal(0, 1) at any strength.
    mixed = np.sqrt(config.transfer_strength) * shared + np.sqrt(1 - config.transfer_strength) * own

    both, source_only, _ = config.groups
    place = members.permutation(config.users)
    present = {"source": place < both + source_only, "target": (place < both) | (place >= both + source_only)}
    # Both domains share the years in which a person is active. No choice of an item depends on time.
    begin = START_MS + 0.4 * SPAN_MS * windows.random(config.users)
    length = (START_MS + SPAN_MS - begin) * windows.uniform(0.5, 1.0, config.users)

    world = World(config, {}, {}, {}, _ids("u", config.users), {})
    taken: set[str] = set()
    for which, seed, taste in (("source", seeds[0], shared), ("target", seeds[1], mixed)):
        _add_domain(world, which, seed, taste, present[which], (begin, length), (names, taken))
    return world


def _add_domain(
    world: World,
    which: str,
    seed: np.random.SeedSequence,
    taste: NDArray[np.float64],
    present: NDArray[np.bool_],
    window: tuple[NDArray[np.float64], NDArray[np.float64]],
    naming: tuple[np.random.Generator, set[str]],
) -> None:
    """Puts one domain's events, items and truth into `world`; `taste` is (U, F), `present` and the windows (U,)."""
    config = world.config
    streams = map(np.random.default_rng, seed.spawn(7))
    for_items, for_conformity, for_counts, for_times, for_choices, for_ratings, for_reviews = streams
    n_items = int(getattr(config, f"{which}_items"))
    catalogue = _catalogue(for_items, n_items, which, config.popularity_exponent)
    frame = _items_frame(catalogue, which, *naming)

    features = _pad(catalogue.features)
    match = (config.taste_strength * taste @ features.T).astype(np.float32)
    conformity = for_conformity.uniform(0.5, 1.5, config.users)
    affinity = (match + conformity[:, None] * _pad(catalogue.popularity)).astype(np.float32)
    transition = (config.sequence_strength * _transition(catalogue)).astype(np.float32)

    counts = np.zeros(config.users, dtype=np.int64)
    total = int(getattr(config, f"{which}_events"))
    counts[present] = _counts(for_counts, int(present.sum()), total, FEWEST[which], n_items // 2)
    users = np.repeat(np.arange(config.users), counts)
    chosen = _choose(for_choices, affinity, transition, counts)
    times = _times(for_times, users, *window, which)
    ratings = _ratings(for_ratings, users, chosen, match, catalogue.quality)
    reviews = _reviews(for_reviews, users, chosen, ratings, catalogue, taste)

    # By time; a stable sort keeps a user's events of one time in the order in which they were chosen.
    order = np.argsort(times, kind="stable")
    world.events[which] = pd.DataFrame(
        {
            "user_id": world.user_ids[users[order]],
            "item_id": frame["item_id"].to_numpy()[chosen[order] - 1],
            "rating": ratings[order].astype(np.float32),
            "time": times[order],
            "title": [reviews[index][0] for index in order],
            "text": [reviews[index][1] for index in order],
            "row": np.arange(len(order)),
        }
    )
    # An item that nobody took leaves the world: a dataset folder numbers only items with events, and its columns must
    # be these columns.
    seen = np.unique(chosen)
    world.items[which] = frame.iloc[seen - 1].reset_index(drop=True)
    world.item_ids[which] = world.items[which]["item_id"].to_numpy(dtype=str)
    columns = np.concatenate([[0], seen])
    prefix = "source_" if which == "source" else ""
    world.truth[f"{prefix}affinity"] = affinity[:, columns]
    world.truth[f"{prefix}transition"] = transition[np.ix_(columns, columns)]
    world.truth[f"{prefix}taste_affinity"] = match[:, columns]
    world.truth[f"{which}_taste"] = taste.astype(np.float32)
    world.truth[f"{which}_features"] = features[columns].astype(np.float32)
    world.truth[f"{which}_popularity"] = _pad(catalogue.popularity)[columns].astype(np.float32)
    world.truth[f"{which}_theme"] = np.concatenate([[-1], catalogue.theme[seen - 1, 0]])
    world.truth[f"{which}_mood"] = np.concatenate([[-1], catalogue.mood[seen - 1]])


def oracle_scores(
    truth: dict[str, NDArray[Any]], user_index: int | Ints, last_target_item: int | Ints, sequence: bool = True
) -> Floats:
    """Returns the generator's log choice weights of the next target item, up to a constant: (I+1,) or (B, I+1).

    Args:
        truth: `World.truth`.
        user_index: one row number or (B,) of them.
        last_target_item: column number of the item taken last, 0 for none; one or (B,).
        sequence: False leaves out what the last item says.

    Column 0 is -inf. Items already taken are the caller's to exclude, as in any ranking.
    """
    scores: Floats = truth["affinity"][user_index].copy()
    if sequence:
        scores += truth["transition"][last_target_item]
    scores[..., 0] = -np.inf
    return scores


def _ids(letter: str, count: int) -> NDArray[Any]:
    """Ids of one length, so that they sort as text in the order of their numbers: u0001, u0002, ..."""
    width = max(4, len(str(count)))
    return np.array([f"{letter}{number:0{width}d}" for number in range(1, count + 1)])


def _pad(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Puts a zero (row) in front, for item 0."""
    return np.concatenate([np.zeros_like(array[:1]), array])


def _catalogue(rng: np.random.Generator, n_items: int, which: str, exponent: float) -> _Catalogue:
    main = rng.permutation(np.arange(n_items) % len(THEMES))
    second = (main + rng.integers(1, len(THEMES), n_items)) % len(THEMES)
    mood = rng.permutation(np.arange(n_items) % len(MOODS))
    weight = rng.uniform(0.1, 0.6, n_items)
    rows = np.arange(n_items)
    features = np.zeros((n_items, len(THEMES) + len(MOODS)))
    features[rows, main] = 1.0
    features[rows, second] = weight
    features[rows, len(THEMES) + mood] = 0.6
    features /= np.linalg.norm(features, axis=1, keepdims=True)

    # A creator keeps to one main theme and has two to six items.
    creator = np.zeros(n_items, dtype=np.int64)
    count = 0
    for theme in range(len(THEMES)):
        mine = rng.permutation(np.flatnonzero(main == theme))
        while len(mine):
            size = int(rng.integers(2, 7))
            creator[mine[:size]] = count
            mine, count = mine[size:], count + 1

    popularity = -exponent * np.log(rng.permutation(n_items) + 2.0)
    screen = np.where(rng.random(n_items) < 0.65, "film", "series").tolist()
    return _Catalogue(
        theme=np.stack([main, second], axis=1),
        mood=mood,
        creator=creator,
        kind=screen if which == "source" else ["album"] * n_items,
        # The square root leans to recent years.
        year=FIRST_YEAR + np.floor((LAST_YEAR + 1 - FIRST_YEAR) * np.sqrt(rng.random(n_items))).astype(np.int64),
        popularity=popularity,
        quality=rng.standard_normal(n_items),
        features=features,
    )


def _items_frame(catalogue: _Catalogue, which: str, rng: np.random.Generator, taken: set[str]) -> pd.DataFrame:
    """Names items and creators; `taken` holds the names that exist, in both domains."""

    def fresh(make: Any) -> str:
        name = str(make())
        while name.casefold() in taken:
            name = str(make())
        taken.add(name.casefold())
        return name

    titles = [fresh(lambda theme=theme: item_title(rng, theme)) for theme in catalogue.theme[:, 0].tolist()]
    n_creators = int(catalogue.creator.max()) + 1
    bands = (rng.random(n_creators) < 0.5) & (which == "target")
    creators = np.array([fresh(lambda band=band: creator_name(rng, band)) for band in bands.tolist()])
    labels = np.array([theme.screen if which == "source" else theme.sound for theme in THEMES])
    return pd.DataFrame(
        {
            "item_id": _ids("S" if which == "source" else "A", len(titles)),
            "title": titles,
            "creator": creators[catalogue.creator],
            "category": labels[catalogue.theme[:, 0]],
            "year": catalogue.year,
        }
    )


def _transition(catalogue: _Catalogue) -> NDArray[np.float64]:
    """Returns (I+1, I+1) log weights of item j after item i: people seek the next mood, and the same creator."""
    step = (catalogue.mood[None, :] - catalogue.mood[:, None]) % len(MOODS)
    same = catalogue.creator[None, :] == catalogue.creator[:, None]
    inner = 2.0 * (step == 1) + 0.6 * (step == 0) + 1.5 * same
    padded = np.zeros((len(inner) + 1, len(inner) + 1))
    padded[1:, 1:] = inner
    return padded


def _counts(rng: np.random.Generator, members: int, total: int, fewest: int, most: int) -> Ints:
    """Returns (members,) long-tailed counts between `fewest` and `most` that add up to `total`."""
    weights = rng.lognormal(0.0, 0.6, members)
    # Bisection for the scale at which the clipped counts, before rounding down, add up to the total.
    low, high = 0.0, total / weights.min()
    for _ in range(80):
        scale = (low + high) / 2
        low, high = (scale, high) if np.clip(scale * weights, fewest, most).sum() < total else (low, scale)
    exact = np.clip(low * weights, fewest, most)
    counts = np.floor(exact).astype(np.int64)
    # Rounding down left less than one event a person; the largest fractions get them.
    left = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    return counts


def _choose(rng: np.random.Generator, affinity: Floats, transition: Floats, counts: Ints) -> Ints:
    """Returns the item of each event, (counts.sum(),), user after user in order of time.

    All users take their next item at once. The largest of log weight plus Gumbel noise is a draw from the softmax.
    """
    starts = np.cumsum(counts) - counts
    chosen = np.zeros(int(counts.sum()), dtype=np.int64)
    taken = np.zeros(affinity.shape, dtype=bool)
    taken[:, 0] = True
    last = np.zeros(len(counts), dtype=np.int64)
    for step in range(int(counts.max())):
        users = np.flatnonzero(counts > step)
        scores = affinity[users] + transition[last[users]] + rng.gumbel(size=(len(users), affinity.shape[1]))
        scores[taken[users]] = -np.inf
        last[users] = scores.argmax(axis=1)
        taken[users, last[users]] = True
        chosen[starts[users] + step] = last[users]
    return chosen


def _times(
    rng: np.random.Generator, users: Ints, begin: NDArray[np.float64], length: NDArray[np.float64], which: str
) -> Ints:
    """Returns (E,) ms, rising within each user; source events lean to the start of the window, target to its end."""
    a, b = (1.1, 1.35) if which == "source" else (4.0, 2.0)
    times = (begin[users] + length[users] * rng.beta(a, b, len(users))).astype(np.int64)
    times = times[np.lexsort((times, users))]
    # One event in a hundred carries the time of the one before it, as happens in real logs.
    tie = np.flatnonzero((rng.random(len(users))[1:] < 0.01) & (users[1:] == users[:-1])) + 1
    times[tie] = times[tie - 1]
    return times


def _ratings(rng: np.random.Generator, users: Ints, chosen: Ints, taste: Floats, quality: NDArray[np.float64]) -> Ints:
    """Returns (E,) whole stars from match, quality, habit and chance, with mean about 4 and deviation about 1.1."""
    habit = rng.standard_normal(len(taste))
    match = taste[users, chosen].astype(np.float64)
    match = (match - match.mean()) / match.std()
    chance = rng.standard_normal(len(users))
    # The squares of the weights add up to one.
    score = 0.5 * match + 0.4 * quality[chosen - 1] + 0.4 * habit[users] + np.sqrt(0.43) * chance
    return np.clip(np.rint(4.3 + 1.42 * score), 1, 5).astype(np.int64)


def _reviews(
    rng: np.random.Generator,
    users: Ints,
    chosen: Ints,
    ratings: Ints,
    catalogue: _Catalogue,
    taste: NDArray[np.float64],
) -> list[tuple[str, str]]:
    """Returns headline and text of each event."""
    writer = Writer(rng)
    themes = catalogue.theme[chosen - 1]
    swap = rng.random(len(users)) < 0.2
    themes[swap] = themes[swap, ::-1]
    likes = (taste[users[:, None], themes] > 0).tolist()
    moods = catalogue.mood[chosen - 1].tolist()
    kinds = [catalogue.kind[item - 1] for item in chosen.tolist()]
    return [writer.review(*parts) for parts in zip(kinds, themes.tolist(), moods, ratings.tolist(), likes, strict=True)]
