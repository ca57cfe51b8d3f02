"""An encoder without attention: the mean of the static vectors of a text's tokens."""

from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from crossrec.text.files import sha256, wheel_file


class StaticEncoder:
    """The 256-d vectors of the wordllama wheel, averaged over the tokens of a text and L2-normalised.

    Its two files are read from the wheel here. Its own loader looks for the tokenizer in a folder that the wheel does
    not have and then asks the network, and importing it sets up the logging of the whole process. Thousands of texts a
    second, at a loss of quality.
    """

    name = "static"

    def __init__(self) -> None:
        weights = wheel_file("wordllama", "weights", "l2_supercat_256.safetensors")
        self.key = f"static-{sha256(weights)[:8]}-f32"
        self._table = load_file(weights)["embedding.weight"].astype(np.float32)
        self._tokenizer = Tokenizer.from_file(
            str(wheel_file("wordllama", "tokenizers", "l2_supercat_tokenizer_config.json"))
        )
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._lock = Lock()
        self.dim = self._table.shape[1]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, 256) unit vectors in the order of the texts; a blank text, or one without a token, gives zeros."""
        out = np.zeros((len(texts), self.dim), np.float32)
        clean = [text.strip().encode("utf-8", "replace").decode() for text in texts]
        with self._lock:
            encoded = self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        for row, one in enumerate(encoded):
            if one.ids:
                # Ids beyond the table are those of special tokens; the wheel's own loader clips them too.
                out[row] = self._table[np.minimum(one.ids, len(self._table) - 1)].mean(axis=0)
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        return np.divide(out, norms, out=out, where=norms > 0)
