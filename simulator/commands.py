"""The simulator's commands: up, feed, explain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import orjson
import requests
from rich.console import Console

from simulator.credentials import CREDENTIALS
from simulator.up import Options, Unusable, clock_mode, run

_CONTROL = "http://127.0.0.1:8700"


def _fail(text: str) -> NoReturn:
    click.echo(f"wavetank: {text}", err=True)
    sys.exit(2)


def _key_options(command: Any) -> Any:
    for name in reversed(CREDENTIALS):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, name, metavar="TEXT", help=f"Fixed {name.replace('_', ' ')}.")(command)
    return command


@click.command(epilog="Example: wavetank up --clock stepped --ready-file ready.json")
@click.option("--port", default=8700, show_default=True, help="Control port; platforms take the next ones. 0: free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need --token.")
@click.option("--token", help="Bearer token that protects the control API.")
@click.option("--state", metavar="FILE|URL", help="Keeps everything across restarts: a file, or postgresql://…")
@click.option("--clock", default="real", show_default=True, help="real, stepped, or scaled:60.")
@click.option("--region", type=click.Choice(["us", "eu"]), default="us", show_default=True, help="Amplitude's region.")
@click.option(
    "--limits",
    type=click.Choice(["currents-2025", "currents-2021", "http-v2", "batch"]),
    default="currents-2025",
    show_default=True,
    help="Amplitude's limits profile.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Fixes everything random.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Platform processes.")
@click.option("--platforms-only", is_flag=True, help="Another `wavetank up` on the same --state runs time.")
@click.option("--control", "control_url", default="", metavar="URL", help="Its control URL, for the ready file.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="Written once every port answers.")
@_key_options
def up(
    port: int,
    host: str,
    token: str | None,
    state: str | None,
    clock: str,
    region: str,
    limits: str,
    seed: int,
    workers: int,
    platforms_only: bool,
    control_url: str,
    ready_file: Path | None,
    **keys: str | None,
) -> None:
    """Serve the simulated platforms with a tank named demo."""
    try:
        mode, scale = clock_mode(clock)
        given = {name: value for name, value in keys.items() if value is not None}
        kept = Path(state) if state is not None and "://" not in state else state
        run(
            Options(
                host=host,
                port=port,
                state=kept,
                mode=mode,
                scale=scale,
                region=region,
                seed=seed,
                workers=workers,
                platforms_only=platforms_only,
                control_url=control_url,
                limits=limits,
                token=token,
                ready_file=ready_file,
                credentials=given,
            )
        )
    except (Unusable, ValueError) as error:
        _fail(str(error))


def _call(control: str, token: str | None, method: str, path: str, body: object = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else orjson.dumps(body)
    try:
        answer = requests.request(method, f"{control}{path}", data=data, headers=headers, timeout=600)
    except requests.RequestException:
        _fail(f"nothing answers at {control}: start wavetank up, or give --control")
    found = answer.json() if answer.content else None
    if answer.status_code >= 400:
        error = (found or {}).get("error", {"where": path, "what": str(answer.status_code), "mend": "see the server"})
        _fail(f"{error['where']}: {error['what']}: {error['mend']}")
    return found


@click.command(epilog="Example: wavetank feed --connector http://127.0.0.1:9000 --events 500 --rate 50")
@click.option("--control", default=_CONTROL, show_default=True, help="Control URL.")
@click.option("--token", help="Control token, when the server has one.")
@click.option("--tank", default="demo", show_default=True, help="Tank that emits.")
@click.option("--connector", metavar="URL", help="Point the feed at this connector first (its base or feed URL).")
@click.option("--events", type=click.IntRange(min=1), help="Generate this many realistic events.")
@click.option("--users", type=click.IntRange(min=1), help="Of this many people.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Emit the events of a JSON or JSON lines file.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Generated events per second of tank time.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def feed(
    control: str,
    token: str | None,
    tank: str,
    connector: str | None,
    events: int | None,
    users: int | None,
    file: Path | None,
    rate: float | None,
    as_json: bool,
) -> None:
    """Let events happen in Braze, for the Currents feed to deliver."""
    if (events is None) == (file is None):
        _fail("say what to feed: give --events N or --file FILE, one of them")
    base = f"/tanks/{tank}"
    if connector is not None:
        url = connector if "/feeds/" in connector else f"{connector.rstrip('/')}/feeds/currents"
        _call(control, token, "PUT", f"{base}/feeds/currents", {"url": url})
    if file is not None:
        answer = _call(control, token, "POST", f"{base}/emit", {"flow": "currents", "events": _read(file)})
    else:
        body: dict[str, Any] = {"flow": "currents", "events": events}
        body.update({k: v for k, v in (("users", users), ("rate", rate)) if v is not None})
        answer = _call(control, token, "POST", f"{base}/generate", body)
    if as_json:
        click.echo(orjson.dumps(answer))
    else:
        scheduled = answer.get("scheduled", 0)
        click.echo(f"{answer['emitted']} events emitted" + (f", {scheduled} to come" if scheduled else ""))


def _read(file: Path) -> list[Any]:
    try:
        text = file.read_bytes()
    except OSError as error:
        _fail(f"{file}: {error.strerror}: name a file that can be read")
    try:
        loaded = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            loaded = [orjson.loads(line) for line in text.splitlines() if line.strip()]
        except orjson.JSONDecodeError as error:
            _fail(f"{file}: this is no JSON, nor a JSON object per line: {error}")
    if isinstance(loaded, dict):
        loaded = loaded.get("events", [loaded])
    if not isinstance(loaded, list) or not loaded:
        _fail(f"{file}: there are no events in it: give a list of Currents events")
    return list(loaded)


@click.command(epilog="Example: wavetank explain demo.17")
@click.argument("request_id")
@click.option("--control", default=_CONTROL, show_default=True, help="Control URL.")
@click.option("--token", help="Control token, when the server has one.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def explain(request_id: str, control: str, token: str | None, as_json: bool) -> None:
    """Tell why an answer was given: REQUEST_ID is its X-Wavetank-Request header."""
    found = _call(control, token, "GET", f"/explain/{request_id}")
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
        return
    console = Console()
    request = found["request"]
    console.print(f"[bold]{request['method']} {request['path']}[/] at {request['tank_time']}: {request['status']}")
    for reason in found["reasons"]:
        console.print(f"[cyan]{reason['rule']}[/]: {reason['text']}", highlight=False)
        for name, value in reason["detail"].items():
            console.print(f"    {name}: {value}", markup=False, highlight=False)
        if reason["advice"]:
            console.print(f"    what to do: {reason['advice']}", markup=False, highlight=False)
        console.print(f"    source: {reason['source']}", style="dim", markup=False, highlight=False)
    if found["fault"]:
        console.print(f"injected fault: {found['fault']}", style="yellow")
