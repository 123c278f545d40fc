"""What `make docs` adds to the pages of docs/: hooks of MkDocs, named in mkdocs.yml.

The pages are read in the repository, too, so they are plain Markdown there. Only here become
links out of docs/ links within the site, and ``<!-- settings CLASS KEY -->`` becomes the table of a
part of the campaign file, made from the class that checks it.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

from griffe import Docstring, DocstringSectionKind
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

REPOSITORY = Path(__file__).resolve().parents[1]
#: Pages of the site that lie beside docs/, where people look for them.
OUTSIDE = ("SECURITY.md",)
_LINK = re.compile(r"\]\((\.\./[^)#\s]*|docs/[^)#\s]*)(#[^)\s]*)?\)")
_SETTINGS = re.compile(r"^<!-- settings (\S+) (\S+) -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for name in OUTSIDE:
        files.append(File.generated(config, name, content=(REPOSITORY / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links out of docs/ and fill in the tables of settings."""
    uri = page.file.src_uri
    folder = REPOSITORY if uri in OUTSIDE else (REPOSITORY / "docs" / uri).parent
    up = "../" * uri.count("/")

    def link(found: re.Match[str]) -> str:
        target = (folder / found[1]).resolve()
        within = _in_site(target, config, files)
        if within is None:
            return found[0]
        return f"]({up}{within}{found[2] or ''})"

    markdown = _LINK.sub(link, markdown)
    return _SETTINGS.sub(lambda found: settings_table(_load(found[1]), found[2]), markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Name the theme's search for screen readers, which it leaves without a name."""
    dialog = 'data-md-component="search" role="dialog"'
    return output.replace(dialog, f'{dialog} aria-label="Search"')


def _in_site(target: Path, config: MkDocsConfig, files: Files) -> str | None:
    """Return where a file of the repository is in the site; a file that is no page is copied."""
    if not target.is_file() or not target.is_relative_to(REPOSITORY):
        return None
    name = target.relative_to(REPOSITORY).as_posix()
    if name in OUTSIDE:
        return name
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    copied = f"repository/{name}"
    if files.get_file_from_path(copied) is None:
        files.append(File.generated(config, copied, abs_src_path=str(target)))
    return copied


def settings_table(settings: type[BaseModel], key: str) -> str:
    """Describe the keys of one part of the campaign file.

    Args:
        settings: The class that checks them.
        key: Where they stand in the file, for instance ``relax``; ``-`` for the top.

    Returns:
        A Markdown table: key, values, default, meaning.

    Raises:
        ValueError: A key is explained nowhere.
    """
    prefix = "" if key == "-" else f"{key}."
    explained = _explained(settings)
    rows = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for name, field in settings.model_fields.items():
        if name == "kind" and not field.is_required():
            continue  # it names the class: the page says so in its own words
        text = field.description or explained.get(name)
        if text is None:
            raise ValueError(f"{settings.__name__}.{name} is explained neither there nor in Args")
        rows.append(
            f"| `{prefix}{name}` | {_values(settings, name)} | {_default(field)} | {_cell(text)} |"
        )
    return "\n".join(rows)


def _load(path: str) -> type[BaseModel]:
    module, _, name = path.rpartition(".")
    found: type[BaseModel] = getattr(importlib.import_module(module), name)
    return found


def _explained(settings: type[BaseModel]) -> dict[str, str]:
    """Return what the docstring says of each key under ``Args``."""
    sections = Docstring(settings.__doc__ or "").parse("google", warnings=False)
    kinds = (DocstringSectionKind.parameters, DocstringSectionKind.attributes)
    return {
        one.name: one.description
        for section in sections
        if section.kind in kinds
        for one in section.value
    }


def _values(settings: type[BaseModel], name: str) -> str:
    """Say in words which values a key takes, from its JSON schema."""
    schema = settings.model_json_schema(mode="validation")["properties"][name]
    return _cell(_schema(schema))


def _schema(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_schema, schema["anyOf"])))
    if "oneOf" in schema or "$ref" in schema or schema.get("type") == "object":
        return "a table"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        inner = _schema(schema.get("items", {}))
        return {"a table": "list of tables", "null": "list"}.get(inner, f"list of {inner}")
    kinds = {"integer": "integer", "number": "number", "boolean": "true, false", "string": "text"}
    return kinds.get(schema.get("type", ""), "null") + _limits(schema)


def _limits(schema: dict[str, Any]) -> str:
    signs = {
        "minimum": ">=",
        "exclusiveMinimum": ">",
        "maximum": "<=",
        "exclusiveMaximum": "<",
    }
    found = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f" {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "see there"
    if isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value):
        return ", ".join(f"`{one.kind}`" for one in value)  # type: ignore[attr-defined]
    if isinstance(value, frozenset):
        value = sorted(value)
    return f"`{json.dumps(value, default=list)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
