"""Reading from Amplitude: the cohort list, and the download of a cohort in three steps.

Source: Amplitude docs, Behavioral Cohorts API; Dashboard REST API, User Activity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import requests

TIMEOUT_S = 30.0
_PIECE = 1_000_000
"""Bytes of a file that are read at once; by default there would be a great many small pieces."""


class Unavailable(RuntimeError):
    """The answer was not what is needed: the text says what came; another try may do."""


class RestClient:
    """The REST APIs of one project, with its key pair. Every method raises Unavailable."""

    def __init__(self, url: str, api_key: str, secret_key: str) -> None:
        self.url = url.rstrip("/")
        self._auth = (api_key, secret_key)
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        self._session.close()

    def _get(self, path: str, query: Sequence[tuple[str, str]] = (), **more: Any) -> requests.Response:
        try:
            return self._session.get(
                f"{self.url}{path}", params=list(query), auth=self._auth, timeout=TIMEOUT_S,
                allow_redirects=False, **more,
            )  # fmt: skip
        except requests.RequestException as error:
            raise Unavailable(f"{path}: no answer: {type(error).__name__}") from None

    def _json(self, path: str, expected: Sequence[int], query: Sequence[tuple[str, str]] = ()) -> tuple[int, Any]:
        answer = self._get(path, query)
        if answer.status_code not in expected:
            raise Unavailable(f"{path}: answer {answer.status_code}: {answer.text[:200]}")
        try:
            return answer.status_code, answer.json()
        except requests.JSONDecodeError:
            raise Unavailable(f"{path}: the answer is no JSON") from None

    def cohort_name(self, cohort_id: str) -> str | None:
        """The name under which the list shows a cohort, None when it does not."""
        _, found = self._json("/api/3/cohorts", (200,))
        names: Mapping[str, str] = {each["id"]: each["name"] for each in found["cohorts"]}
        return names.get(cohort_id)

    def request(self, cohort_id: str, props: Sequence[str]) -> str:
        """First step: ask for a cohort with these properties; answers the request's id."""
        query = [("props", "1"), *(("propKeys", each) for each in props)] if props else []
        _, found = self._json(f"/api/5/cohorts/request/{cohort_id}", (202,), query)
        return str(found["request_id"])

    def is_completed(self, request_id: str) -> bool:
        """Second step: whether the file is there."""
        status, _ = self._json(f"/api/5/cohorts/request-status/{request_id}", (200, 202))
        return status == 200

    def file(self, request_id: str) -> bytes:
        """Third step: the file, a CSV of ``amplitude_id``, ``user_id``, and the properties asked for.

        A large cohort is behind a link to another place, which is read without the key pair.
        """
        path = f"/api/5/cohorts/request/{request_id}/file"
        answer = self._get(path, stream=True)
        try:
            if answer.status_code == 302:
                answer.content  # noqa: B018 -- read to its end, so that the connection can be used again
                link = answer.headers.get("Location", "")
                answer = requests.get(link, timeout=TIMEOUT_S, stream=True)
            with answer:
                if answer.status_code != 200:
                    raise Unavailable(f"{path}: answer {answer.status_code}")
                return b"".join(answer.iter_content(_PIECE))
        except requests.RequestException as error:
            raise Unavailable(f"{path}: the file does not come: {type(error).__name__}") from None

    def device_ids(self, amplitude_id: str) -> list[str]:
        """The devices a person was seen on."""
        _, found = self._json("/api/2/useractivity", (200,), [("user", amplitude_id), ("limit", "0")])
        return [str(each) for each in found["userData"]["device_ids"]]
