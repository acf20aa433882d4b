"""The guardian: a small process that outlives a killed gateway just long enough to end its servers.

Run by `process.py` as a program of its own, with the standard library alone. It reads lines from the
gateway, `+PGID` and `-PGID`; when the pipe closes, the gateway is gone, however it died, and
everything still listed is killed, then everything that carries the gateway's marker in its
environment: helpers that left their process group included. `process.py` uses the same functions for
an ordinary stop.
"""

import os
import signal
import sys

SWEEP_ROUNDS = 20  # a process may fork while it is being swept; each round is a few milliseconds


def _processes() -> list[str]:
    """The numbers in /proc; none where there is no /proc, or no descriptor left to look at it."""
    try:
        return [entry for entry in os.listdir("/proc") if entry.isdigit()]
    except OSError:
        return []


def carriers(marker: bytes) -> list[int]:
    """Process ids whose environment holds `marker`, as far as this user may look; Linux only."""
    found = []
    own = os.getpid()
    for entry in _processes():
        if int(entry) == own:
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if marker in file.read():
                    found.append(int(entry))
        except OSError:
            continue
    return found


def birth(pid: int) -> bytes | None:
    """When a process was started, in ticks since boot: with its number, its name. None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19]
    except (OSError, IndexError):
        return None


def descendants(root: int) -> dict[int, bytes]:
    """Process id -> birth of everything below `root` by parenthood; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    births: dict[int, bytes] = {}
    for entry in _processes():
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry))
            births[int(entry)] = fields[19]
        except (OSError, ValueError, IndexError):
            continue
    found = {}
    todo = [root]
    while todo:
        for child in children.pop(todo.pop(), []):
            found[child] = births[child]
            todo.append(child)
    return found


def send(pid: int, signal_number: int) -> bool:
    """Signals one process; False when it is gone or not ours."""
    try:
        os.kill(pid, signal_number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def send_group(group: int, signal_number: int) -> bool:
    """Signals a process group; False when nobody is left in it."""
    try:
        os.killpg(group, signal_number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def sweep(marker: bytes) -> int:
    """Kills everything that carries `marker`; answers how many processes that were."""
    killed: set[int] = set()
    for _ in range(SWEEP_ROUNDS):
        fresh = [pid for pid in carriers(marker) if pid not in killed and send(pid, signal.SIGKILL)]
        if not fresh:
            break
        killed.update(fresh)
    return len(killed)


def watch(marker: bytes, first: list[int]) -> None:
    """Reads the list until the gateway is gone, then ends what is on it."""
    groups = set(first)
    for line in sys.stdin.buffer:
        group = int(line[1:])
        if line.startswith(b"+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        send_group(group, signal.SIGKILL)
    sweep(marker)


if __name__ == "__main__":
    # Ctrl-C and a terminal that closes reach the gateway, which stops its servers itself.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    watch(sys.argv[1].encode(), [int(group) for group in sys.argv[2:]])
