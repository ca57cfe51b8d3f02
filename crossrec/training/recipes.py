"""What can be trained: the register of recipes, by name."""

from crossrec.errors import CrossrecError, nearest
from crossrec.training import coldstart, mapping
from crossrec.training.autoencoder import AutoencoderRecipeConfig, autoencoder
from crossrec.training.collective import CollectiveConfig, collective_factors
from crossrec.training.ensemble import EnsembleConfig, ensemble
from crossrec.training.job import Recipe
from crossrec.training.known_ensemble import KnownEnsembleConfig, known_ensemble
from crossrec.training.policy import STARTS, FinetuneConfig, policy_finetune
from crossrec.training.racrec import RACRecRecipeConfig, racrec
from crossrec.training.sequence import SequenceConfig, TransferConfig, sasrec, transfer
from crossrec.training.simple import (
    ItemKNNConfig,
    LinearMapConfig,
    PopularityConfig,
    PopularLatelyConfig,
    item_knn,
    linear_map,
    popular_lately,
    popularity,
)
from crossrec.training.unified import UnifiedRecipeConfig, unified

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("popularity", "Popularity", PopularityConfig, popularity),
        Recipe("popular-lately", "Popular at the time", PopularLatelyConfig, popular_lately),
        Recipe("linear-map", "Linear map", LinearMapConfig, linear_map),
        Recipe("user-knn", "Nearest neighbours", coldstart.UserKNNConfig, coldstart.user_knn),
        Recipe("item-knn", "Nearest items in order", ItemKNNConfig, item_knn),
        Recipe("content", "Words of reviews", coldstart.ContentConfig, coldstart.content, needs_text=True),
        Recipe("biases", "Biases of items and people", coldstart.BiasesConfig, coldstart.biases),
        Recipe("emcdr", "EMCDR", mapping.EMCDRConfig, mapping.emcdr),
        Recipe("ptupcdr", "PTUPCDR", mapping.PTUPCDRConfig, mapping.ptupcdr),
        Recipe("collective-factors", "Collective factors", CollectiveConfig, collective_factors),
        Recipe("source-sasrec", "SASRec on the source domain", SequenceConfig, sasrec, domain="source"),
        Recipe("target-sasrec", "Target-only SASRec", SequenceConfig, sasrec),
        Recipe("transfer-sasrec", "Transfer SASRec", TransferConfig, transfer, starts_from=("source-sasrec",)),
        Recipe("racrec", "Review model (RACRec)", RACRecRecipeConfig, racrec, needs_text=True),
        Recipe("autoencoder", "Cross-domain autoencoder", AutoencoderRecipeConfig, autoencoder, takes_text=True),
        Recipe("unified", "Unified encoder", UnifiedRecipeConfig, unified, takes_text=True),
        Recipe("ensemble", "Ensemble", EnsembleConfig, ensemble, takes_text=True),
        Recipe("known-ensemble", "Ensemble for known people", KnownEnsembleConfig, known_ensemble, takes_text=True),
        Recipe("policy-finetune", "Fine-tuned on feedback", FinetuneConfig, policy_finetune, starts_from=STARTS),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        CrossrecError: there is none; the nearest is named.
    """
    if name not in RECIPES:
        raise CrossrecError(f"There is no recipe {name!r}.{nearest(name, RECIPES)}")
    return RECIPES[name]
