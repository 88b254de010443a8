"""Puts HTML together: elements whose texts and attributes are escaped, in this one place.

Only what `element` returns, and the page's own style and script, are taken as they are.
"""

import base64
import hashlib
import html
import json
import urllib.parse
from collections.abc import Iterable
from typing import Any

VOID = ("meta", "link", "img", "input")


class Markup(str):
    """Text that is HTML already."""


def element(tag: str, *children: Any, **attributes: Any) -> Markup:
    """Returns an element.

    Args:
      children: texts and numbers, which are escaped; elements; iterables of these; None stands for nothing.
      attributes: class_ stands for class and data_x for data-x; None and False leave an attribute out, True needs no
        value.
    """
    words = [tag]
    for field, value in attributes.items():
        if value is not None and value is not False:
            field = field.rstrip("_").replace("_", "-")
            words.append(field if value is True else f'{field}="{escape(value)}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if tag in VOID else f"{opening}{join(children)}</{tag}>")


def join(children: Iterable[Any]) -> Markup:
    """Returns children of an element one after the other, as `element` takes them."""
    return Markup("".join(map(_child, children)))


def _child(child: Any) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if not isinstance(child, str) and isinstance(child, Iterable):
        return join(child)
    return escape(child)


def escape(text: Any) -> str:
    """Returns text in which nothing is markup; what can't be printed, such as a change of direction, is spelt out."""
    shown = "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in str(text))
    return html.escape(shown, quote=True)


def link(path: str, *children: Any, **attributes: Any) -> Markup:
    """Returns a link to a file at a relative path: whatever its name, it is no address of another kind."""
    return element("a", *children, href="./" + urllib.parse.quote(path), **attributes)


def data(value: Any, **attributes: Any) -> Markup:
    """Returns JSON that a script reads; no text in it ends the element or opens another."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return element("script", Markup(text), type="application/json", **attributes)


def script(source: str, **attributes: Any) -> Markup:
    """Returns an element that runs a script of the page's own, or keeps it, with a type that is none of a script."""
    return element("script", Markup(harmless(source)), **attributes)


def harmless(source: str) -> str:
    """Returns a script without what would end its element, or hide its end."""
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def digest(source: str) -> str:
    """Returns how a policy names a script that may run: 'sha256-...' of its text as it stands in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(harmless(source).encode()).digest()).decode()}'"
