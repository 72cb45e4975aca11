// Sends files that are dropped on a raster source: each with its progress, and then its task until that ends.

const AT_ONCE = 2;
const LONGEST_PAUSE = 5000; // milliseconds between two requests for a task
const ENDED = { SUCCESS: ["registered", "good"], FAILURE: ["rejected", "bad"], REVOKED: ["withdrawn", "bad"] };

const form = document.getElementById("upload");
if (form) prepare(form);

function prepare(form) {
  const drop = form.querySelector(".drop");
  const input = form.elements.file;
  const waiting = [];
  let active = 0;

  input.multiple = true;
  form.querySelector(".drop-hint").textContent = "Drop GeoTIFFs here, or choose them";
  form.querySelector("button").hidden = true;
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    add(event.dataTransfer.files);
  });
  window.addEventListener("beforeunload", (event) => {
    if (active || waiting.length) event.preventDefault();
  });

  function add(files) {
    for (const file of files) waiting.push([file, fields(form, file), addRow(file)]);
    start();
  }

  function start() {
    while (active < AT_ONCE && waiting.length) {
      const [file, body, row] = waiting.shift();
      active += 1;
      send(form.action, file, body, row).catch((error) => row.end("not sent", "bad", error.message)).finally(() => {
        active -= 1;
        start();
      });
    }
  }
}

// The fields as they are now. The file comes last, because the server checks the token before it reads the file.
function fields(form, file) {
  const body = new FormData();
  for (const name of ["csrfmiddlewaretoken", "timestamp", "crs", "nodata"]) body.append(name, form.elements[name].value);
  body.append("file", file);
  return body;
}

function addRow(file) {
  const row = document.createElement("li");
  const name = document.createElement("strong");
  const badge = document.createElement("span");
  const bar = document.createElement("progress");
  const outcome = document.createElement("span");
  name.textContent = file.name;
  outcome.className = "outcome";
  bar.setAttribute("aria-label", `Sending ${file.name}`);
  row.append(name, badge, bar, outcome);
  document.getElementById("sent").append(row);
  const show = (word, kind = "") => {
    badge.className = `badge ${kind}`;
    badge.textContent = word;
  };
  show("waits");
  bar.value = 0;
  return {
    show,
    progress: (share) => (share === null ? bar.removeAttribute("value") : (bar.value = share)),
    end(word, kind, sentence) {
      show(word, kind);
      bar.remove();
      outcome.textContent = sentence || "";
      if (kind === "good") outcome.append(" ", pageAsItIsNow());
    },
  };
}

function pageAsItIsNow() {
  const link = document.createElement("a");
  link.href = location.pathname;
  link.textContent = "Show it";
  return link;
}

async function send(action, file, body, row) {
  row.show("sending");
  const answer = await post(action.replace("?format=api", "?format=json"), body, row.progress);
  row.progress(null);
  row.show("being read");
  await follow(answer.url, row);
}

// XMLHttpRequest, because fetch does not report the progress of an upload.
function post(url, body, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => event.lengthComputable && progress(event.loaded / event.total));
    request.addEventListener("error", () => reject(new Error("The connection broke; send the file again.")));
    request.addEventListener("load", () =>
      request.status < 300 && request.response ? resolve(request.response) : reject(new Error(sentenceOf(request))),
    );
    request.send(body);
  });
}

function sentenceOf(request) {
  const answer = request.response || {};
  const detail = answer.detail || answer;
  if (typeof detail === "string") return detail;
  const sentences = Object.entries(detail).map(([name, texts]) => `${name}: ${[].concat(texts).join(" ")}`);
  return sentences.join(" ") || `The server answered ${request.status}.`;
}

async function follow(url, row) {
  for (let pause = 300; ; pause = Math.min(LONGEST_PAUSE, pause * 1.5)) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    const response = await fetch(url, { headers: { Accept: "application/json" } }).catch(() => null);
    if (!response || !response.ok) continue; // the server may be restarting; the upload is safe
    const task = await response.json();
    if (task.status in ENDED) return row.end(...ENDED[task.status], task.detail);
  }
}
