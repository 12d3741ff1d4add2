"""The page's style sheet: one file, both colour schemes, from a phone to a desktop."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--bg:#f7f7f5;--card:#fff;--ink:#1d2125;--soft:#5c646d;--line:#e1e3e6;
--faint:#f0f1f2;
--accent:#2359c4;--c1:#2359c4;--c2:#c4691b;--c3:#7a8490;--up:#1a7f4b;--down:#c0352b;--flat:#7a8490;
--mark:#fff3c9;
--ship:#15703f;--regression:#b02a20;--noevidence:#8a5a00;--nottested:#525b65;
--f1:#2a8f5b;--f2:#c9cfd6;--f3:#e0b25c;--f4:#d3784f;--f5:#a783c9;
--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e6e8ea;--soft:#9da6af;
--line:#31373d;
--faint:#252a2f;--accent:#7fa8ff;--c1:#7fa8ff;--c2:#f0a45d;--c3:#8b959f;--up:#57c98b;--down:#f0776c;
--flat:#8b959f;
--mark:#4a3f14;--ship:#1c7a48;--regression:#a8332a;--noevidence:#85600f;--nottested:#4a535c;
--f1:#3fae75;--f2:#49515a;--f3:#b98d3c;--f4:#b8623c;--f5:#8663a8}}
*{box-sizing:border-box}
html{scroll-padding-top:3.2rem;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
main,header.top>div,footer{max-width:1080px;margin:0 auto;padding:0 20px}
nav{position:sticky;top:0;z-index:5;background:var(--card);border-bottom:1px solid var(--line)}
nav>div{max-width:1080px;margin:0 auto;padding:0 12px;display:flex;gap:2px;overflow-x:auto;
scrollbar-width:none}
nav a{padding:.62rem .55rem;font-size:13px;color:var(--soft);text-decoration:none;white-space:nowrap}
nav a:hover,nav a:focus-visible{color:var(--accent)}
header.top{padding:26px 0 12px}
h1{font-size:25px;line-height:1.25;margin:0;letter-spacing:-.01em}
h2{font-size:19px;margin:0 0 4px;letter-spacing:-.005em}
h3{font-size:15px;margin:22px 0 6px}
p{margin:.4em 0 .8em;max-width:75ch;text-wrap:pretty}
.soft,small,figcaption small,.lead{color:var(--soft)}
.lead{margin:0 0 12px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 22px;
margin:16px 0}
code,pre,.mono{font-family:var(--mono);font-size:.9em}
pre{background:var(--faint);border-radius:7px;padding:12px 14px;overflow-x:auto;line-height:1.5;
margin:.5em 0}
code{background:var(--faint);border-radius:4px;padding:.05em .3em;overflow-wrap:anywhere}
pre code{background:none;padding:0;overflow-wrap:normal}
.verdict{color:#fff;border:0;padding:24px 26px;margin-top:8px}
.verdict.ship{background:var(--ship)}.verdict.regression{background:var(--regression)}
.verdict.no-evidence{background:var(--noevidence)}.verdict.not-tested{background:var(--nottested)}
.verdict .word{font-size:13px;font-weight:600;letter-spacing:.09em;text-transform:uppercase;opacity:.88}
.verdict .headline{font-size:33px;line-height:1.15;font-weight:700;margin:2px 0 10px;letter-spacing:-.015em}
.verdict p{font-size:17px;line-height:1.45;margin:0;max-width:68ch}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(195px,1fr));gap:12px;margin:12px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:13px 16px}
.tile .name{font-size:13px;color:var(--soft)}
.tile .value{font-size:24px;font-weight:650;font-variant-numeric:tabular-nums;letter-spacing:-.01em;
line-height:1.3}
.tile .value small{font-size:14px;font-weight:400}
.tile .bar{margin:6px 0 3px}.tile small span{white-space:nowrap}
.notes{padding:0;margin:12px 0 0;list-style:none}
.notes li{border-left:4px solid var(--c2);background:var(--card);border-radius:0 8px 8px 0;
padding:9px 14px;margin:8px 0;
box-shadow:inset 0 0 0 1px var(--line)}
.notes li.bad{border-color:var(--down)}.notes li.good{border-color:var(--up)}
.scroll{overflow-x:auto;margin:8px -22px;padding:0 22px}
.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:-2px}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:7px 12px 7px 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top;
white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
thead th{font-size:12.5px;font-weight:600;color:var(--soft);vertical-align:bottom}
tbody th{font-weight:500}
tbody tr:last-child>*{border-bottom:0}
tr.group>th{padding-top:16px;font-weight:650;color:var(--ink)}
td.text,th.text{white-space:normal;min-width:200px}
td .range,td small{font-size:12.5px;color:var(--soft);white-space:nowrap}
tr.main>*{background:color-mix(in srgb,var(--accent) 8%,transparent)}tr.main>th{font-weight:650}
.up{color:var(--up)}.down{color:var(--down)}.flat{color:var(--soft)}
.best{font-weight:650}
svg{display:block;width:100%;height:auto}
svg.interval{width:150px;height:18px;margin:2px 0}
svg text{font:10.5px system-ui,sans-serif;fill:var(--soft)}
.end{text-anchor:end}.middle{text-anchor:middle}
.grid{stroke:var(--line)}.zero,.axis{stroke:var(--soft);stroke-opacity:.55}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.line.c-1{stroke:var(--c1)}.line.c-2{stroke:var(--c2)}.line.c-3{stroke:var(--c3)}
.line.dashed{stroke-dasharray:5 4}
.dot.c-1{fill:var(--c1)}.dot.c-2{fill:var(--c2)}.dot.c-3{fill:var(--c3)}
line.baseline{stroke:var(--c3);stroke-width:1.5;stroke-dasharray:2 3}
line.mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:1 3}
.whisker{stroke-width:2.5;stroke-linecap:round}
.whisker.up{stroke:var(--up)}.whisker.down{stroke:var(--down)}.whisker.flat{stroke:var(--flat)}
.point.up,.area.up{fill:var(--up)}.point.down,.area.down{fill:var(--down)}.point.flat{fill:var(--flat)}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:18px 26px;margin:12px 0}
figure{margin:0;min-width:0}figure.wide{margin:10px 0 14px}
figcaption{font-size:13.5px;font-weight:600;margin-bottom:4px}
figcaption small{font-weight:400}
svg.waterfall{height:84px}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:12.5px;color:var(--soft);margin-top:4px}
.legend span{display:inline-flex;align-items:center;gap:6px}
.key{width:16px;border-top:2.5px solid}.key.c-1{border-color:var(--c1)}.key.c-2{border-color:var(--c2)}
.key.c-3{border-color:var(--c3)}.key.dashed{border-top-style:dashed}
.key.baseline{border-top:2px dotted var(--c3)}.key.mark{border-top:2px dotted var(--soft)}
.bar{display:flex;height:12px;border-radius:4px;overflow:hidden;background:var(--faint);min-width:170px}
.share{display:block;height:100%}.swatch{width:11px;height:11px;border-radius:3px}
.f-1{background:var(--f1)}.f-2{background:var(--f2)}.f-3{background:var(--f3)}.f-4{background:var(--f4)}
.f-5{background:var(--f5)}.b-up{background:var(--up)}.b-down{background:var(--down)}.b-tie{
background:var(--f2)}
.badge{display:inline-block;font-size:12px;line-height:1.5;padding:0 .55em;border-radius:99px;
background:var(--faint);
color:var(--soft);white-space:nowrap}
.controls{display:flex;flex-wrap:wrap;gap:8px;margin:12px 0 6px}
.controls input,.controls select{font:inherit;font-size:14px;color:var(--ink);background:var(--card);
border:1px solid var(--line);border-radius:7px;padding:7px 9px;min-width:0}
.controls input{flex:1 1 220px}
.controls :focus-visible,button:focus-visible,summary:focus-visible{outline:2px solid var(--accent);
outline-offset:1px}
button{font:inherit;font-size:14px;color:var(--ink);background:var(--faint);border:1px solid var(--line);
border-radius:7px;padding:7px 14px;cursor:pointer}
.query{border-bottom:1px solid var(--line)}
.query>summary{display:grid;grid-template-columns:5.4em 1fr auto;gap:10px;align-items:baseline;
padding:9px 2px;
cursor:pointer;list-style:none}
.query>summary::-webkit-details-marker{display:none}
.query .delta:before{content:"\\25b8";display:inline-block;width:1.1em;color:var(--soft);font-weight:400}
.query[open] .delta:before{content:"\\25be"}
.query>summary:hover .ask{color:var(--accent)}
.query .delta{font-weight:650;white-space:nowrap;font-variant-numeric:tabular-nums}
.query .ask{overflow-wrap:anywhere}
.query .side{font-size:12.5px;color:var(--soft);text-align:right;font-variant-numeric:tabular-nums;
white-space:nowrap}
.query .body{padding:2px 0 16px}
.two{display:grid;grid-template-columns:1fr 1fr;gap:8px 22px}
.query h4{margin:8px 0 4px;font-size:13px;font-weight:600}
.two ol{margin:0;padding:0;list-style:none;counter-reset:rank}
.hit{counter-increment:rank;display:grid;grid-template-columns:1.7em 1fr;padding:6px 8px 6px 2px;
border-radius:6px}
.hit:before{content:counter(rank);color:var(--soft);font-size:12.5px;text-align:right;padding-right:.7em;
font-variant-numeric:tabular-nums;line-height:1.7}
.hit.relevant{background:color-mix(in srgb,var(--up) 13%,transparent)}
.hit .title,.found .title{font-weight:550;overflow-wrap:anywhere;font-size:13.5px}
.hit .text{font-size:12.5px;color:var(--soft);overflow-wrap:anywhere;line-height:1.45}
.hit .badge{background:var(--up);color:var(--card)}
.found{font-size:13px;margin:10px 0 0;padding:0;list-style:none}
.found li{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:12px;padding:3px 0}
.found .ranks{font-variant-numeric:tabular-nums;white-space:nowrap}
.shown{font-size:13px;color:var(--soft);margin:4px 0}
.more{margin:12px 0 0}
details.fold{margin-top:14px}
details.fold>summary{cursor:pointer;color:var(--accent);font-size:14px;padding:4px 0}
.kind{display:grid;grid-template-columns:1fr 1fr;gap:4px 26px;margin:4px 0 18px}
.kind h3{grid-column:1/-1;margin:8px 0 0;border-bottom:1px solid var(--line);padding-bottom:4px}
.kind h4{font-size:13px;margin:6px 0 0;font-weight:600}
.kind ul{list-style:none;margin:0;padding:0}
.kind li{padding:7px 0;border-bottom:1px dotted var(--line);overflow-wrap:anywhere}
.kind li:last-child{border-bottom:0}
.kind li small{display:block;font-size:12.5px;line-height:1.45}
.why{color:var(--down)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:8px 0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:0 34px}
.settings{columns:2 320px;column-gap:34px}
.settings>div{break-inside:avoid;margin-bottom:14px}
.settings h3{margin:0 0 2px;font-family:var(--mono);font-size:13.5px}
.settings dl{margin:2px 0;font-size:13px;gap:1px 14px;grid-template-columns:max-content minmax(0,1fr)}
.changed{color:var(--c2);font-weight:600}
footer{color:var(--soft);font-size:12.5px;padding-top:6px;padding-bottom:40px}
@media(max-width:640px){
main,header.top>div,footer{padding-left:12px;padding-right:12px}
section{padding:16px 14px;margin:12px 0}.scroll{margin:8px -14px;padding:0}
svg.interval{width:96px}th:last-child,td:last-child{padding-right:14px}
h1{font-size:21px}.verdict{padding:18px 16px}.verdict .headline{font-size:27px}.verdict p{font-size:15.5px}
.tiles{grid-template-columns:1fr 1fr;gap:8px}.tile{padding:10px 12px}.tile .value{font-size:20px}
.bar{min-width:120px}.two,.kind{grid-template-columns:1fr}
.query>summary{grid-template-columns:5em 1fr}.query .side{grid-column:2;text-align:left}
.scroll tbody th,.scroll thead th:first-child{position:sticky;left:0;background:var(--card);
padding-left:14px;
z-index:1;max-width:38vw;white-space:normal}
tr.main>th{background:color-mix(in srgb,var(--accent) 8%,var(--card))!important}
.controls select{flex:1 1 100px}}
@media print{nav,.controls,.more{display:none}section{break-inside:avoid}}
""".strip()
