"""The entry: `streamlit run app`. Pages at /, the REST routes at /api."""

import asyncio
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import streamlit as st
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from app.ui import loading
from app.ui.errors import tell


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.to_thread(loading.wait)
    await import_module("crossrec.api").api(scope, receive, send)


loading.begin()
app = st.App("main.py", routes=[Mount("/api", app=api)], on_script_error=tell)
