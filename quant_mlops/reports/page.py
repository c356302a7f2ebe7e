"""The HTML page around a report: its style, its tables and SVG figures that follow the theme."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from xml.etree import ElementTree

from matplotlib.figure import Figure

from quant_mlops.reports import drawing

# Colours of the figures in light and in dark surroundings, by the name of their CSS variable.
THEME = {
    "ink": (drawing.INK, "#e8ecf1"),
    "muted": (drawing.MUTED, "#a3aeba"),
    "grid": (drawing.GRID, "#2b333d"),
    "paper": (drawing.PAPER, "#161b21"),
    "blue": (drawing.BLUE, "#4aa8e8"),
    "sky": (drawing.SKY, "#8fd0f5"),
    "green": (drawing.GREEN, "#2cc59b"),
    "amber": (drawing.AMBER, "#f2b134"),
    "vermillion": (drawing.VERMILLION, "#f0803c"),
    "purple": (drawing.PURPLE, "#dd97bd"),
    "wine": (drawing.WINE, "#d9679f"),
}

STYLESHEET = """
:root { $light --page: #f4f6f8; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { $dark --page: #0e1216; } }
@media print { :root { $light --page: #ffffff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 28px 20px 56px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 8px; }
h3 { font-size: 15px; margin: 20px 0 6px; }
p { margin: 6px 0 10px; max-width: 110ch; overflow-wrap: anywhere; }
ul { margin: 6px 0; padding-left: 20px; max-width: 110ch; }
li { margin: 5px 0; }
.lead, .note { color: var(--muted); }
.note { font-size: 13.5px; }
section { background: var(--paper); border: 1px solid var(--grid); border-radius: 10px;
  padding: 20px 22px; margin-top: 18px; }
figure { margin: 12px 0 4px; overflow-x: auto; }
figure svg { display: block; width: 100%; min-width: 720px; height: auto; }
figure text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif;
  font-variant-numeric: tabular-nums; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--muted); white-space: nowrap;
  vertical-align: bottom; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--grid); }
td { vertical-align: top; overflow-wrap: break-word; }
tr:last-child td, tr:last-child th { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; }
.fixed { white-space: nowrap; } .words { min-width: 14ch; }
.wide { min-width: 24ch; overflow-wrap: anywhere; }
.summary { width: auto; min-width: 50%; }
.summary th { vertical-align: top; font-weight: 500; padding-right: 28px; white-space: normal; }
.summary td { font-weight: 600; overflow-wrap: anywhere; }
.badge { display: inline-block; padding: 0 9px; border-radius: 9px; border: 1.5px solid;
  font-size: 12.5px; font-weight: 600; }
.info { border-color: var(--sky); } .warning { border-color: var(--amber); }
.severe { border-color: var(--vermillion); background: var(--vermillion); color: #1c0d00; }
.critical { border-color: var(--wine); background: var(--wine); color: var(--paper); }
summary { cursor: pointer; padding: 8px 0; color: var(--muted); }
@media (max-width: 700px) { section { padding: 16px 14px; } main { padding: 16px 8px 32px; } }
@media print {
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  section { border: 0; padding: 8px 0; } figure, tr, h2, h3 { break-inside: avoid; }
  h2, h3 { break-after: avoid; } figure svg { min-width: 0; }
  figure, .scroll { overflow: visible; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""

# A browser may break a line after any hyphen, which tears dates apart.
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
<p class="lead">$lead</p>
</header>
$sections
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Markup:
    """Text that is HTML already; everything else is escaped."""

    text: str


Cell = str | Markup


def page(sections: Sequence[Markup], *, title: str, lead: str) -> str:
    """Return the whole document: no script, and nothing fetched from anywhere."""
    light = " ".join(f"--{name}: {pair[0]};" for name, pair in THEME.items())
    dark = " ".join(f"--{name}: {pair[1]};" for name, pair in THEME.items())
    return Template(PAGE).substitute(
        title=escape(title),
        lead=escape(lead),
        style=Template(STYLESHEET).substitute(light=light, dark=dark),
        sections="\n".join(section.text for section in sections),
    )


def section(heading: str, *content: Markup) -> Markup:
    """Return a titled part of the page."""
    body = "\n".join(part.text for part in content)
    return Markup(f"<section>\n<h2>{escape(heading)}</h2>\n{body}\n</section>")


def subheading(text: str) -> Markup:
    """Return a heading inside a section."""
    return Markup(f"<h3>{escape(text)}</h3>")


def paragraph(text: str, *, kind: str = "note") -> Markup:
    """Return a paragraph; `kind` is a class of the style sheet."""
    return Markup(f'<p class="{escape(kind)}">{escape(text)}</p>')


def bullets(points: Sequence[str]) -> Markup:
    """Return a list of sentences."""
    return Markup("<ul>" + "".join(f"<li>{escape(point)}</li>" for point in points) + "</ul>")


def badge(text: str) -> Markup:
    """Return a severity as a coloured label; it reads the same without colour."""
    return Markup(f'<span class="badge {escape(text)}">{escape(text)}</span>')


def summary_table(rows: Sequence[tuple[str, str]]) -> Markup:
    """Return a table of names and values."""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return Markup(f'<div class="scroll"><table class="summary">{body}</table></div>')


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Cell]]) -> Markup:
    """Return a table.

    Parameters
    ----------
    columns
        Heading and class of each: `number` (right-aligned), `fixed` (one line), `words`, `wide` or
        empty.
    rows
        Cells in the order of the columns; strings are escaped.

    """
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(heading)}</th>' for heading, kind in columns
    )
    lines = []
    for row in rows:
        cells = zip(columns, row, strict=True)
        lines.append("".join(f'<td class="{kind}">{_cell(cell)}</td>' for (_, kind), cell in cells))
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return Markup(
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def folded(label: str, content: Markup) -> Markup:
    """Return content behind a line that opens it; printing opens it too."""
    return Markup(f"<details><summary>{escape(label)}</summary>\n{content.text}\n</details>")


def drawn(figure: Figure, *, name: str, description: str) -> Markup:
    """Return a figure as inline SVG whose colours follow the page's theme.

    Parameters
    ----------
    figure
        Built in the house style; other colours stay what they are in dark surroundings.
    name
        Prefix of the ids inside, so that two figures on a page cannot take each other's marks.
    description
        Read out in place of the drawing.

    """
    root = ElementTree.fromstring(drawing.svg(figure))
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {
            _local(key): _themed(value, key=_local(key), name=name)
            for key, value in element.attrib.items()
        }
        for style in element.findall("{*}style"):
            element.remove(style)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": description}
    return Markup(f"<figure>{ElementTree.tostring(root, encoding='unicode')}</figure>")


def _cell(cell: Cell) -> str:
    if isinstance(cell, Markup):
        return cell.text
    return ISO_DATE.sub(r'<span class="fixed">\g<0></span>', escape(cell))


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _themed(value: str, *, key: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-", 1)
    if key == "style":
        for variable, (colour, _) in THEME.items():
            value = value.replace(colour, f"var(--{variable})")
        # The page sets the family: one that is measured here need not exist there.
        return re.sub(r"font-family:[^;]*;? ?", "", value)
    return value
