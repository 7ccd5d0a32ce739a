"""What Locust runs: one user class per write path, and how a user sends its share of a group's requests.

A group's requests are dealt out over all its users, wherever they run: user ``i`` of ``n`` sends the requests whose
number leaves ``i`` when divided by ``n``. The master says who is which once all users stand (:mod:`loadtests.dealing`).
"""

from __future__ import annotations

import random
from typing import Any, ClassVar

import gevent
from locust import FastHttpUser, task
from locust.exception import StopUser

from loadtests import dealing, paths
from loadtests.profiles import Group

TIMEOUT_S = {"currents": 30.0, "customerio": 4.0}
"""How long a vendor waits for a connector (Braze docs, Custom HTTP connector; Customer.io docs, Reporting webhooks)."""


class PathUser(FastHttpUser):
    """Sends its share of a group's requests when they are due, and sends again what was not taken."""

    abstract = True
    group: ClassVar[Group]
    insecure = True
    max_redirects = 0
    max_retries = 0

    def on_start(self) -> None:
        self._timetable = self.group.timetable
        self._name, self._share = dealing.run().share(self.group)

    def wait_time(self) -> float:
        return 0.0

    @task
    def send_next(self) -> None:
        """One request, until it has come to its end."""
        run, k = dealing.run(), next(self._share, None)
        if k is None:
            run.tally.done[self._name] = True
            raise StopUser
        self._send(run, k)

    def _send(self, run: dealing.Run, k: int) -> None:
        due = max(run.elapsed(), self._timetable.instant(k))
        run.sleep_until(due)
        run.note_late(due)
        attempt = 0
        while True:
            request = paths.BUILDERS[self.group.path](self.group, k, run.target, run.now_ms())
            began = run.elapsed()
            status, headers = self._post(run.target.url, request)
            found = paths.outcome(self.group.path, status, request, headers, run.now_ms())
            run.tally.attempt(
                self.group.name, int(began), found.kind, request.objects, round(run.real_ms(run.elapsed() - began))
            )
            if found.final:
                run.tally.end(self.group.name, found.kind, k)
                return
            attempt += 1
            gevent.sleep(run.real_s(self._pause_s(found, k, attempt)))

    def _post(self, url: str, request: paths.Request) -> tuple[int, dict[str, str]]:
        name = f"{self.group.name} {request.path}"
        with self.client.post(
            f"{url}{request.path}",
            data=request.body,  # type: ignore[arg-type]  # it takes bytes as they are
            headers=dict(request.headers),
            name=name,
            catch_response=True,
        ) as answer:
            status = int(answer.status_code or 0)
            if status == 429:
                # An answer that the documents foresee: it is judged by the profile's thresholds, not by Locust.
                answer.success()
            return status, dict(answer.headers or {})

    def _pause_s(self, found: paths.Outcome, k: int, attempt: int) -> float:
        group = self.group
        if found.kind != "throttled" or group.on_429 == "ignore":
            return group.retry_s
        pause = found.wait_s if found.wait_s is not None else group.retry_s
        if group.on_429 == "pause_all":
            return pause
        # Spread out over half the pause, so that those who were refused together do not come back together.
        return pause + random.Random(f"{group.name}:{k}:{attempt}").uniform(0, pause / 2)


class HttpV2User(PathUser):
    """Uploads by Amplitude's HTTP V2 API."""

    abstract = True


class BatchUser(PathUser):
    """Uploads by Amplitude's Batch Event Upload API."""

    abstract = True


class IdentifyUser(PathUser):
    """Sets user properties by Amplitude's Identify API."""

    abstract = True


class TrackUser(PathUser):
    """Writes events by Braze's /users/track."""

    abstract = True


class CohortImportUser(PathUser):
    """Adds members to a cohort by Braze's partner cohort import."""

    abstract = True


class CurrentsUser(PathUser):
    """Feeds a connector as Braze Currents does."""

    abstract = True


class CustomerioUser(PathUser):
    """Feeds a connector with Customer.io's signed reporting webhooks."""

    abstract = True


CLASSES: dict[str, type[PathUser]] = {
    "http_v2": HttpV2User,
    "batch": BatchUser,
    "identify": IdentifyUser,
    "track": TrackUser,
    "cohort_import": CohortImportUser,
    "currents": CurrentsUser,
    "customerio": CustomerioUser,
}


def user_class(group: Group) -> type[PathUser]:
    """The class of a group's users."""
    base = CLASSES[group.path]
    members: dict[str, Any] = {
        "group": group,
        "fixed_count": group.users,
        "abstract": False,
        "host": "http://127.0.0.1",
    }
    return type(f"{base.__name__}_{group.name}", (base,), members)
