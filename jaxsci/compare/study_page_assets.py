"""Style and script of a study's page. Plain CSS and JavaScript: nothing is loaded, and without the script all can be read."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5c6b7a; --line: #d9dfe6; --page: #f5f7f9; --card: #ffffff;
  --accent: #0b7285; --tint: #e9f3f5; --c0: #0b7285; --c1: #c2255c; --c2: #c2600a; --c3: #5f3dc4; --c4: #2b8a3e; --c5: #1864ab;
  --c6: #862e9c; --c7: #495057; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #9aa7b4; --line: #313b46; --page: #12171d; --card: #1a2129;
  --accent: #4cc3d9; --tint: #1d3036; --c0: #4cc3d9; --c1: #f783ac; --c2: #ffa94d; --c3: #b197fc; --c4: #69db7c; --c5: #74c0fc;
  --c6: #e599f7; --c7: #ced4da; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .7rem; } h3 { font-size: 1rem; margin: 0; }
p { max-width: 48rem; overflow-wrap: anywhere; } .lead { font-size: 1.2rem; line-height: 1.5; margin: .3rem 0; }
.soft, figcaption, .notes { color: var(--soft); font-size: .9rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.25rem; }
.scroll { overflow-x: auto; } .scroll:focus-visible { outline: 2px solid var(--accent); }
.card + .card, details { margin-top: .8rem; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .2rem 1.2rem; margin: .9rem 0 0;
  font-size: .93rem; }
dt { color: var(--soft); overflow-wrap: anywhere; } dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .42rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; color: var(--soft); font-weight: 600; min-width: 4.6rem; }
th:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; background: var(--card); }
tbody th { font-weight: 500; white-space: normal; min-width: 13.5rem; max-width: 20rem; overflow-wrap: anywhere; }
td small { display: block; color: var(--soft); font-size: .8rem; line-height: 1.3; }
tbody tr:last-child > * { border-bottom: 0; } tr.start > * { border-top: 2px solid var(--line); }
tr.surrogate th { color: var(--accent); font-weight: 650; } tr.baseline th { color: var(--soft); }
.notes { margin: .7rem 0 0; padding-left: 1.1rem; } .notes li { margin: .15rem 0; }
summary { cursor: pointer; color: var(--accent); } details ul { padding-left: 1.2rem; } details li { margin: .4rem 0; }
figure { margin: 0; min-width: 0; } figcaption { margin-top: .5rem; }
.equation svg { display: block; max-width: 100%; height: auto; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: .5rem 1.5rem; }
.panels svg, .wide svg { display: block; width: 100%; height: auto; } .panels svg { max-width: 36rem; }
.wide svg { min-width: 33rem; max-width: 50rem; }
.player { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem;
  background: var(--card); padding: .6rem 0; border-bottom: 1px solid var(--line); margin-bottom: 1rem; }
.player[hidden] { display: none; } .player input { flex: 1 1 12rem; min-width: 0; accent-color: var(--accent); height: 1.8rem; }
.player output { font-variant-numeric: tabular-nums; min-width: 6.5rem; }
button { font: inherit; color: #fff; background: #0b7285; border: 0; border-radius: 7px; padding: .3rem .9rem; min-width: 5.4rem;
  cursor: pointer; }
button:focus-visible, input:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1.3rem 1.6rem; }
.films.flat { grid-template-columns: minmax(0, 1fr); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; margin-top: .35rem; }
.head { display: flex; justify-content: space-between; gap: .8rem; align-items: baseline; }
.head h3 { overflow-wrap: anywhere; } .head span { color: var(--soft); font-size: .88rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.film { position: relative; overflow: hidden; width: 100%; border-radius: 5px; background: #808080; }
.film img { position: absolute; left: 0; top: 0; max-width: none; transform-origin: 0 0; }
.film i { position: absolute; top: 0; bottom: 0; left: 0; width: 2px; background: #fff; mix-blend-mode: difference; }
.pair small, .scale { color: var(--soft); font-size: .8rem; }
.scales { display: flex; flex-direction: column; gap: .9rem; padding: 0 .4rem; min-width: 0; max-width: 16rem; }
.scale { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .1rem .5rem; }
.scale b { flex: 1 1 100%; font-weight: 500; } .scale img { flex: 1 1 100%; width: 100%; height: .7rem; border-radius: 3px; }
.lines { margin-bottom: 1.2rem; } .lines svg { display: block; width: 100%; height: 15rem; }
.lines path { fill: none; stroke-width: 1.6; vector-effect: non-scaling-stroke; }
.lines .keys { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .3rem 0 0; padding: 0; list-style: none;
  font-size: .88rem; } .lines .keys li { overflow-wrap: anywhere; }
.lines .keys i { display: inline-block; width: 1.4rem; border-top: 3px solid; margin-right: .4rem; vertical-align: middle; }
code, pre { font: .88em ui-monospace, "SFMono-Regular", Menlo, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
pre { margin: 0; } footer { margin-top: 2.5rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 40rem) { main { padding: 1.4rem .8rem 3rem; } .card { padding: .8rem .85rem; } h1 { font-size: 1.4rem; }
  .lead { font-size: 1.08rem; }
  tbody th { min-width: 8.5rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .45rem; }
  .lines svg { height: 11rem; } }
@media print { :root { --ink: #000; --soft: #444; --line: #bbb; --page: #fff; --card: #fff; --accent: #0b7285; --tint: #fff;
  --c0: #0b7285; --c1: #c2255c; --c2: #c2600a; --c3: #5f3dc4; --c4: #2b8a3e; --c5: #1864ab; --c6: #862e9c; --c7: #495057; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; } .player { display: none; }
  .card { break-inside: avoid; border: 0; padding: 0; }
  .scroll { overflow: visible; } th, td { white-space: normal; padding: .2rem .35rem; } h2 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

# The page's numbers come as JSON in an element of their own. The slider, the button or "#frame=5" in the address set a frame.
SCRIPT = """
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("rollout-data").textContent);
  const player = document.querySelector(".player"), slider = player.querySelector("input");
  const button = player.querySelector("button"), clock = player.querySelector("output");
  const last = data.ts.length - 1;
  let now = 0, timer = null;
  const told = e => e === null ? "not finite" : e === 0 ? "0 %" : e < 1e-4 ? e.toExponential(1) :
    e >= 1 ? Math.round(100 * e) + " %" : (100 * e).toPrecision(2) + " %";
  function show(k) {
    now = Math.max(0, Math.min(last, k));
    slider.value = now;
    clock.textContent = "t = " + data.times[now];
    slider.setAttribute("aria-valuetext", clock.textContent);
    document.body.dataset.frame = now;
    for (const film of document.querySelectorAll(".film")) {
      const columns = +film.dataset.columns, rows = +film.dataset.rows, image = film.querySelector("img");
      if (data.flat) { film.querySelector("i").style.left = 100 * data.at[now] + "%"; continue; }
      const w = +film.dataset.width, h = +film.dataset.height, x = now % columns, y = Math.floor(now / columns);
      image.style.transform = "translate(" + -100 * (x * (w + 2) + 1) / (columns * (w + 2)) + "%," +
        -100 * (y * (h + 2) + 1) / (rows * (h + 2)) + "%)";
    }
    for (const out of document.querySelectorAll("[data-errors]")) {
      const e = data.errors[+out.dataset.errors][now];
      out.textContent = (e === null ? "" : "error ") + told(e);
    }
    for (const path of document.querySelectorAll(".lines path[data-line]"))
      path.setAttribute("d", data.lines[+path.dataset.line][now]);
  }
  function stop() { clearInterval(timer); timer = null; button.textContent = "Play"; }
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (now === last) show(0);
    button.textContent = "Pause";
    timer = setInterval(() => now < last ? show(now + 1) : stop(), 110);
  });
  slider.addEventListener("input", () => { stop(); show(+slider.value); });
  addEventListener("keydown", event => {
    if (event.target.closest("input, button, summary, .scroll") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (step) { stop(); show(now + step); event.preventDefault(); }
  });
  const asked = () => { const found = /frame=(\\d+)/.exec(location.hash); if (found) { stop(); show(+found[1]); } };
  addEventListener("hashchange", asked);
  player.hidden = false;
  slider.max = last;
  show(0);
  asked();
})();
"""
