"""Build the site from the repository's own pages, each at its own path, so that a link works in both."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

SHOWN = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "AGENTS.md", "llms.txt"),
    *("docs/**/*.md", "docs/**/*.svg", "docs/**/*.png", "docs/*.json", "docs/*.css", "benchmarks/results/*.json"),
    *("examples/*/*.md", "examples/*/*.py", "examples/*/static/*", "examples/*/*.png"),
)
"""The pages, and the files that they link to or show."""

LINK = re.compile(r"(\]\()([^)#:\s]+)(\))")

LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\b(?:src|srcset)=[\"']?([^\"'\s>]+)"
    r"|<link\b(?=[^>]*rel=[\"']?(?:stylesheet|preload|preconnect|icon))[^>]*?href=[\"']?([^\"'\s>]+)"
    r"|(?:url\(|@import\s)[\"']?(?!data:)([^\"')\s]+)",
    re.IGNORECASE,
)
"""Everything that a browser fetches when it shows a page or reads a style sheet."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages from the whole repository; mkdocs itself reads a single folder."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    for pattern in SHOWN:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to a folder at its README, which a code host shows for the folder."""
    here = ROOT / PurePosixPath(page.file.src_uri).parent

    def to_page(link: re.Match[str]) -> str:
        found = here / link[2]
        return f"{link[1]}{link[2].rstrip('/')}/README.md{link[3]}" if (found / "README.md").is_file() else link[0]

    # Python-Markdown splits no cell inside a code span, and would show the backslash that GitHub needs there.
    return LINK.sub(to_page, markdown).replace("\\|", "|")


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads anything from another server.

    Raises:
        PluginError: The site would.
    """
    elsewhere = set()
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css", ".svg"):
            text = path.read_text(encoding="utf-8")
            for groups in LOADED.findall(text):
                elsewhere |= {f"{path.name}: {url}" for url in groups if urlsplit(url).netloc}
            if 'class="mermaid"' in text:  # Material's script fetches what draws it
                elsewhere.add(f"{path.name}: mermaid")
    if elsewhere:
        raise PluginError("the site would load from another server: " + ", ".join(sorted(elsewhere)))
