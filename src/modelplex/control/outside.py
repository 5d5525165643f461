"""Who may know an image that modelplex does not run itself: the container engine, our registry.

Asked while a caller of CreateModel waits, so both have little time.
"""

from __future__ import annotations

import asyncio
from functools import partial

from modelplex import engine
from modelplex.ecr import lookup
from modelplex.images.catalogue import EngineOff, EngineSilent, Outside
from modelplex.settings import Settings

QUESTION_TIMEOUT_S = 2.0


def outside(settings: Settings) -> Outside:
    """The engine and the registry that the settings name."""
    return Outside(
        settings.account, partial(_engine_id, settings), partial(_registry_digest, settings)
    )


async def _engine_id(settings: Settings, image: str) -> str:
    url = engine.locate(settings.container_engine)
    try:
        async with asyncio.timeout(QUESTION_TIMEOUT_S):
            found = await asyncio.to_thread(engine.find, url, image, QUESTION_TIMEOUT_S)
    except TimeoutError:
        raise EngineSilent(
            f"The container engine at {url} did not answer within {QUESTION_TIMEOUT_S:g} s."
        ) from None
    except engine.EngineError as error:
        raise (EngineSilent if url else EngineOff)(str(error)) from None
    return found.id if found else ""


async def _registry_digest(settings: Settings, image: str) -> str:
    return await lookup.digest(settings, image) or ""
