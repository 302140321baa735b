"""How a page of a report looks: light or dark as the reader's screen is, and on paper."""

STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1b1b1f;--dim:#5c5c66;--line:#d8d8de;
--card:#f6f6f8}
@media (prefers-color-scheme:dark){
:root{--back:#141417;--text:#e8e8ec;--dim:#a0a0aa;--line:#34343c;--card:#1e1e23}}
body{margin:0;background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.5rem;margin:0 0 .3rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
h3{font-size:.95rem;margin:0 0 .5rem;overflow-wrap:anywhere}
.lead{font-size:1.1rem}.note{color:var(--dim);margin-top:2rem}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem}
figure{margin:0}figure img{width:100%;image-rendering:pixelated;display:block}
figcaption{font-size:.85rem;color:var(--dim)}
.bar{display:flex;align-items:center;gap:.4rem;margin:.3rem 0;font-size:.75rem}
.bar i{display:block;height:4px;background:var(--text)}.bar b{font-weight:400}
.ramp{display:block;height:.6rem;margin-top:.3rem}.ends{display:flex;justify-content:space-between}
.swatch{white-space:nowrap;margin-right:.7rem}
.swatch i{display:inline-block;width:.8em;height:.8em;margin-right:.3em;vertical-align:-.1em}
.histogram{width:100%;height:9rem;border-bottom:1px solid var(--line);fill:#cc6a0c;display:block}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0}
th,td{border-bottom:1px solid var(--line)}
th{font-weight:600}td{overflow-wrap:anywhere}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--card);padding:.8rem;font-size:.8rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:1rem}
article{background:var(--card);border:1px solid var(--line);padding:.8rem}
article p{margin:.5rem 0 0;font-size:.85rem}
.thumbnails{display:flex;gap:.5rem}.thumbnails img{width:50%;max-width:160px}
.badge{padding:.05rem .5rem;border-radius:.7rem;font-size:.85rem;font-weight:600;color:#fff}
.good{background:#1a7f5a}.check{background:#8a6100}.failed{background:#b3261e}
.error{background:#4a4a55}
a{color:inherit}
.histogram,.ramp,.swatch i,.bar i,.badge,img{
print-color-adjust:exact;-webkit-print-color-adjust:exact}
@media print{:root{--back:#fff;--text:#000;--dim:#444;--line:#bbb;--card:#fff}
main{max-width:none;padding:0}figure,article,tr{break-inside:avoid}
details:not([open]){display:none}}
"""
