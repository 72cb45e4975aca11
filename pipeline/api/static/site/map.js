// A map with land, borders and an optional background, in the colours of the page.
/* global ol */

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Return the value of a custom property of the style sheet, such as --accent. */
export function colour(name, opacity = 1) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
  return `rgba(${red}, ${green}, ${blue}, ${opacity})`;
}

/** Call a function when the browser changes between light and dark. */
export function onScheme(callback) {
  dark.addEventListener("change", callback);
}

/** Create the map of an element; its data attributes have the URLs of land and background. */
export function makeMap(element) {
  const { land, background, attribution } = element.dataset;
  const ground = background ? tiles(background, attribution) : outlines(land);
  const map = new ol.Map({
    target: element,
    layers: [ground],
    view: new ol.View({ center: [0, 2e6], zoom: 1, maxZoom: 22, constrainResolution: false, multiWorld: true }),
    controls: ol.control.defaults.defaults({ rotate: false, attributionOptions: { collapsible: false } })
      .extend([new ol.control.ScaleLine()]),
    interactions: ol.interaction.defaults.defaults({ pinchRotate: false, altShiftDragRotate: false }),
  });
  element.tabIndex = 0;
  // Tests and add-ons find the map here.
  element.map = map;
  return map;
}

function tiles(url, attribution) {
  const source = new ol.source.XYZ({ url, attributions: attribution ? [escape(attribution)] : [] });
  return new ol.layer.Tile({ source });
}

function escape(text) {
  const holder = document.createElement("span");
  holder.textContent = text;
  return holder.innerHTML;
}

function outlines(url) {
  const source = new ol.source.Vector({
    url,
    format: new ol.format.TopoJSON({ layers: ["countries"] }),
    overlaps: false,
    wrapX: true,
    attributions: ["Natural Earth"],
  });
  source.on("featuresloadend", ({ features }) => features.forEach(joinAtAntimeridian));
  const layer = new ol.layer.Vector({ source });
  const paint = () => layer.setStyle(new ol.style.Style({
    fill: new ol.style.Fill({ color: colour("--land") }),
    stroke: new ol.style.Stroke({ color: colour("--border"), width: 0.8 }),
  }));
  paint();
  onScheme(paint);
  return layer;
}

/** Let polygons that cross the antimeridian go on beyond it, and draw them a second time one world further west. */
function joinAtAntimeridian(feature) {
  const world = ol.extent.getWidth(ol.proj.get("EPSG:3857").getExtent());
  const polygons = [feature.getGeometry()].flatMap((shape) => (shape.getPolygons ? shape.getPolygons() : [shape]));
  const joined = polygons.flatMap((polygon) => {
    const rings = polygon.getCoordinates().map((ring) => unwrap(ring, world));
    const moved = rings.map((ring) => ring.map(([x, y]) => [x - world, y]));
    return rings.flat().some(([x]) => x > world / 2) ? [rings, moved] : [rings];
  });
  feature.setGeometry(new ol.geom.MultiPolygon(joined));
}

/** Remove the jumps of a ring from one side of the map to the other; a ring around a pole stays as it is. */
function unwrap(ring, world) {
  let turn = 0;
  const moved = ring.map(([x, y], place) => {
    const step = place ? x - ring[place - 1][0] : 0;
    turn -= Math.abs(step) > world / 2 ? Math.sign(step) * world : 0;
    return [x + turn, y];
  });
  if (turn !== 0) return ring;
  const west = Math.min(...moved.map(([x]) => x));
  return west < -world / 2 ? moved.map(([x, y]) => [x + world, y]) : moved;
}

/** Convert west,south,east,north in degrees to an extent of the map; a box across the antimeridian extends beyond 180. */
export function toExtent(text) {
  const [west, south, east, north] = text.split(",").map(Number);
  const clip = (latitude) => Math.max(-85, Math.min(85, latitude));
  return ol.proj.transformExtent([west, clip(south), east < west ? east + 360 : east, clip(north)], "EPSG:4326", "EPSG:3857");
}

/** Convert an extent of the map to west,south,east,north in degrees, within the range of the filters. */
export function toBox(extent) {
  const [west, south, east, north] = ol.proj.transformExtent(extent, "EPSG:3857", "EPSG:4326");
  const turn = Math.floor((west + 180) / 360) * 360;
  const sides = east - west >= 360 ? [-180, south, 180, north] : [west - turn, south, east - turn, north];
  return sides.map((side) => Number(side.toFixed(5))).join(",");
}

/** Show an extent with a margin, which is larger below and on the left, where the controls are. */
export function show(map, extent, most = 15) {
  map.getView().fit(extent, { padding: [30, 30, 45, 50], maxZoom: most });
}
