"""How pages of figures look: the fonts and colours of the reader's own system, light or dark."""

from __future__ import annotations

STYLE = """
:root {
  --ink: #1d1f22; --faint: #63686f; --paper: #fcfcfb; --card: #ffffff; --line: #dfe1e4; --accent: #0b62a8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e7e9; --faint: #9aa0a8; --paper: #16181b; --card: #1f2226; --line: #363a40; --accent: #7cbcf5;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; text-wrap: balance; }
.lead { color: var(--faint); margin: 0.35rem 0 1.5rem; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 0.75rem; }
h3 { font-size: 0.95rem; margin: 1.5rem 0 0.5rem; color: var(--faint); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: 0.4rem 0.75rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th, thead td { color: var(--faint); font-weight: 600; border-bottom-width: 2px; }
tbody tr:hover { background: var(--card); }
tbody th, tbody tr > :first-child { text-align: left; font-weight: 500; padding-left: 0; }
td strong { color: var(--accent); font-weight: 650; }
.note { color: var(--faint); margin: 0.5rem 0 0; }
details { margin-top: 1.25rem; }
summary { cursor: pointer; color: var(--faint); font-weight: 600; padding: 0.25rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.3rem 1.5rem; margin: 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
.rows { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figure { margin: 0; padding: 0.6rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.strip { display: flex; gap: 0.4rem; }
.strip div { flex: 0 1 10rem; min-width: 0; }
img { display: block; width: 100%; height: auto; border-radius: 4px; }
.strip span { display: block; margin-top: 0.2rem; color: var(--faint); font-size: 0.75rem; text-align: center; }
figcaption { margin-top: 0.4rem; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
figcaption span { color: var(--faint); overflow-wrap: anywhere; margin-left: 0.5rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0 0; } dd { margin-bottom: 0.6rem; } }
@media print { figure { break-inside: avoid; } details { display: none; } }
""".strip()
