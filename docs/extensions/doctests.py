"""For the site: the examples of a docstring (``>>>``) are code there, no quotations. (``mkdocs.yml``)"""

from __future__ import annotations

import re

from griffe import Extension, Object


class Doctests(Extension):  # type: ignore[misc, unused-ignore]  # as strict as griffe's own types allow
    def on_object(self, *, obj: Object, **_: object) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fence(obj.docstring.value)


def fence(text: str) -> str:
    """The text with each example in a fence. An example ends at an empty line; what switches tests off isn't shown.

    >>> fence("So:\\n\\n>>> f(1)  # doctest: +SKIP\\n2")
    'So:\\n\\n```pycon\\n>>> f(1)\\n2\\n```'
    """
    parts = re.split(r"\n[ \t]*\n", text)
    return "\n\n".join(_fenced(part) if part.lstrip().startswith(">>>") else part for part in parts)


def _fenced(part: str) -> str:
    return "```pycon\n" + re.sub(r" *# doctest: .*", "", part.strip("\n")) + "\n```"
