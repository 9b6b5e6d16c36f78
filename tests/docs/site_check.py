"""`python -m tests.docs.site_check SITE`: whether a built site asks any other server for what a page is made of."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

# A link is followed by a reader; these are fetched by the browser.
FETCHED = {
    ("script", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("source", "src"),
    ("source", "srcset"),
    ("iframe", "src"),
    ("object", "data"),
    ("link", "href"),
}
# Links that tell something and load nothing.
TELLING = {"canonical", "alternate", "author", "license", "next", "prev"}
FOREIGN = re.compile(r"^\s*(https?:)?//")
STYLE = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        rel = set((dict(attrs).get("rel") or "").split())
        for name, value in attrs:
            if (
                (tag, name) in FETCHED
                and value
                and FOREIGN.match(value)
                and not (tag == "link" and rel <= TELLING and rel)
            ):
                self.foreign.append(f"<{tag} {name}={value}>")
            if name == "style" and value:
                self.foreign += STYLE.findall(value)


def foreign_resources(site: Path) -> Iterator[str]:
    """What the pages and styles of a site load from elsewhere: `page: resource`."""
    for file in sorted(site.rglob("*.html")):
        text = file.read_text(encoding="utf-8")
        page = _Page()
        page.feed(text)
        for found in page.foreign + STYLE.findall(text):
            yield f"{file.relative_to(site)}: {found}"
    for file in sorted(site.rglob("*.css")):
        for found in STYLE.findall(file.read_text(encoding="utf-8")):
            yield f"{file.relative_to(site)}: {found}"


def main(site: Path) -> int:
    """Returns the exit code: 1 if a page needs another server, 2 if there is no site."""
    pages = len(list(site.rglob("*.html")))
    if not pages:
        sys.stderr.write(f"{site}: holds no page; build the site first: make docs\n")
        return 2
    found = list(foreign_resources(site))
    for line in found:
        sys.stderr.write(f"{line}\n")
    sys.stdout.write(f"{pages} pages in {site}, {len(found)} resources from other servers\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
