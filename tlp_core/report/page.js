"use strict";
const contents = JSON.parse(document.getElementById("contents").textContent);
const element = (id) => document.getElementById(id);
const steps = contents.steps;
const config = { responsive: true, displaylogo: false, displayModeBar: false };
const blues = contents.colors.map;
let shown = 0;        // number of the step that is shown
let chosen = null;    // the basin that is pointed at
let colorOf = () => blues[0][1];

const text = (number) => number === null ? "not finite" : Number(number.toPrecision(5)).toString();
const extent = (numbers) => {
  const finite = numbers.filter((n) => n !== null);
  return [Math.min(...finite), Math.max(...finite)];
};
const heights = extent(steps.flatMap((s) => s.basins.flatMap((b) => extent(b.y))));
const averages = extent(steps.flatMap((s) => s.basins.map((b) => b.average)));
const isLogarithmic = () => element("logarithmic").checked;
const onScale = (n) => isLogarithmic() ? Math.log10(n) : n;

function setColors() {
  const [low, high] = averages.map(onScale);
  colorOf = (average) => {
    const at = high > low ? (onScale(average) - low) / (high - low) : 0;
    const next = Math.max(1, blues.findIndex((point) => point[0] >= at - 1e-12));
    const [from, to] = [blues[next - 1], blues[next]];
    const part = Math.min(1, Math.max(0, (at - from[0]) / (to[0] - from[0])));
    const mix = from[1].match(/\d+/g).map((c, i) => Math.round(+c + part * (to[1].match(/\d+/g)[i] - c)));
    return `rgb(${mix.join(",")})`;
  };
}

function frame(title, more) {
  return {
    margin: { l: 62, r: 12, t: 8, b: 44 }, showlegend: false, hovermode: "closest",
    paper_bgcolor: "white", plot_bgcolor: "white", font: { size: 13, color: "#222" },
    xaxis: { title: { text: title }, zeroline: false, gridcolor: "#eee", automargin: true },
    yaxis: { zeroline: false, gridcolor: "#eee", automargin: true }, ...more,
  };
}

function lossAxis(span) {
  const ends = span.map(onScale);
  const margin = 0.03 * ((ends[1] - ends[0]) || 1);
  return {
    title: { text: "loss" }, type: isLogarithmic() ? "log" : "linear", zeroline: false, gridcolor: "#eee",
    automargin: true, range: [ends[0] - margin, ends[1] + margin], dtick: isLogarithmic() ? "D2" : undefined,
  };
}

const tell = (basin) => basin === null ? "Point at a basin or a sample."
  : `basin ${basin.id}: ${basin.size} samples (width), depth ${text(basin.persistence)}, ` +
    `minimum ${text(basin.birth)}, average loss ${text(basin.average)}`;

function drawProfile() {
  const step = steps[shown];
  const traces = step.basins.map((basin) => ({
    x: [...basin.x, basin.x[0]], y: [...basin.y, basin.y[0]], mode: "lines", fill: "toself",
    fillcolor: colorOf(basin.average), hoveron: "fills", hoverinfo: "none", customdata: [basin.id],
    line: { color: "#222", width: 0.6 },
  }));
  for (const kind of ["saddle", "minimum"]) {
    const at = step.points.kind.map((k, i) => k === kind ? i : -1).filter((i) => i >= 0);
    traces.push({
      x: at.map((i) => step.points.x[i]), y: at.map((i) => step.points.y[i]), mode: "markers",
      hoverinfo: "skip", marker: { color: contents.colors[kind], size: 8 }, cliponaxis: false,
    });
  }
  traces.push({ x: [], y: [], mode: "lines", hoverinfo: "skip", line: { color: contents.colors.saddle, width: 3 } });
  Plotly.react("profile", traces, frame("number of samples", { yaxis: lossAxis(heights) }), config);
}

// the samples of a basin: those of its own arc, and of all basins inside it
function isInside(arc, basin) {
  const parents = steps[shown].parents;
  for (let at = arc; at >= 0; at = parents[at]) if (at === basin) return true;
  return false;
}

// the samples of the basin that is pointed at
function chosenSamples() {
  const step = steps[shown], axes = contents.axes, isLine = axes.length === 1;
  const found = { x: [], y: [] };
  (isLine ? [step.arcs] : step.arcs).forEach((row, j) => row.forEach((arc, i) => {
    if (isInside(arc, chosen)) {
      found.x.push(axes[0][i]);
      found.y.push(isLine ? step.plane[i] : axes[1][j]);
    }
  }));
  return found;
}

function drawPlane() {
  const step = steps[shown], axes = contents.axes, isLine = axes.length === 1;
  if (step.plane === null) {
    element("plane-title").textContent = "The samples are scattered: no landscape is drawn";
    return;
  }
  const highlighted = {
    x: [], y: [], mode: "markers", hoverinfo: "skip",
    marker: { color: contents.colors.saddle, size: 5, opacity: 0.85 },
  };
  const model = { x: [0], y: [0], mode: "markers", hoverinfo: "skip", marker: { symbol: "cross-thin", size: 12, line: { width: 2, color: "black" } } };
  const layout = frame("direction 1", isLine ? { yaxis: lossAxis(heights) }
    : { yaxis: { title: { text: "direction 2" }, scaleanchor: "x", constrain: "domain", automargin: true } });
  layout.xaxis.constrain = "domain";
  const scale = blues.map(([at, color]) => [at, color]);
  const levels = (row) => row.map((loss) => loss === null ? null : onScale(loss));
  const traces = isLine
    ? [{ x: axes[0], y: step.plane, mode: "lines+markers", hoverinfo: "none", line: { color: "#08306b" } }, highlighted]
    : [{
        type: "contour", x: axes[0], y: axes[1], z: step.plane.map(levels), colorscale: scale, hoverinfo: "none",
        zmin: onScale(heights[0]), zmax: onScale(heights[1]), ncontours: 24, contours: { coloring: "heatmap" },
        line: { width: 0.4, color: "#222" }, colorbar: { thickness: 12, title: { text: isLogarithmic() ? "log10 loss" : "loss" } },
      }, highlighted, model];
  Plotly.react("plane", traces, layout, config);
}

function drawSeries(id, names) {
  const colors = ["#08306b", "#d7191c", "#e08214", "#1a9850", "#762a83"];
  const traces = names.map((name, i) => {
    const series = contents.series[name];
    return { x: series.steps, y: series.values, name, mode: "lines+markers", marker: { size: 5, color: colors[i % 5] }, line: { color: colors[i % 5] } };
  });
  const lines = [{ at: steps[shown].step, dash: "solid", color: "#999", width: 2 }];
  names.forEach((name, i) => contents.series[name].transitions.forEach(
    (t) => lines.push({ at: t.step, dash: "dash", color: colors[i % 5], width: 1.2, p: t.p })));
  const isLog = id === "losses" && isLogarithmic();
  const layout = frame("step", {
    showlegend: names.length > 1, legend: { orientation: "h", y: 1.12 }, hovermode: "x",
    yaxis: { type: isLog ? "log" : "linear", dtick: isLog ? "D2" : undefined, zeroline: false, gridcolor: "#eee", automargin: true },
    shapes: lines.map((l) => ({ type: "line", x0: l.at, x1: l.at, y0: 0, y1: 1, yref: "paper", line: { dash: l.dash, color: l.color, width: l.width } })),
    annotations: lines.filter((l) => l.p !== undefined).map((l) => ({
      x: l.at, y: 1, yref: "paper", xanchor: "left", yanchor: "top", showarrow: false, text: `p = ${text(l.p)}`, font: { size: 11, color: l.color } })),
  });
  Plotly.react(id, traces, layout, config);
}

function show() {
  const step = steps[shown];
  element("number").textContent = String(step.step);
  element("summary").textContent = `${step.minima} ${step.minima === 1 ? "minimum" : "minima"} among ` +
    `${step.samples} samples at step ${step.step}` +
    (step.hidden ? `; ${step.hidden} basins below a pixel are not drawn.` : ".");
  drawProfile();
  drawPlane();
  drawSeries("losses", contents.losses);
  drawSeries("descriptor", [element("name").value]);
}

// the plots are not drawn again: that would send events of the mouse
function choose(basin) {
  const id = basin === null ? null : basin.id;
  if (id === chosen) return;
  chosen = id;
  element("told").textContent = tell(basin);
  const outline = basin === null ? { x: [], y: [] } : { x: [...basin.x, basin.x[0]], y: [...basin.y, basin.y[0]] };
  Plotly.restyle("profile", { x: [outline.x], y: [outline.y] }, [element("profile").data.length - 1]);
  if (steps[shown].plane === null) return;
  const samples = basin === null ? { x: [], y: [] } : chosenSamples();
  Plotly.restyle("plane", { x: [samples.x], y: [samples.y] }, [1]);
}

const basinOf = (id) => {
  const parents = steps[shown].parents;
  for (let at = id; at >= 0; at = parents[at]) {
    const found = steps[shown].basins.find((b) => b.id === at);
    if (found) return found;
  }
  return null;
};

element("plane-title").textContent = contents.axes.length === 1 ? "Loss along the direction"
  : "Loss along the first two directions, through the model (cross)";
element("step").max = steps.length - 1;
element("logarithmic").disabled = !(heights[0] > 0);
const names = Object.keys(contents.series).filter((name) => !contents.losses.includes(name));
for (const name of names) element("name").add(new Option(name.replaceAll("_", " "), name));
element("name").value = names.includes("number_of_minima") ? "number_of_minima" : names[0];
for (const [name, value] of contents.facts) {
  const row = element("facts").insertRow();
  row.appendChild(document.createElement("th")).textContent = name;
  row.insertCell().textContent = value;
}
setColors();
show();
element("step").addEventListener("input", (event) => { shown = +event.target.value; choose(null); show(); });
element("name").addEventListener("change", show);
element("logarithmic").addEventListener("change", () => { setColors(); show(); });
element("profile").on("plotly_hover", (event) => {
  const id = event.points[0].data.customdata;
  if (id) choose(basinOf(id[0]));
});
for (const id of ["profile", "plane"]) element(id).addEventListener("mouseleave", () => choose(null));
if (steps[0].plane !== null) element("plane").on("plotly_hover", (event) => {
  const point = event.points[0];
  const at = point.pointIndex ?? point.pointNumber;
  if (point.curveNumber === 0) choose(basinOf(Array.isArray(at) ? steps[shown].arcs[at[0]][at[1]] : steps[shown].arcs[at]));
});
