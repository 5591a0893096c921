"""Checks a built site: every link leads somewhere, and a page loads nothing from another host.

    python tools/check_site.py site

Zensical checks links between Markdown pages. This looks at what came out of it, the navigation, images,
style sheets and anchors of the reference included.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""What a browser fetches by itself, and the attribute that says from where."""
NOT_LOADED = {"canonical", "prev", "next", "alternate"}
"""What a `link` only says."""


class Page(HTMLParser):
    """The anchors of a page, where its links lead, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[int, str]] = []
        self.loads: list[tuple[int, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        line, _ = self.getpos()
        self.ids.update(given[name] for name in ("id", "name") if given.get(name))
        if tag == "a" and given.get("href"):
            self.links.append((line, given["href"]))
        target = given.get(LOADED.get(tag, ""))
        if target and not (tag == "link" and NOT_LOADED & set(given.get("rel", "").split())):
            self.loads.append((line, target))


def problems(site: Path) -> list[str]:
    """What is wrong with the pages under `site`, each with its place."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = [] if pages else [f"{site}: there is no page"]
    for path, page in pages.items():
        for line, target in page.loads:
            if urlsplit(target).scheme not in ("", "data") or target.startswith("//"):
                found.append(f"{path}:{line}: loads from another host: {target}")
        for line, target in (*page.links, *page.loads):
            wrong = broken(site, path, target, pages)
            if wrong:
                found.append(f"{path}:{line}: {wrong}: {target}")
    return found


def broken(site: Path, path: Path, target: str, pages: dict[Path, Page]) -> str | None:
    """What is wrong with a link within the site, or None."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    place = unquote(parts.path)
    # 404.html is shown for any address, so its own links begin at the root.
    start = site if place.startswith("/") or path.name == "404.html" else path.parent
    to = (start / place.lstrip("/")).resolve() if place else path.resolve()
    if to.is_dir():
        to /= "index.html"
    known = {one.resolve(): page for one, page in pages.items()}
    if not to.is_file():
        return "leads nowhere"
    if parts.fragment and to in known and unquote(parts.fragment) not in known[to].ids:
        return "there is no such place on that page"
    return None


def main() -> int:
    """Print what is wrong; the exit status says whether something is."""
    (site,) = map(Path, sys.argv[1:])
    found = problems(site)
    sys.stdout.writelines(f"{line}\n" for line in found)
    if not found:
        count = len(list(site.rglob("*.html")))
        sys.stdout.write(f"{count} pages: no broken link, nothing from another host\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
