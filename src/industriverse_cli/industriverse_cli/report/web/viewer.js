// The tool path's viewer: camera, controls, read-out. Draws with scene.js, or with flat.js where there is no WebGL 2.

const page = JSON.parse(document.getElementById("data").textContent);
const watchers = []; // functions of the shown time [s]

function niceNumber(value) {
  if (!isFinite(value)) return "unknown";
  if (value === 0) return "0";
  return Math.abs(value) >= 1e4 || Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

function niceTime(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (value) => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

function decodePath(packed) {
  const text = atob(packed.records);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  const view = new DataView(bytes.buffer);
  const at = (vertex, offset) => vertex * RECORD_BYTES + offset;
  const length = (axis) => (vertex) =>
    packed.origin_m[axis] + packed.step_m * view.getInt16(at(vertex, 2 * axis), true);
  return {
    bytes, x: length(0), y: length(1), z: length(2),
    layer: (vertex) => view.getUint16(at(vertex, 6), true),
    energy: (vertex) => bytes[at(vertex, 8)],
    speed: (vertex) => bytes[at(vertex, 9)],
    feature: (vertex) => bytes[at(vertex, 10)],
    line: (vertex) => view.getInt32(at(vertex, 12), true),
  };
}

function startViewer(stage) {
  const canvas = stage.querySelector("canvas");
  const path = decodePath(page.path);
  const scene = makeScene(canvas, page, path.bytes) || makeFlat(canvas, page, path);
  if (!scene) return;
  stage.classList.add("live");
  document.querySelector(".controls").classList.add("live");
  const byId = (name) => document.getElementById(name);
  const last = Math.max(0, page.layers_m.length - 1);
  const part = page.part_m;
  const centre = part[0].map((low, axis) => (low + part[1][axis]) / 2);
  const radius = Math.max(0.5 * Math.hypot(...part[0].map((low, axis) => part[1][axis] - low)), 2e-3);
  const end = page.power ? page.power.end_s : 0;
  const chosen = document.querySelector('input[name="colour"]:checked');
  const works = page.layers_m.length > 0;
  const state = {
    mode: chosen ? chosen.value : "feature", shown: works ? 0xfffffffe >>> 0 : 0xffffffff >>> 0,
    layers: [0, last], reached: page.path.count, marks: { error: [], warning: [] }, head: null, zoom: 1, ratio: 1,
  };
  const camera = { target: centre.slice(), distance: 1, yaw: 0, pitch: 0 };
  let dirty = false, projected = null, playing = 0;

  function changed() {
    projected = null;
    if (!dirty) {
      dirty = true;
      requestAnimationFrame(draw);
    }
  }

  function matrices() {
    const seen = orbit(camera);
    const reach = 4 * radius + 0.5;
    const near = Math.max(camera.distance * 0.02, camera.distance - reach);
    const projection = perspective(FIELD_OF_VIEW, canvas.width / canvas.height, near, camera.distance + reach);
    return { view: seen.matrix, projection, near, right: seen.right, up: seen.up };
  }

  function draw() {
    dirty = false;
    const box = canvas.getBoundingClientRect();
    state.ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [Math.max(1, Math.round(box.width * state.ratio)), Math.max(1, Math.round(box.height * state.ratio))];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    state.matrices = matrices();
    scene.draw(state);
  }

  // The distance from which every corner of the part's box is seen.
  function fitted(yaw, pitch) {
    const seen = orbit({ yaw, pitch, target: [0, 0, 0], distance: 0 }).matrix;
    const box = canvas.getBoundingClientRect();
    const up = Math.tan(FIELD_OF_VIEW / 2) * 0.92;
    const across = (up * box.width) / Math.max(1, box.height);
    let distance = radius * 0.2;
    for (let corner = 0; corner < 8; corner++) {
      const point = centre.map((middle, axis) => part[(corner >> axis) & 1][axis] - middle);
      const [x, y, z] = [0, 1, 2].map((row) => seen[row] * point[0] + seen[4 + row] * point[1] + seen[8 + row] * point[2]);
      distance = Math.max(distance, z + Math.abs(x) / across, z + Math.abs(y) / up);
    }
    return distance;
  }

  function look(view) {
    const [yaw, pitch] = { iso: [-0.56, 0.56], top: [0, Math.PI / 2], front: [0, 0.06] }[view];
    Object.assign(camera, { target: centre.slice(), yaw, pitch, distance: fitted(yaw, pitch) });
    state.zoom = 1;
    changed();
  }

  // --- layers and progress

  function showLayers() {
    const layer = Number(byId("layer").value);
    const single = scene.flat || byId("single").checked;
    state.layers = [single ? layer : 0, layer];
    byId("layer-text").textContent = works ? `${layer + 1} of ${last + 1} · ${(page.layers_m[layer] * 1e3).toFixed(2)} mm` : "none";
    changed();
  }

  function vertexAt(share) {
    if (!page.power || !page.power.vertex.length) return Math.round(share * (page.path.count - 1));
    const bins = page.power.vertex;
    const at = Math.min(share * bins.length, bins.length - 1e-6);
    const low = bins[Math.floor(at)];
    const high = Math.floor(at) + 1 < bins.length ? bins[Math.floor(at) + 1] : page.path.count - 1;
    return Math.round(low + (high - low) * (at % 1));
  }

  function showProgress() {
    const share = Number(byId("progress").value) / 1000;
    const whole = share >= 1;
    state.reached = whole ? page.path.count : vertexAt(share);
    const at = Math.min(state.reached, page.path.count - 1);
    state.head = whole ? null : new Float32Array([path.x(at), path.y(at), path.z(at)]);
    const clock = end ? `${niceTime(share * end)} of ${niceTime(end)}` : `${Math.round(share * 100)} %`;
    const line = path.line(at);
    byId("progress-text").textContent = whole || !line ? clock : `${clock} · line ${line}`;
    watchers.forEach((watch) => watch(whole ? null : share * end));
    changed();
  }

  function play(now) {
    if (!playing) return;
    const slider = byId("progress");
    const value = Math.min(1000, Number(slider.value) + (now - playing) / 20);
    playing = now;
    slider.value = value;
    showProgress();
    if (value < 1000) requestAnimationFrame(play);
    else stopPlaying();
  }

  function stopPlaying() {
    playing = 0;
    byId("play").textContent = "▶";
    byId("play").setAttribute("aria-label", "Play the program");
  }

  byId("play").addEventListener("click", () => {
    if (playing) return stopPlaying();
    if (Number(byId("progress").value) >= 1000) byId("progress").value = 0;
    playing = performance.now();
    byId("play").textContent = "❚❚";
    byId("play").setAttribute("aria-label", "Pause");
    requestAnimationFrame(play);
  });
  byId("progress").addEventListener("input", showProgress);
  byId("layer").addEventListener("input", showLayers);
  byId("single").addEventListener("change", showLayers);

  // --- colours and legend

  function legend() {
    const box = byId("legend");
    box.replaceChildren();
    const add = (parent, name, kind, text) => {
      const made = document.createElement(name);
      made.className = kind;
      if (text !== undefined) made.textContent = text;
      parent.append(made);
      return made;
    };
    if (state.mode !== "feature") {
      const scale = page.scales[state.mode];
      add(box, "span", "name", `${scale.title[0].toUpperCase()}${scale.title.slice(1)} [${scale.unit}]`);
      const strip = add(box, "span", "ramp");
      add(strip, "span", "", `≤ ${niceNumber(scale.low)}`);
      const bar = add(strip, "span", "rampbar");
      bar.style.backgroundImage = `linear-gradient(90deg, ${page.ramp.join(",")})`;
      add(strip, "span", "", `≥ ${niceNumber(scale.high)}`);
      return;
    }
    const used = new Set();
    for (let vertex = 0; vertex < page.path.count; vertex++) used.add(path.feature(vertex));
    page.features.forEach((name, kind) => {
      if (!used.has(kind) || kind === 0) return;
      const entry = add(box, "label", "entry");
      const tick = add(entry, "input", "");
      tick.type = "checkbox";
      tick.checked = Boolean(state.shown & (1 << kind));
      tick.addEventListener("change", () => show(kind, tick.checked));
      add(entry, "span", "patch").style.background = page.feature_colours[kind % page.feature_colours.length];
      entry.append(name);
    });
  }

  function show(kind, on) {
    state.shown = (on ? state.shown | (1 << kind) : state.shown & ~(1 << kind)) >>> 0;
    changed();
  }

  document.querySelectorAll('input[name="colour"]').forEach((radio) =>
    radio.addEventListener("change", () => {
      state.mode = radio.value;
      legend();
      changed();
    }));
  byId("travel").checked = !works;
  byId("travel").addEventListener("change", (event) => show(0, event.target.checked));
  document.querySelectorAll("[data-view]").forEach((button) =>
    button.addEventListener("click", () => look(button.dataset.view)));

  // --- camera

  function pan(dx, dy) {
    const { right, up } = orbit(camera);
    const scale = (2 * camera.distance * Math.tan(FIELD_OF_VIEW / 2)) / canvas.getBoundingClientRect().height;
    for (let axis = 0; axis < 3; axis++) camera.target[axis] += (-dx * right[axis] + dy * up[axis]) * scale;
  }

  function zoom(factor) {
    camera.distance = Math.min(Math.max(camera.distance * factor, radius * 0.05), radius * 40 + 2);
    state.zoom = Math.min(Math.max(state.zoom / factor, 0.2), 50);
    changed();
  }

  const fingers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return readOut(event);
    const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const span = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
      zoom(Math.max(span(before), 1) / Math.max(span([event.clientX, event.clientY]), 1));
      pan(dx / 2, dy / 2);
    } else if (event.shiftKey || event.buttons !== 1) {
      pan(dx, dy);
    } else {
      camera.yaw += dx * 0.008;
      camera.pitch = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, camera.pitch + dy * 0.008));
    }
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    changed();
  });
  ["pointerup", "pointercancel", "pointerleave"].forEach((name) =>
    canvas.addEventListener(name, (event) => {
      fingers.delete(event.pointerId);
      if (name === "pointerleave") stage.querySelector(".readout").hidden = true;
    }));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls until the picture is clicked
    event.preventDefault();
    zoom(Math.exp(event.deltaY * 0.0012));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
    if (turns[event.key]) {
      camera.yaw += turns[event.key][0];
      camera.pitch = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, camera.pitch + turns[event.key][1]));
    } else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 0.85 : 1.18);
    else return;
    event.preventDefault();
    changed();
  });

  // --- what lies under the pointer

  function project() {
    const matrix = multiply(state.matrices.projection, state.matrices.view);
    const out = new Float32Array(page.path.count * 3);
    const box = canvas.getBoundingClientRect();
    for (let vertex = 0; vertex < page.path.count; vertex++) {
      const [x, y, z] = [path.x(vertex), path.y(vertex), path.z(vertex)];
      const w = matrix[3] * x + matrix[7] * y + matrix[11] * z + matrix[15];
      out[vertex * 3] = (0.5 + (0.5 * (matrix[0] * x + matrix[4] * y + matrix[8] * z + matrix[12])) / w) * box.width;
      out[vertex * 3 + 1] = (0.5 - (0.5 * (matrix[1] * x + matrix[5] * y + matrix[9] * z + matrix[13])) / w) * box.height;
      out[vertex * 3 + 2] = w;
    }
    return out;
  }

  function nearest(px, py) {
    let best = -1, depth = Infinity;
    for (let vertex = 1; vertex < Math.min(state.reached + 1, page.path.count); vertex++) {
      const kind = path.feature(vertex);
      if (kind > 31 || !(state.shown & (1 << kind))) continue;
      const layer = path.layer(vertex);
      if (layer < state.layers[0] || layer > state.layers[1]) continue;
      const at = vertex * 3;
      const [ax, ay, bx, by] = [projected[at - 3], projected[at - 2], projected[at], projected[at + 1]];
      const [dx, dy] = [bx - ax, by - ay];
      const square = dx * dx + dy * dy;
      const along = square > 0 ? Math.min(1, Math.max(0, ((px - ax) * dx + (py - ay) * dy) / square)) : 0;
      const w = projected[at - 1] + (projected[at + 2] - projected[at - 1]) * along;
      if (w > 0 && w < depth && Math.hypot(ax + along * dx - px, ay + along * dy - py) < 5) [best, depth] = [vertex, w];
    }
    return best;
  }

  let asked = null;
  function readOut(event) {
    if (scene.flat) return;
    if (!asked) requestAnimationFrame(tell);
    asked = [event.offsetX, event.offsetY];
  }

  function tell() {
    const [x, y] = asked;
    asked = null;
    if (!state.matrices) return;
    projected = projected || project();
    const found = nearest(x, y);
    const box = stage.querySelector(".readout");
    box.hidden = found < 0;
    if (found < 0) return;
    const amount = (name, value) => {
      const scale = page.scales[name];
      if (value === 255 || scale.high <= scale.low) return [];
      const sign = value === 0 ? "≤ " : value === 254 ? "≥ " : "";
      return [`${sign}${niceNumber(scale.low + (value / 254) * (scale.high - scale.low))} ${scale.unit}`];
    };
    const layer = path.layer(found);
    const lines = [
      page.features[path.feature(found)], ...amount("energy", path.energy(found)), ...amount("speed", path.speed(found)),
      works ? `${page.kind === "mill" ? "level" : "layer"} ${layer + 1}, z ${(path.z(found) * 1e3).toFixed(2)} mm` : "",
      path.line(found) ? `line ${path.line(found)}` : "",
    ].filter(Boolean);
    box.replaceChildren(...lines.map((text, number) => {
      const made = document.createElement(number ? "span" : "strong");
      made.textContent = text;
      return made;
    }));
    const room = canvas.getBoundingClientRect();
    box.style.left = `${Math.min(x + 14, room.width - 170)}px`;
    box.style.top = `${Math.min(y + 14, room.height - 110)}px`;
  }

  // --- findings

  function point(vertex) {
    return [path.x(vertex), path.y(vertex), path.z(vertex)];
  }
  ["error", "warning"].forEach((severity) => {
    const found = page.findings.filter((each) => each.severity === severity && each.vertex >= 0);
    state.marks[severity] = new Float32Array(found.flatMap((each) => point(each.vertex)));
  });
  document.querySelectorAll("[data-finding]").forEach((button) =>
    button.addEventListener("click", () => {
      const vertex = page.findings[Number(button.dataset.finding)].vertex;
      camera.target = point(vertex);
      camera.distance = Math.max(camera.distance * 0.6, radius);
      byId("travel").checked = true;
      show(0, true);
      stage.scrollIntoView({ behavior: "smooth", block: "center" });
      changed();
    }));

  window.addEventListener("resize", changed);
  stage.querySelector(".hint").textContent = scene.flat
    ? "This browser has no WebGL 2: one layer at a time, from above."
    : "Drag to turn, shift-drag to move, click and scroll to zoom";
  page.seek = (seconds) => {
    byId("progress").value = end ? (1000 * seconds) / end : 1000;
    showProgress();
  };
  page.seekLayer = (layer) => {
    byId("layer").value = layer;
    showLayers();
  };
  if (scene.flat) {
    byId("layer").value = Math.floor(last / 2);
    document.querySelectorAll(".views, #single-label").forEach((each) => (each.hidden = true));
  }
  legend();
  showLayers();
  showProgress();
  look("iso");
}

document.querySelectorAll(".stage").forEach(startViewer);
