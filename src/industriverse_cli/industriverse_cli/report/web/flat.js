// One layer from above on a plain canvas: for browsers without WebGL 2.

const FLAT_PALETTE = 32; // colours that the scale is drawn with: one stroke each

function makeFlat(canvas, data, path) {
  const paper = canvas.getContext("2d");
  if (!paper) return null;

  function place(vertex) {
    return [path.x(vertex), path.y(vertex)];
  }

  function toScreen(state) {
    const [low, high] = data.part_m;
    const room = 0.9;
    const scale = room * Math.min(canvas.width / Math.max(high[0] - low[0], 1e-4),
      canvas.height / Math.max(high[1] - low[1], 1e-4)) * state.zoom;
    const [cx, cy] = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
    return { scale, map: ([x, y]) => [canvas.width / 2 + (x - cx) * scale, canvas.height / 2 - (y - cy) * scale] };
  }

  function colourOf(state, vertex) {
    const kind = path.feature(vertex);
    if (kind === 0) return -1;
    if (state.mode === "feature") return 1000 + (kind % data.feature_colours.length);
    const value = state.mode === "energy" ? path.energy(vertex) : path.speed(vertex);
    return value === 255 ? -1 : Math.round((value / 254) * (FLAT_PALETTE - 1));
  }

  function css(code) {
    if (code === -1) return data.no_colour;
    if (code >= 1000) return data.feature_colours[code - 1000];
    const at = (code / (FLAT_PALETTE - 1)) * (data.ramp.length - 1);
    const below = Math.min(Math.floor(at), data.ramp.length - 2);
    const [a, b] = [hexColour(data.ramp[below]), hexColour(data.ramp[below + 1])];
    return `rgb(${a.map((value, k) => Math.round(255 * (value + (b[k] - value) * (at - below)))).join(" ")})`;
  }

  function draw(state) {
    paper.clearRect(0, 0, canvas.width, canvas.height);
    const { scale, map } = toScreen(state);
    const strokes = new Map();
    for (let vertex = 1; vertex <= Math.min(state.reached, data.path.count - 1); vertex++) {
      const kind = path.feature(vertex);
      if (kind > 31 || path.layer(vertex) !== state.layers[1] || !(state.shown & (1 << kind))) continue;
      const code = colourOf(state, vertex);
      if (!strokes.has(code)) strokes.set(code, new Path2D());
      const stroke = strokes.get(code);
      stroke.moveTo(...map(place(vertex - 1)));
      stroke.lineTo(...map(place(vertex)));
    }
    paper.lineCap = "round";
    paper.lineWidth = Math.max(1, data.width_m * scale * 0.9);
    strokes.forEach((stroke, code) => {
      paper.strokeStyle = css(code);
      paper.stroke(stroke);
    });
  }
  return { draw, flat: true };
}
