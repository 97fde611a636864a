// Adds to timeline and curve of a result, which are there without it: playhead, read-out, zoom, legend, keys.
// Tells and hears on document: dfom:person {person: number from 0, "voice", "pictures" or null}, dfom:seek {time_s, still}, dfom:shot {shot}.
"use strict";
(() => {
  const timeline = document.getElementById("timeline");
  const part = document.getElementById("curve-part");
  if (!timeline && !part) return;
  const duration = Math.max(Number((timeline || part).dataset.duration), 0.001);
  const cell = timeline ? Number(timeline.dataset.cell) : 1;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const base = part ? part.dataset.curve.replace(/[^/]*$/, "") : "";
  const off = new Set();
  let who = part ? part.dataset.who : "everyone";
  let wide = 0, high = 0, column = 0; // units of the curve's points (frontend/charts/columns.py), which the picture carries
  let now = 0, shown = [0, duration], curves = [], wait = 0, asked = null;

  const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));
  // by keys: still, so that nothing scrolls away from what has the focus
  const seek = (time_s, still = false) => tell("dfom:seek", { time_s: Math.min(Math.max(time_s, 0), duration), ...(still && { still }) });
  const player = () => document.getElementById("video") || document.getElementById("listen");
  const personOf = (key) => (key === "everyone" ? null : /^\d+$/.test(key) ? Number(key) - 1 : key);
  const keyOf = (person) => (person === null || person === undefined ? "everyone" : typeof person === "number" || /^\d+$/.test(person) ? String(Number(person) + 1) : person);
  const clock = (s) => { const t = Math.round(10 * s); return `${Math.floor(t / 600)}:${String(Math.floor(t / 10) % 60).padStart(2, "0")}.${t % 10}`; };

  function slider(element, name) {
    element.tabIndex = 0;
    element.setAttribute("role", "slider");
    element.setAttribute("aria-label", name);
    element.setAttribute("aria-valuemin", "0");
    element.setAttribute("aria-valuemax", duration.toFixed(1));
    for (const svg of element.querySelectorAll(":scope > svg")) svg.setAttribute("aria-hidden", "true");
  }

  function say(element, time_s, words) {
    element.setAttribute("aria-valuenow", time_s.toFixed(1));
    element.setAttribute("aria-valuetext", words);
  }

  // ------------------------------------------------------------------ playhead

  function head(svg, share) {
    const line = svg.querySelector(":scope > .playhead");
    if (!line) return;
    line.setAttribute("visibility", now > 0 && share >= 0 && share <= 1 ? "visible" : "hidden");
    for (const name of ["x1", "x2"]) line.setAttribute(name, `${(100 * share).toFixed(3)}%`);
  }

  const { begins, clipTime } = window.dfomClock; // of player.js, which is loaded before this

  function showTime(time_s) {
    now = time_s;
    for (const svg of timeline ? timeline.querySelectorAll("svg.cells") : []) head(svg, now / duration);
    const curve = document.getElementById("curve");
    if (curve) head(curve, (now - shown[0]) / (shown[1] - shown[0]));
    for (const strip of strips) mark(strip, now);
  }

  document.addEventListener("dfom:seek", (event) => {
    const media = player();
    showTime(event.detail.time_s);
    read(now);
    if (media && Math.abs(clipTime(media) - now) > 0.01) media.currentTime = begins(media) + now;
  });
  // a medium may end before the curve does: then the place that was asked for stays
  const isOurs = (media) => media.paused && Math.abs(media.currentTime - Math.min(begins(media) + now, media.duration || 0)) < 0.05;
  for (const name of ["timeupdate", "seeking"])
    document.addEventListener(name, (event) => { if (event.target === player() && !isOurs(event.target)) showTime(clipTime(event.target)); }, true);
  document.addEventListener("play", function follow() {
    const media = player();
    if (calm.matches || !media || media.paused) return;
    showTime(clipTime(media));
    requestAnimationFrame(follow);
  }, true);

  // ------------------------------------------------------------------ lanes and shots

  const strips = timeline ? [...timeline.querySelectorAll(".strip")] : [];
  const shotsOf = (strip) => strip.dataset.shots.split(" ").map((item) => item.split(",").map(Number));
  const visible = () => strips.filter((strip) => strip.getClientRects().length);

  // [begin, end, words] of the cell or shot at a moment
  function at(strip, time_s) {
    if (strip.dataset.shots) {
      const all = shotsOf(strip), place = Math.max(0, all.findLastIndex((one) => one[1] <= time_s + 1e-6)), one = all[place];
      const values = { number: one[0] + 1, count: all.length, begin: clock(one[1]), end: clock(one[2]), above: one[3], judged: one[4] };
      const words = one[4] ? _("shot {number} of {count}, {begin} to {end}: at most {above} of {judged} detectors above for one person", values) : _("shot {number} of {count}, {begin} to {end}: nobody judged", values);
      return [one[1], one[2], words, one[0]];
    }
    const counts = strip.dataset.counts.split(" ");
    const place = Math.min(Math.floor(time_s / cell + 1e-6), Math.max(0, Math.ceil(duration / cell - 1e-6) - 1));
    const begin = place * cell, end = Math.min(begin + cell, duration), found = counts[place] || "";
    const [above, judged] = found.split(","), values = { begin: clock(begin), end: clock(end), above, judged };
    if (!strip.dataset.counts) return [begin, end, clock(time_s), null];
    return [begin, end, judged ? _("{begin} to {end}: {above} of {judged} detectors above their thresholds", values) : _("{begin} to {end}: nobody judged", values), null];
  }

  function mark(strip, time_s) {
    const [begin, end, words] = at(strip, time_s);
    say(strip, time_s, words);
    const cursor = strip.querySelector(".cursor");
    cursor.style.left = `${(100 * begin) / duration}%`;
    cursor.style.width = `${(100 * (end - begin)) / duration}%`;
    cursor.hidden = !strip.matches(":focus");
  }

  function go(strip, time_s, still = false) {
    const lane = strip.closest(".lane"), [begin, , , shot] = at(strip, time_s);
    if (lane.dataset.who && lane.dataset.who !== who) tell("dfom:person", { person: personOf(lane.dataset.who) });
    if (shot !== null) tell("dfom:shot", { shot });
    seek(strip.dataset.shots || strip.dataset.counts ? begin : time_s, still);
  }

  function focusStrip(strip) {
    for (const one of strips) one.tabIndex = one === strip ? 0 : -1;
    strip.focus();
  }

  strips.forEach((strip, place) => {
    slider(strip, strip.dataset.name);
    strip.tabIndex = place ? -1 : 0;
    const cursor = document.createElement("div");
    cursor.className = "cursor";
    strip.append(cursor);
    mark(strip, 0);
    for (const name of ["focus", "blur"]) strip.addEventListener(name, () => mark(strip, now));
    strip.addEventListener("click", (event) => {
      const box = strip.getBoundingClientRect();
      focusStrip(strip);
      go(strip, ((event.clientX - box.left) / box.width) * duration);
    });
    strip.addEventListener("keydown", (event) => {
      const [begin, end] = at(strip, now), all = visible(), place = all.indexOf(strip);
      const to = { ArrowLeft: begin - 1e-3, ArrowRight: end + 1e-4, Home: 0, End: duration, Enter: begin, " ": begin }[event.key];
      const other = { ArrowUp: all[place - 1], ArrowDown: all[place + 1] }[event.key];
      if (event.altKey || event.ctrlKey || event.metaKey || (to === undefined && !event.key.match(/^Arrow(Up|Down)$/))) return;
      event.preventDefault();
      if (other) focusStrip(other);
      else if (to !== undefined) go(strip, Math.min(Math.max(to, 0), duration), true);
    });
  });
  for (const link of timeline ? timeline.querySelectorAll(".lane-name a") : [])
    link.addEventListener("click", (event) => {
      if (!part || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const key = link.closest(".lane").dataset.who;
      tell("dfom:person", { person: personOf(key === who ? "everyone" : key) });
    });

  // ------------------------------------------------------------------ who is shown

  function showWho() {
    for (const lane of timeline ? timeline.querySelectorAll(".lane") : []) lane.classList.toggle("chosen", who !== "everyone" && lane.dataset.who === who);
    const choice = document.getElementById("who");
    if (choice && [...choice.options].some((one) => one.value === who)) choice.value = who;
  }

  document.addEventListener("dfom:person", (event) => {
    const key = keyOf(event.detail.person);
    if (key === who) return;
    who = key;
    showWho();
    load();
  });
  const choice = document.getElementById("who");
  if (choice) choice.addEventListener("change", () => tell("dfom:person", { person: personOf(choice.value) }));

  async function load() {
    if (!part) return;
    if (asked) asked.abort();
    const mine = (asked = new AbortController());
    const whole = shown[0] <= 0 && shown[1] >= duration;
    const range = whole ? "" : `/${Math.round(1000 * shown[0])}-${Math.round(1000 * shown[1])}`;
    part.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`${base}${who}${range}`, { headers: { Accept: "text/html" }, signal: mine.signal });
      if (!answer.ok) throw new Error(answer.status);
      const html = await answer.text();
      const focused = part.contains(document.activeElement) ? document.activeElement : null;
      const again = focused && (focused.id ? `#${focused.id}` : focused.dataset.zoom ? `[data-zoom=${focused.dataset.zoom}]` : focused.dataset.detector ? `[data-detector=${focused.dataset.detector}]` : "#plot");
      const open = document.getElementById("curve-table")?.open;
      part.innerHTML = html;
      if (open) document.getElementById("curve-table").open = true;
      wire();
      if (again) (part.querySelector(`${again}:not(:disabled)`) || document.getElementById("plot")).focus();
    } catch (error) {
      if (error.name === "AbortError") return;
      document.getElementById("readout").textContent = _("The curve could not be loaded. Reload the page and enter your PIN again.");
    }
    if (asked === mine) part.removeAttribute("aria-busy");
  }

  // ------------------------------------------------------------------ the curve

  // points of a path that frontend/charts/columns.py wrote, by run: [[x, y], ...]
  function runsOf(path) {
    const runs = [];
    for (const [, letter, text] of (path ? path.getAttribute("d") : "").matchAll(/([MlVh])([^MlVh]*)/g)) {
      const numbers = (text.match(/-?\d+/g) || []).map(Number), run = runs[runs.length - 1];
      if (letter === "M") runs.push([numbers]);
      else if (letter === "V") run.push([run[0][0], numbers[0]]);
      else if (letter === "l") for (let i = 0; i < numbers.length; i += 2) { const last = run[run.length - 1]; run.push([last[0] + numbers[i], last[1] + numbers[i + 1]]); }
    }
    return runs;
  }

  // lowest and highest score at x, null where nothing was computed
  function valueAt(curve, x) {
    const near = curve.runs.flat().filter((point) => Math.abs(point[0] - x) <= (curve.dots ? 3 * column : column / 2)).map((point) => point[1]);
    if (near.length && !curve.steps) return [(high - Math.max(...near)) / high, (high - Math.min(...near)) / high];
    const run = curve.dots ? null : curve.runs.find((points) => points[0][0] <= x && points[points.length - 1][0] >= x);
    if (!run) return null;
    const next = run.findIndex((point) => point[0] >= x), last = Math.max(0, next - 1);
    const point = curve.steps || x - run[last][0] < run[next][0] - x ? run[last] : run[next];
    return [(high - point[1]) / high, (high - point[1]) / high];
  }

  // as shared/rounding.py: 1.00 and 0.00 mean exactly those values, a score below its threshold is never shown as that
  function rounded(value, threshold) {
    const words = value.toFixed(2);
    if (words === "1.00" && value < 1) return signs(">0.99");
    if (words === "0.00" && value > 0) return signs("<0.01");
    return signs(value < threshold && Number(words) >= threshold ? `<${threshold.toFixed(2)}` : words);
  }

  function read(time_s) {
    const place = document.getElementById("readout"), plot = document.getElementById("plot");
    if (!place || !curves.length) return;
    const x = Math.round(((time_s - shown[0]) / (shown[1] - shown[0])) * wide);
    if (x < 0 || x > wide) return;
    const words = [];
    for (const curve of curves) {
      if (off.has(curve.id)) continue;
      const found = valueAt(curve, x);
      const [low, high] = (found || []).map((value) => rounded(value, curve.threshold));
      words.push(`${curve.title} ${found ? `${low === high ? low : _("{low} to {high}", { low, high })}${curve.counted && found[1] >= curve.threshold ? " ▲" : ""}` : "–"}`);
    }
    place.replaceChildren();
    const when = document.createElement("b");
    when.textContent = clock(time_s);
    place.append(when, ...words.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    say(plot, time_s, `${clock(time_s)}: ${words.join(", ")}`);
  }

  function zoom(begin, end) {
    const length = Math.min(Math.max(end - begin, 0.2), duration);
    const first = Math.min(Math.max(begin, 0), duration - length);
    shown = length >= duration * 0.999 ? [0, duration] : [first, first + length];
    const whole = shown[1] - shown[0] >= duration;
    if (windowed) {
      windowed.hidden = whole;
      windowed.style.left = `${(100 * shown[0]) / duration}%`;
      windowed.style.width = `${(100 * (shown[1] - shown[0])) / duration}%`;
    }
    clearTimeout(wait);
    wait = setTimeout(load, 120);
  }

  function zoomBy(factor, around) {
    const share = (around - shown[0]) / (shown[1] - shown[0]), length = (shown[1] - shown[0]) * factor;
    const middle = share >= 0 && share <= 1 ? share : 0.5, centre = share >= 0 && share <= 1 ? around : (shown[0] + shown[1]) / 2;
    zoom(centre - middle * length, centre + (1 - middle) * length);
  }

  let windowed = null;
  if (timeline && part) {
    windowed = document.createElement("div");
    windowed.className = "window";
    windowed.hidden = true;
    timeline.querySelector(".lanes-inner").append(windowed);
  }

  function wireLegend() {
    for (const entry of part.querySelectorAll("#curve-legend [data-detector]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.detector = entry.dataset.detector;
      button.append(...entry.childNodes);
      entry.replaceWith(button);
      const show = () => {
        const hidden = off.has(button.dataset.detector);
        button.setAttribute("aria-pressed", String(!hidden));
        for (const group of part.querySelectorAll("#curve [data-detector]")) if (group.dataset.detector === button.dataset.detector) group.classList.toggle("off", hidden);
      };
      button.addEventListener("click", () => { off[off.has(button.dataset.detector) ? "delete" : "add"](button.dataset.detector); show(); });
      show();
    }
  }

  function wirePointer(plot) {
    const selection = plot.querySelector(".selection");
    const timeAt = (event) => { const box = plot.getBoundingClientRect(); return shown[0] + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * (shown[1] - shown[0]); };
    let from = null;
    plot.addEventListener("pointerdown", (event) => { if (event.button === 0) { from = event.clientX; plot.setPointerCapture(event.pointerId); } });
    plot.addEventListener("pointermove", (event) => {
      read(timeAt(event));
      if (from === null || Math.abs(event.clientX - from) < 8) { selection.hidden = true; return; }
      const box = plot.getBoundingClientRect(), ends = [from, event.clientX].map((x) => Math.min(Math.max(x - box.left, 0), box.width)).sort((a, b) => a - b);
      selection.hidden = false;
      selection.style.left = `${ends[0]}px`;
      selection.style.width = `${ends[1] - ends[0]}px`;
    });
    plot.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const box = plot.getBoundingClientRect(), times = [from, event.clientX].map((x) => shown[0] + ((x - box.left) / box.width) * (shown[1] - shown[0])).sort((a, b) => a - b);
      const dragged = Math.abs(event.clientX - from) >= 8;
      from = null;
      selection.hidden = true;
      if (dragged) zoom(times[0], times[1]);
      else seek(timeAt(event));
    });
    plot.addEventListener("pointercancel", () => { from = null; selection.hidden = true; });
    plot.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== plot) return; // else the page would not scroll over the curve
      event.preventDefault();
      zoomBy(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event));
    }, { passive: false });
  }

  function wire() {
    const plot = document.getElementById("plot"), svg = document.getElementById("curve");
    shown = [Number(svg.dataset.begin), Number(svg.dataset.end)];
    [wide, high, column] = [Number(svg.dataset.wide), Number(svg.dataset.high), Number(svg.dataset.column)];
    curves = [...svg.querySelectorAll("g[data-unit]")].map((group) => ({
      id: group.dataset.detector, title: group.dataset.title, counted: !group.dataset.counted, threshold: Number(group.dataset.threshold),
      steps: group.classList.contains("of-steps"), dots: group.classList.contains("of-dots"),
      runs: [...runsOf(group.querySelector(".line")), ...runsOf(group.querySelector(".points"))],
    }));
    const words = svg.querySelector("desc").textContent;
    slider(plot, _("Fake score over time. {whose}", { whose: plot.dataset.name }));
    plot.setAttribute("aria-description", words);
    say(plot, now, clock(now));
    wireLegend();
    wirePointer(plot);
    showTime(now);
    if (now > 0) read(now);
    plot.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const step = ((shown[1] - shown[0]) / 200) * (event.shiftKey ? 10 : 1), length = shown[1] - shown[0];
      const to = { ArrowLeft: now - step, ArrowRight: now + step, PageUp: now - length / 5, PageDown: now + length / 5, Home: shown[0], End: shown[1] }[event.key];
      if (to !== undefined) {
        seek(to, true);
        if (now < shown[0] || now > shown[1]) zoom(now - length / 2, now + length / 2);
      } else if (event.key === "+" || event.key === "=") zoomBy(0.5, now);
      else if (event.key === "-") zoomBy(2, now);
      else if (event.key === "0") zoom(0, duration);
      else return;
      event.preventDefault();
    });
    for (const button of part.querySelectorAll("[data-zoom]"))
      button.addEventListener("click", () => ({ in: () => zoomBy(0.5, now), out: () => zoomBy(2, now), all: () => zoom(0, duration) })[button.dataset.zoom]());
    part.dataset.ready = `${who} ${shown.map((one) => one.toFixed(1)).join("-")}`;
  }

  if (part) wire();
  showWho();
})();
