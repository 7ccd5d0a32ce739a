"""How callers of Amplitude's APIs prove themselves: form field, Basic auth, or secret key.

Source: Amplitude docs, Keys and tokens; the pages of each API.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from simulator.exchange import Found, Request
from simulator.tank import Region, Tanks


def at_home(tanks: Tanks, credential: str, value: str | None, region: Region, detail: object = None) -> Found:
    """The tank of this credential, when it is valid and of this region; else its owner, for the journal."""
    if not value:
        return Found(None, detail)
    tank, revoked = tanks.find(credential, value)
    if tank is None:
        return Found(None, detail)
    if revoked or tank.region != region:
        return Found(None, detail, owner=tank)
    return Found(tank, detail)


def fields(request: Request) -> dict[str, str]:
    """Query parameters and form fields by name; the form wins. A form that cannot be read has none."""
    found = {name: values[-1] for name, values in request.query.items() if values}
    mimetype, options = parse_options_header(request.headers.get("Content-Type", ""))
    if mimetype in ("application/x-www-form-urlencoded", "multipart/form-data"):
        body = io.BytesIO(request.body)
        _, form, _ = FormDataParser(silent=True).parse(body, mimetype, len(request.body), options)
        found.update(form.to_dict())
    return found


def whole_number(text: str) -> int | None:
    """A number of up to 17 digits 0-9 (other scripts have digits too), None when the text is something else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 17 else None


def find_by_form(request: Request, tanks: Tanks, region: Region) -> Found:
    """By the ``api_key`` field; the detail is the fields."""
    given = fields(request)
    return at_home(tanks, "amplitude_api_key", given.get("api_key"), region, given)


def basic(headers: Mapping[str, str]) -> tuple[str, str]:
    """User and password of Basic auth; empty texts when there are none."""
    scheme, _, rest = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except ValueError:  # not ASCII, not base64, or not UTF-8 within
        return "", ""
    return user, password


def find_by_key_pair(request: Request, tanks: Tanks, region: Region) -> Found:
    """By API key and secret key; the detail is the fields."""
    user, password = basic(request.headers)
    given = fields(request)
    found = at_home(tanks, "amplitude_api_key", user, region, given)
    if found.tank is None:
        return found
    secret, revoked = tanks.credential(found.tank.id, "amplitude_secret_key")
    return Found(None, given, owner=found.tank) if revoked or secret != password else found


def find_by_secret(request: Request, tanks: Tanks, region: Region) -> Found:
    """By ``Authorization: Api-Key <secret>``; the detail is the fields."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    return at_home(tanks, "amplitude_secret_key", rest if scheme == "Api-Key" else None, region, fields(request))
