"""A run as a folder that answers strangers anywhere: recommender, catalogue, and what they are; no data, no users."""

import os
import shutil
import tempfile
from pathlib import Path

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.folder import Run

FORMAT = 1
KEPT = ("run", "recipe", "title", "domain", "dataset", "dataset_hash", "versions")
"""What of a run's config goes with it; its machine and its command stay."""


def export(run: Run, folder: Path) -> Path:
    """Writes a finished run into a folder that `RunRecommender` opens; returns the folder.

    It appears when it is whole. Its answers to reviews and picked items are those of the run, bit for bit.

    Raises:
        CrossrecError: the folder has something in it or cannot be written, or the run cannot be used.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CrossrecError(f"{folder} is not empty, and nothing is overwritten: name a new folder.")
    opened = RunRecommender(run)  # an old run gets its catalogue here
    config = run.config()
    about = {"format": FORMAT, **{key: config[key] for key in KEPT}, "encoder": opened.catalog.encoder}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise CrossrecError(f"{folder.parent} cannot be written to ({error.strerror}).") from error
    try:
        temporary.chmod(0o755)
        for part in ("recommender", "catalog"):
            shutil.copytree(run.folder / part, temporary / part)
        paths.write_json(temporary / "export.json", about)
        os.replace(temporary, folder)
    except OSError as error:
        raise CrossrecError(f"{folder} cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
