// The page of one raster source: its pixels and footprint on a map, the time, coverage, code to copy.
/* global ol */
import { colour, makeMap, onScheme, show, toExtent } from "./map.js";

const element = document.getElementById("map");
if (element) showMap();
loadCoverage();
addCopyButtons();

function showMap() {
  const { tiles, outline, extent, changed } = element.dataset;
  const map = makeMap(element);
  const style = document.getElementById("style");
  const state = document.getElementById("map-state");
  const within = toExtent(extent);

  const pixels = new ol.layer.Tile({ opacity: 0.9, extent: within });
  const shape = outline
    ? new ol.format.GeoJSON({ featureProjection: "EPSG:3857" }).readFeatures(outline)
    : [new ol.Feature(ol.geom.Polygon.fromExtent(within))];
  const border = new ol.layer.Vector({ source: new ol.source.Vector({ features: shape }) });
  const paint = () => border.setStyle(new ol.style.Style({ stroke: new ol.style.Stroke({ color: colour("--accent"), width: 1.6 }) }));
  paint();
  onScheme(paint);
  map.addLayer(pixels);
  map.addLayer(border);
  // Fit before adding the tiles, so that tiles of the whole world are not requested.
  show(map, within, 19);

  function draw() {
    const parameters = new URLSearchParams({ colormap: style.querySelector("[name=colormap]").value, v: changed });
    const time = document.querySelector(".time-form [name=time]")?.value;
    if (time) parameters.set("time", time);
    const source = new ol.source.XYZ({ url: `${tiles}?${parameters}`, maxZoom: 22, transition: 0 });
    state.textContent = "";
    const urlOf = source.getTileUrlFunction();
    source.once("tileloaderror", async (event) => {
      state.textContent = await reasonOf(urlOf(event.tile.getTileCoord(), 1, map.getView().getProjection()));
    });
    source.on("tileloadend", () => { element.dataset.tilesSeen = Number(element.dataset.tilesSeen ?? 0) + 1; });
    element.dataset.tilesSeen = 0;
    pixels.setSource(source);
    drawRamp(style.querySelector("[name=colormap]").selectedOptions[0].dataset.colours.split(" "));
  }
  style.hidden = false;
  draw();
  style.querySelector("[name=colormap]").addEventListener("change", draw);
  style.querySelector("[name=opacity]").addEventListener("input", (event) => pixels.setOpacity(event.target.value / 100));
  map.on("rendercomplete", () => { element.dataset.ready = "true"; });
  followTime(draw);
  showLegend();
}

// The slider moves through the steps; the map follows when the slider stops.
function followTime(draw) {
  const slider = document.getElementById("time");
  if (!slider) return;
  const input = document.querySelector(".time-form [name=time]");
  const steps = slider.dataset.steps.split(" ");
  slider.hidden = steps.length < 2;
  slider.addEventListener("input", () => { document.getElementById("step").textContent = input.value = steps[slider.value]; });
  const settle = () => {
    document.getElementById("step").textContent = input.value;
    const url = new URL(location.href);
    url.searchParams.set("time", input.value);
    history.replaceState(null, "", url);
    draw();
  };
  slider.addEventListener("change", settle);
  document.querySelector(".time-form").addEventListener("submit", (event) => {
    const step = steps.indexOf(input.value);
    if (step < 0) return;
    event.preventDefault();
    slider.value = step;
    settle();
  });
}

/** Return the error message of the server about a tile that it could not draw. */
async function reasonOf(url) {
  const answer = await fetch(url, { headers: { Accept: "application/json" } });
  const { detail } = answer.ok ? {} : await answer.json().catch(() => ({}));
  return `Some tiles could not be drawn. ${typeof detail === "string" ? detail : ""}`;
}

async function showLegend() {
  const answer = await fetch(element.dataset.statistics, { headers: { Accept: "application/json" } });
  if (!answer.ok) return;
  const { minimum, maximum, percentiles } = await answer.json();
  if (minimum === null || minimum === undefined) {
    document.getElementById("map-state").textContent = "No pixel that was looked at has a value.";
    return;
  }
  const short = (number) => Number(number.toPrecision(4)).toString();
  const ends = percentiles?.["2"] < percentiles?.["98"] ? [percentiles["2"], percentiles["98"]] : [minimum, maximum];
  [document.getElementById("low").textContent, document.getElementById("high").textContent] = ends.map(short);
  const legend = document.getElementById("legend");
  legend.title = `All values: ${short(minimum)} to ${short(maximum)}`;
  legend.hidden = false;
}

function drawRamp(colours) {
  const canvas = document.getElementById("ramp");
  const context = canvas.getContext("2d");
  const ramp = context.createLinearGradient(0, 0, canvas.width, 0);
  colours.forEach((hex, number) => ramp.addColorStop(number / (colours.length - 1), `#${hex}`));
  context.fillStyle = ramp;
  context.fillRect(0, 0, canvas.width, canvas.height);
}

// Coverage takes long to compute, so it is loaded after the page.
async function loadCoverage() {
  const place = document.getElementById("coverage");
  if (!place) return;
  const answer = await fetch(place.dataset.url, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const gaps = page.getElementById("gaps");
  if (!gaps) return;
  gaps.classList.remove("card");
  place.replaceChildren(...gaps.childNodes);
  const map = element?.map;
  if (!map) return;
  const holes = new ol.source.Vector();
  map.addLayer(new ol.layer.Vector({ source: holes, style: () => new ol.style.Style({
    fill: new ol.style.Fill({ color: colour("--bad", 0.15) }),
    stroke: new ol.style.Stroke({ color: colour("--bad"), width: 1.2, lineDash: [4, 3] }),
  }) }));
  for (const row of place.querySelectorAll("[data-hole]")) {
    holes.addFeature(new ol.Feature(ol.geom.Polygon.fromExtent(toExtent(row.dataset.hole))));
  }
}

function addCopyButtons() {
  for (const figure of document.querySelectorAll(".code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${figure.querySelector("figcaption").textContent}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(figure.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    figure.append(button);
  }
}
