"""A stand-in for the command `tailscale`, for scripts without a tailnet; `python tailscale.py WORDS...`.

Follows the grammar and the words of the real `serve` (flags before the target, two arguments at most) and
keeps what is served in the file $FAKE_TAILSCALE, with every call that it got. It proxies nothing. It can
say `backend` (a list, one for each question, the last stays), `https`, `waits` and `conflicts` (so many
calls of `serve` fail as when somebody else changes it in that moment).
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

HOST: Final = "edge.taile0fb4.ts.net"
FOR_EVER_S: Final = 1e6
_FLAGS: Final = {"bg": bool, "yes": bool, "https": int, "set-path": str, "accept-app-caps": str}


def fail(words: str, status: int = 1) -> NoReturn:
    print(words, file=sys.stderr)
    raise SystemExit(status)


def parsed(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Flags and arguments, as Go's flag package tells them apart."""
    flags: dict[str, str] = {}
    while words and (found := re.fullmatch(r"--?([a-z][a-z-]*)(?:=(.*))?", words[0])):
        name, value = found[1], found[2]
        if name not in _FLAGS:
            fail(f"flag provided but not defined: -{name}")
        words = words[1:]
        if value is None and _FLAGS[name] is not bool:
            if not words:
                fail(f"flag needs an argument: -{name}")
            value, words = words[0], words[1:]
        if _FLAGS[name] is int and not (value.isdigit() and 0 < int(value) < 65536):
            fail(f'invalid value "{value}" for flag -{name}: parse error')
        flags[name] = value or "true"
    return flags, words


def serve(state: dict[str, Any], words: list[str]) -> None:
    flags, rest = parsed(words)
    if not rest or len(rest) > 2:
        fail(f"Error: invalid number of arguments ({len(rest)})")
    is_off = rest[-1] == "off"
    if len(rest) == 2 and not is_off:
        fail("Error: invalid argument format")
    if state["backend"][0] != "Running":
        fail(f"error getting serve config: unexpected state: {state['backend'][0]}")
    if state.get("conflicts", 0) > 0:
        state["conflicts"] -= 1
        fail("Another client is changing the serve config; please try again: etag mismatch")
    port, served = flags.get("https", "443"), state.setdefault("serve", {})
    key, mount = f"{HOST}:{port}", flags.get("set-path", "/")
    if is_off:
        handlers = served.get("Web", {}).get(key, {}).get("Handlers", {})
        gone = [mount] if "set-path" in flags else list(handlers)
        if not set(gone) & set(handlers):
            fail("error: failed to remove web serve: handler does not exist")
        for path in gone:
            del handlers[path]
        if not handlers:
            del served["Web"][key], served["TCP"][port]
        for member in [name for name, value in served.items() if not value]:
            del served[member]
        return
    if not state.get("https", True):
        print(
            "\nServe is not enabled on your tailnet.\nTo enable, visit:\n\n   https://login.example/serve\n"
        )
        if state.get("waits"):
            sys.stdout.flush()
            time.sleep(FOR_EVER_S)
        return  # as the real one: nothing is served, and all is well
    if "bg" not in flags:
        fail("without --bg the real one serves only as long as it runs", 3)
    target = rest[0]
    if not re.fullmatch(r"http://(127\.0\.0\.1|localhost):[0-9]+|unix:/.+", target):
        fail(f"error: failed apply web serve: the real one cannot dial {target!r}")
    handler: dict[str, Any] = {"Proxy": target}
    if "accept-app-caps" in flags:
        handler["AcceptAppCaps"] = flags["accept-app-caps"].split(",")
    served.setdefault("TCP", {})[port] = {"HTTPS": True}
    served.setdefault("Web", {}).setdefault(key, {}).setdefault("Handlers", {})[mount] = handler
    print(f"Available within your tailnet:\n\nhttps://{key}/\n|-- proxy {target}")


def main(words: list[str]) -> None:
    file = Path(os.environ["FAKE_TAILSCALE"])
    state = json.loads(file.read_text())
    state.setdefault("backend", ["Running"])
    state.setdefault("calls", []).append(words)
    file.write_text(json.dumps(state))
    try:
        if words[:1] == ["status"]:
            print(json.dumps({"BackendState": state["backend"][0], "Self": {"DNSName": f"{HOST}."}}))
            if len(state["backend"]) > 1:
                state["backend"].pop(0)
        elif words == ["serve", "status", "--json"]:
            print(json.dumps(state.get("serve", {})))
        elif words[:1] == ["serve"] and words[1:2] not in (["status"], ["reset"]):
            serve(state, words[1:])
        else:
            fail(f"nothing of ours may call: tailscale {' '.join(words)}", 3)
    finally:
        file.write_text(json.dumps(state))


if __name__ == "__main__":
    main(sys.argv[1:])
