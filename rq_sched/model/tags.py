"""What people call a task, and what they sort tasks by: neither means anything to rq-sched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rq_sched.errors import InvalidValue
from rq_sched.model.given import given

MOST_TAGS = 16
MOST_TEXT = 128
"""Characters of a name, or of a tag's text."""
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}")
_BETWEEN = "\t"
WHAT = f"tags must be up to {MOST_TAGS} times NAME=TEXT, such as run=17"
"""What tags are, however they are given."""


def parse_name(value: object, name: str) -> str:
    """What a task is called.  Raises: InvalidValue."""
    if not isinstance(value, str) or not 0 < len(value) <= MOST_TEXT or not value.isprintable():
        raise InvalidValue(f"{name} must be 1 to {MOST_TEXT} characters that can be printed, not {given(value)}")
    return value


def parse_tags(value: object, _: str = "") -> dict[str, str]:
    """Tags, sorted by name: of a mapping, or of words ``NAME=TEXT``.

    Raises:
        InvalidValue: it is neither, or a name or a text can't be one.

    >>> parse_tags(["run=17", "kind=nightly"])
    {'kind': 'nightly', 'run': '17'}
    """
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        value = dict(map(_tag, value))
    if not isinstance(value, Mapping) or len(value) > MOST_TAGS:
        raise InvalidValue(f"{WHAT}, not {given(value)}")
    for tag, text in value.items():
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise InvalidValue(
                f"a tag's name must be 1 to 32 letters, digits, ., _ or -, the first a letter, not {given(tag)}"
            )
        parse_name(text, f"the text of the tag {tag}")
    return dict(sorted(value.items()))


def _tag(word: object) -> tuple[str, str]:
    """Name and text of a word.  Raises: InvalidValue."""
    if not isinstance(word, str) or "=" not in word:
        raise InvalidValue(f"{WHAT}, not {given(word)}")
    tag, _, text = word.partition("=")
    return tag, text


TagsGiven = Mapping[str, str] | Sequence[str] | str | None
"""Tags as users give them to choose tasks by."""


def wanted_tags(asked: TagsGiven) -> dict[str, str]:
    """The tags that tasks must have, of a mapping, or of one or several words ``NAME=TEXT``.  Raises: InvalidValue.

    >>> wanted_tags("run=17")
    {'run': '17'}
    """
    return parse_tags([asked] if isinstance(asked, str) else asked or {})


def written(tags: Mapping[str, str]) -> str:
    """Tags as they stand in a request.

    >>> written({"kind": "nightly", "run": "17"})
    'kind=nightly\\trun=17'
    """
    return _BETWEEN.join(f"{tag}={text}" for tag, text in tags.items())


def read(text: str) -> dict[str, str]:
    """The tags that stand in a request.

    >>> read("kind=nightly\\trun=17")
    {'kind': 'nightly', 'run': '17'}
    """
    return {tag: value for tag, _, value in (part.partition("=") for part in text.split(_BETWEEN) if part)}
