"""What can be trained on a dataset, what each recipe is in a sentence, and why the others cannot be."""

from dataclasses import fields

from crossrec.data.logged import list_logs
from crossrec.data.pair import DOMAINS, DomainPair
from crossrec.runs.folder import matching
from crossrec.training.recipes import RECIPES

ABOUT = {
    "popularity": "Recommends what most people took: the least that any model must beat.",
    "popular-lately": "Recommends what most people took around the time when this person was last seen.",
    "linear-map": "Carries source items over to target items in one solved equation: quick, and hard to beat.",
    "user-knn": "Lets the people with the most similar source history vote.",
    "item-knn": "Looks at what people took soon after what this person took last: quick, and hard to beat.",
    "content": "Looks for items whose reviews read like those that a person wrote.",
    "biases": "Tells stars from how strict a person is and how liked an item is; knows nothing of taste.",
    "emcdr": "Learns a map from source taste to target taste on people who are in both domains.",
    "ptupcdr": "Like EMCDR, with a map of its own for every person.",
    "collective-factors": "Tells stars from those of both domains, solved as one: how strict a person is carries over.",
    "source-sasrec": "Learns to read source histories, in their order. Transfer starts from it.",
    "target-sasrec": "Learns from target histories alone: the baseline that transfer must beat.",
    "transfer-sasrec": "The same model as the baseline, which also sees what a person did in the source domain.",
    "autoencoder": "Sees all that a person has as one set, and tells all that they would take, in both domains.",
    "unified": "One model of both domains in one order: for people it knows, and for strangers by the same weights.",
    "ensemble": "Asks the autoencoder, the linear map, neighbours, words and popularity together, each by its weight.",
    "known-ensemble": "Asks the unified encoder, nearest items and the plain recommenders together: for known people.",
    "racrec": "Reads reviews of both domains, and separates the taste that carries over from the one that does not.",
    "policy-finetune": "A finished SASRec that learns on from what people did with the slates they were shown.",
}
THREE = ("source-sasrec", "transfer-sasrec", "target-sasrec")
"""The trainings that answer whether transfer helps, in their order."""
NEED_BOTH = (
    *("linear-map", "user-knn", "content", "emcdr", "ptupcdr", "racrec", "autoencoder", "ensemble"),
    *("source-sasrec", "transfer-sasrec", "collective-factors"),
)
LOGS = (
    "A log says what people were shown, how probably, and what they did. The feedback page writes one down as it is "
    "used; `crossrec feedback import` makes one ready from a file of your own."
)
NO_LOG = "there is no feedback log of it: the feedback page or crossrec feedback import makes one"
NEED_OVERLAP = ("linear-map", "user-knn", "emcdr", "ptupcdr", "collective-factors")
NEED_TIMES = ("popular-lately",)
NEED_STARS = {"biases": ("target",), "emcdr": DOMAINS, "ptupcdr": DOMAINS, "collective-factors": DOMAINS}


def obstacle(recipe: str, pair: DomainPair) -> str | None:
    """Why a recipe cannot be trained on this data; None where it can, as far as is known beforehand."""
    if recipe in NEED_BOTH and not pair.source.n_items:
        return "there is only one domain"
    if recipe in NEED_OVERLAP and not pair.overlap.any():
        return "nobody is in both domains"
    if recipe in NEED_TIMES and pair.target.times is None:
        return f"{pair.target.label} has no times"
    for which in NEED_STARS.get(recipe, ()):
        if pair.domain(which).ratings is None:
            return f"{pair.domain(which).label} has no stars"
    if "log" in (field.name for field in fields(RECIPES[recipe].config)):
        if not list_logs(pair.name):
            return NO_LOG
        if not any(matching(pair.name, start, dataset_hash=pair.meta["hash"]) for start in RECIPES[recipe].starts_from):
            return "there is no finished SASRec run of it to start from"
    if RECIPES[recipe].needs_text:
        for which in DOMAINS:
            if not pair.meta["domains"][which]["has_text"] and not pair.items(which)["title"].notna().any():
                return f"{pair.domain(which).label} has neither reviews nor titles"
    return None


def offered(pair: DomainPair) -> tuple[list[str], dict[str, list[str]]]:
    """The recipes that can be trained, and {reason: titles} of the others."""
    possible, refused = [], dict[str, list[str]]()
    for name, recipe in RECIPES.items():
        why = obstacle(name, pair)
        if why is None:
            possible.append(name)
        else:
            refused.setdefault(why, []).append(recipe.title)
    return possible, refused
