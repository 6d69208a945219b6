# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault rules: which requests fail, how often, and how.

A rule is a JSON object. `method`, `path` (* matches a segment or a part of it, ** anything) and `account` select
requests; `skip`, `count` and `probability` select some of them. The effect is a delay of `delay` plus up to `jitter`
seconds, and `fault`, one of KINDS with the fields of that kind.
"""

from __future__ import annotations

import http
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..state.objects import UUID_FORM
from .clock import Clock

Field = Callable[[Any], Any]
HideAddress = Callable[[dict[str, Any], float], None]
"""Removes the address from a server's info object if the server has run for less than the given seconds."""


class BadFaultRules(ValueError):
    """Invalid rules; the text is one sentence that names the rule and the field."""


def _number(low: float, high: float = 1e9) -> Field:
    def check(given: Any) -> float:
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not low <= given <= high:
            raise BadFaultRules(f"a number from {low:g} to {high:g} is expected")
        return given

    return check


def _whole(low: int) -> Field:
    def check(given: Any) -> int:
        if isinstance(given, bool) or not isinstance(given, int) or given < low:
            raise BadFaultRules(f"a whole number from {low} is expected")
        return given

    return check


def _word(pattern: str, meaning: str) -> Field:
    def check(given: Any) -> str:
        if not isinstance(given, str) or not re.fullmatch(pattern, given):
            raise BadFaultRules(f"{meaning} is expected")
        return given

    return check


def _status(given: Any) -> int:
    if given not in [status.value for status in http.HTTPStatus if status >= 400]:
        raise BadFaultRules("an HTTP status from 400 is expected")
    return int(given)


_WHEN = _word("before|after", "before or after")


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault.

    answers: whether the reply is replaced or broken; of the matching rules that answer, only the first acts, and the
    effects of all others add up. fields: their checks and defaults (None: the field is required). when: value of the
    field `when` for a kind without this field.
    """

    answers: bool
    fields: Mapping[str, tuple[Field, Any]] = field(default_factory=dict)
    when: str = ""


KINDS: Mapping[str, FaultKind] = {
    # only the delay
    "delay": FaultKind(False),
    # an error reply, `before` or `after` the call takes effect
    "status": FaultKind(
        True,
        {
            "status": (_status, 500),
            "error": (_word("[a-z]{0,20}", "a word"), "system"),
            "message": (_word(r"[^\r\n]{0,500}", "one line"), "Internal API error"),
            "when": (_WHEN, "before"),
        },
    ),
    # reset of the connection (TCP RST), `before` or `after` the call takes effect
    "reset": FaultKind(True, {"when": (_WHEN, "before")}),
    # no reply; the connection stays open until the client closes it, or for `seconds`
    "timeout": FaultKind(True, {"when": (_WHEN, "before"), "seconds": (_number(0), 3600)}),
    # a reply that announces the whole body and ends after a part of it (0 to 1)
    "truncate": FaultKind(True, {"part": (_number(0, 0.999), 0.5)}),
    # a reply whose body is sent `bytes` at a time, with a pause of `interval` seconds before each piece
    "drip": FaultKind(True, {"bytes": (_whole(1), 1), "interval": (_number(0), 0.1)}),
    # 429 with Retry-After while a token bucket is empty: `rate` in calls per second, `burst` in calls
    "throttle": FaultKind(True, {"rate": (_number(0.001), None), "burst": (_whole(1), 1)}, when="before"),
    # info does not show `imaging` while a copy runs, in one of `every` replies
    "hide-imaging": FaultKind(False, {"every": (_whole(1), 1)}),
    # info shows the address of a server `seconds` after the start of the server
    "late-address": FaultKind(False, {"seconds": (_number(0), None)}),
    # the guest ignores a shutdown call, which succeeds
    "deaf-guest": FaultKind(False),
}

_COMMON: Mapping[str, tuple[Field, Any]] = {
    "name": (_word(r"[^\r\n]{1,80}", "one line"), ""),
    "method": (_word("[A-Z]{1,10}", "a method in capitals"), ""),
    "path": (_word("/.{0,500}", "a path that begins with /, of at most 501 characters,"), ""),
    "account": (_word(UUID_FORM.pattern, "the UUID of a user"), ""),
    "probability": (_number(0, 1), 1),
    "count": (_whole(1), 0),
    "skip": (_whole(0), 0),
    "delay": (_number(0), 0),
    "jitter": (_number(0), 0),
}


class PathPattern:
    """A path in which * stands for a part of one segment, and ** for anything.

    Matching takes a step for each character of a path; a regular expression with many * could take for ever.
    """

    def __init__(self, pattern: str) -> None:
        parts = re.findall(r"\*+|[^*]", pattern, re.DOTALL)
        self._end = 1 << len(parts)
        self._stars = self._double_stars = 0
        self._characters: dict[str, int] = {}
        for number, part in enumerate(parts):
            bit = 1 << number
            if part[0] != "*":
                self._characters[part] = self._characters.get(part, 0) | bit
                continue
            self._stars |= bit
            self._double_stars |= bit if len(part) > 1 else 0

    def matches(self, path: str) -> bool:
        # Bit n of `reached`: the first n parts of the pattern match what was read of the path. A * may match nothing.
        reached = 1 | (self._stars & 1) << 1
        for character in path:
            kept = reached & (self._double_stars if character == "/" else self._stars)
            reached = kept | (reached & self._characters.get(character, 0)) << 1
            reached |= (reached & self._stars) << 1
            if not reached:
                return False
        return bool(reached & self._end)


class FaultRule:
    """A rule, with the number of requests that it has matched and on which it has acted. Raises BadFaultRules."""

    def __init__(self, given: Mapping[str, Any], chance: random.Random) -> None:
        self.kind = str(given.get("fault", "delay"))
        if self.kind not in KINDS:
            raise BadFaultRules(f"fault: {self.kind[:60]!r} is none of {', '.join(KINDS)}")
        known = {**_COMMON, **KINDS[self.kind].fields}
        self.settings = {name: default for name, (_check, default) in known.items()}
        for name, value in given.items():
            if name != "fault":
                self.settings[name] = _checked(name, value, known)
        for name, value in self.settings.items():
            if value is None:
                raise BadFaultRules(f"{name}: fault {self.kind} needs it")
        self._path = PathPattern(self.settings["path"] or "/**")
        self._chance = chance
        self.matched = 0
        self.acted = 0
        self._tokens = float(self.settings.get("burst", 0))
        self._filled: float | None = None

    @property
    def name(self) -> str:
        return str(self.settings["name"] or self.kind)

    def document(self) -> dict[str, Any]:
        """Return the rule with all defaults, and its counts."""
        return {"fault": self.kind, **self.settings, "matched": self.matched, "acted": self.acted}

    def acts(self, method: str, path: str, account: str, now: float) -> bool:
        """Count a request, and return whether the rule acts on it. now: by the monotonic clock, in seconds."""
        wanted = self.settings
        if wanted["method"] not in ("", method) or wanted["account"].lower() not in ("", account):
            return False
        if not self._path.matches(path):
            return False
        self.matched += 1
        if self.matched <= wanted["skip"] or (wanted["count"] and self.acted >= wanted["count"]):
            return False
        if wanted["probability"] < 1 and self._chance.random() >= wanted["probability"]:
            return False
        if self.kind == "hide-imaging" and (self.matched - wanted["skip"]) % wanted["every"]:
            return False
        if self.kind == "throttle" and self._token(now):
            return False
        self.acted += 1
        return True

    def pause(self) -> float:
        """Return the delay of a request in seconds."""
        return float(self.settings["delay"] + self.settings["jitter"] * self._chance.random())

    def retry_after(self) -> int:
        """Return the seconds until the bucket has a token, rounded up."""
        rate: float = self.settings["rate"]
        return max(1, math.ceil((1 - self._tokens) / rate))

    def _token(self, now: float) -> bool:
        """Take a token from the bucket; return False if there is none."""
        since = 0.0 if self._filled is None else max(0.0, now - self._filled)
        self._filled = now
        self._tokens = min(float(self.settings["burst"]), self._tokens + since * self.settings["rate"])
        if self._tokens >= 1:
            self._tokens -= 1
            return True
        return False


@dataclass(frozen=True)
class Verdict:
    """The effect of the rules on a request.

    names: of the rules that acted. delay: in seconds. answer: the rule that replaces or breaks the reply. conditions:
    the other rules that acted.
    """

    names: tuple[str, ...] = ()
    delay: float = 0.0
    answer: FaultRule | None = None
    conditions: tuple[FaultRule, ...] = ()

    def replacement(self, when: str) -> FaultRule | None:
        """Return the rule whose reply replaces the call's, `before` or `after` the call takes effect."""
        rule = self.answer
        return rule if rule is not None and rule.settings.get("when", KINDS[rule.kind].when) == when else None

    def condition(self, kind: str) -> FaultRule | None:
        return next((rule for rule in self.conditions if rule.kind == kind), None)

    def visible(self, found: Any, hide_address: HideAddress) -> Any:
        """Return the result of a call without what the rules hide."""
        if not self.conditions:
            return found
        if isinstance(found, list):
            return [self.visible(item, hide_address) for item in found]
        if not isinstance(found, Mapping):
            return found
        shown = dict(found)
        if self.condition("hide-imaging"):
            shown.pop("imaging", None)
        late = self.condition("late-address")
        if late is not None:
            hide_address(shown, late.settings["seconds"])
        return shown


NO_FAULTS = Verdict()


class FaultRules:
    """The list of rules."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.rules: tuple[FaultRule, ...] = ()

    def load(self, document: object) -> None:
        """Replace the rules with a list of rules or {"faults": [rules], "seed": number}. Raises BadFaultRules."""
        given, seed = document, 0
        if isinstance(document, dict):
            unknown = set(document) - {"faults", "seed"}
            if unknown:
                raise BadFaultRules(f"{str(min(unknown))[:60]!r} is unknown beside faults and seed")
            given, seed = document.get("faults", []), document.get("seed", 0)
        if not isinstance(given, list) or not isinstance(seed, int):
            raise BadFaultRules('a list of rules, or {"faults": [rules], "seed": number}, is expected')
        self.rules = tuple(_rule(number, rule, seed) for number, rule in enumerate(given, 1))

    def judge(self, method: str, path: str, account: str) -> Verdict:
        """Count a request, and return the effect of the rules on it."""
        if not self.rules:
            return NO_FAULTS
        answer, conditions, delay, names = None, [], 0.0, []
        for rule in self.rules:
            answers = KINDS[rule.kind].answers
            if (answers and answer is not None) or not rule.acts(method, path, account, self._clock.monotonic()):
                continue
            names.append(rule.name)
            delay += rule.pause()
            if answers:
                answer = rule
            else:
                conditions.append(rule)
        return Verdict(tuple(names), delay, answer, tuple(conditions))


def _rule(number: int, given: object, seed: int) -> FaultRule:
    if not isinstance(given, dict):
        raise BadFaultRules(f"rule {number}: an object is expected")
    try:
        return FaultRule(given, random.Random(f"{seed}/{number}"))  # noqa: S311 (repeatable, not secret)
    except BadFaultRules as error:
        raise BadFaultRules(f"rule {number}: {error}") from None


def _checked(name: str, value: Any, known: Mapping[str, tuple[Field, Any]]) -> Any:
    if name not in known:
        raise BadFaultRules(f"{name[:60]!r} is none of {', '.join(known)}")
    try:
        return known[name][0](value)
    except BadFaultRules as error:
        raise BadFaultRules(f"{name}: {error}") from None
