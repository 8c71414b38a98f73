"""The frame around every page: brand, navigation, theme, and which page an address means."""

from __future__ import annotations

from typing import Any, Protocol

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from dashboard import components, theme
from dashboard.callbacks import on
from dashboard.pages import ahead, explore, fleet, health, history, incident, search_box
from dashboard.pages.address import Address
from dashboard.reader import Reader

_NAVIGATION = (
    ("Fleet", "/", "f"),
    ("Ahead", "/ahead", "a"),
    ("History", "/history", "h"),
    ("Explore", "/explore", "e"),
    ("Health", "/health", "s"),
)
_KEYS = (
    ("g f", "Fleet"), ("g a", "Ahead"), ("g h", "History"), ("g e", "Explore"), ("g s", "Health"),
    ("/", "search everything"),
    ("j  k", "next, previous incident"),
    ("enter", "open"), ("a", "acknowledge"), ("r", "resolve"), ("s", "silence"),
    ("u", "one place up"), ("t", "dark or light"), ("?", "this list"),
)  # fmt: skip


class Page(Protocol):
    """One module of ``dashboard.pages``."""

    def layout(self, reader: Reader, address: Address) -> Any:
        """Return what the page shows."""
        ...

    def register(self, app: Dash, reader: Reader) -> None:
        """Wire its callbacks."""
        ...


PAGES: dict[str, Page] = {
    "/": fleet,
    "/ahead": ahead,
    "/history": history,
    "/explore": explore,
    "/health": health,
    "/incidents/": incident,
}


def page_of(path: str) -> Page | None:
    """Return the page that ``path`` means, or None."""
    if path.startswith("/incidents/"):
        return PAGES["/incidents/"]
    return PAGES.get(path.rstrip("/") or "/")


def layout(reader: Reader) -> Any:
    """Return the frame."""
    links = [
        dcc.Link(word, href=href, id={"type": "nav", "href": href}, className="nav-link", title=f"g {key}")
        for word, href, key in _NAVIGATION
    ]
    header = html.Div(
        [
            dcc.Link([html.Span(className="brand-mark"), "Coldaisle"], href="/", className="brand"),
            html.Nav(links, className="nav", **{"aria-label": "Pages"}),
            html.Div(
                [
                    html.Button(
                        [
                            html.Span("⌕", className="glass", **{"aria-hidden": "true"}),
                            html.Span("Search"),
                            html.Kbd("/"),
                        ],
                        id="search-open",
                        className="search-button",
                        **{"aria-label": "Search everything"},
                    ),
                    html.Span(reader.backends.hall, className="hall-name"),
                    html.Span([html.Span(className="live-dot"), "live"], id="live-word", className="live"),
                    html.Button(
                        "◐",
                        id="theme-toggle",
                        className="icon-button",
                        title="Dark or light (t)",
                        **{"aria-label": "Dark or light"},
                    ),
                    html.Button(
                        "?",
                        id="keys-open",
                        className="icon-button",
                        title="Keys (?)",
                        **{"aria-label": "Keyboard keys"},
                    ),
                ],
                className="header-end",
            ),
        ],
        className="header",
    )
    keys = html.Table(
        html.Tbody([html.Tr([html.Td(html.Kbd(key)), html.Td(word)]) for key, word in _KEYS]), className="plain"
    )
    return dmc.MantineProvider(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="theme"),
            dcc.Store(id="theme-kept", storage_type="local"),
            dcc.Store(id="zone"),
            dcc.Store(id="screen"),
            dcc.Store(id="wrote"),
            html.Div(
                "The server does not answer. This is the last picture; trying again.",
                id="lost",
                className="lost",
                role="alert",
            ),
            dmc.AppShell(
                [
                    dmc.AppShellHeader(header, className="app-header"),
                    dmc.AppShellMain(html.Div(id="page", className="page")),
                ],
                header={"height": {"base": 88, "sm": 48}},
                padding=0,
            ),
            dmc.Modal(keys, id="keys", title="Keys", size="sm"),
            search_box.layout(),
        ],
        id="mantine",
        theme=theme.mantine(),
        forceColorScheme="light",
    )


def register(app: Dash, reader: Reader) -> None:
    """Wire the frame and every page."""
    for page in PAGES.values():
        page.register(app, reader)
    search_box.register(app, reader)
    app.clientside_callback(
        ClientsideFunction("coldaisle", "reader"), Output("zone", "data"), Output("screen", "data"),
        Input("mantine", "id"),
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("coldaisle", "theme"),
        Output("theme", "data"), Output("theme-kept", "data"), Output("mantine", "forceColorScheme"),
        Input("theme-toggle", "n_clicks"), Input("url", "search"),
        State("theme", "data"), State("theme-kept", "data"),
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("coldaisle", "opened"), Output("keys", "opened"), Input("keys-open", "n_clicks"),
        prevent_initial_call=True,
    )  # fmt: skip

    @on(
        app,
        Output("page", "children"),
        Output("page", "className"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("theme", "data"),
        Input("zone", "data"),
        State("wrote", "data"),
        State("screen", "data"),
    )
    def show(
        path: str | None, search: str | None, colours: str | None, zone: str | None, wrote: str | None,
        screen: int | None,
    ) -> Any:  # fmt: skip
        if path is None or not colours or not zone:
            raise PreventUpdate
        only_search = set(ctx.triggered_prop_ids) == {"url.search"}
        if only_search and (search or "") == (wrote or ""):
            return no_update, no_update  # a page wrote its own state into the address
        address = Address.of(path, search, colours, zone, screen)
        page = page_of(address.path)
        if page is None:
            known = "The pages are Fleet, Ahead, History, Explore and Health."
            return components.empty("?", "No such page", known), "page"
        name = (address.path.strip("/").partition("/")[0] or "fleet").lower()
        return page.layout(reader, address), f"page page-{name}"
