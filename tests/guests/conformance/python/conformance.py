"""What every language's component is held to; see ../src/lib.rs."""

# Sockets import it when they need it, and then there are no files any more.
import encodings.idna
import os
import random
import secrets
import socket
import sys
import time
from dataclasses import replace

import wit_world.exports.echo as echo
import wit_world.exports.probe as probe
from componentize_py_types import Err
from wit_world.imports.conformance_model_types import Sample
from wit_world.imports.aether_host_types import Context


class Echo:
    """Says back what it is told."""

    def initial(self, id: str) -> echo.State:
        return echo.State(count=0, last=None)

    def decide(
        self, context: Context, state: echo.State, command: echo.Command
    ) -> list[echo.Event]:
        match command:
            case echo.Command_Keep(keep):
                return [kept(value) for value in keep.values]
            case echo.Command_Refuse(refused):
                return refuse(refused.number, refused.value)

    def evolve(self, state: echo.State, events: list[echo.Event]) -> echo.State:
        for event in events:
            state = echo.State(count=state.count + 1, last=event.value.value)
        return state


def kept(value: Sample) -> echo.Event:
    return echo.Event_Kept(echo.Kept(value))


def refuse(number: int, value: Sample) -> list[echo.Event]:
    match number:
        case 98:
            raise Err(echo.Rejection_R98(echo.R98(value.text)))
        case 99:
            raise Err(echo.Rejection_R99(echo.R99(value)))
        case _ if number < 98:
            raise Err(getattr(echo, f"Rejection_R{number}")())
        case _:
            return [kept(value)]


class Probe:
    """Tells what the standard library sees."""

    calls = 0

    def initial(self, id: str) -> probe.State:
        return probe.State(looked=0, clock=0, calls=0)

    def decide(
        self, context: Context, state: probe.State, command: probe.Command
    ) -> list[probe.Event]:
        match command:
            case probe.Command_Look():
                return [probe.Event_Looked(look())]
            case probe.Command_Count():
                Probe.calls += 1
                return [probe.Event_Counted(probe.Counted(Probe.calls))]

    def evolve(self, state: probe.State, events: list[probe.Event]) -> probe.State:
        for event in events:
            match event:
                case probe.Event_Looked():
                    state = replace(state, looked=state.looked + 1, clock=clock())
                case probe.Event_Counted(counted):
                    state = replace(state, calls=counted.calls)
        return state


def look() -> probe.Looked:
    print(f"it is {clock()}")
    print("and all is well", file=sys.stderr)
    time.sleep(60)
    return probe.Looked(
        clock=clock(),
        random=[random.getrandbits(64) for _ in range(4)],
        secure=secrets.token_bytes(8),
        environment=[f"{name}={value}" for name, value in os.environ.items()],
        arguments=sys.argv,
        file=complaint(lambda: open("/etc/passwd")),
        socket=complaint(lambda: socket.create_connection(("127.0.0.1", 80))),
    )


def complaint(attempt) -> str | None:
    try:
        attempt()
    except OSError as error:
        print(f"refused: {error!r}", file=sys.stderr)
        return repr(error)
    return None


def clock() -> int:
    return time.time_ns() // 1_000_000
