"""The API's operations as one page that asks for nothing from outside."""

from __future__ import annotations

import html
from typing import Any

_HEAD = """<!DOCTYPE html><html lang="en" data-mantine-color-scheme="light"><head><meta charset="utf-8">
<title>API · Coldaisle</title><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/assets/favicon.svg"><link rel="stylesheet" href="/palette.css">
<link rel="stylesheet" href="/assets/coldaisle.css"></head><body class="document"><main class="page"><h1>HTTP API</h1>
<p>OpenAPI: <a href="/api/v1/openapi.json">/api/v1/openapi.json</a>. Where a token is set, send
<code>Authorization: Bearer TOKEN</code>.</p><div class="panel table-wrap"><table class="plain">
<thead><tr><th>Method</th><th>Path</th><th>Does</th><th>Parameters</th></tr></thead><tbody>"""


def page(schema: dict[str, Any]) -> str:
    """Return the page for an OpenAPI ``schema``."""
    rows = []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            names = ", ".join(parameter["name"] for parameter in operation.get("parameters", ()))
            cells = (method.upper(), path, operation.get("summary", ""), names)
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"{_HEAD}{''.join(rows)}</tbody></table></div></main></body></html>"
