"""The page: content in, one self-contained HTML text out."""

import base64
import hashlib
from collections.abc import Callable
from pkgutil import resolve_name

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from vxdist.report.content import Content
from vxdist.report.elements import Section
from vxdist.report.notes import selector_notes
from vxdist.report.sections import SECTIONS
from vxdist.report.sections.overview import make_overview

PAGE, SCRIPT = "templates/page.html.j2", "templates/tips.js"


def render(content: Content) -> str:
    """The whole page. Whatever comes from the store or the corpus is escaped."""
    environment = Environment(
        loader=PackageLoader("vxdist.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _mark_code
    return environment.get_template(PAGE).render(
        content=content,
        overview=make_overview(content),
        sections={
            name: section
            for name, where in SECTIONS.items()
            if (section := _make(where, content)) is not None
        },
        ranking=selector_notes(content).ranking,
        script_hash=_script_hash(environment),
        recorded=str(content.recording.attrs.get("created", ""))[:10],
    )


def _make(where: str, content: Content) -> Section | None:
    make: Callable[[Content], Section | None] = resolve_name(where)
    return make(content)


def _mark_code(text: str) -> Markup:
    """Escaped text, with what is between backticks as code."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return escape(text)
    marked = [Markup("<code>{}</code>").format(p) if n % 2 else p for n, p in enumerate(pieces)]
    return Markup("").join(marked)


def _script_hash(environment: Environment) -> str:
    """For the content security policy: this script may run, and no other."""
    script = environment.get_template(SCRIPT).render()
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
