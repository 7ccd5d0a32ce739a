"""The intake of Amplitude's event stream: one event a call, thousands in a second.

It runs in the port's own loop, without a thread for each call: calls that are there when the loop comes round share one
write to the disk. Answers are those of the other feeds (:mod:`connector.service`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import orjson

from connector import streaming
from connector.flows.event_stream import Stream
from connector.outbox import FAILURES, Outbox, Taken
from connector.serving import Answer

log = logging.getLogger(__name__)


class Intake:
    """Takes events into an outbox. ``refusal`` is asked first, with the call's Authorization."""

    def __init__(self, outbox: Outbox, stream: Stream, refusal: Callable[[str], Answer | None]) -> None:
        self._outbox = outbox
        self._stream = stream
        self._refusal = refusal
        self._waiting: list[tuple[Taken, asyncio.Future[Answer]]] = []

    async def take(self, authorization: str, body: bytes) -> Answer:
        """Answer a call once its event is on the disk: any 2xx means taken for good."""
        refused = self._refusal(authorization)
        if refused is not None:
            return refused
        try:
            row = streaming.event_row(self._stream, body)
        except streaming.Malformed as error:
            return 400, orjson.dumps({"error": str(error)})
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._gather, loop, 1)
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((row, answer))
        return await answer

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int) -> None:
        """Write once the loop has come round without another call."""
        if len(self._waiting) > seen:
            loop.call_soon(self._gather, loop, len(self._waiting))
        else:
            self._write()

    def _write(self) -> None:
        calls, self._waiting = self._waiting, []
        try:
            with self._outbox.taking() as db:
                new = [self._outbox.put_in(db, [row]) for row, _ in calls]
        except FAILURES as error:
            log.error("the outbox did not take a feed: %s", error)
            told: list[Answer] = [(503, b'{"error":"the outbox cannot be written: send it again"}')] * len(calls)
        else:
            told = [(200, b'{"new":%d}' % each) for each in new]
        for (_, answer), each in zip(calls, told, strict=True):
            if not answer.done():
                answer.set_result(each)
