"""Colours, which carry meaning and are the same on every page. They are told apart by colour-blind eyes too."""

SOURCE = "#0072B2"
TARGET = "#E69F00"
BOTH = "#009E73"
TRANSFER = "#009E73"
BASELINE = "#7F7F7F"
SIMPLE = "#A6A6A6"
LIGHTER = "#BDBDBD"
ORACLE = "#56B4E9"
REVIEW = "#CC79A7"
UNIFIED = "#D55E00"
LEARNER = "#882255"
ENSEMBLE = "#7B61C9"
MUTED = "#8A8F98"
"""Rules, labels in charts and other things beside the data; legible on white and on black."""

DOMAIN = {"source": SOURCE, "target": TARGET}
RECIPE = {
    "target-sasrec": BASELINE,
    "transfer-sasrec": TRANSFER,
    "source-sasrec": SOURCE,
    "popularity": LIGHTER,
    "popular-lately": LIGHTER,
    "linear-map": SIMPLE,
    "user-knn": SIMPLE,
    "item-knn": SIMPLE,
    "content": LIGHTER,
    "biases": LIGHTER,
    "emcdr": TRANSFER,
    "ptupcdr": TRANSFER,
    "collective-factors": TRANSFER,
    "racrec": REVIEW,
    "autoencoder": LEARNER,
    "unified": UNIFIED,
    "ensemble": ENSEMBLE,
    "known-ensemble": ENSEMBLE,
    "leaky": MUTED,
    "oracle": ORACLE,
}
SHAPE = {
    "target-sasrec": "square",
    "transfer-sasrec": "circle",
    "popularity": "triangle-down",
    "popular-lately": "cross",
    "linear-map": "triangle-up",
    "user-knn": "triangle-right",
    "item-knn": "triangle-left",
    "content": "triangle-left",
    "biases": "triangle-down",
    "emcdr": "circle",
    "ptupcdr": "square",
    "collective-factors": "diamond",
    "autoencoder": "triangle-up",
    "unified": "circle",
    "ensemble": "diamond",
    "known-ensemble": "diamond",
    "leaky": "triangle-down",
    "oracle": "diamond",
}
"""Colour is never the only code."""


def recipe_colour(recipe: str) -> str:
    return RECIPE.get(recipe, UNIFIED)


def recipe_shape(recipe: str) -> str:
    return SHAPE.get(recipe, "cross")
