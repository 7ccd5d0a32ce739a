"""Whether the import of a large cohort holds its rate from the first request to the last.

Makes people over /users/track/bulk, then adds every one of them to one cohort in requests of 1,000 ids, in random
order, and writes each request before it answers; in this process, a SQLite file. Says what a request costs in each
tenth of the way, as processor time (which neighbours disturb least) and as time that passed.
Run: python benchmarks/braze_cohort.py [--members N] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import orjson
from werkzeug.test import Client

from simulator import clock
from simulator.apps import platform_apps
from simulator.tank import Tanks
from simulator.up import tune_memory

IDS = 1_000
TENTHS = 10
AIM = 1.25
"""The last tenth may cost so many times what the first one costs."""


def measure(members: int, folder: Path) -> dict[str, list[float]]:
    """Medians in ms per request of 1,000 ids, by tenths of the way: processor time and time passed."""
    tanks = Tanks(folder / "cohort.db")
    chosen = {"braze.apply_delay_ms": 0, "braze.pool_limits": {"track_bulk": 10**9}}
    tank = tanks.create("bench", clock=clock.start("real"), settings=chosen)
    client = Client(platform_apps(tanks)["braze"])
    headers = {"Content-Type": "application/json"}
    bearer = {**headers, "Authorization": f"Bearer {tank.credential('braze_rest_api_key')}"}
    keys = {
        "partner_api_key": tank.credential("braze_partner_api_key"),
        "client_secret": tank.credential("braze_data_import_key"),
    }

    def send(path: str, body: object, more: dict[str, str]) -> None:
        answer = client.post(path, data=orjson.dumps(body), headers=more)
        if answer.status_code != 201:
            raise SystemExit(f"{path}: {answer.status_code} {answer.text[:200]}")

    everybody = [f"user-{n:08d}" for n in range(members)]
    for start in range(0, members, IDS):
        people = [{"external_id": each} for each in everybody[start : start + IDS]]
        send("/users/track/bulk", {"attributes": people}, bearer)
    random.Random(0).shuffle(everybody)
    cpu: list[float] = []
    passed: list[float] = []
    for start in range(0, members, IDS):
        body = {**keys, "cohort_id": "c", "cohort_changes": [{"user_ids": everybody[start : start + IDS]}]}
        began, busy = time.perf_counter(), time.process_time()
        send("/partners/amplitude/cohorts/users", body, headers)
        passed.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - busy) * 1000)
    with tank.store.read() as conn:
        held = conn.exec_driver_sql("SELECT sum(size) FROM braze_cohort_blocks").scalar()
    tanks.close()
    if held != members:
        raise SystemExit(f"the cohort has {held} members instead of {members}")
    return {"cpu_ms": _tenths(cpu), "passed_ms": _tenths(passed)}


def _tenths(values: list[float]) -> list[float]:
    size = len(values) // TENTHS
    return [round(statistics.median(values[n * size : (n + 1) * size]), 2) for n in range(TENTHS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.members < TENTHS * IDS:
        parser.error(f"at least {TENTHS * IDS:,} members, else there are no tenths")
    tune_memory()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.members, Path(folder))
    if options.json:
        print(json.dumps(found))
        return
    print(f"{options.members:,} members, requests of {IDS:,} ids; ms per request, median of each tenth of the way")
    for name, values in found.items():
        print(f"  {name:<10}" + " ".join(f"{each:7.1f}" for each in values))
    first, *_, last = found["cpu_ms"]
    print(f"  last tenth costs {last / first:.2f} times the first (aim: under {AIM})")


if __name__ == "__main__":
    main()
