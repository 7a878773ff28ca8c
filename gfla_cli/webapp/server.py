"""The server of `gfla app`: from requests to jobs, and back as images, videos and JSON."""

from __future__ import annotations

import json
import secrets
import socket
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from importlib.resources import files
from pathlib import Path
from threading import Timer
from typing import Any, Literal

import python_multipart  # noqa: F401  # Starlette loads it with the first form; a missing one is reported at the start
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gfla_cli.arrays import Image
from gfla_cli.conditioning.face_map import sees_irises
from gfla_cli.conditioning.view_code import AZIMUTHS
from gfla_cli.errors import GflaError, UsageError
from gfla_cli.inference.runtime import MANY
from gfla_cli.inference.session import Execution, model_config
from gfla_cli.io.image import encoded
from gfla_cli.person.keypoint_files import pose_json, read_pose
from gfla_cli.pipelines.animation import Animator
from gfla_cli.pipelines.framing import parse_size
from gfla_cli.pipelines.pose_transfer import PoseTransfer
from gfla_cli.pipelines.view_jobs import tiled, write_turntable
from gfla_cli.pipelines.view_synthesis import ViewSynthesizer
from gfla_cli.webapp import HEADERS, HOST, is_own_name, port_taken, refused_length
from gfla_cli.webapp.jobs import BusyError, ClientGoneError, Expression, FaceModel, Worker, find_pose, preview_pose
from gfla_cli.webapp.uploads import Form, Uploads

LARGEST_BODY = 256 << 20  # bytes of one request; videos are large
_CLIENT_GONE = 499  # the code that nginx logs; no client gets it
_BROWSER_AFTER_S = 0.5
_PAGE = files("gfla_cli.webapp") / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json"}
_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src blob:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
}

_Endpoint = Callable[[Request], Awaitable[Response]]
_Scope = MutableMapping[str, Any]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Names of the models, and how they are run."""

    pose: str = "pose-people"
    face: str = "face-people"
    view: str = "view-chairs"
    execution: Execution = field(default_factory=Execution)  # what is not given is chosen


class Server:
    """What all requests share."""

    def __init__(self, models: Models) -> None:
        self.uploads = Uploads()
        execution: Execution = {"images": MANY, **models.execution}  # a dragged joint asks for ten images a second
        self.face_model = models.face
        self.pose = Worker(lambda: PoseTransfer(models.pose, **execution))
        self.face = Worker(lambda: FaceModel(Animator(models.face, **execution)))
        self.view = Worker(lambda: ViewSynthesizer(models.view, **execution))

    def app(self, token: str, port: int) -> Guard:
        """The ASGI application, for clients that know the token."""
        routes = [
            Route("/", _page),
            Route("/openapi.json", _page),
            Route("/models.json", self._abilities),
            Route("/page/{name}", _page),
            *(
                Route(path, self._endpoint(job), methods=["POST"])
                for path, job in {
                    "/uploads": self._keep,
                    "/detect": self._detect,
                    "/pose-transfer": self._transfer,
                    "/animate": self._animate,
                    "/view-synthesis": self._view,
                }.items()
            ),
        ]
        handlers = {HTTPException: _http_error}
        return Guard(Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan), token, port)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for worker in (self.pose, self.face, self.view):
                worker.close()
            self.uploads.close()

    def _endpoint(self, job: Callable[[Form, Request], Awaitable[Response]]) -> _Endpoint:
        """Reads the form, answers errors as JSON, and deletes the files that are not to be kept."""

        async def endpoint(request: Request) -> Response:
            form = Form(self.uploads)
            try:
                await form.read(request)
                return await job(form, request)
            except ClientGoneError:
                return Response(status_code=_CLIENT_GONE)
            except BusyError as error:
                return _error(503, str(error), error.hint)
            except GflaError as error:
                return _error(400, self.uploads.without_folder(str(error)), error.hint)
            except OSError as error:
                return _error(500, error.strerror or type(error).__name__, "check the free space of the disk")
            finally:
                form.delete()

        return endpoint

    async def _abilities(self, _: Request) -> Response:
        """What the page offers for some models only. A face model that is missing is reported by its first job."""
        gaze = False
        with suppress(GflaError):
            gaze = sees_irises(await run_in_threadpool(model_config, self.face_model))
        return JSONResponse({"face": {"gaze": gaze}})

    async def _keep(self, form: Form, _: Request) -> Response:
        path = form.file("file")
        if path not in form.files:
            raise UsageError("that file is kept already", hint="send a file, not an id")
        form.files.remove(path)
        return JSONResponse({"id": self.uploads.keep(path), "name": path.name})

    async def _detect(self, form: Form, request: Request) -> Response:
        source, which = form.json_file("source"), form.text("person", "largest")
        onto = form.file("onto") if form.has("onto") else None
        notes: list[str] = []
        pose = await self.pose.run(
            lambda model, _: find_pose(model, source, which, onto, notes), request.is_disconnected
        )
        return JSONResponse({**pose_json(pose), "notes": [self.uploads.without_folder(note) for note in notes]})

    async def _transfer(self, form: Form, request: Request) -> Response:
        source = form.file("source")
        target = form.json_file("pose")
        if form.flag("preview"):
            pose = read_pose(target)
            made = await self.pose.run(lambda model, _: preview_pose(model, source, pose), request.is_disconnected)
            return await self._image(made.image, made.notes, kind="JPEG")
        size, background = parse_size(form.text("size", "source")), form.background()
        result = await self.pose.run(
            lambda model, _: model.transfer(
                source,
                target,
                align="placed" if form.flag("placed") else True,
                person=form.text("person", "largest"),
                target_person=form.text("target_person", "largest"),
                refine_head=form.flag("refine_head", default=True),
                refine_body=form.flag("refine_body", default=True),
                size=size,
                background=background,
            ),
            request.is_disconnected,
        )
        return await self._image(result.image, result.notes)

    async def _animate(self, form: Form, request: Request) -> Response:
        source = form.file("source")
        if form.has("expression"):
            expression = Expression.parse(form.json("expression"))
            made = await self.face.run(lambda model, _: model.express(source, expression), request.is_disconnected)
            return await self._image(made.image, made.notes, kind="JPEG" if form.flag("preview") else "PNG")
        if form.has("frame"):
            frame, first = form.file("frame"), form.flag("first")
            made = await self.face.run(
                lambda model, _: model.follow(source, frame, first=first), request.is_disconnected
            )
            return await self._image(made.image, made.notes, kind="JPEG")
        driving = form.file("driving")
        with self._output("animation.mp4") as output:
            notes = await self.face.run(
                lambda model, gone: model.animate(source, driving, output, gone), request.is_disconnected
            )
            return self._answer(output.read_bytes(), "video/mp4", notes)

    async def _view(self, form: Form, request: Request) -> Response:
        source, wanted = form.file("source"), form.text("output", "view")
        if wanted not in ("view", "grid", "turntable"):
            raise UsageError(f"unknown output: {wanted:.30}", hint="known: view, grid, turntable")
        azimuths = [form.number("azimuth") or 0.0] if wanted == "view" else [float(azimuth) for azimuth in AZIMUTHS]
        elevation, source_azimuth = form.number("elevation"), form.number("source_azimuth")
        result = await self.view.run(
            lambda model, _: model.render(source, azimuths, source_azimuth, None, elevation), request.is_disconnected
        )
        angles = result.source_view.angles
        found = {"source_azimuth": angles.azimuth, "source_elevation": angles.elevation}
        if wanted == "turntable":
            with self._output("turntable.mp4") as output:
                await run_in_threadpool(write_turntable, output, result.images, AZIMUTHS, angles)
                return self._answer(output.read_bytes(), "video/mp4", result.notes, found)
        image = result.images[0] if wanted == "view" else tiled(result.images)
        return await self._image(image, result.notes, found=found)

    @contextmanager
    def _output(self, name: str) -> Any:
        path = self.uploads.new_path(name)
        try:
            yield path
        finally:
            self.uploads.delete(path)

    async def _image(
        self,
        image: Image,
        notes: list[str],
        kind: Literal["PNG", "JPEG"] = "PNG",
        found: dict[str, float] | None = None,
    ) -> Response:
        options = {"quality": 90} if kind == "JPEG" else {"compress_level": 4}
        content = await run_in_threadpool(encoded, image, kind, **options)  # a large PNG takes a second
        return self._answer(content, f"image/{kind.lower()}", notes, found)

    def _answer(self, content: bytes, kind: str, notes: list[str], found: dict[str, float] | None = None) -> Response:
        """A file, with the report in a header."""
        plain = [self.uploads.without_folder(note)[:500] for note in notes[:8]]
        return Response(
            content, media_type=kind, headers={"Gfla-Report": json.dumps({**(found or {}), "notes": plain})}
        )


def serve(models: Models, port: int, announce: Callable[[str], None], *, browser: bool) -> None:
    """Serves until Ctrl-C. `announce` gets the address with its token. Raises UsageError when the port is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise port_taken(port, error) from error
        listening.listen()
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        address = f"http://{HOST}:{port}/?token={token}"
        server = Server(models)
        config = uvicorn.Config(
            server.app(token, port),
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=100,
            timeout_graceful_shutdown=1,
        )
        announce(address)
        if browser:
            opening = Timer(_BROWSER_AFTER_S, webbrowser.open, [address])
            opening.daemon = True
            opening.start()
        with suppress(KeyboardInterrupt):  # raised again by uvicorn after it has ended
            uvicorn.Server(config).run([listening])


class Guard:
    """Lets in those who know the token, under this machine's own name, with bodies of a known and bounded length."""

    def __init__(self, app: Callable[..., Awaitable[None]], token: str, port: int) -> None:
        self._app, self._token = app, token
        self._cookie = f"gfla-{port}"  # browsers send cookies to every port of a host

    async def __call__(self, scope: _Scope, receive: Any, send: _Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, _with_headers(send))
                return
            send = _with_headers(send)
        await self._app(scope, receive, send)

    def _refusal(self, scope: _Scope) -> Response | None:
        """The answer to a request that is not let in."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not is_own_name(host) or headers.get("origin", f"http://{host}") != f"http://{host}":
            return _error(403, "requests from other sites are refused", "open the address that gfla app printed")
        query = QueryParams(scope["query_string"]).get("token", "")
        if scope["path"] == "/" and self._is_token(query):  # the token leaves the address bar
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="lax")
            return answer
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if not any(map(self._is_token, (query, bearer, self._from_cookie(headers.get("cookie", ""))))):
            return _error(401, "the token is missing or wrong", "open the address that gfla app printed")
        length = headers.get("content-length", "0" if scope["method"] in ("GET", "HEAD") else "")
        if status := refused_length(length, LARGEST_BODY):
            most = f"send it with Content-Length; {LARGEST_BODY >> 20} MB are the most"
            return _error(status, "the request is too large, or does not say its length", most)
        return None

    def _from_cookie(self, text: str) -> str:
        try:
            cookie = SimpleCookie(text).get(self._cookie)
        except CookieError:
            return ""
        return cookie.value if cookie else ""

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self._token.encode())


def _with_headers(send: _Send) -> _Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *own]}
        await send(message)

    return sending


def _error(status: int, what: str, hint: str) -> Response:
    return JSONResponse({"error": what, "hint": hint}, status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = str(error.detail)
    if allowed := (error.headers or {}).get("Allow"):
        methods = " and ".join(sorted(allowed.split(", ")))
        what = f"{request.url.path} takes {methods}, not {request.method}"
    return _error(error.status_code, what, "GET /openapi.json describes the requests")


async def _page(request: Request) -> Response:
    name = request.path_params.get("name") or request.url.path.strip("/") or "index.html"
    known = {file.name: file for file in _PAGE.iterdir() if Path(file.name).suffix in _KINDS}
    if name not in known:
        raise HTTPException(404, "there is no such file")
    return Response(known[name].read_bytes(), media_type=_KINDS[Path(name).suffix])
