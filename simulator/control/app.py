"""The control API's Flask app: parse, check, call a plain function, render."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from typing import Any

import flask
import orjson
from werkzeug.exceptions import HTTPException

from simulator import metrics, openapi
from simulator.control.desk import Desk, NotThere
from simulator.control.frame import Ask, ControlRoute, Refused, body_schema, check_body, check_query
from simulator.control.routes import ROUTES
from simulator.tank import UnknownTank
from simulator.timekeeper import NotStepped

log = logging.getLogger(__name__)

_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["what", "where", "mend"],
            "properties": {name: {"type": "string"} for name in ("what", "where", "mend")},
        }
    },
}


def create_app(desk: Desk) -> flask.Flask:
    """The WSGI app of the control port."""
    app = flask.Flask("simulator.control", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 256 * 1024 * 1024
    app.url_map.strict_slashes = False
    for index, route in enumerate(ROUTES):
        app.add_url_rule(
            route.path,
            endpoint=f"{index}",
            view_func=_view(desk, route),
            methods=[route.method],
            provide_automatic_options=False,
        )
    published = _published()
    app.add_url_rule("/openapi.json", "openapi", lambda: _json(200, published))
    app.add_url_rule("/metrics", "metrics", _metrics)
    app.register_error_handler(HTTPException, _http_error)
    return app


def _metrics() -> flask.Response:
    return flask.Response(metrics.everything(), content_type=metrics.CONTENT_TYPE)


def _published() -> dict[str, Any]:
    ready = body_schema("ready")
    operations = []
    for route in ROUTES:
        responses: dict[int, tuple[str, Any]] = {
            status: (text, None if status == 204 else ready if text == "ready object" else {})
            for status, text in route.responses.items()
        }
        for status, text in ((400, "the request does not fit"), (404, "it does not exist")):
            responses.setdefault(status, (text, _ERROR_SCHEMA))
        responses.setdefault(401, ("the control token is missing or wrong", _ERROR_SCHEMA))
        operations.append(
            openapi.Operation(
                route.method,
                route.path,
                route.name,
                responses,
                None if route.schema is None else body_schema(route.schema),
                query=route.query,
                needs_body=route.needs_body,
            )
        )
    return openapi.document("wavetank: control API", operations)


def _json(status: int, body: Any) -> flask.Response:
    if body is None:
        return flask.Response(status=status)
    return flask.Response(orjson.dumps(body), status=status, content_type="application/json")


def _refused(error: Refused) -> flask.Response:
    return _json(error.status, {"error": error.error})


def _http_error(error: HTTPException) -> flask.Response:
    response = _refused(
        Refused(
            f"{flask.request.method} {flask.request.path}: {error.name}",
            "path",
            "GET /openapi.json lists what this port answers",
            error.code or 500,
        )
    )
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    if error.code == 413:
        response.headers["Connection"] = "close"
    return response


def _view(desk: Desk, route: ControlRoute) -> Callable[..., flask.Response]:
    def view(**path: str) -> flask.Response:
        try:
            _authorize(desk, route)
            status, body = route.handle(_ask(desk, route, path))
        except Refused as error:
            return _refused(error)
        except UnknownTank as error:
            return _refused(Refused(str(error), "path", "GET /tanks lists those there are", 404))
        except NotThere as error:
            return _refused(Refused(str(error), "path", "list what there is with a GET one level up", 404))
        except NotStepped as error:
            return _refused(Refused(str(error), "clock", 'PUT /tanks/{id}/clock {"mode": "stepped"} first', 409))
        except ValueError as error:
            return _refused(Refused(str(error), "body", "correct the value"))
        except HTTPException:
            raise
        except Exception:
            log.exception("%s %s failed", flask.request.method, flask.request.path)
            return _refused(Refused("a defect of wavetank", "control API", "please report it", 500))
        return _json(status, body)

    return view


def _authorize(desk: Desk, route: ControlRoute) -> None:
    if desk.token is None or route.open:
        return
    given = flask.request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {desk.token}".encode()):
        raise Refused("the control token is missing or wrong", "Authorization", "send Bearer and the token", 401)


def _ask(desk: Desk, route: ControlRoute, path: dict[str, str]) -> Ask:
    tank = desk.tank(path["tank_id"]) if "tank_id" in path else None
    query = check_query(route, flask.request.args.to_dict())
    body: Any = None
    raw = flask.request.get_data()
    if route.schema is not None:
        if raw or route.needs_body:
            try:
                body = orjson.loads(raw)
            except orjson.JSONDecodeError as error:
                raise Refused(f"the body is not JSON: {error}", "body", "send a JSON object") from None
        else:
            body = {}
        check_body(route.schema, body)
    return Ask(desk, path, query, body, tank)
