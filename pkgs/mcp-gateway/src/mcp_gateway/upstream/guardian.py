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


def carriers(marker: bytes) -> list[int]:
    """Process ids whose environment holds `marker`, as far as this user may look; Linux only."""
    found = []
    own = os.getpid()
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if not entry.isdigit() or int(entry) == own:
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if marker in file.read():
                    found.append(int(entry))
        except OSError:
            continue
    return found


def descendants(root: int) -> list[int]:
    """Process ids below `root` by parenthood, deepest last; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found = []
    todo = [root]
    while todo:
        for child in children.pop(todo.pop(), []):
            found.append(child)
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


def watch(marker: bytes) -> None:
    """Reads the list until the gateway is gone, then ends what is on it."""
    groups: set[int] = set()
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
    watch(sys.argv[1].encode())
