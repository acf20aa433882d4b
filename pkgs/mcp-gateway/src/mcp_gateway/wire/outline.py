"""The outline of one JSON message that is too large for memory, drawn while its bytes go by.

Fed piece by piece, it finds out where the value of `result` begins and ends, and keeps a skeleton: the
envelope's members and the top-level members of `result` as they were written, with containers below
emptied and long strings cut to nothing. The skeleton is small and can be read like any other message.
Constant memory, and a few passes of C over each piece; only where the text surfaces to the levels that
are kept is it looked at token by token.

Checked is what structure tells: UTF-8, control characters, strings that end, brackets that match, no
stray characters between strings; and the whole grammar of what is in the skeleton. What is wrong within
the depths (an escape that does not exist, a comma too many) passes, as the bytes pass: unread.
"""

import codecs
import re
from typing import Final

import msgspec

from mcp_gateway.wire.envelope import Head, NotAMessage, encode, read_head, read_members

MAX_DEPTH: Final = 1_000  # the parsers of messages that are read whole give up about there, too
MAX_STRING_BYTES: Final = 1024  # of a string in the skeleton: ids, methods and names are shorter
# When the top-level members of the result are folded to those that a verdict needs, and the bound that
# is left for what cannot be folded. MCP's results have a handful of them, of some bytes each.
FOLD_BYTES: Final = 32 * 1024
MAX_SKELETON_BYTES: Final = 64 * 1024
VERDICT: Final = ("isError", "resultType")  # what is kept of the result's members when there are many

_WALK_BYTES: Final = 256  # below, tokens are looked at one by one; above, halving costs less
_CANCEL_PASSES: Final = 8  # nesting in one piece that is cancelled by C; deeper is rare and counted off
_CONTROLS: Final = bytes(set(range(0x20)) - set(b"\t\r\n"))
_BETWEEN_STRINGS: Final = b' \t\r\n{}[],:"0123456789+-.eEtrufalsn'
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))
_TOKEN: Final = re.compile(rb'["{}\[\]]')
# Members of the result that are short and flat, each with its comma: many at once.
_MEMBERS: Final = re.compile(
    rb'(?:\s*"[^"]*"\s*:\s*(?:"[^"]*"|\[[^"\[\]{}]*\]|\{[^"\[\]{}]*\})?[^"\[\]{},]*,)+'
)
_INDENT_BYTES: Final = 64  # white space between a comma and a name
_QUOTE: Final = ord('"')
_OBJECT: Final = ord("{")
_OPENERS: Final = b"{["
_CLOSERS: Final = b"}]"
_PARTNER: Final = bytes.maketrans(b"{[}]", b"}]{[")


class _Broken(Exception):
    """It is no JSON message; the reason is kept by the outline."""


class Outline:
    """Feed all bytes in order, `finish`, then ask for `head` and `result`."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.result: tuple[int, int] | None = None  # of the last member of that name that is an object
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._carry = b""  # a backslash whose partner comes with the next piece
        self._at = 0  # in the message, of what is looked at
        self._in_string = False
        self._open = bytearray()  # the brackets that are open
        self._kept_depth = 1  # text this deep goes into the skeleton; 2 within `result`
        self._skeleton = bytearray()
        self._string: bytearray | None = None  # one for the skeleton; None when it became too long
        self._name = b""  # the last string at depth 1, as written: the name of a member that opens there
        self._result_from = 0  # where `result` began, in the message and in the skeleton
        self._result_in_skeleton = 0

    def feed(self, piece: bytes) -> None:
        """Takes the next bytes; nothing any more once there is a problem."""
        if self.problem is not None:
            return
        try:
            self._take(piece)
        except UnicodeDecodeError:
            self.problem = "not UTF-8"
        except _Broken as broken:
            self.problem = str(broken)

    def finish(self) -> None:
        """The message has ended."""
        if self.problem is None and (self._in_string or self._open or self._carry):
            self.problem = "it ends before its end"
        if self.problem is None and self._utf8.getstate()[0]:
            self.problem = "not UTF-8"

    def head(self) -> Head:
        """The head; its `result` is the skeleton of the result, its other members are skeletons as well.

        Raises:
            NotAMessage: see `read_head`, or what the outline found.
        """
        if self.problem is not None:
            raise NotAMessage(self.problem)
        return read_head(bytes(self._skeleton))

    # Escapes, then strings, then brackets

    def _take(self, piece: bytes) -> None:
        if len(piece.translate(None, _CONTROLS)) != len(piece):
            raise _Broken("a control character")
        self._utf8.decode(piece)
        if self._carry:
            piece, self._carry = self._carry + piece, b""
        masked = piece
        if b"\\" in piece:
            backslashes = len(piece) - len(piece.rstrip(b"\\"))
            if backslashes % 2:
                piece, self._carry = piece[:-1], b"\\"
            # Of the same length, and allowed nowhere: what is left of quotes begins or ends a string.
            masked = piece.replace(b"\\\\", b"\1\1").replace(b'\\"', b"\1\1")
        self._scan(piece, masked)

    def _scan(self, piece: bytes, masked: bytes) -> None:
        """Passes over what is deep, and halves the rest until it is short enough to walk."""
        if self._in_string and b'"' not in masked:
            self._take_string(piece)
            self._at += len(piece)
        elif self._skip(masked):
            self._at += len(piece)
        elif len(piece) <= _WALK_BYTES:
            self._walk(piece, masked)
            self._at += len(piece)
        else:
            half = len(piece) // 2
            self._scan(piece[:half], masked[:half])
            self._scan(piece[half:], masked[half:])

    # What is too deep to be kept

    def _skip(self, masked: bytes) -> bool:
        """Passes over a piece that never comes up to the depth that is kept; False when it does."""
        depth = len(self._open)
        if depth <= self._kept_depth:
            return False
        parts = masked.split(b'"')
        between = b'"'.join(parts[1::2] if self._in_string else parts[::2])
        closing, opening = _cancelled(between.translate(None, _NOT_BRACKETS))
        if depth - len(closing) <= self._kept_depth:
            return False
        if between.translate(None, _BETWEEN_STRINGS):
            raise _Broken("a stray character between strings")
        if closing:
            if self._open[: -len(closing) - 1 : -1] != closing.translate(_PARTNER):
                raise _Broken("brackets that do not match")
            del self._open[-len(closing) :]
        self._open += opening
        if len(self._open) > MAX_DEPTH:
            raise _Broken("nested too deep")
        if len(parts) % 2 == 0:
            self._in_string = not self._in_string
        return True

    # What is kept

    def _walk(self, piece: bytes, masked: bytes) -> None:
        at, end = 0, len(masked)
        while at < end:
            if self._in_string:
                stop = masked.find(b'"', at)
                self._take_string(piece[at:] if stop < 0 else piece[at:stop])
                if stop < 0:
                    return
                self._end_string()
                at = stop + 1
                continue
            found = _TOKEN.search(masked, at)
            stop = end if found is None else found.start()
            self._take_plain(masked[at:stop])
            at = stop + 1
            if found is None:
                return
            if masked[stop] == _QUOTE and self._is_before_member:
                self._fold()
                members = _MEMBERS.match(masked, stop)
                if members is not None:
                    self._keep(piece[stop : members.end()])
                    at = members.end()
                    continue
            self._take_token(masked[stop], self._at + stop)

    @property
    def _is_kept(self) -> bool:
        return len(self._open) <= self._kept_depth

    @property
    def _is_before_member(self) -> bool:
        """Whether a string that begins here is the name of a member of the result."""
        if not len(self._open) == 2 == self._kept_depth:
            return False
        return self._skeleton[-_INDENT_BYTES:].rstrip().endswith((b",", b"{"))

    def _keep(self, text: bytes) -> None:
        self._skeleton += text
        if len(self._skeleton) > MAX_SKELETON_BYTES:
            raise _Broken(f"more than {MAX_SKELETON_BYTES} bytes around what it carries")

    def _take_plain(self, text: bytes) -> None:
        """Numbers, literals, commas, colons and white space."""
        if text.translate(None, _BETWEEN_STRINGS):
            raise _Broken("a stray character between strings")
        if text and self._is_kept:
            blank = text.isspace()
            if not (blank and self._skeleton.endswith(b" ")):
                self._keep(b" " if blank else text)

    def _take_token(self, token: int, at: int) -> None:
        if token == _QUOTE:
            self._in_string = True
            self._string = bytearray()
        elif token in _OPENERS:
            self._take_opener(token, at)
        else:
            self._take_closer(token, at)

    def _take_string(self, text: bytes) -> None:
        if self._string is not None and self._is_kept:
            self._string += text
            if len(self._string) > MAX_STRING_BYTES:
                self._string = None

    def _end_string(self) -> None:
        self._in_string = False
        if self._is_kept:
            text = b"" if self._string is None else bytes(self._string)
            self._keep(b'"%b"' % text)
            if len(self._open) == 1:
                self._name = text

    def _take_opener(self, token: int, at: int) -> None:
        if self._is_kept:
            if token == _OBJECT and len(self._open) == 1 and _is_result(self._name):
                self._kept_depth = 2
                self._result_from = at
                self._result_in_skeleton = len(self._skeleton)
            self._keep(bytes((token,)))
        self._open.append(token)
        if len(self._open) > MAX_DEPTH:
            raise _Broken("nested too deep")

    def _take_closer(self, token: int, at: int) -> None:
        if not self._open or self._open.pop() != _PARTNER[token]:
            raise _Broken("brackets that do not match")
        if self._is_kept:
            self._keep(bytes((token,)))
        if len(self._open) == 1 and self._kept_depth == 2:
            self._kept_depth = 1
            self.result = (self._result_from, at + 1)

    def _fold(self) -> None:
        """Before a name in `result`: many members become the few that are asked for, the last of each."""
        if len(self._skeleton) - self._result_in_skeleton < FOLD_BYTES:
            return
        text = bytes(self._skeleton[self._result_in_skeleton :]).rstrip()
        members = read_members(text[:-1] + b"}")
        if not members:
            raise _Broken("the members of its result are malformed")
        kept = {name: members[name] for name in VERDICT if name in members}
        self._skeleton[self._result_in_skeleton :] = encode(kept)[:-1] + (b"," if kept else b"")


def _is_result(name: bytes) -> bool:
    if b"\\" not in name:
        return name == b"result"
    try:
        return bool(msgspec.json.decode(b'"%b"' % name) == "result")
    except msgspec.DecodeError:
        return False


def _cancelled(brackets: bytes) -> tuple[bytes, bytes]:
    """What is left when brackets that match are taken away: those that close, and those that open.

    Raises:
        _Broken: they do not match.
    """
    for _ in range(_CANCEL_PASSES):
        fewer = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    else:
        brackets = _counted_off(brackets)
    opening = brackets.lstrip(_CLOSERS)
    if opening.strip(_OPENERS):
        raise _Broken("brackets that do not match")
    return brackets[: len(brackets) - len(opening)], opening


def _counted_off(brackets: bytes) -> bytes:
    """The same for deep nesting, which C would cancel level by level."""
    left = bytearray()
    for bracket in brackets:
        if left and bracket in _CLOSERS and left[-1] == _PARTNER[bracket]:
            left.pop()
        else:
            left.append(bracket)
            if len(left) > 2 * MAX_DEPTH:  # what closes was open before: that many at most
                raise _Broken("nested too deep")
    return bytes(left)
