"""The demo: a page on this machine alone, which sends it frames and pictures and draws the hands that come back.

Nothing is stored. Only pages of this very server may talk to it: any other site open in the same browser could reach a
port on this machine too, so Host and Origin are checked, of web sockets as well.
"""

import asyncio
import io
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import uvicorn
from fastapi import FastAPI, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from handloom import images, results
from handloom.errors import DataError, EnvironmentFault
from handloom.inference import MIN_SCORE, HandFinder
from handloom.video import HandTracker

PAGE: Final = Path(__file__).parent / "page"
HOSTS: Final = ("127.0.0.1", "localhost")
MAX_UPLOAD: Final = 20 * 2**20
"""Bytes of a picture."""
MAX_FRAME: Final = 2 * 2**20
"""Bytes of a frame of a stream; one of 640 x 480 has a twentieth of it."""
MAX_FRAME_PIXELS: Final = 4_000_000
PATIENCE_S: Final = 10.0
"""For a request's head, and then for its body; uvicorn itself waits for ever."""
POLICY: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Settings(BaseModel):
    """What the page may set for its own stream."""

    model_config = ConfigDict(extra="forbid")

    min_score: float = Field(default=MIN_SCORE, ge=0, le=1)
    smooth: bool = True


class OwnPagesOnly:
    """Turn away what other sites' pages send; programs that send no Origin are the user's own."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app, self.origins = app, {f"http://{host}:{port}" for host in HOSTS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        origin = dict(scope.get("headers", ())).get(b"origin", b"").decode("latin1")
        if origin and origin not in self.origins:
            await Response(f"origin: not this demo's page, got '{origin}'; open the demo itself\n", 403)(
                scope, receive, send
            )
        else:
            await self.app(scope, receive, send)


def build(finder: HandFinder, port: int) -> FastAPI:
    """Give the demo as an ASGI app."""
    app = FastAPI(max_body_size=MAX_UPLOAD, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(OwnPagesOnly, port=port)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)

    @app.middleware("http")
    async def policy(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers.update(POLICY)
        return response

    @app.post("/picture")
    async def picture(request: Request, min_score: Annotated[float, Query(ge=0, le=1)] = MIN_SCORE) -> JSONResponse:
        """Take a picture's bytes; gives its hands, and their mask as a PNG."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                content = await request.body()
        except TimeoutError:
            what = f"picture: must come within {PATIENCE_S:g} s, got a part of it; send it again"
            return JSONResponse({"error": what}, 408, {"Connection": "close"})
        try:
            return JSONResponse(await run_in_threadpool(_read, finder, content, min_score))
        except DataError as error:
            return JSONResponse({"error": str(error)}, 422)

    @app.websocket("/frames")
    async def frames(line: WebSocket) -> None:
        """Take settings as text and frames as bytes; gives every frame's hands before it takes the next."""
        await line.accept()
        settings, tracker = Settings(), HandTracker(finder)
        begun = time.monotonic()
        try:
            while True:
                message = await line.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if (text := message.get("text")) is not None:
                    settings = Settings.model_validate_json(text)
                    tracker = HandTracker(finder, min_score=settings.min_score, smooth=settings.smooth)
                else:
                    said = await run_in_threadpool(_follow, tracker, message["bytes"], time.monotonic() - begun)
                    await line.send_json(said)
        except (ValidationError, DataError) as error:
            with suppress(WebSocketDisconnect):  # gone already
                await line.close(1003, " ".join(str(error).split()).encode()[:120].decode(errors="ignore"))
        except WebSocketDisconnect:
            return

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


def _read(finder: HandFinder, content: bytes, min_score: float) -> dict[str, Any]:
    begun = time.perf_counter()
    picture = images.read(io.BytesIO(content), "picture")
    return {**results.answer(picture, finder(picture, min_score)), "ms": _since(begun)}


def _follow(tracker: HandTracker, content: bytes, seconds: float) -> dict[str, Any]:
    begun = time.perf_counter()
    picture = images.read(io.BytesIO(content), "frame", MAX_FRAME_PIXELS)
    return {**results.row("frame", picture, tracker(picture, seconds)), "ms": _since(begun)}


def _since(begun: float) -> float:
    return round(1000 * (time.perf_counter() - begun), 2)


class Impatient(H11Protocol):
    """HTTP/1.1 that closes a connection whose next request's head does not come in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(PATIENCE_S, transport.close)

    def handle_events(self) -> None:
        """Wait no more once a head is whole; after an answer uvicorn's own time of keeping alive counts."""
        before = self.headers
        super().handle_events()
        if self._deadline is not None and self.headers is not before:
            self._deadline.cancel()

    def on_response_complete(self) -> None:
        """Wait for the next head."""
        if not self.transport.is_closing():
            self._deadline = self.loop.call_later(PATIENCE_S, self.transport.close)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)


def run(app: FastAPI, port: int, begun: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; `begun` is called once the port answers.

    Raises EnvironmentFault where the port is taken.
    """

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            begun()

    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind((HOSTS[0], port))
        except OSError as error:
            raise EnvironmentFault(f"demo: port taken, got '{port}', {error.strerror}; choose another --port") from None
        config = uvicorn.Config(
            app, http=Impatient, log_level="warning", ws_max_size=MAX_FRAME, timeout_graceful_shutdown=2
        )
        Server(config).run([own])
