"""REST keys with permissions and IP allow-lists, and data import keys: several of each per workspace.

The tank's own ``braze_rest_api_key`` has every permission and its ``braze_data_import_key`` is the first of its
kind; further ones are made over the control API. Keys are kept in the directory of tanks, because a request finds
its tank by them. Source: Braze docs, API overview (REST API keys); Amplitude for cohort import (Data Import Key).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import orjson
import yaml
from sqlalchemy import BigInteger, Boolean, Column, String, Table, select
from sqlalchemy.exc import IntegrityError

from simulator.credentials import check_credential
from simulator.tank import Tank, Tanks, UnknownTank, directory

Kind = Literal["rest", "data_import"]

keys = Table(
    "braze_keys",
    directory,
    Column("value", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("tank_id", String, nullable=False, index=True),
    Column("born", BigInteger, nullable=False),
    Column("name", String, nullable=False),
    Column("permissions", String, nullable=False),
    Column("allowed_ips", String, nullable=False),
    Column("revoked", Boolean, nullable=False),
)


@dataclass(frozen=True)
class Key:
    """A REST key. ``permissions`` None has all of them; no ``allowed_ips`` lets every address in."""

    value: str
    permissions: frozenset[str] | None = None
    allowed_ips: tuple[str, ...] = ()

    def may(self, permission: str | None) -> bool:
        """Whether the key is good for an endpoint of this permission."""
        return permission is None or self.permissions is None or permission in self.permissions

    def lets_in(self, address: str) -> bool:
        """Whether a caller of this address may use the key; entries are addresses or CIDR networks."""
        if not self.allowed_ips:
            return True
        try:
            caller = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(caller in ipaddress.ip_network(each, strict=False) for each in self.allowed_ips)


@cache
def endpoints() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """The documented endpoints: folder, then ``METHOD /path``, then its row."""
    loaded: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
        Path(__file__).with_name("endpoints.yaml").read_text("utf-8")
    )
    return loaded


def all_permissions() -> list[str]:
    """Every permission that an endpoint asks for."""
    rows = (row for folder in endpoints().values() for row in folder.values())
    return sorted({row["permission"] for row in rows if "permission" in row})


def find_rest(tanks: Tanks, value: str) -> tuple[Tank | None, Key | None]:
    """The tank of a REST key, and the key unless it is revoked."""
    tank, revoked = tanks.find("braze_rest_api_key", value)
    if tank is not None:
        return tank, None if revoked else Key(value)
    row = _row(tanks, "rest", value)
    tank = None if row is None else _tank(tanks, row)
    if tank is None or row.revoked:
        return tank, None
    granted = frozenset(orjson.loads(row.permissions))
    return tank, Key(value, granted, tuple(orjson.loads(row.allowed_ips)))


def is_data_import_key(tank: Tank, value: object) -> bool:
    """Whether this is one of the tank's data import keys and not invalidated."""
    if not isinstance(value, str):
        return False
    if value == tank.credential("braze_data_import_key"):
        return not tank.revoked("braze_data_import_key")
    row = _row(tank.tanks, "data_import", value)
    return row is not None and not row.revoked and row.tank_id == tank.id and row.born == tank.born


def has_data_import_key(tanks: Tanks, value: object) -> Tank | None:
    """The tank that a data import key is of, unless it is invalidated."""
    if not isinstance(value, str):
        return None
    tank, revoked = tanks.find("braze_data_import_key", value)
    if tank is not None:
        return None if revoked else tank
    row = _row(tanks, "data_import", value)
    return None if row is None or row.revoked else _tank(tanks, row)


def _row(tanks: Tanks, kind: Kind, value: str) -> Any:
    with tanks.store.read() as conn:
        return conn.execute(select(keys).where(keys.c.value == value, keys.c.kind == kind)).first()


def _tank(tanks: Tanks, row: Any) -> Tank | None:
    try:
        tank = tanks.get(row.tank_id)
    except UnknownTank:
        return None
    return tank if tank.born == row.born else None  # a tank made anew under the old one's name


def make(
    tank: Tank,
    kind: Kind,
    name: str,
    *,
    value: str | None = None,
    permissions: Sequence[str] = (),
    allowed_ips: Sequence[str] = (),
) -> dict[str, Any]:
    """Make a key; it cannot be changed later, only invalidated. Raises ValueError when it does not fit."""
    unknown = sorted(set(permissions) - set(all_permissions()))
    if unknown:
        raise ValueError(f"permission {unknown[0]!r} is unknown: one of {', '.join(all_permissions())}")
    for each in allowed_ips:
        ipaddress.ip_network(each, strict=False)
    if value is None:
        digest = hashlib.sha256(f"{kind}:{name}:{tank.id}:{tank.seed}".encode()).hexdigest()
        value = f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"
    check_credential(f"braze {kind} key", value)
    if tank.tanks.find("braze_rest_api_key", value)[0] is not None:
        raise ValueError("this value is a key already: choose another")
    row = {"kind": kind, "tank_id": tank.id, "born": tank.born, "name": name, "revoked": False}
    lists = {"permissions": orjson.dumps(sorted(permissions)), "allowed_ips": orjson.dumps(list(allowed_ips))}
    try:
        with tank.tanks.store.write() as conn:
            # Keys of a tank that is gone make room for those of its successor.
            conn.execute(keys.delete().where(keys.c.tank_id == tank.id, keys.c.born != tank.born))
            conn.execute(keys.insert().values(value=value, **row, **{k: v.decode() for k, v in lists.items()}))
    except IntegrityError:
        raise ValueError("there is a key of this value or name already: choose another") from None
    return next(each for each in listed(tank) if each["value"] == value)


def revoke(tank: Tank, value: str) -> bool:
    """Invalidate a key for good; False when the tank has none of this value."""
    with tank.tanks.store.write() as conn:
        mine = (keys.c.value == value, keys.c.tank_id == tank.id, keys.c.born == tank.born)
        return conn.execute(keys.update().where(*mine).values(revoked=True)).rowcount > 0


def listed(tank: Tank) -> list[dict[str, Any]]:
    """The further keys of a tank."""
    with tank.tanks.store.read() as conn:
        query = select(keys).where(keys.c.tank_id == tank.id, keys.c.born == tank.born)
        rows = conn.execute(query.order_by(keys.c.kind, keys.c.name, keys.c.value)).all()
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "value": row.value,
            "permissions": orjson.loads(row.permissions),
            "allowed_ips": orjson.loads(row.allowed_ips),
            "status": "revoked" if row.revoked else "valid",
        }
        for row in rows
    ]
