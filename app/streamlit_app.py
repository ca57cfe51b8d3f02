"""The entry: `streamlit run app`. Pages at /, the REST routes at /api."""

import asyncio
import sys
import threading
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import streamlit as st
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from app.ui.errors import tell

LATER = ("crossrec.api", "crossrec.runs.compare", "crossrec.runs.coldstart", "crossrec.report.figures")
"""What pages and routes stand on. It takes seconds to load, torch above all: the server answers meanwhile, and whoever
comes first does not wait for all of it."""


def load() -> None:
    import_module("crossrec.threads").set_threads()
    for name in LATER:
        import_module(name)


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    loaded = await asyncio.to_thread(import_module, "crossrec.api")
    await loaded.api(scope, receive, send)


threading.Thread(target=load, daemon=True, name="loading").start()
app = st.App("main.py", routes=[Mount("/api", app=api)], on_script_error=tell)
