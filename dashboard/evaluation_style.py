"""The style of an evaluation's page."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:14px/1.5 var(--font)}
main{max-width:1120px;margin:0 auto;padding:28px 24px 64px}
header{display:flex;justify-content:space-between;align-items:flex-start;gap:24px}
h1{font-size:24px;line-height:1.25;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:18px;margin:0 0 2px}
h3{font-size:14px;margin:24px 0 8px}
p{margin:0 0 12px}
.muted{color:var(--muted);font-weight:400}
.note,figcaption{color:var(--muted);font-size:12.5px;max-width:76ch}
nav{display:flex;gap:16px;margin:12px 0 0}
a{color:var(--accent)}
section{background:var(--surface);border:1px solid var(--line);border-radius:10px;padding:20px 22px;margin-top:20px}
button{font:18px/1 var(--font);color:var(--ink);background:var(--surface);border:1px solid var(--line);
border-radius:8px;width:36px;height:36px;cursor:pointer}
.wide{overflow-x:auto;margin:12px 0}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
td{font-variant-numeric:tabular-nums}
thead th{color:var(--muted);font-weight:500;font-size:12px;vertical-align:bottom}
th:first-child{text-align:left;font-weight:600}
tbody tr:last-child>*{border-bottom:0}
.best{font-weight:700;color:var(--accent)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:6px 18px;padding:0;margin:16px 0 4px;font-size:13px}
.legend li{display:flex;align-items:center;gap:7px}
.key{width:28px;height:8px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:24px}
figure{margin:8px 0;max-width:440px}
svg{display:block;width:100%;height:auto;overflow:visible}
details{border-top:1px solid var(--line);padding:10px 0 4px}
summary{cursor:pointer;padding:2px 0}
svg text{font-family:var(--font);fill:var(--ink);font-size:11.5px}
svg .tick{fill:var(--muted);font-size:10.5px}
svg .power{font-size:8px}
svg .axis-name{fill:var(--muted);font-size:11.5px}
svg .name{font-weight:600}
.grid{stroke:var(--line);stroke-width:1;fill:none}
.axis{stroke:var(--line);stroke-width:1;fill:none}
.chance{stroke:var(--muted);stroke-width:1.2;stroke-dasharray:2 4;fill:none}
.fair{fill:var(--band);stroke:none}
.event{fill:var(--critical);opacity:.16}
.metric{fill:none;stroke:var(--muted);stroke-width:.9;stroke-linejoin:round}
.band{fill:var(--muted);opacity:.45;stroke:none}
.curve{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}
.score{fill:none;stroke-width:1.2;stroke-linejoin:round}
.k0{stroke:var(--muted);stroke-dasharray:1 4}.k1{stroke:var(--warning);stroke-dasharray:7 4}
.k2{stroke:var(--accent)}.k3{stroke:var(--fine)}.k4{stroke:var(--info);stroke-dasharray:9 3 2 3}
.k5{stroke:var(--critical);stroke-dasharray:5 3}.k6{stroke:var(--warning)}.k7{stroke:var(--info)}
.score.k0,.score.k1,.score.k4,.score.k5{stroke-dasharray:none}
rect.flag{stroke:none}
rect.k0,.dot.k0{fill:var(--muted)}rect.k1,rect.k6,.dot.k1,.dot.k6{fill:var(--warning)}rect.k2,.dot.k2{fill:var(--accent)}
rect.k3,.dot.k3{fill:var(--fine)}rect.k4,rect.k7,.dot.k4,.dot.k7{fill:var(--info)}rect.k5,.dot.k5{fill:var(--critical)}
.dot{stroke:none}
@media print{section{break-inside:avoid}button{display:none}}
"""

THEME_SCRIPT: Final = (
    "document.getElementById('theme').onclick=function(){var r=document.documentElement,d=r.dataset.theme,"
    "o=matchMedia('(prefers-color-scheme:dark)').matches;"
    "r.dataset.theme=(d?d==='dark':o)?'light':'dark'};"
)
