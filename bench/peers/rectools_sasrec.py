"""SASRec of RecTools on a file of sequences, one step at a time: a line on standard input asks, a line of JSON answers.

    python rectools_sasrec.py FILE LOSS NEGATIVES THREADS

`epoch` trains one epoch and tells its seconds; `validate` tells NDCG@10 of the last but one item of each person among
all items that the person does not have; `recommend` gives everybody ten items and tells its seconds; `end` ends. Each
answer has the peak memory in MiB. Of each person the last two items are not trained on.
"""

import gzip
import json
import logging
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


class Clock(Callback):
    """Seconds of the last epoch, between the loop's own marks."""

    def on_train_epoch_start(self, trainer, module):
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer, module):
        self.seconds = time.perf_counter() - self.began


def read(path):
    """Users, items and positions of all events but each person's last two, and {user: last but one item}."""
    rows, held = [], {}
    with gzip.open(path, "rt") as file:
        for line in file:
            user, *items = line.split()
            rows += [(user, item, at) for at, item in enumerate(items[:-2])]
            held[user] = items[-2]
    table = pd.DataFrame(rows, columns=[Columns.User, Columns.Item, "at"])
    table[Columns.Weight] = 1.0
    table[Columns.Datetime] = pd.Timestamp("2020-01-01") + pd.to_timedelta(table.pop("at"), unit="D")
    return table, held


def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:"))


def main(path, loss, negatives, threads):
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what the library draws from
    table, held = read(path)
    dataset = Dataset.construct(table)

    def trainer():
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        return Trainer(
            max_epochs=1, accelerator="cpu", devices=1, enable_checkpointing=False, callbacks=[Clock()], **quiet
        )

    model = SASRecModel(
        n_blocks=2,
        n_heads=1,
        n_factors=64,
        session_max_len=50,
        dropout_rate=0.2,
        batch_size=256,
        lr=1e-3,
        loss=loss,
        n_negatives=int(negatives),
        gbce_t=0.75,
        use_key_padding_mask=True,
        get_trainer_func=trainer,
        recommend_batch_size=256,
    )
    users = np.array(list(held))

    def recommend():
        return model.recommend(users=users, dataset=dataset, k=10, filter_viewed=True, on_unsupported_targets="ignore")

    print(json.dumps({"ready": True, "peak": peak()}), flush=True)
    for line in sys.stdin:
        asked, told = line.strip(), {}
        if asked == "epoch":
            model.fit_partial(dataset, min_epochs=1, max_epochs=1)
            told["seconds"] = next(c for c in model.fit_trainer.callbacks if isinstance(c, Clock)).seconds
        elif asked == "recommend":
            began = time.perf_counter()
            recommend()
            told["seconds"] = time.perf_counter() - began
        elif asked == "validate":
            found = recommend()
            right = found[found[Columns.Item] == found[Columns.User].map(held)]
            told["ndcg"] = float((1 / np.log2(right[Columns.Rank] + 1)).sum() / len(held))
        else:
            return
        print(json.dumps({**told, "peak": peak()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
