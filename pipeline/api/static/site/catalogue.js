// The map of the catalogue: the footprints that match the filters, a box to draw, and names on a click.
/* global ol */
import { colour, makeMap, onScheme, show, toBox, toExtent } from "./map.js";

const element = document.getElementById("map");
const form = document.querySelector("form.filters");
const boxInput = document.getElementById("box");
const state = document.getElementById("map-state");
const map = makeMap(element);
const { tiles, list, query, page, extent } = element.dataset;

const footprints = new ol.layer.VectorTile({
  source: new ol.source.VectorTile({ format: new ol.format.MVT(), url: tiles || undefined, maxZoom: 18, tileSize: 512 }),
  renderBuffer: 64,
});
const marks = new ol.source.Vector();
const box = new ol.source.Vector();
map.addLayer(footprints);
map.addLayer(new ol.layer.Vector({ source: marks, style: () => outline("--doubt", 2.5, 0.12) }));
map.addLayer(new ol.layer.Vector({ source: box, style: () => outline("--bad", 1.5, 0, [6, 4]) }));

function outline(name, width, opacity, lineDash) {
  return new ol.style.Style({
    stroke: new ol.style.Stroke({ color: colour(name), width, lineDash }),
    fill: opacity ? new ol.style.Fill({ color: colour(name, opacity) }) : undefined,
  });
}

// Styles are made once, and again when the scheme changes: a tile has up to a thousand outlines.
let source, shades;
function paint() {
  source = new ol.style.Style({
    stroke: new ol.style.Stroke({ color: colour("--accent", 0.85), width: 1.1 }),
    fill: new ol.style.Fill({ color: colour("--accent", 0.07) }),
  });
  shades = [0.16, 0.26, 0.38, 0.5, 0.62, 0.74].map((opacity) => new ol.style.Style({
    fill: new ol.style.Fill({ color: colour("--accent", opacity) }),
  }));
  footprints.setStyle((feature) => {
    if (feature.get("layer") !== "cells") return source;
    const power = Math.floor(Math.log2(feature.get("amount")) / 2);
    return shades[Math.min(shades.length - 1, power)];
  });
}
paint();
onScheme(() => { paint(); marks.changed(); box.changed(); });

// Start with the view in the URL, or else with the box or the sources that match the filters.
const place = /^#map=([\d.]+)\/(-?[\d.]+)\/(-?[\d.]+)$/.exec(location.hash);
if (place) {
  map.getView().setZoom(Number(place[1]));
  map.getView().setCenter(ol.proj.fromLonLat([Number(place[3]), Number(place[2])]));
} else if (boxInput.value.split(",").length === 4) {
  show(map, toExtent(boxInput.value));
} else if (extent) {
  show(map, toExtent(extent));
}
if (boxInput.value.split(",").length === 4) {
  box.addFeature(new ol.Feature(ol.geom.Polygon.fromExtent(toExtent(boxInput.value))));
}
let moved = false;
map.on("moveend", () => {
  if (!moved) { moved = true; return; }
  const view = map.getView();
  const [longitude, latitude] = ol.proj.toLonLat(view.getCenter());
  history.replaceState(null, "", `#map=${view.getZoom().toFixed(2)}/${latitude.toFixed(4)}/${longitude.toFixed(4)}`);
});
// Another page of the same list keeps the view.
for (const link of document.querySelectorAll(".pager a, thead a")) {
  link.addEventListener("click", () => { link.hash = location.hash; });
}

// Announce whether the map shows counts or outlines, for screen readers too.
map.on("rendercomplete", () => {
  const kinds = new Set(footprints.getFeaturesInExtent(map.getView().calculateExtent()).map((one) => one.get("layer")));
  state.textContent = kinds.has("cells") ? "Shaded by number of sources; zoom in for outlines" : "";
  element.dataset.ready = "true";
});

// A box to filter by.
const draw = new ol.interaction.Draw({
  source: box, type: "Circle", geometryFunction: ol.interaction.Draw.createBox ? ol.interaction.Draw.createBox() : undefined,
});
const button = document.getElementById("draw");
function filterBy(area) {
  boxInput.value = toBox(area);
  form.requestSubmit();
}
function toggle(on) {
  button.setAttribute("aria-pressed", String(on));
  map.removeInteraction(draw);
  if (on) map.addInteraction(draw);
  popup.setPosition(undefined);
  state.textContent = on ? "Click two opposite corners; Escape ends" : "";
}
button.addEventListener("click", () => toggle(button.getAttribute("aria-pressed") !== "true"));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") toggle(false); });
draw.on("drawstart", () => box.clear());
draw.on("drawend", (event) => filterBy(event.feature.getGeometry().getExtent()));
document.getElementById("view").addEventListener("click", () => filterBy(map.getView().calculateExtent()));
document.querySelector(".map-tools").hidden = false;

// A click lists the raster sources at the point. It queries the API, because outlines may hide each other.
const card = document.createElement("div");
card.className = "popup";
card.setAttribute("role", "dialog");
card.setAttribute("aria-label", "Raster sources here");
const autoPan = { margin: 12, animation: { duration: 0 } }; // a moving map is hard to click
const popup = new ol.Overlay({ element: card, autoPan, positioning: "bottom-center", offset: [0, -6] });
map.addOverlay(popup);
map.on("singleclick", async (event) => {
  if (button.getAttribute("aria-pressed") === "true") return;
  const reach = map.getView().getResolution() * 3;
  const [x, y] = event.coordinate;
  const parameters = new URLSearchParams(query);
  // `bbox` is another name of `in_bbox`, so that both filters apply.
  parameters.set(parameters.has("bbox") ? "in_bbox" : "bbox", toBox([x - reach, y - reach, x + reach, y + reach]));
  parameters.set("page_size", "10");
  parameters.set("format", "json");
  const answer = await fetch(`${list}?${parameters}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) { state.textContent = "The server did not answer; try again."; return; }
  const sources = await answer.json();
  popup.setPosition(sources.count ? event.coordinate : undefined);
  if (sources.count) fill(sources);
});

function fill({ count, results }) {
  const title = make("h2", count === 1 ? "1 raster source here" : `${count.toLocaleString("en")} raster sources here`);
  const close = make("button", "×");
  close.type = "button";
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => popup.setPosition(undefined));
  const items = make("ul");
  for (const row of results) {
    const link = make("a", row.name);
    link.href = `${page}${row.uuid}/`;
    const item = make("li");
    item.append(link, make("span", row.organisation.name));
    items.append(item);
  }
  card.replaceChildren(title, close, items);
  if (count > results.length) card.append(make("p", "Zoom in to see fewer."));
}

function make(name, text = "") {
  const created = document.createElement(name);
  created.textContent = text;
  return created;
}

// Show the row under the pointer on the map.
for (const row of document.querySelectorAll("tr[data-box]")) {
  const mark = () => {
    marks.clear();
    marks.addFeature(new ol.Feature(ol.geom.Polygon.fromExtent(toExtent(row.dataset.box))));
  };
  row.addEventListener("pointerenter", mark);
  row.addEventListener("focusin", mark);
  row.addEventListener("pointerleave", () => marks.clear());
  row.addEventListener("focusout", () => marks.clear());
}
