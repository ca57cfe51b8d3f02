"""Our SASRec on a file of sequences, one step at a time: a line on standard input asks, a line of JSON answers.

    python bench/sasrec_steps.py FILE LOSS NEGATIVES THREADS [KEY=VALUE ...]

The same questions as of `peers/rectools_sasrec.py`: `epoch`, `validate`, `recommend`, `end`; and `evaluate`, the whole
report of the test that `crossrec train` writes. Of each person the last two items are not trained on.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import peak

from crossrec.config import from_dict
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import import_pair
from crossrec.data.split import split_unstored
from crossrec.evaluation.protocol import evaluate, quick
from crossrec.models.recommender import Recommender
from crossrec.training.job import Job
from crossrec.training.loop import Control
from crossrec.training.sequence import SequenceConfig, sasrec


class End(Exception):
    """Nothing more is asked."""


class Server:
    def __init__(self, pair: DomainPair):
        self.pair, self.split = pair, split_unstored(pair)
        self.recommender: Recommender | None = None

    def validate(self, recommender: Recommender) -> dict[str, float]:
        """Costs nothing: what is asked for is told apart from the training."""
        self.recommender = recommender
        return {"ndcg@10": 0.0, "hr@10": 0.0}

    def told(self, event: dict[str, Any]) -> None:
        """After each epoch: answers until the next one is asked for."""
        if event["event"] != "epoch":
            return
        answer({"seconds": event["train_seconds"]})
        while (asked := sys.stdin.readline().strip()) != "epoch":
            assert self.recommender is not None
            began, found = time.perf_counter(), dict[str, Any]()
            if asked == "recommend":
                questions = self.split.valid
                for rows in np.array_split(np.arange(len(questions)), max(1, len(questions) // 512)):
                    self.recommender.recommend(questions.take(rows).histories(self.pair), 10)
            elif asked == "validate":
                found["ndcg"] = quick(self.recommender, self.pair, self.split)["ndcg@10"]
            elif asked == "evaluate":
                evaluate(self.recommender, self.pair, self.split)
            else:
                raise End
            answer({"seconds": time.perf_counter() - began} | found)


def answer(found: dict[str, Any]) -> None:
    print(json.dumps({**found, "peak": peak()}), flush=True)


def main(path: str, loss: str, negatives: str, threads: str, *settings: str) -> None:
    torch.set_num_threads(int(threads))
    with tempfile.TemporaryDirectory() as home:
        os.environ["CROSSREC_HOME"] = home
        import_pair("sequences", None, Path(path))
        server = Server(DomainPair.open("sequences"))
    asked = {"dim": 64, "heads": 1, "max_len": 50, "batch_size": 256, "dropout": 0.2, "epochs": 10_000}
    asked |= {"patience": 10_000, "loss": loss, "negatives": int(negatives)} | dict(one.split("=") for one in settings)
    answer({"ready": True})
    if sys.stdin.readline().strip() != "epoch":
        return
    config = from_dict(SequenceConfig, asked)
    try:
        sasrec(Job(server.pair, server.split, config, 0, server.validate, Control(server.told)))
    except End:
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
