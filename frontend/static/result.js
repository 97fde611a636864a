// The chart of the result: curves by detector and person, thresholds, cuts, and the place in the video.
"use strict";
const place = document.getElementById("chart");
const choice = document.getElementById("person");
// Okabe and Ito's colours, lightened where they would vanish on a dark page
const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#aa4499", "#b07800", "#3a8fc4", "#332288", "#882255", "#7d7d20", "#444444"];
const DARK = ["#56b4e9", "#ff8c42", "#33c99a", "#e79bc6", "#f0c04a", "#9ad3f5", "#a79cff", "#f078a8", "#cfcf6a", "#c8c8c8"];
const dark = matchMedia("(prefers-color-scheme: dark)");
let data = null;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (index) => (dark.matches ? DARK : LIGHT)[index % 10];
const style = (index) => ["solid", "dash", "dot"][Math.floor(index / 10) % 3];

function chosenLines() {
  const person = choice.value === "" ? null : Number(choice.value);
  return data.lines.filter((line) => line.person === person || (line.unit || "face") !== "face");
}

const OTHER = { picture: "whole pictures", sound: "sound" };

function nameOf(line, lines) {
  const several = new Set(lines.map((item) => item.unit)).size > 1;
  return several && OTHER[line.unit] ? `${line.title} (${OTHER[line.unit]})` : line.title;
}

// as shared/rounding.py: 1.00 and 0.00 mean exactly those values
function rounded(value) {
  if (value === null) return "";
  const words = value.toFixed(2);
  if (words === "1.00" && value < 1) return ">0.99";
  return words === "0.00" && value > 0 ? "<0.01" : words;
}

function modeOf(line) {
  if (line.style === "dots") return "markers";
  if (line.style === "steps") return "lines";
  return line.t.length < 80 || line.y.some((_, place) => isAlone(line, place)) ? "lines+markers" : "lines";
}

// a score between two gaps: no line reaches it, so it has a mark, as in the pictures and the video
function isAlone(line, place) {
  const { y } = line;
  return y[place] !== null && (y[place - 1] ?? null) === null && (y[place + 1] ?? null) === null;
}

function markers(line) {
  if (line.style === "dots") return { size: 9, symbol: "diamond", color: colour(line.colour) };
  if (line.t.length < 80) return { size: 5 };
  return { size: line.y.map((_, place) => (isAlone(line, place) ? 5 : 0)) };
}

function traces(lines) {
  return lines.map((line) => ({
    type: "scatter",
    mode: modeOf(line),
    name: nameOf(line, lines),
    x: line.t,
    y: line.y,
    connectgaps: false,
    line: {
      color: colour(line.colour),
      width: line.style === "steps" ? 3 : 2,
      dash: line.style === "steps" ? "dashdot" : style(line.colour),
    },
    marker: markers(line),
    text: line.y.map(rounded),
    hovertemplate: "%{text}",
  }));
}

function horizontal(value, tone, width) {
  return {
    type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, layer: "below",
    line: { color: tone, width, dash: "dash" },
  };
}

function shapes(lines) {
  const values = new Set(lines.map((line) => line.threshold));
  const found = values.size === 1
    ? [horizontal([...values][0], css("--soft"), 1.5)]
    : lines.map((line) => horizontal(line.threshold, colour(line.colour), 1));
  for (const cut of data.cuts) {
    found.push({
      type: "line", x0: cut, x1: cut, yref: "paper", y0: 0, y1: 1, layer: "below",
      line: { color: css("--soft"), width: 1.2, dash: "dot" },
    });
  }
  for (const [start, end] of data.damaged || []) {
    found.push({
      type: "rect", x0: start, x1: end, yref: "paper", y0: 0, y1: 1, layer: "below",
      fillcolor: css("--line"), opacity: 0.55, line: { width: 0 },
      label: { text: "damaged", textposition: "bottom center", font: { size: 11, color: css("--soft") } },
    });
  }
  return found;
}

function cursor(seconds) {
  return { type: "line", x0: seconds, x1: seconds, yref: "paper", y0: 0, y1: 1, line: { color: css("--ink"), width: 1.5 } };
}

function layout(lines) {
  const narrow = place.clientWidth < 560;
  return {
    height: narrow ? 360 : 400,
    margin: { l: narrow ? 34 : 52, r: 12, t: 8, b: 30 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: css("--ink") },
    hovermode: "x unified",
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink") } },
    legend: { orientation: "h", y: -0.1, x: 0 },
    showlegend: true,
    dragmode: narrow ? false : "zoom",
    xaxis: {
      range: [0, data.duration_s], gridcolor: css("--line"), zeroline: false,
      hoverformat: ".2f", ticksuffix: " s", linecolor: css("--line"),
    },
    yaxis: {
      range: [-0.02, 1.02], fixedrange: true, gridcolor: css("--line"), zeroline: false,
      tickvals: [0, 0.25, 0.5, 0.75, 1], ticktext: narrow ? ["0", ".25", ".5", ".75", "1"] : ["0 real", ".25", ".5", ".75", "1 fake"],
    },
    shapes: shapes(lines),
  };
}

async function draw() {
  const lines = chosenLines();
  await Plotly.react(place, traces(lines), layout(lines), { displayModeBar: false, responsive: true });
  place.dataset.drawn = String(lines.length);
}

function followVideo() {
  const video = document.getElementById("video");
  if (!video) return;
  place.on("plotly_click", (event) => {
    video.currentTime = event.points[0].x;
    video.scrollIntoView({ block: "nearest", behavior: "smooth" });
  });
  let shown = 0;
  video.addEventListener("timeupdate", () => {
    const now = performance.now();
    if (now - shown < 200) return;
    shown = now;
    Plotly.relayout(place, { shapes: [...shapes(chosenLines()), cursor(video.currentTime)] });
  });
}

async function begin() {
  const answer = await fetch(place.dataset.curves, { headers: { Accept: "application/json" } });
  const wait = document.getElementById("chart-wait");
  if (!answer.ok) {
    wait.textContent = "The curves could not be loaded. Reload the page and enter your PIN again.";
    return;
  }
  data = await answer.json();
  if (!data.lines.length) {
    wait.textContent = "Nothing was scored, so there are no curves.";
    return;
  }
  for (const person of data.persons) choice.add(new Option(String(person + 1), String(person)));
  document.getElementById("person-choice").hidden = data.persons.length === 0;
  wait.remove();
  await draw();
  followVideo();
  document.addEventListener("video-ready", followVideo);
  choice.addEventListener("change", draw);
  dark.addEventListener("change", draw);
}

begin();
