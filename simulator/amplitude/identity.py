"""Who an event belongs to: Amplitude's assignment rules, on plain dictionaries.

Source: Amplitude docs, Track unique users. The numbers in the comments are the rules' order there: 1-2 device
alone and anonymous, 3 a new user takes the device's id over, 4 user beats device, 5 a new user on another's
device, 6 device alone after a user, 7 a known user meets an anonymous device (merge), 8-9 user alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

FIRST_ID = 1_600_000_000_000


@dataclass
class Device:
    """``own``: the id of the device's own anonymous history, while it is nobody's; ``user``: the id of the last
    user seen on it."""

    own: int | None = None
    user: int | None = None


@dataclass
class People:
    """What is known of the devices and users at hand, and what has changed."""

    devices: dict[str, Device] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    changed_devices: set[str] = field(default_factory=set)
    new_users: dict[str, int] = field(default_factory=dict)
    merges: list[tuple[int, int]] = field(default_factory=list)
    """``(id that went away, id it now belongs to)``."""


def numbers(last: int, seed: int) -> Iterator[int]:
    """Amplitude IDs after ``last``: growing by irregular steps, fixed by the seed."""
    current = last
    while True:
        mixed = (current * 6_364_136_223_846_793_005 + seed + 1_442_695_040_888_963_407) % (1 << 64)
        current += 10_000 + (mixed >> 33) % 990_000
        yield current


def derived_device_id(project: str, user_id: str) -> str:
    """The device id of an event that has none: a version 5 UUID, fixed by project and user."""
    namespace = uuid.uuid5(uuid.NAMESPACE_URL, f"wavetank:{project}")
    return str(uuid.uuid5(namespace, user_id))


def assign(people: People, device_id: str, user_id: str | None, ids: Iterator[int]) -> int:
    """The Amplitude ID of one event; ``people`` is brought up to date."""
    device = people.devices.get(device_id)
    if device is None:
        device = people.devices[device_id] = Device()
    if user_id is None:
        if device.user is not None:
            return device.user  # 6
        if device.own is None:
            device.own = next(ids)  # 1
            people.changed_devices.add(device_id)
        return device.own  # 2
    amplitude_id = people.users.get(user_id)
    if amplitude_id is None:
        if device.own is not None:
            amplitude_id = device.own  # 3
            device.own = None
        else:
            amplitude_id = next(ids)  # 5, 8
        people.users[user_id] = people.new_users[user_id] = amplitude_id
    elif device.own is not None:
        people.merges.append((device.own, amplitude_id))  # 7
        device.own = None
        people.changed_devices.add(device_id)
    if device.user != amplitude_id:
        device.user = amplitude_id
        people.changed_devices.add(device_id)
    return amplitude_id  # 4, 9
