/* What only the browser can do: time zone, theme, keys, and noticing that the server is gone. */
window.dash_clientside = window.dash_clientside || {};
(function () {
  "use strict";
  function paint(theme) {
    document.documentElement.setAttribute("data-mantine-color-scheme", theme);
    document.documentElement.setAttribute("data-ag-theme-mode", theme);
    if (document.body) { document.body.setAttribute("data-ag-theme-mode", theme); }
  }
  function wanted(search, kept) {
    const asked = new URLSearchParams(search || "").get("theme");
    if (asked === "dark" || asked === "light") { return asked; }
    if (kept === "dark" || kept === "light") { return kept; }
    return window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  function stored() {
    try { return JSON.parse(window.localStorage.getItem("theme-kept")); } catch (error) { return null; }
  }
  paint(wanted(window.location.search, stored()));

  /* The server has searched already: every suggestion that it sent fits. */
  window.dashMantineFunctions = window.dashMantineFunctions || {};
  window.dashMantineFunctions.coldaisleAnything = function (search) { return search.options; };

  window.dash_clientside.coldaisle = {
    reader: function () {
      let zone = "UTC";
      try { zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC"; } catch (error) { /* an old browser */ }
      return [zone, window.innerWidth || 1440];
    },
    searching: function () {
      return (window.dash_clientside.callback_context.triggered || [])
        .some(function (one) { return one.prop_id === "search-open.n_clicks" && one.value; });
    },
    lit: function (hover) {
      /* Of many grey lines the one under the pointer is drawn out; nothing is sent, nothing redrawn. */
      const graph = document.getElementById("explore-graph");
      const at = hover && hover.points && hover.points.length ? hover.points[0].curveNumber : -1;
      if (graph) {
        graph.querySelectorAll(".scatterlayer .trace").forEach(function (line, number) {
          line.classList.toggle("lit", number === at);
        });
      }
      return window.dash_clientside.no_update;
    },
    repaint: function (change, figure) {
      /* Only what a refresh changed is sent: colours, words and marks of a hall whose shape stays. */
      const same = window.dash_clientside.no_update;
      if (!change || !figure || !figure.data || figure.data.length !== change.marks.length + 2) { return same; }
      const data = figure.data.slice();
      data[0] = Object.assign({}, data[0], { z: change.under });
      data[1] = Object.assign({}, data[1]);
      ["z", "zmin", "zmax", "hovertext", "text"].forEach(function (name) {
        if (name in change) { data[1][name] = change[name]; }
      });
      change.marks.forEach(function (mark, number) {
        data[number + 2] = Object.assign({}, data[number + 2], { x: mark.x, y: mark.y });
      });
      return Object.assign({}, figure, { data: data });
    },
    muting: function (clicks) { return clicks ? true : window.dash_clientside.no_update; },
    theme: function (clicks, search, now, kept) {
      const same = window.dash_clientside.no_update;
      const toggled = (window.dash_clientside.callback_context.triggered || [])
        .some(function (one) { return one.prop_id === "theme-toggle.n_clicks" && one.value; });
      let theme = wanted(search, kept === undefined ? stored() : kept);
      if (toggled) {
        theme = now === "dark" ? "light" : "dark";
        const parameters = new URLSearchParams(window.location.search);
        if (parameters.has("theme")) {
          parameters.set("theme", theme);
          window.history.replaceState(window.history.state, "", window.location.pathname + "?" + parameters);
        }
      } else if (now === theme) {
        return [same, same, same];
      }
      paint(theme);
      return [theme, toggled ? theme : same, theme];
    },
    opened: function (clicks) { return Boolean(clicks); }
  };

  /* An interval stands still while its answer is awaited. Any answer sets it going again; where none came, or only
     half of one, nothing would, and the page would keep its last picture for ever. */
  const send = window.fetch;
  window.fetch = function (resource, options) {
    const answer = send.call(window, resource, options);
    if (String(resource).indexOf("_dash-update-component") >= 0) {
      answer.then(function (come) { return come.clone().arrayBuffer(); }).catch(function () { goOn(options); });
    }
    return answer;
  };
  function goOn(options) {
    JSON.parse(options.body).inputs.flat().forEach(function (input) {
      if (input.property === "n_intervals" && window.dash_component_api.getLayout(input.id)) {
        window.dash_clientside.set_props(input.id, { max_intervals: -1 });
      }
    });
  }

  /* The lost-server bar: the last picture stays, and says that it is the last. */
  let misses = 0;
  window.setInterval(function () {
    if (document.hidden) { return; }
    fetch("/healthz", { cache: "no-store" }).then(function (answer) { misses = answer.ok ? 0 : misses + 1; })
      .catch(function () { misses += 1; })
      .finally(function () {
        document.body.classList.toggle("is-lost", misses >= 2);
        const word = document.getElementById("live-word");
        if (word) { word.classList.toggle("off", misses >= 2); }
      });
  }, 4000);

  function go(path) {
    window.history.pushState({}, "", path);
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
    window.scrollTo(0, 0);
  }
  function step(by) {
    const cards = Array.from(document.querySelectorAll("a.card.incident"));
    if (!cards.length) { return; }
    const at = cards.indexOf(document.activeElement);
    cards[Math.max(0, Math.min(cards.length - 1, at + by))].focus();
  }
  function press(id) { const found = document.getElementById(id); if (found) { found.click(); } }
  function act(name) {
    const found = Array.from(document.querySelectorAll("#incident-buttons button"))
      .find(function (one) { return one.id.indexOf('"' + name + '"') >= 0; });
    if (found) { found.click(); }
  }
  let leader = 0;
  const places = { f: "/", a: "/ahead", h: "/history", e: "/explore", s: "/health" };
  document.addEventListener("keydown", function (event) {
    const target = event.target;
    if (event.key === "Enter" && target.closest && target.closest(".ag-row")) {
      const row = target.closest(".ag-row").getAttribute("row-id");
      if (row) { go("/incidents/" + encodeURIComponent(row)); }
      return;
    }
    const typing = target.matches && target.matches("input, textarea, select, [contenteditable]");
    const box = target.closest && target.closest(".hits, #search-text");
    if (box && (event.key === "ArrowDown" || event.key === "ArrowUp" || (event.key === "Enter" && typing))) {
      const hits = Array.from(document.querySelectorAll(".hits a.hit"));
      const at = hits.indexOf(document.activeElement);
      if (event.key === "Enter") { if (hits.length) { hits[0].click(); } }
      else if (event.key === "ArrowUp" && at <= 0) { const text = document.getElementById("search-text"); if (text) { text.focus(); } }
      else if (hits.length) { hits[Math.max(0, Math.min(hits.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)))].focus(); }
      event.preventDefault();
      return;
    }
    if (event.key === "Escape" && typing) { target.blur(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (leader && Date.now() - leader < 1500 && places[event.key]) { leader = 0; go(places[event.key]); return; }
    leader = 0;
    switch (event.key) {
      case "g": leader = Date.now(); break;
      case "j": step(1); break;
      case "k": step(-1); break;
      case "a": act("acknowledge"); break;
      case "r": press("resolve-menu"); break;
      case "t": press("theme-toggle"); break;
      case "?": press("keys-open"); break;
      case "s": press("silence-open"); break;
      case "u": {
        const steps = document.querySelectorAll(".way a");
        if (steps.length) { steps[steps.length - 1].click(); }
        break;
      }
      case "/": event.preventDefault(); press("search-open"); break;
      default: break;
    }
  });

  /* The page one stands on is marked for eyes and screen readers. */
  function mark() {
    const path = window.location.pathname;
    document.querySelectorAll("a.nav-link").forEach(function (link) {
      const href = link.getAttribute("href");
      const here = href === "/" ? path === "/" : path.indexOf(href) === 0 || (href === "/history" && path.indexOf("/incidents") === 0);
      link.classList.toggle("here", here);
      if (here) { link.setAttribute("aria-current", "page"); } else { link.removeAttribute("aria-current"); }
    });
  }
  window.addEventListener("_dashprivate_pushstate", mark);
  window.addEventListener("popstate", mark);
  window.setInterval(mark, 400);
}());
