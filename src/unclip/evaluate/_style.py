"""How the report looks: its colours, in light and dark, on a screen and on paper."""

STYLE = """\
:root {
  --paper: #fdfdfc; --ink: #1d2126; --soft: #5d6670; --line: #dfe2e6; --shade: #f3f4f5;
  --c0: #2f6db5; --c1: #c4572b; --c2: #3d8b4f; --c3: #8657b8; --c4: #a8801d; --c5: #4a4f57;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181c; --ink: #e4e6e9; --soft: #98a1ab; --line: #30363d; --shade: #1d2126;
    --c0: #6fa8e8; --c1: #eb8a60; --c2: #74c287; --c3: #b993e6; --c4: #d9b45a; --c5: #b6bdc6;
  }
}
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); }
body {
  margin: 0; font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.25rem 5rem; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 0.5rem; }
h2 {
  font-size: 1.35rem; margin: 3.5rem 0 0.5rem; padding-top: 1rem;
  border-top: 1px solid var(--line);
}
h3 { font-size: 1rem; margin: 2rem 0 0.6rem; }
p { max-width: 44rem; margin: 0.5rem 0; }
.lead { font-size: 1.1rem; color: var(--soft); }
.note, figcaption, small { color: var(--soft); font-size: 0.82rem; }
.note { margin-top: 0.5rem; }
nav { margin: 1.5rem 0 0; display: flex; flex-wrap: wrap; gap: 0.3rem 1.3rem; font-size: 0.92rem; }
a { color: var(--c0); text-decoration: none; }
a:hover { text-decoration: underline; }
.headline {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1px;
  margin: 2rem 0 0; background: var(--line); border: 1px solid var(--line);
}
.headline div { background: var(--paper); padding: 0.8rem 1rem; }
.headline dt { color: var(--soft); font-size: 0.82rem; }
.headline dd { margin: 0.1rem 0 0; font-size: 1.45rem; font-weight: 600; }
.headline small { font-weight: 400; white-space: nowrap; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; min-width: 50%; }
th, td {
  padding: 0.38rem 0.9rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line);
}
th:first-child, td:first-child { padding-left: 0; }
thead th {
  color: var(--soft); font-weight: 500; vertical-align: bottom;
  border-bottom: 1px solid var(--soft);
}
th[scope="row"], thead th:first-child { text-align: left; font-weight: 500; }
td small { display: block; line-height: 1.25; white-space: nowrap; }
td .bar { display: block; width: 100%; min-width: 4.5rem; height: 5px; margin-top: 0.25rem; }
.bar .track { fill: var(--line); }
.bar .fill { fill: var(--c0); }
.bar .reach { fill: var(--ink); }
.facts td { text-align: left; }
.facts code { overflow-wrap: anywhere; white-space: normal; }
code { font: 0.85em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
figure { margin: 0; }
.chart { max-width: 46rem; }
.chart svg { width: 100%; height: auto; display: block; }
.chart text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.chart .axis { stroke: var(--soft); stroke-width: 1; fill: none; }
.chart .rule { stroke: var(--line); stroke-width: 1; }
.chart .level { stroke-dasharray: 5 4; stroke-width: 1.2; }
.chart .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart .spread { stroke-width: 1.2; }
.grid {
  display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 0.6rem;
}
.grid img {
  width: 100%; height: auto; display: block; border-radius: 3px; background: var(--shade);
}
.grid figcaption { line-height: 1.3; margin-top: 0.2rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  .grid { grid-template-columns: repeat(min(var(--columns), 3), minmax(0, 1fr)); }
}
@media print {
  :root { --paper: #fff; --ink: #000; --soft: #444; --line: #ccc; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  h2 { break-after: avoid; }
  figure, tr, .headline { break-inside: avoid; }
}
"""
